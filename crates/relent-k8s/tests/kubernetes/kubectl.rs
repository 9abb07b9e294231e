//! kubectl against the listening server, and against a real one where there is one.
//!
//! Which kubectl: `RELENT_KUBECTL`, else the one in `PATH`. Without any, the test fails; `RELENT_NO_KUBECTL=1` leaves it out.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use relent_apiserver::ApiServer;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use super::world::unique;

struct Kubectl {
    program: PathBuf,
    config: PathBuf,
    folder: PathBuf,
    namespace: String,
}

impl Kubectl {
    fn new(config: &Path, folder: &Path) -> Self {
        let program =
            std::env::var_os("RELENT_KUBECTL").filter(|path| !path.is_empty()).unwrap_or_else(|| "kubectl".into());
        Self {
            program: program.into(),
            config: config.to_owned(),
            folder: folder.to_owned(),
            namespace: unique("relent-kubectl"),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config).arg("--cache-dir").arg(self.folder.join("cache"));
        command.args(["--namespace", &self.namespace]).args(arguments).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let ran =
            timeout(Duration::from_secs(60), self.command(arguments).output()).await.expect("kubectl within 60 s");
        ran.unwrap_or_else(|error| {
            panic!(
                "{}: {error}; set RELENT_KUBECTL to a kubectl, or RELENT_NO_KUBECTL=1 to leave this out",
                self.program.display()
            )
        })
    }

    /// What it says when all is well.
    async fn says(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert!(ran.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// What it says when it is refused.
    async fn complains(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert!(!ran.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&ran.stdout));
        String::from_utf8(ran.stderr).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// One map and one budget, as people write them.
fn manifest(value: &str, available: u32) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  labels: {{ app: web }}\ndata:\n  colour: {value}\n---\n\
         apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: turn\nspec:\n  leaseTransitions: {available}\n"
    )
}

async fn talk(kubectl: &Kubectl) {
    // From a file: `kubectl create namespace` of newer versions speaks protobuf.
    let space = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {} }}\n", kubectl.namespace);
    let space = kubectl.file("namespace.yaml", &space);
    kubectl.says(&["create", "--validate=false", "-f", &space]).await;
    let version = kubectl.says(&["version"]).await;
    assert!(version.contains("Server Version"), "{version}");

    // create
    let other =
        kubectl.file("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: other }\ndata: { a: \"1\" }\n");
    assert_eq!(kubectl.says(&["create", "--validate=false", "-f", &other]).await, "configmap/other created\n");
    let again = kubectl.complains(&["create", "--validate=false", "-f", &other]).await;
    assert!(again.contains("AlreadyExists") && again.contains("configmaps \"other\" already exists"), "{again}");

    // watch
    let mut watch =
        kubectl.command(&["get", "configmaps", "-l", "app=web", "--watch", "-o", "jsonpath={.data.colour}{\"\\n\"}"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();

    // apply, twice
    let file = kubectl.file("manifest.yaml", &manifest("red", 1));
    let applied = kubectl.says(&["apply", "--validate=false", "-f", &file]).await;
    assert_eq!(applied, "configmap/settings created\nlease.coordination.k8s.io/turn created\n");
    let seen = timeout(Duration::from_secs(30), lines.next_line()).await.expect("kubectl sees it").unwrap();
    assert_eq!(seen.as_deref(), Some("red"));
    let file = kubectl.file("manifest.yaml", &manifest("green", 2));
    let applied = kubectl.says(&["apply", "--validate=false", "-f", &file]).await;
    assert_eq!(applied, "configmap/settings configured\nlease.coordination.k8s.io/turn configured\n");
    let applied = kubectl.says(&["apply", "--validate=false", "-f", &file]).await;
    assert_eq!(applied, "configmap/settings unchanged\nlease.coordination.k8s.io/turn unchanged\n");
    let seen = timeout(Duration::from_secs(30), lines.next_line()).await.expect("kubectl sees it").unwrap();
    assert_eq!(seen.as_deref(), Some("green"));
    watch.kill().await.unwrap();

    // get
    let got = kubectl.says(&["get", "configmap", "settings", "-o", "jsonpath={.data.colour}"]).await;
    assert_eq!(got, "green");
    let table = kubectl.says(&["get", "cm,lease"]).await;
    assert!(table.contains("settings") && table.contains("turn"), "{table}");
    let missing = kubectl.complains(&["get", "configmap", "nobody"]).await;
    assert_eq!(missing, "Error from server (NotFound): configmaps \"nobody\" not found\n");
    kubectl.says(&["label", "configmap", "settings", "tier=1"]).await;
    assert_eq!(kubectl.says(&["get", "cm", "-l", "tier=1", "-o", "name"]).await, "configmap/settings\n");

    // delete: it waits until it is gone
    kubectl.says(&["delete", "--timeout=30s", "-f", &file]).await;
    assert_eq!(kubectl.says(&["get", "cm", "-l", "app=web", "-o", "name"]).await, "");
    kubectl.says(&["delete", "namespace", &kubectl.namespace, "--wait=false"]).await;
}

fn left_out() -> bool {
    let left_out = std::env::var("RELENT_NO_KUBECTL").is_ok_and(|value| value == "1");
    if left_out {
        let _ = writeln!(std::io::stderr(), "kubectl: LEFT OUT, as RELENT_NO_KUBECTL=1 says");
    }
    left_out
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("relent-kubectl"));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_talks_to_the_listening_server() {
    if left_out() {
        return;
    }
    let folder = Folder::new();
    let port = ApiServer::new().listen().await.unwrap();
    let config = folder.0.join("kubeconfig");
    std::fs::write(&config, port.kubeconfig()).unwrap();
    talk(&Kubectl::new(&config, &folder.0)).await;
    let _ = writeln!(std::io::stderr(), "kubectl: talked to the in-process server");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_talks_the_same_to_a_real_server() {
    if left_out() {
        return;
    }
    let Some(config) = std::env::var_os("RELENT_KUBECONFIG").filter(|path| !path.is_empty()) else {
        let _ = writeln!(std::io::stderr(), "kubectl: NOT RUN against a real server: RELENT_KUBECONFIG is not set");
        return;
    };
    let folder = Folder::new();
    talk(&Kubectl::new(Path::new(&config), &folder.0)).await;
    let _ = writeln!(std::io::stderr(), "kubectl: talked to the real server");
}
