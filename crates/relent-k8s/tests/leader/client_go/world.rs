//! Which candidates contend, and for what.

use std::{
    fs::File,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use relent::{
    leader::{Elect, ElectError, ElectionEvent, Ended},
    testing::proxy::Proxy,
};
use relent_apiserver::{ApiServer, Listening};
use relent_k8s::LeaseLock;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{LEASE, PATIENCE, RENEW, RETRY};

/// One Lease on one server, and the chair.
pub(super) struct World {
    /// Unique: of the Lease and of the folder.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) config: Config,
    pub(super) client: Client,
    _port: Option<Listening>,
}

pub(super) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Never silently.
pub(super) fn not_run(where_: &str, missing: &str) -> Option<World> {
    let _ = writeln!(std::io::stderr(), "client-go: NOT RUN {where_}: {missing} is not set");
    None
}

impl World {
    pub(super) async fn ours() -> Option<Self> {
        let Some(program) = variable("RELENT_CLIENT_GO") else {
            return not_run("on the in-process server", "RELENT_CLIENT_GO (.ci/client-go build)");
        };
        let port = ApiServer::new().listen().await.unwrap();
        let text = port.kubeconfig();
        Some(
            Self::new(program, Some(port), |folder| {
                let path = folder.join("kubeconfig");
                std::fs::write(&path, text).unwrap();
                path
            })
            .await,
        )
    }

    pub(super) async fn real() -> Option<Self> {
        let Some(program) = variable("RELENT_CLIENT_GO") else {
            return not_run("on a real server", "RELENT_CLIENT_GO (.ci/client-go build)");
        };
        let Some(path) = variable("RELENT_KUBECONFIG") else {
            return not_run("on a real server", "RELENT_KUBECONFIG");
        };
        Some(Self::new(program, None, |_| path).await)
    }

    pub(super) async fn new(
        program: PathBuf,
        port: Option<Listening>,
        kubeconfig: impl FnOnce(&Path) -> PathBuf,
    ) -> Self {
        let name = format!("relent-go-{:x}", crate::real_time::fastrand_name());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).unwrap();
        let kubeconfig = kubeconfig(&folder);
        let read = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a cluster");
        let client = relent_k8s::client(config.clone()).expect("a client");
        Self { name, folder, program, kubeconfig, config, client, _port: port }
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// The holder, how often it changed, the resourceVersion, and when it was renewed.
    pub(super) async fn record(&self) -> (String, i32, u128, SystemTime) {
        let lease = self.leases().get(&self.name).await.unwrap();
        let spec = lease.spec.unwrap();
        (
            spec.holder_identity.unwrap_or_default(),
            spec.lease_transitions.unwrap_or(0),
            lease.metadata.resource_version.unwrap().parse().unwrap(),
            spec.renew_time.unwrap().0.into(),
        )
    }

    pub(super) fn lock(&self, client: &Client) -> LeaseLock {
        LeaseLock::new(client.clone(), "default", &self.name).unwrap()
    }

    pub(super) fn chair(&self) -> PathBuf {
        self.folder.join("chair")
    }

    /// The same server, through a proxy.
    pub(super) async fn through_proxy(&self) -> (Client, Proxy) {
        let mut config = self.config.clone();
        let (host, tls) =
            (config.cluster_url.host().unwrap().to_owned(), config.cluster_url.scheme_str() == Some("https"));
        let port = config.cluster_url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let bare = host.trim_matches(['[', ']']);
        let server: SocketAddr = tokio::net::lookup_host((bare, port)).await.unwrap().next().expect("an address");
        let proxy = Proxy::start(server).await.unwrap();
        if tls {
            config.tls_server_name.get_or_insert_with(|| bare.to_owned());
        }
        let scheme = if tls { "https" } else { "http" };
        config.cluster_url = format!("{scheme}://{}", proxy.address()).parse().unwrap();
        (relent_k8s::client(config).unwrap(), proxy)
    }

    pub(super) async fn clean_up(self) {
        self.leases().delete(&self.name, &Default::default()).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A candidate in Go, in its own process.
pub(super) struct Go {
    pub(super) identity: String,
    pub(super) process: Child,
    pub(super) lines: Lines<BufReader<ChildStdout>>,
    pub(super) log: PathBuf,
}

impl Go {
    pub(super) fn start(world: &World, identity: &str) -> Self {
        Self::start_on(world, identity, &world.chair())
    }

    pub(super) fn start_on(world: &World, identity: &str, chair: &Path) -> Self {
        let log = world.folder.join(format!("{identity}.log"));
        let mut command = Command::new(&world.program);
        command.arg("--kubeconfig").arg(&world.kubeconfig).arg("--chair").arg(chair);
        command.args(["--name", &world.name, "--identity", identity]);
        for (flag, value) in [("--lease", LEASE), ("--renew", RENEW), ("--retry", RETRY)] {
            command.args([flag, &format!("{}ms", value.as_millis())]);
        }
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", world.program.display()));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { identity: identity.to_owned(), process, lines, log }
    }

    /// Waits until it says that, and passes over all else.
    pub(super) async fn says(&mut self, wanted: &str) -> Instant {
        let mut said = Vec::new();
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.map(Result::unwrap);
            match line {
                Ok(Some(line)) if line == wanted => return Instant::now(),
                Ok(Some(line)) if line != "two leaders" => said.push(line),
                other => panic!(
                    "{}: {other:?} instead of {wanted:?} after {said:?}; its log:\n{}",
                    self.identity,
                    self.log()
                ),
            }
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it goes on for so long without leading.
    pub(super) async fn only_follows_for(&mut self, time: Duration) {
        if let Ok(line) = timeout(time, self.says("leading")).await {
            panic!("{} leads: {line:?}", self.identity);
        }
    }

    /// It leads on: the Lease stays its own, and it does not say that it lost it.
    pub(super) async fn leads_on_for(&mut self, world: &World, time: Duration) {
        if let Ok(line) = timeout(time, self.says("lost")).await {
            panic!("{} has lost: {line:?}", self.identity);
        }
        let (holder, transitions, _, _) = world.record().await;
        assert_eq!((holder.as_str(), transitions), (self.identity.as_str(), 1));
    }

    pub(super) async fn signal(&self, signal: &str) {
        let id = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// Tells it to end, between two renewals: one that is cut off by the end keeps client-go from releasing.
    pub(super) async fn is_told_to_end(&self, world: &World) {
        let before = world.record().await.3;
        let renewed = async {
            while world.record().await.3 == before {
                sleep(RETRY / 20).await;
            }
        };
        timeout(PATIENCE, renewed).await.expect("a renewal");
        sleep(RETRY / 5).await;
        self.signal("-TERM").await;
    }

    pub(super) async fn exits(mut self) {
        self.says("over").await;
        assert!(timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap().success());
    }
}

/// One of our candidates; its work ends when it has to, or when it is stopped.
pub(super) struct Ours {
    pub(super) led: oneshot::Receiver<u128>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    sees: mpsc::UnboundedReceiver<String>,
    pub(super) task: JoinHandle<Result<Ended<Instant>, ElectError>>,
}

impl Ours {
    pub(super) fn start(elect: Elect<LeaseLock>, chair: PathBuf) -> Self {
        let (lead, led) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (see, sees) = mpsc::unbounded_channel();
        let elect = elect.on_event(move |change| {
            if let ElectionEvent::Holder(Some(holder)) = change {
                let _ = see.send(holder.clone());
            }
        });
        let run = elect.run(move |term| async move {
            let held = File::create(chair).unwrap();
            held.try_lock().expect("two leaders");
            let _ = lead.send(term.fence());
            tokio::select! {
                () = term.lost() => {}
                _ = stopped => {}
            }
            drop(held);
            Instant::now()
        });
        Self { led, stop: Some(stop), sees, task: tokio::spawn(run) }
    }

    /// Waits until it leads: its fence, and when that was known.
    pub(super) async fn leads(&mut self) -> (u128, Instant) {
        let fence = timeout(PATIENCE, &mut self.led).await.expect("it leads in time").expect("it leads");
        (fence, Instant::now())
    }

    pub(super) async fn only_follows_for(&mut self, time: Duration) {
        let led = timeout(time, &mut self.led).await;
        assert!(led.is_err(), "it leads: {led:?}");
    }

    pub(super) async fn sees(&mut self, holder: &str) {
        while timeout(PATIENCE, self.sees.recv()).await.expect("it sees the holder").expect("it goes on") != holder {}
    }

    /// Ends its work, and waits until it has released.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        let ended = timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
        assert!(matches!(ended, Ended::Finished(_)), "{ended:?}");
    }
}
