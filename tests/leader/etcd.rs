//! A key of a real etcd as the lock: `RELENT_ETCD_35` names the program.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use etcd_client::Client;
use relent::{
    etcd::EtcdLock,
    leader::{Ended, Lock, Put, Timing, elect},
};

const MS: fn(u64) -> Duration = Duration::from_millis;

struct Etcd {
    process: Child,
    data: std::path::PathBuf,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

async fn start() -> (Etcd, Client) {
    let program = std::env::var("RELENT_ETCD_35").expect("RELENT_ETCD_35: the path of an etcd");
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (client, peer) = (format!("http://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
    let data = std::env::temp_dir().join(format!("relent-leader-{}", std::process::id()));
    let process = Command::new(program)
        .args(["--unsafe-no-fsync", "--name=one", "--data-dir"])
        .arg(&data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("etcd starts");
    let etcd = Etcd { process, data };
    let began = Instant::now();
    loop {
        if let Ok(mut found) = Client::connect([&client], None).await
            && found.get("ready", None).await.is_ok()
        {
            return (etcd, found);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "etcd does not answer");
        tokio::time::sleep(MS(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_on_a_real_etcd() {
    let (_etcd, client) = start().await;
    let lock = EtcdLock::new(client.clone(), "lock").unwrap();
    // Conditional, over a deletion as well.
    let take = Put::Take { holder: "x", lease: MS(1) };
    let first = lock.write(None, take).await.unwrap();
    assert!(lock.write(None, take).await.unwrap_err().is_conflict());
    let second = lock.write(Some(&first), take).await.unwrap();
    assert!(lock.write(Some(&first), take).await.unwrap_err().is_conflict());
    client.kv_client().delete("lock", None).await.unwrap();
    assert!(lock.write(Some(&second), take).await.unwrap_err().is_conflict());
    let third = lock.write(None, Put::Release).await.unwrap();
    assert!(third.version > second.version && lock.read().await.unwrap() == Some(third));
    // A term, a release, a crash, and the takeover after it.
    let timing = Timing::new(MS(2_000), MS(1_200), MS(300)).unwrap();
    let elect = |who: &str| elect(lock.clone(), who).timing(timing);
    let Ended::Finished(one) = elect("a").run(|term| async move { term.fence() }).await.unwrap() else { panic!() };
    let crashed = elect("b").run(|_| std::future::pending::<()>());
    assert!(tokio::time::timeout(MS(1_000), crashed).await.is_err());
    let began = Instant::now();
    let Ended::Finished(two) = elect("c").run(|term| async move { term.fence() }).await.unwrap() else { panic!() };
    assert!(two > one);
    assert!(began.elapsed() >= MS(2_000) && began.elapsed() <= timing.explain().after_crash() + MS(2_000));
}
