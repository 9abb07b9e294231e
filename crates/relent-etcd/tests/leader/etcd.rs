//! A key of a real etcd as the lock.

use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions, Permission};
use futures_util::StreamExt;
use relent::{
    leader::{ElectError, ElectionEvent, Ended, Lock, Record, RecordStream, Timing, Write, elect, watch},
    testing::proxy::{Proxy, Wire},
};
use relent_etcd::EtcdLock;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::server::{Node, Server, Version, eventually};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
const TAKE: Write<'_> = Write::Take { holder: "x", lease: Duration::from_millis(1) };

fn lock_at<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> EtcdLock {
    EtcdLock::new(urls, ConnectOptions::new(), "lock").unwrap()
}

fn lock(server: &Server) -> EtcdLock {
    lock_at(server.nodes.iter().map(Node::client_url))
}

async fn client(server: &Server) -> Client {
    Client::connect([server.nodes[0].client_url()], None).await.unwrap()
}

/// Writes over what there is.
async fn take(lock: &EtcdLock, holder: &str) -> Record<()> {
    let put = Write::Take { holder, lease: S(1) };
    lock.write(lock.read().await.unwrap().as_ref(), put).await.unwrap()
}

async fn reported(changes: &mut RecordStream<()>, holder: &str, within: Duration) {
    let wanted = async {
        while changes.next().await.expect("the watch goes on").map(|seen| seen.holder).as_deref() != Some(holder) {}
    };
    timeout(within, wanted).await.unwrap_or_else(|_| panic!("{holder} was not reported within {within:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_on_a_real_etcd() {
    let server = Server::start(Version::V35, 1).await;
    let lock = lock(&server);
    // Conditional, over a deletion as well.
    let first = lock.write(None, TAKE).await.unwrap();
    assert!(lock.write(None, TAKE).await.unwrap_err().is_conflict());
    let second = lock.write(Some(&first), TAKE).await.unwrap();
    assert!(lock.write(Some(&first), TAKE).await.unwrap_err().is_conflict());
    client(&server).await.delete("lock", None).await.unwrap();
    assert!(lock.write(Some(&second), TAKE).await.unwrap_err().is_conflict());
    let third = lock.write(None, Write::Release).await.unwrap();
    assert!(third.version > second.version && lock.read().await.unwrap() == Some(third));
    // A term, a release, a crash, and the takeover after it.
    let timing = Timing::new(MS(2_000), MS(1_200), MS(300)).unwrap();
    let elect = |who: &str| elect(lock.clone(), who).timing(timing);
    let Ended::Finished(one) = elect("a").run(|term| async move { term.fence() }).await.unwrap() else { panic!() };
    let crashed = elect("b").run(|_| std::future::pending::<()>());
    assert!(timeout(MS(1_000), crashed).await.is_err());
    let began = Instant::now();
    let Ended::Finished(two) = elect("c").run(|term| async move { term.fence() }).await.unwrap() else { panic!() };
    assert!(two > one);
    assert!(began.elapsed() >= MS(2_000) && began.elapsed() <= timing.explain().after_crash() + MS(2_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_reported_in_order() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let (lock, mut raw) = (lock(&server), client(&server).await);
        let mut changes = lock.watch();
        assert_eq!(changes.next().await, Some(None), "there is no key");
        let mut last = lock.write(None, TAKE).await.unwrap();
        assert_eq!(changes.next().await, Some(Some(last.clone())));
        for put in [Write::Renew { holder: "x", lease: MS(1) }, Write::Release, TAKE] {
            last = lock.write(Some(&last), put).await.unwrap();
            assert_eq!(changes.next().await, Some(Some(last.clone())));
        }
        raw.delete("lock", None).await.unwrap();
        assert_eq!(changes.next().await, Some(None));
        // What is no lock is not reported; the look has an error to say so.
        raw.put("lock", "nonsense", None).await.unwrap();
        raw.put("lock", "1000 ", None).await.unwrap();
        assert_eq!(changes.next().await.unwrap().unwrap().holder, "");
        raw.put("lock", "nonsense", None).await.unwrap();
        assert!(lock.read().await.unwrap_err().is_fatal());
    }
}

/// Revisions that are gone before the watch is opened: etcd cancels it, and what there is now is looked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_compacted_revisions_is_opened_again() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let lock = lock(&server);
        take(&lock, "a").await;
        let mut changes = lock.watch();
        // The look has been made, the watch is opened when the next report is asked for.
        reported(&mut changes, "a", S(30)).await;
        let mut last = take(&lock, "b").await;
        for _ in 0..10 {
            last = take(&lock, "c").await;
        }
        let revision = i64::try_from(last.version).unwrap();
        client(&server).await.compact(revision, None).await.unwrap();
        let began = Instant::now();
        let report = timeout(S(30), changes.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(report, last, "no older one is reported, and none is missed");
        println!("{version:?}: reported {:?} after the watch was refused", began.elapsed());
        take(&lock, "d").await;
        reported(&mut changes, "d", S(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_cut_is_opened_again() {
    let server = Server::start(Version::V35, 1).await;
    let proxy = Proxy::start(server.nodes[0].client).await.unwrap();
    let direct = lock(&server);
    let lock = lock_at([format!("http://{}", proxy.address())]);
    take(&direct, "start").await;
    let mut changes = lock.watch();
    reported(&mut changes, "start", S(30)).await;
    // It is cut just when it would have told.
    for (number, wire) in [Wire::CutAnswer { after: 0 }, Wire::CutRequest { after: 0 }, Wire::CutAnswer { after: 50 }]
        .into_iter()
        .enumerate()
    {
        let name = format!("cut {number}");
        proxy.set(wire);
        take(&direct, &name).await;
        // So that there is a request to be cut.
        let _ = timeout(MS(200), lock.read()).await;
        let _ = timeout(MS(100), changes.next()).await;
        proxy.set(Wire::Pass);
        take(&direct, &format!("{name} over")).await;
        reported(&mut changes, &format!("{name} over"), S(10)).await;
    }
    assert!(proxy.cuts() >= 3, "{}", proxy.cuts());
    // No server for a while: it tries again, ever more rarely.
    proxy.set(Wire::CutAnswer { after: 0 });
    assert!(timeout(S(5), lock.read()).await.is_ok_and(|read| read.is_err()));
    proxy.set(Wire::Refuse);
    let before = proxy.connections();
    let _ = timeout(S(4), changes.next()).await;
    let tries = proxy.connections() - before;
    println!("tries within 4 s without a server: {tries}");
    assert!(tries <= 16, "{tries}");
    proxy.set(Wire::Pass);
    take(&direct, "back").await;
    reported(&mut changes, "back", S(15)).await;
}

/// A connection that is dead without a word: the look that gets no answer gives it up, and the watch with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_given_up_with_the_look_that_finds_out() {
    let server = Server::start(Version::V35, 1).await;
    let proxy = Proxy::start(server.nodes[0].client).await.unwrap();
    let (direct, proxied) = (lock(&server), lock_at([format!("http://{}", proxy.address())]));
    let timing = Timing::new(S(20), S(12), S(5)).unwrap().call_timeout(MS(500)).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (leads, led) = oneshot::channel();
    let leader = tokio::spawn(elect(direct, "leader").timing(timing).lead_on_create().run(|_| async move {
        let _ = leads.send(());
        let _ = stopped.await;
        Instant::now()
    }));
    led.await.unwrap();
    let next = tokio::spawn(elect(proxied, "next").timing(timing).run(|_| async { Instant::now() }));
    sleep(S(1)).await;
    let before = proxy.connections();
    proxy.set(Wire::Blackhole);
    // It looks within 2.2 retry periods, and is cut after half a second.
    eventually("a new connection", async || (proxy.connections() > before).then_some(())).await;
    // Lets new connections through; for the old one it is too late.
    proxy.set(Wire::Pass);
    eventually("another", async || (proxy.connections() > before + 1).then_some(())).await;
    sleep(S(1)).await;
    drop(stop);
    let released = leader.await.unwrap().unwrap().into_finished().unwrap();
    let took = next.await.unwrap().unwrap().into_finished().unwrap() - released;
    println!("after a dead connection: taken over {took:?} after the release");
    assert!(took < S(3), "{took:?}");
}

/// One endpoint that refuses, one that is frozen: the third has all the turns.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_or_frozen_is_passed_over() {
    let server = Server::start(Version::V35, 3).await;
    let leader = server.leader().await;
    let (frozen, fine) = ((leader + 1) % 3, (leader + 2) % 3);
    let urls = ["http://127.0.0.1:1".to_owned(), server.nodes[frozen].client_url(), server.nodes[fine].client_url()];
    server.freeze(frozen);
    let lock = lock_at(urls);
    assert!(
        timeout(MS(500), lock.read()).await.is_err(),
        "it is the turn of the frozen one, after the one that refuses"
    );
    for _ in 0..5 {
        timeout(S(5), lock.read()).await.expect("it is not its turn again").unwrap();
    }
    let first = timeout(S(5), lock.write(None, TAKE)).await.unwrap().unwrap();
    let mut changes = lock.watch();
    reported(&mut changes, "x", S(5)).await;
    // The one that is left goes, and the others come: the watch moves over.
    server.thaw(frozen);
    let mut server = server;
    server.kill(fine);
    let second =
        eventually("written elsewhere", async || timeout(S(1), lock.write(Some(&first), TAKE)).await.ok()?.ok());
    let second = second.await;
    assert!(second.version > first.version);
    let seen = timeout(S(10), async {
        while changes.next().await.unwrap().is_none_or(|seen| seen.version < second.version) {}
    });
    seen.await.expect("the watch goes on at another member");
}

/// Without a leader etcd cancels the watch. It comes back with the quorum.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_quorum() {
    for version in Version::BOTH {
        let mut server = Server::start(version, 3).await;
        let lock = lock(&server);
        take(&lock, "a").await;
        let mut changes = lock.watch();
        reported(&mut changes, "a", S(10)).await;
        server.kill(1);
        server.kill(2);
        let refused = eventually("no leader", async || timeout(S(10), lock.read()).await.ok()?.err()).await;
        assert!(!refused.is_fatal(), "{refused}");
        println!("{version:?} without a quorum: {refused}");
        assert!(timeout(S(2), changes.next()).await.is_err(), "there is nothing to report");
        server.run(1);
        server.run(2);
        server.healthy().await;
        take(&lock, "b").await;
        reported(&mut changes, "b", S(15)).await;
    }
}

/// `readwrite` on the key and nothing else is enough; less is an error that says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_it_needs() {
    let server = Server::start(Version::V35, 1).await;
    let mut root = client(&server).await;
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    for (user, permission) in [("all", Permission::read_write("lock")), ("reader", Permission::read("lock"))] {
        root.role_add(user).await.unwrap();
        root.role_grant_permission(user, permission).await.unwrap();
        root.user_add(user, user, None).await.unwrap();
        root.user_grant_role(user, user).await.unwrap();
    }
    root.auth_enable().await.unwrap();
    let timing = Timing::new(S(30), S(20), S(5)).unwrap();
    let url = server.nodes[0].client_url();
    let lock = |user: &str, password: &str, key: &str| {
        EtcdLock::new([&url], ConnectOptions::new().with_user(user, password), key).unwrap()
    };
    let run = |user: &str, password: &str, key: &str| {
        elect(lock(user, password, key), user).timing(timing).lead_on_create().run(|term| async move { term.fence() })
    };
    let fence = run("all", "all", "lock").await.unwrap().into_finished().unwrap();
    assert!(fence > 0);
    let mut changes = lock("all", "all", "lock").watch();
    reported(&mut changes, "", S(10)).await;
    take(&lock("all", "all", "lock"), "b").await;
    reported(&mut changes, "b", S(10)).await;
    // Given back, so that the reader tries to write at once.
    let seen = lock("all", "all", "lock").read().await.unwrap();
    lock("all", "all", "lock").write(seen.as_ref(), Write::Release).await.unwrap();
    // A login takes its time: each call may take 2.5 s.
    let short = Timing::new(S(8), S(6), S(1)).unwrap();
    for (user, password, key, why, advice) in [
        ("all", "all", "other", "permission denied", "grant the user a role"),
        (
            "all",
            "wrong",
            "lock",
            "authentication failed, invalid user ID or password",
            "check the user's name and password",
        ),
    ] {
        // Nothing was ever answered: after a lease that is the last word.
        let began = Instant::now();
        let run = elect(lock(user, password, key), user).timing(short).run(|_| async {});
        let error = timeout(S(30), run).await.expect("it does not go on trying").unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ElectError::Lock { .. }), "{text}");
        assert!(text.starts_with(&format!("cannot read lock {key}: key {key}: ")), "{text}");
        assert!(text.contains(why) && text.contains(advice), "{text}");
        println!("{text}");
        assert!(began.elapsed() >= S(8), "{:?}", began.elapsed());
    }
    // One that may read is answered, so it goes on trying, and says what is wrong; once it may write it leads.
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let run = elect(lock("reader", "reader", "lock"), "reader").timing(short).on_event(move |change| {
        if let ElectionEvent::Trouble(error) = change {
            let _ = said.send(error.to_string());
        }
    });
    let run = tokio::spawn(run.run(|term| async move { term.fence() }));
    for _ in 0..4 {
        let text = timeout(S(30), heard.recv()).await.expect("it goes on trying").unwrap();
        assert!(text.starts_with("key lock: ") && text.contains("permission denied"), "{text}");
        assert!(text.contains("grant the user a role"), "{text}");
    }
    assert!(!run.is_finished());
    let mut root = Client::connect([&url], Some(ConnectOptions::new().with_user("root", "secret"))).await.unwrap();
    root.role_grant_permission("reader", Permission::read_write("lock")).await.unwrap();
    assert!(timeout(S(30), run).await.unwrap().unwrap().unwrap().into_finished().unwrap() > fence);
    let mut none = lock("all", "all", "other").watch();
    assert_eq!(timeout(S(5), none.next()).await.expect("it ends"), None, "there is nothing to hear");
    assert_eq!(none.next().await, None);
}

#[test]
fn what_cannot_be() {
    let new = |endpoints: &[&str], key: &str| EtcdLock::new(endpoints.iter().copied(), ConnectOptions::new(), key);
    assert_eq!(new(&["http://a:1"], "").unwrap_err().to_string(), "key \"\": must not be empty: it is the lock");
    assert_eq!(new(&[], "k").unwrap_err().setting(), "endpoints");
    assert_eq!(new(&["a:1"], "k").unwrap_err().setting(), "endpoint");
}

/// A candidate that only follows is not stuck at a member that is frozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_not_stuck_at_a_frozen_member() {
    let server = Server::start(Version::V35, 3).await;
    let leader = server.leader().await;
    let (frozen, fine) = ((leader + 1) % 3, (leader + 2) % 3);
    let lock = lock_at([server.nodes[frozen].client_url(), server.nodes[fine].client_url()]);
    take(&lock_at([server.nodes[fine].client_url()]), "a").await;
    server.freeze(frozen);
    let mut follower = watch(lock).every(MS(300));
    let heard = timeout(S(30), async {
        loop {
            match follower.next().await {
                Ok(leader) => return leader.holder,
                Err(error) => println!("{error}"),
            }
        }
    });
    assert_eq!(heard.await.expect("it goes on at the other member").as_deref(), Some("a"));
}
