//! Containers that are entered: what a test scripts, spoken over WebSocket, in process and through a port.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{AttachParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use relent_apiserver::{ApiServer, Exec, Output, User};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const S: Duration = Duration::from_secs(1);

async fn pod(client: Client) -> Api<Pod> {
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n", "containers": [{ "name": "main", "image": "i" }] } });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    pods
}

async fn through(server: &ApiServer) -> (Client, relent_apiserver::Listening) {
    let port = server.listen().await.unwrap();
    let file = Kubeconfig::from_yaml(&port.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    (Client::try_from(config).unwrap(), port)
}

async fn speaks(server: &ApiServer, client: Client) {
    let pods = pod(client).await;
    let unscripted = pods.exec("p", ["ls"], &AttachParams::default()).await.err().unwrap();
    assert!(unscripted.to_string().contains("ApiServer::on_exec"), "{unscripted}");

    server.on_exec("default", "p", |exec: &Exec| {
        assert_eq!(exec.container, "main");
        match exec.command.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cat"] => Output::stdout(exec.stdin.clone()),
            ["echo", first, second] => Output::stdout(format!("{first} {second}\n")).stderr("quietly"),
            _ => Output::default().stderr("no such program").code(127),
        }
    });
    let mut said = pods.exec("p", ["echo", "a&b", "c d"], &AttachParams::default()).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (said.stdout().unwrap(), said.stderr().unwrap());
    stdout.read_to_string(&mut out).await.unwrap();
    stderr.read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("a&b c d\n", "quietly"));
    let status = said.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));

    let reads = AttachParams::default().stdin(true).stderr(false);
    let mut cat = pods.exec("p", ["cat"], &reads).await.unwrap();
    let mut stdin = cat.stdin().unwrap();
    stdin.write_all(b"through and back").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let mut out = String::new();
    cat.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "through and back");

    let mut wrong = pods.exec("p", ["nonsense"], &AttachParams::default()).await.unwrap();
    let status = wrong.take_status().unwrap().await.unwrap();
    assert_eq!((status.status.as_deref(), status.reason.as_deref()), (Some("Failure"), Some("NonZeroExitCode")));
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("127"));
}

async fn forwards(server: &ApiServer, client: Client) {
    let pods = pod(client).await;
    let nobody = pods.portforward("p", &[80]).await.err().unwrap();
    assert!(nobody.to_string().contains("ApiServer::on_port"), "{nobody}");
    server.on_port("default", "p", 80, |mut stream| {
        tokio::spawn(async move {
            let mut asked = [0; 5];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&asked.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
        });
    });
    let mut forwarded = pods.portforward("p", &[80]).await.unwrap();
    let mut stream = forwarded.take_stream(80).unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    timeout(20 * S, stream.read_to_string(&mut answer)).await.expect("the pod ends it").unwrap();
    assert_eq!(answer, "HELLO");
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn programs_are_run_in_process() {
    let server = ApiServer::new();
    speaks(&server, server.client()).await;
}

#[tokio::test]
async fn programs_are_run_through_a_port() {
    let server = ApiServer::new();
    let (client, _port) = through(&server).await;
    speaks(&server, client).await;
}

#[tokio::test(start_paused = true)]
async fn ports_are_forwarded_in_process() {
    let server = ApiServer::new();
    forwards(&server, server.client()).await;
}

#[tokio::test]
async fn ports_are_forwarded_through_a_port() {
    let server = ApiServer::new();
    let (client, _port) = through(&server).await;
    forwards(&server, client).await;
}

#[tokio::test(start_paused = true)]
async fn rights_and_outages_count_here_too() {
    let server = ApiServer::new();
    server.add_user(User::new("admin"));
    server.add_user(User::new("bound").bound_by_rbac());
    let pods = pod(server.client_as("admin")).await;
    server.on_exec("default", "p", |_| Output::default());
    let bound: Api<Pod> = Api::namespaced(server.client_as("bound"), "default");
    let refused = bound.exec("p", ["ls"], &AttachParams::default()).await.err().unwrap();
    assert!(refused.to_string().contains("cannot create resource \"pods/exec\""), "{refused}");

    let open = pods.exec("p", ["cat"], &AttachParams::default().stdin(true)).await.unwrap();
    server.stop();
    assert!(timeout(S, open.join()).await.expect("the session ends").is_err());
    assert!(pods.exec("p", ["ls"], &AttachParams::default()).await.is_err());
    server.start(Duration::ZERO);
    assert!(pods.exec("p", ["ls"], &AttachParams::default()).await.is_ok());
}
