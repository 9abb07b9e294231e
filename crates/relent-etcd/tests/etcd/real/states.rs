//! An etcd in the states that its operators know: no space left, endpoints of which some are wrong, no rights, a
//! learner among the endpoints. What a lock, a ledger and the members say then, and that nothing waits for ever.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Certificate, CompactionOptions, ConnectOptions, DeleteOptions, Identity,
    PutOptions, TlsOptions,
};
use relent::{
    fleet::Ledger,
    leader::{ElectionEvent, Ended, Lock, Term, Timing, Write, elect},
};
use relent_etcd::{EtcdCluster, EtcdLedger, EtcdLock, Members};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    bad_input::certificates,
    server::{Server, Settings, Version, eventually, ms},
};

const S: fn(u64) -> Duration = Duration::from_secs;

fn timing() -> Timing {
    Timing::new(S(6), S(4), S(1)).unwrap()
}

/// No space: reads go on, writes are refused, each in words with what to do; the term ends by its deadline and the
/// campaign goes on; with space it leads again.
#[tokio::test(flavor = "multi_thread")]
async fn no_space_is_said_and_waited_out() {
    for version in Version::BOTH {
        let settings = Settings { flags: vec!["--quota-backend-bytes=2000000".to_owned()], ..Settings::default() };
        let server = Server::start_with(version, 1, settings).await;
        let url = server.nodes[0].client_url();
        let lock = EtcdLock::new([url.as_str()], ConnectOptions::new(), "lock").unwrap();
        let (said, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (send, mut terms) = tokio::sync::mpsc::unbounded_channel();
        let told = Arc::clone(&said);
        let run = elect(lock.clone(), "a").timing(timing()).cancel_on(stop.clone()).on_event(move |event| {
            if let ElectionEvent::Trouble(error) = event {
                told.lock().unwrap().push(error.to_string());
            }
        });
        let run = tokio::spawn(run.again().run(move |term: Term| {
            send.send(term.clone()).unwrap();
            async move { term.lost().await }
        }));
        let first = timeout(S(30), terms.recv()).await.expect("a term").unwrap();

        // Another fills it.
        let mut client = etcd_client::Client::connect([&url], None).await.unwrap();
        let block = vec![7_u8; 500_000];
        for number in 0..40 {
            if client.put(format!("fill/{number}"), block.clone(), None::<PutOptions>).await.is_err() {
                break;
            }
        }
        timeout(S(20), first.lost()).await.expect("lost by its deadline");
        let ill = server.members().wait_healthy().finish_within(S(2)).await.unwrap_err();
        assert!(ill.to_string().contains("NOSPACE"), "{ill}");
        let advice = "then disarm the alarm (`etcdctl alarm disarm`)";
        let words = said.lock().unwrap().clone();
        assert!(
            words.iter().any(|text| text.contains("database space exceeded") && text.ends_with(advice)),
            "{words:?}"
        );
        let ledger = EtcdLedger::new([url.as_str()], ConnectOptions::new(), "limit").unwrap();
        assert!(ledger.read().await.unwrap().is_none(), "reads go on");
        let error = ledger.compare_and_swap(None, "x".into()).await.unwrap_err();
        assert!(!error.is_conflict() && error.to_string().ends_with(advice), "{error}");
        assert!(!run.is_finished());

        // An operator mends it.
        let all = Some(DeleteOptions::new().with_prefix());
        let revision = client.delete("fill/", all).await.unwrap().header().unwrap().revision();
        client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
        client.defragment().await.unwrap();
        let member = server.members().list().await.unwrap()[0].id;
        let mut of = AlarmOptions::new();
        of.with_member(member);
        client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of)).await.unwrap();
        let again = timeout(S(40), terms.recv()).await;
        let second =
            again.unwrap_or_else(|_| panic!("{version:?}: it leads again: {:?}", said.lock().unwrap())).unwrap();
        assert!(second.fence() > first.fence());
        stop.cancel();
        let ended = timeout(S(20), run).await.unwrap().unwrap().unwrap();
        assert!(matches!(ended, Ended::Cancelled { .. }), "{ended:?}");
    }
}

/// One endpoint has a certificate of another authority: the next one is asked. Where all have, it is said at once.
#[tokio::test]
async fn an_endpoint_that_is_not_trusted_is_passed() {
    let folder = std::env::temp_dir().join(format!("relent-passed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [certificate, key, authority] = certificates(&folder, "right", "client");
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    let tls = || {
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&authority)));
        ConnectOptions::new().with_tls(tls.identity(Identity::from_pem(read(&certificate), read(&key))))
    };
    let start = async |authority: &str| {
        let tls = Some(certificates(&folder, authority, &format!("server-of-{authority}")));
        Server::start_with(Version::V35, 1, Settings { tls, ..Settings::default() }).await
    };
    let (right, wrong) = (start("right").await, start("wrong").await);
    let url = |server: &Server| format!("https://{}", server.nodes[0].client);
    let (right, wrong) = (url(&right), url(&wrong));
    let of = |endpoints: &[&String]| {
        Members::new(EtcdCluster::new(endpoints.iter().copied().cloned(), tls()).unwrap()).unwrap()
    };
    eventually("it answers", async || of(&[&right]).list().await.ok()).await;
    for endpoints in [[&wrong, &right], [&right, &wrong]] {
        let members = of(&endpoints);
        for _ in 0..3 {
            assert_eq!(members.list().await.unwrap().len(), 1);
        }
        let added = members.ensure_learner(["http://127.0.0.1:1"]).unwrap().every(ms(100)).await.unwrap();
        members.ensure_removed(added.value.id).unwrap().every(ms(100)).await.unwrap();
        let lock = EtcdLock::new(endpoints.map(String::clone), tls(), "lock").unwrap();
        eventually("the lock is read", async || lock.read().await.ok()).await;
    }
    let begin = Instant::now();
    let gave_up = of(&[&wrong, &wrong]).ensure_learner(["http://127.0.0.1:1"]).unwrap().await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.attempts() == 1 && begin.elapsed() < S(5), "{gave_up}");
    assert!(gave_up.to_string().contains("not connected: "), "{gave_up}");
    let error = EtcdLock::new([wrong], tls(), "lock").unwrap().read().await.unwrap_err();
    assert!(error.is_fatal() && error.to_string().ends_with("whether the endpoint's URL is https"), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string());
    let _ = std::fs::remove_dir_all(folder);
}

/// A learner among the endpoints, and one that does not listen: neither keeps a lock or a ledger.
#[tokio::test]
async fn endpoints_that_cannot_answer_keep_no_lock() {
    for version in Version::BOTH {
        let mut server = Server::start(version, 3).await;
        let at = server.new_node();
        let peer_url = server.nodes[at].peer_url();
        server.members().ensure_learner([&peer_url]).unwrap().every(ms(100)).await.unwrap();
        server.join(at).await;
        let learner = server.nodes[at].client_url();
        let cluster = EtcdCluster::new([learner.as_str()], ConnectOptions::new()).unwrap();
        eventually("it answers", async || relent_etcd::Cluster::status(&cluster, &learner).await.ok()).await;
        // By itself it says why not.
        let lock = EtcdLock::new([learner.as_str()], ConnectOptions::new(), "lock").unwrap();
        let error = lock.read().await.unwrap_err();
        assert!(!error.is_fatal() && error.to_string().contains("rpc not supported for learner"), "{error}");
        let all = [learner.clone(), "http://127.0.0.1:1".to_owned(), server.nodes[0].client_url()];
        let lock = EtcdLock::new(all.clone(), ConnectOptions::new(), "lock").unwrap();
        let seen = lock.read().await.unwrap();
        let lease = S(6);
        let taken = lock.write(seen.as_ref(), Write::Take { holder: "a", lease }).await.unwrap();
        assert_eq!(lock.read().await.unwrap().unwrap().holder, taken.holder);
        let ledger = EtcdLedger::new(all, ConnectOptions::new(), "limit").unwrap();
        let version = ledger.compare_and_swap(None, "x".into()).await.unwrap();
        assert_eq!(ledger.read().await.unwrap().unwrap().version, version);
    }
}

/// A user without rights on the key is told which; one whose rights come back goes on.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_come_later() {
    let server = Server::start(Version::V35, 1).await;
    let url = server.nodes[0].client_url();
    let mut client = etcd_client::Client::connect([&url], None).await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("guest", "guest", None).await.unwrap();
    client.role_add("guest").await.unwrap();
    client.user_grant_role("guest", "guest").await.unwrap();
    client.auth_enable().await.unwrap();
    let guest = || ConnectOptions::new().with_user("guest", "guest");
    let root = ConnectOptions::new().with_user("root", "secret");
    let lock = EtcdLock::new([url.as_str()], guest(), "lock").unwrap();
    let error = lock.read().await.unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("grant the user a role with `readwrite`"), "{error}");
    let ledger = EtcdLedger::new([url.as_str()], guest(), "lock").unwrap();
    let refused = ledger.compare_and_swap(None, "x".into()).await.unwrap_err();
    assert!(refused.to_string().contains("grant the user a role with `readwrite`"), "{refused}");
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&said);
    // The rights come within the lease, in which nothing is final.
    let run = elect(lock, "a").timing(timing()).on_event(move |event| {
        if let ElectionEvent::Trouble(error) = event {
            told.lock().unwrap().push(error.to_string());
        }
    });
    let run = tokio::spawn(run.run(async |_| "led"));
    sleep(S(2)).await;
    let mut admin = etcd_client::Client::connect([&url], Some(root)).await.unwrap();
    let permission = etcd_client::Permission::read_write("lock");
    admin.role_grant_permission("guest", permission).await.unwrap();
    let ended = timeout(S(30), run).await.unwrap().unwrap().unwrap();
    assert!(matches!(ended, Ended::Finished("led")), "{ended:?}");
    assert!(said.lock().unwrap().iter().all(|text| text.starts_with("key lock: ")), "{:?}", said.lock().unwrap());
}
