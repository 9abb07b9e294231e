//! What an operator reads: what happened, and at its end what to do.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use kube::{
    Api, Config,
    api::{Patch, PatchParams, PostParams},
};
use relent::GaveUp;
use relent_apiserver::{AccessRule, ApiServer, Verb};
use relent_k8s::{self as k8s, ApiError, ErrorClass};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{NAME, SPACE, map, maps, server};

/// What happened, and what to do.
#[track_caller]
pub fn says(error: &ApiError, cause: &str, advice: &str) {
    let text = error.to_string();
    assert!(text.contains(cause), "{text:?} does not contain {cause:?}");
    assert!(text.ends_with(advice), "{text:?} does not end with {advice:?}");
    assert!(!text.ends_with('.') && !text.contains('\n'), "{text:?}");
}

/// The same of a run's end: the advice is the end of the whole sentence.
#[track_caller]
pub fn ends(gave_up: &GaveUp<ApiError>, cause: &str, advice: &str) {
    says(gave_up.last_error().expect("an error"), cause, advice);
    assert!(gave_up.to_string().ends_with(advice), "{gave_up}");
}

pub const FORBIDDEN: &str = "or use other credentials";
pub const UNAUTHORIZED: &str = "the server does not know the credentials, or they have expired";
pub const NOT_FOUND: &str = "check the name, and that the namespace exists";
pub const NO_NAMESPACE: &str = "create the namespace first, or check its name";
pub const IMMUTABLE: &str = "what is marked immutable cannot be changed";
pub const HUGE: &str = "a ConfigMap or Secret holds at most 1 MiB, a request at most 3 MiB";
pub const REFUSED: &str = "check that the API server runs, and its address and port in the kubeconfig";
pub const DNS: &str = "check the server's name in the kubeconfig, and that this machine's DNS can resolve it";
pub const AUTHORITY: &str = "check that certificate-authority in the kubeconfig is the authority of this very cluster";
pub const NOT_TLS: &str = "what listens there does not speak TLS";

#[tokio::test(start_paused = true)]
async fn who_may_not_is_told_what_to_do() {
    let server = server().await;
    server.user("known", "nobody");
    server.rule(AccessRule::deny().user("nobody").verb(Verb::Get));
    let get = |token: &str| k8s::get_config_map(&server.client_with_token(token), SPACE, NAME);
    ends(&get("known").await.unwrap_err(), "User \"nobody\" cannot get resource \"configmaps\"", FORBIDDEN);
    let unknown = get("unknown").await.unwrap_err();
    ends(&unknown, "Unauthorized", UNAUTHORIZED);
    assert!(unknown.is_fatal() && unknown.last_error().unwrap().is_unauthorized());
}

#[tokio::test(start_paused = true)]
async fn what_is_missing() {
    let server = server().await;
    let missing = k8s::get_config_map(&super::client(&server), "nowhere", NAME).await.unwrap_err();
    ends(&missing, "configmaps \"kube-proxy\" not found in the namespace \"nowhere\"", NOT_FOUND);
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(super::client(&server), "nowhere");
    let missing = ApiError::from(maps.create(&PostParams::default(), &map(NAME, "x")).await.unwrap_err());
    says(&missing, "namespaces \"nowhere\" not found", NO_NAMESPACE);
}

#[tokio::test(start_paused = true)]
async fn what_a_map_cannot_be() {
    let server = server().await;
    let maps = maps(&server);
    let mut fixed = map("fixed", "x");
    fixed.immutable = Some(true);
    maps.create(&PostParams::default(), &fixed).await.unwrap();
    let patch = Patch::Merge(map("fixed", "y"));
    let immutable = ApiError::from(maps.patch("fixed", &PatchParams::default(), &patch).await.unwrap_err());
    says(&immutable, "ConfigMap \"fixed\" is invalid", IMMUTABLE);
    assert_eq!(immutable.class(), ErrorClass::Final);
    for bytes in [(1 << 20) + 1, 4 << 20] {
        let huge = maps
            .create(&PostParams::default(), &map("huge", &"x".repeat(bytes)))
            .await
            .map(drop)
            .expect_err("too large");
        says(&ApiError::from(huge), "oo l", HUGE);
    }
    // As much as fits can be written and read.
    maps.create(&PostParams::default(), &map("large", &"x".repeat(1 << 20))).await.unwrap();
    let large = k8s::get(&maps, "large").await.unwrap();
    assert_eq!(large.data.unwrap()["key"].len(), 1 << 20);
}

/// A run against an address where something is not as it should be.
pub async fn against(config: Config) -> GaveUp<ApiError> {
    let client = k8s::client(config).expect("a client");
    k8s::get_config_map(&client, SPACE, NAME).attempt_timeout(Duration::from_secs(20)).await.unwrap_err()
}

/// A port that nothing listens on.
pub async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn config(url: &str) -> Config {
    Config::new(url.parse::<Uri>().unwrap())
}

#[tokio::test]
async fn a_server_that_is_down() {
    for scheme in ["http", "https"] {
        let gave_up = against(config(&format!("{scheme}://127.0.0.1:{}", closed_port().await))).await;
        ends(&gave_up, "no connection to the server: Connection refused", REFUSED);
        // It may come up: it was asked again.
        assert!(gave_up.attempts() > 1 && !gave_up.is_fatal(), "{gave_up}");
        assert_eq!(gave_up.last_error().unwrap().class(), ErrorClass::Transient);
    }
}

#[tokio::test]
async fn a_name_without_an_address() {
    let gave_up = against(config("http://no-such-host.invalid:6443")).await;
    ends(&gave_up, "no connection to the server: ", DNS);
    assert_eq!(gave_up.last_error().unwrap().class(), ErrorClass::Transient);
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/get/tls").join(name)
}

/// Listens with this certificate, for as long as the runtime lives.
async fn listen_tls(certificate: &str) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(file(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

fn trusting(port: u16, authority: &str) -> Config {
    let mut config = config(&format!("https://127.0.0.1:{port}"));
    config.root_cert = Some(vec![CertificateDer::from_pem_file(file(authority)).unwrap().to_vec()]);
    config
}

#[tokio::test]
async fn certificates() {
    let name =
        "use a name or an address that the server's certificate contains, or set tls-server-name in the kubeconfig";
    let expired = "renew the server's certificate, and check the clocks of both machines";
    for (certificate, authority, advice) in [
        ("other-name.pem", "another-authority.pem", AUTHORITY),
        ("other-name.pem", "authority.pem", name),
        ("expired.pem", "authority.pem", expired),
    ] {
        let gave_up = against(trusting(listen_tls(certificate).await, authority)).await;
        ends(&gave_up, "no connection to the server: invalid peer certificate", advice);
        assert!(gave_up.is_fatal() && gave_up.attempts() == 1, "{gave_up}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let listening = ApiServer::new().listen().await.unwrap();
    let gave_up = against(trusting(listening.address().port(), "authority.pem")).await;
    ends(&gave_up, "no connection to the server: received corrupt message", NOT_TLS);
    assert!(gave_up.is_fatal());
}

/// A kubeconfig with this in it; the file is gone when the test is.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(crate::world::unique("relent-kubeconfig"));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const WELL: &str = "
apiVersion: v1
kind: Config
current-context: here
clusters: [{ name: c, cluster: { server: 'https://127.0.0.1:6443' } }]
users: [{ name: u, user: {} }]
contexts: [{ name: here, context: { cluster: c, user: u } }]
";

#[tokio::test]
async fn broken_kubeconfigs() {
    let broken = |from: &str, to: &str| WELL.replace(from, to);
    assert!(broken("", "").len() == WELL.len());
    for (text, cause, advice) in [
        ("{ this is : not [ yaml".to_owned(), "YAML", "(`kubectl config view` checks it)"),
        (broken("current-context: here", ""), "current context", "(`kubectl config use-context NAME`)"),
        (broken("current-context: here", "current-context: gone"), "gone", "(`kubectl config get-contexts`)"),
        (broken("cluster: c,", "cluster: gone,"), "cluster of context", "or name one that the file has"),
        (
            broken("server: 'https://127.0.0.1:6443'", ""),
            "cluster url is missing",
            "set `server` in the cluster's entry",
        ),
        (broken("https://127.0.0.1:6443", "https://127 0 0 1"), "parse cluster url", "https://HOST:PORT"),
        (
            broken("6443'", "6443', certificate-authority: /no/such/ca.pem"),
            "/no/such/ca.pem",
            "in the cluster's entry: PEM, base64 in the latter",
        ),
        (
            broken("6443'", "6443', certificate-authority-data: '***'"),
            "certificate authority",
            "in the cluster's entry: PEM, base64 in the latter",
        ),
        (
            broken("user: {}", "user: { client-certificate: /no/such/cert.pem, client-key: /no/such/key.pem }"),
            "client certificate",
            "in the user's entry: PEM, base64 in the latter",
        ),
        (
            broken("user: {}", "user: { client-certificate-data: aGVsbG8=, client-key-data: aGVsbG8= }"),
            "",
            "each must be valid PEM",
        ),
    ] {
        let file = File::new(&text);
        let error = k8s::client_from(&file.0).await.map(drop).expect_err(&text);
        says(&error, cause, advice);
        let starts = format!("kubeconfig {}: ", file.0.display());
        assert!(error.to_string().starts_with(&starts), "{error}");
        assert_eq!(error.class(), ErrorClass::Final);
    }
    assert!(k8s::client_from(&File::new(WELL).0).await.is_ok());
}

#[tokio::test]
async fn a_kubeconfig_that_works() {
    let server = server().await;
    let listening = server.listen().await.unwrap();
    let file = File::new(&listening.kubeconfig());
    let client = k8s::client_from(&file.0).await.unwrap();
    let got = k8s::get_config_map(&client, SPACE, NAME).await.unwrap();
    assert_eq!(got.metadata.name.as_deref(), Some(NAME));
    // Its calls are not repeated inside: one 503 is one request, and one answer.
    server.inject(super::on_get(relent_apiserver::Fault::status(503)));
    server.clear_journal();
    let once = k8s::get_config_map(&client, SPACE, NAME).max_attempts(1).await.unwrap_err();
    assert_eq!((once.attempts(), super::gets(&server)), (1, 1));
}
