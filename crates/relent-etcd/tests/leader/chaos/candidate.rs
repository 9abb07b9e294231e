//! The candidate: a process.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, Txn, TxnOp};
use relent::leader::{ElectionEvent, Term, elect};
use relent_etcd::EtcdLock;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::child::{monotonic, tell, wait_for_close};

use super::{MS, REGISTER, timing};

#[tokio::main(flavor = "current_thread")]
pub(super) async fn candidate(settings: &str) {
    let [name, lock, register]: [&str; 3] = settings.split('|').collect::<Vec<_>>().try_into().unwrap();
    let stop = CancellationToken::new();
    let closed = stop.clone();
    std::thread::spawn(move || {
        wait_for_close();
        closed.cancel();
    });
    let lock = EtcdLock::new(lock.split(','), ConnectOptions::new(), "lock").unwrap();
    let register = Arc::new(Register::new(name, register));
    let run = elect(lock, name).timing(timing()).lead_on_create().cancel_on(stop).on_event(|change| {
        if let ElectionEvent::Lost(_) | ElectionEvent::Trouble(_) = change {
            tell(format_args!("says {change:?}"));
        }
    });
    let ended = run.again().run(|term| work(Arc::clone(&register), term)).await;
    tell(format_args!("says {ended:?}"));
    std::process::exit(0);
}

struct Over(u128);

impl Drop for Over {
    fn drop(&mut self) {
        tell(format_args!("over {} {}", self.0, monotonic().as_nanos()));
    }
}

async fn work(register: Arc<Register>, term: Term) {
    let fence = term.fence();
    let _over = Over(fence);
    tokio::spawn(straggle(Arc::clone(&register), term.clone()));
    while !term.is_lost() {
        // In this order: it led at that time, even if it is frozen between the two.
        let at = monotonic();
        let valid = term.valid_for();
        if !valid.is_zero() {
            tell(format_args!("works {fence} {} {}", at.as_nanos(), valid.as_nanos()));
            if register.write(fence).await == Some(false) {
                tell(format_args!("refused {fence} {}", at.as_nanos()));
            }
        }
        tokio::select! {
            () = term.lost() => {}
            () = sleep(MS(20)) => {}
        }
    }
}

/// What no election can stop: a task that goes on writing with the fence of its term, also when that is long over.
async fn straggle(register: Arc<Register>, term: Term) {
    let mut late = 0;
    while late < 30 {
        let over = term.valid_for().is_zero();
        let written = register.write(term.fence()).await;
        if over {
            late += 1;
            let what = written.map_or("unknown", |taken| if taken { "taken" } else { "refused" });
            tell(format_args!("late {} {what}", term.fence()));
        }
        sleep(MS(50)).await;
    }
}

/// A key that is written only with a fence that is not lower than the one in it.
struct Register {
    name: String,
    endpoints: Vec<String>,
    next: AtomicUsize,
    client: tokio::sync::Mutex<Option<Client>>,
}

impl Register {
    fn new(name: &str, endpoints: &str) -> Self {
        let endpoints = endpoints.split(',').map(str::to_owned).collect();
        Self { name: name.to_owned(), endpoints, next: AtomicUsize::new(0), client: Default::default() }
    }

    /// Whether it was taken; `None` if that is not known.
    async fn write(&self, fence: u128) -> Option<bool> {
        let value = format!("{fence:020} {} {}", self.name, monotonic().as_nanos());
        // Texts of one length compare as the numbers do: what is in it must be less than the next fence.
        let older = Compare::value(REGISTER, CompareOp::Less, format!("{:020}", fence + 1));
        let transaction = Txn::new().when([older]).and_then([TxnOp::put(REGISTER, value, None)]);
        let call = async {
            let client = self.client.lock().await.take();
            let client = match client {
                Some(client) => client,
                None => {
                    let at = self.next.load(Ordering::Relaxed) % self.endpoints.len();
                    Client::connect([&self.endpoints[at]], None).await.ok()?
                }
            };
            let answer = client.kv_client().txn(transaction).await.ok()?;
            *self.client.lock().await = Some(client);
            Some(answer.succeeded())
        };
        let answer = timeout(MS(600), call).await.ok().flatten();
        if answer.is_none() {
            self.next.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}
