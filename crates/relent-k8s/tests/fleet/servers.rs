//! Ten processes on a ConfigMap: of the API server in this process, on a port, and of the real one that
//! `RELENT_KUBECONFIG` names.

use std::{path::Path, process::Command, time::Duration};

use kube::api::DeleteParams;
use relent::fleet::Ledger;
use relent_apiserver::ApiServer;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::{
    child::settings,
    ledger, maps,
    processes::{SETTLED, Store, take_all, ten_processes},
};

#[tokio::main(flavor = "current_thread")]
async fn process(kubeconfig: &str) {
    take_all(ledger(relent_k8s::client_from(kubeconfig).await.unwrap())).await;
}

impl Store for ApiServer {
    fn kill(&mut self) {
        self.stop();
    }

    async fn start(&mut self) {
        ApiServer::start(self, Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_on_a_config_map() {
    if let Some(settings) = settings() {
        return std::thread::spawn(move || process(&settings)).join().unwrap();
    }
    let mut server = ApiServer::new();
    ledger(server.client()).compare_and_swap(None, SETTLED.into()).await.unwrap();
    let port = server.listen().await.unwrap();
    let path = std::env::temp_dir().join(format!("relent-fleet-{}", std::process::id()));
    std::fs::write(&path, port.kubeconfig()).unwrap();
    let settings = path.to_str().unwrap();
    ten_processes(&mut server, "the API server in process", "servers::ten_processes_on_a_config_map", settings).await;
    std::fs::remove_file(path).unwrap();
}

/// A server of `.ci/apiserver`: its folder names its processes.
struct Real {
    pid: Pid,
    restart: String,
    client: kube::Client,
}

impl Store for Real {
    /// It does not answer, and is killed when it is started again.
    fn kill(&mut self) {
        kill_process(self.pid, Signal::STOP).unwrap();
    }

    async fn start(&mut self) {
        let status = Command::new("sh").args(["-c", &self.restart]).status().unwrap();
        assert!(status.success(), "{}: {status}", self.restart);
        let serves = async {
            while !matches!(timeout(Duration::from_secs(2), ledger(self.client.clone()).read()).await, Ok(Ok(_))) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(90), serves).await.expect("it serves again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_on_a_real_api_server() {
    let [Ok(path), Ok(restart)] = ["RELENT_KUBECONFIG", "RELENT_KUBE_RESTART"].map(std::env::var) else {
        eprintln!("RELENT_KUBE_RESTART (.ci/apiserver) is not set: ten processes are not played on a real API server");
        return;
    };
    let pids = std::fs::read_to_string(Path::new(&path).with_file_name("pids")).unwrap();
    let pid = pids.lines().find_map(|line| line.strip_prefix("kube-apiserver ")).expect("its process");
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let client = relent_k8s::client_from(&path).await.unwrap();
    let _ = maps(client.clone()).delete("fleet-limit", &DeleteParams::default()).await;
    ledger(client.clone()).compare_and_swap(None, SETTLED.into()).await.unwrap();
    let mut server = Real { pid, restart, client };
    ten_processes(&mut server, "a real API server", "servers::ten_processes_on_a_config_map", &path).await;
}
