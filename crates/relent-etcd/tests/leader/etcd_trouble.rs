//! Elections on a real etcd in trouble: one identity in two processes, an etcd that stands still.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::ConnectOptions;
use relent::{
    leader::{ElectionEvent, Ended, Loss, Term, Timing, elect},
    testing::proxy::{Proxy, Wire},
};
use relent_etcd::EtcdLock;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::server::{Server, Version, eventually};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;
const NOBODY: usize = usize::MAX;

/// Which one leads, by its own word, and whose terms were lost to another of the same identity.
#[derive(Clone)]
struct Terms {
    leads: Arc<AtomicUsize>,
    lost: Arc<Mutex<Vec<usize>>>,
}

struct Leads(Terms, usize);

impl Drop for Leads {
    fn drop(&mut self) {
        assert_eq!(self.0.leads.swap(NOBODY, Ordering::SeqCst), self.1, "another has led meanwhile");
    }
}

fn stands(lock: EtcdLock, number: usize, terms: &Terms) -> JoinHandle<()> {
    let timing = Timing::new(S(6), S(4), S(1)).unwrap();
    let (working, told) = (terms.clone(), terms.clone());
    let elect = elect(lock, "web-0").timing(timing).on_event(move |change| {
        if let ElectionEvent::Lost(Loss::SameIdentity { .. }) = change {
            told.lost.lock().unwrap().push(number);
        }
    });
    tokio::spawn(async move {
        let ended = elect.again().run(move |term: Term| {
            let before = working.leads.swap(number, Ordering::SeqCst);
            let leads = Leads(working.clone(), number);
            async move {
                let _leads = leads;
                assert_eq!(before, NOBODY, "{number} leads beside {before}");
                term.lost().await;
            }
        });
        panic!("candidate {number} has ended: {:?}", ended.await);
    })
}

/// A StatefulSet's pod on a node that is cut off is deleted by force, and started elsewhere under its name. The node comes back.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_identity_does_not_lead_beside_itself_after_a_partition() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let wire = Proxy::start(server.nodes[0].client).await.unwrap();
        let lock = |url: String| EtcdLock::new([url], ConnectOptions::new(), "lock").unwrap();
        let terms = Terms { leads: Arc::new(AtomicUsize::new(NOBODY)), lost: Arc::default() };
        let leads = async |number: usize| {
            eventually("it leads", async || (terms.leads.load(Ordering::SeqCst) == number).then_some(())).await;
        };
        let old = stands(lock(format!("http://{}", wire.address())), 0, &terms);
        leads(0).await;
        wire.set(Wire::Blackhole);
        let new = stands(lock(server.nodes[0].client_url()), 1, &terms);
        leads(1).await;
        wire.set(Wire::Pass);
        // Some leases: the one that comes back leaves the other alone.
        for _ in 0..80 {
            sleep(MS(200)).await;
            assert!(!old.is_finished() && !new.is_finished());
            assert_eq!(terms.leads.load(Ordering::SeqCst), 1, "{version:?}");
        }
        assert_eq!(*terms.lost.lock().unwrap(), [0_usize; 0], "a renewal took the place of another's");
        old.abort();
        new.abort();
    }
}

/// Every call hangs for ten seconds: the term is lost by its renew deadline, the campaign goes on, and can be stopped meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_stands_still_hangs_no_campaign() {
    let server = Server::start(Version::V35, 1).await;
    let lock = || EtcdLock::new([server.nodes[0].client_url()], ConnectOptions::new(), "lock").unwrap();
    let timing = Timing::new(S(6), S(4), S(1)).unwrap();
    let (send, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let run = elect(lock(), "a").timing(timing).cancel_on(stop.clone()).again().run(move |term: Term| {
        send.send(term.clone()).unwrap();
        async move { term.lost().await }
    });
    let run = tokio::spawn(run);
    let first = timeout(S(30), begun.recv()).await.expect("a term").unwrap();
    server.freeze(0);
    timeout(S(20), first.lost()).await.expect("told by its renew deadline");
    sleep(S(5)).await;
    server.thaw(0);
    let second = timeout(S(30), begun.recv()).await.expect("another term").unwrap();
    assert!(second.fence() > first.fence());
    server.freeze(0);
    stop.cancel();
    let ended = timeout(S(30), run).await.expect("a release that hangs holds up no other").unwrap().unwrap();
    assert!(matches!(ended, Ended::Unreleased { .. }), "{ended:?}");
    server.thaw(0);
}
