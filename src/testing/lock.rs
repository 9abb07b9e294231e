//! The promises of a [`Lock`] as tests, to be run for a lock of your own.
//!
//! ```
//! use relent::{leader::MemoryLock, testing::lock};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let record = MemoryLock::new();
//! lock::conformance(record.clone(), async || record.delete()).await;
//! let fail_now_and_then = async |what: Option<u64>, calls| match what {
//!     Some(what) if what % 2 == 0 => record.fail(calls),
//!     _ => record.heal(),
//! };
//! lock::never_overlap(|| record.clone(), 7, fail_now_and_then).await;
//! let times = lock::handovers(record, 20).await;
//! println!("from the end of the work to the next term: {:?} to {:?}", times[0], times[19]);
//! # }
//! ```

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::Machine;
use crate::{
    leader::{Lock, Record, Term, Timing, Write, elect},
    time::{self, Instant},
};

/// Plays the rules of [`Lock`] on a record that `delete` takes away, and leaves it taken away.
///
/// - Only a write over the version that is there is done; any other is a conflict and changes nothing. Of writes at the
///   same time over one version, one is done.
/// - The version grows with every write, over a deletion as well.
/// - The heartbeat changes with every write that takes or renews, and with a creation that brings back what was there
///   before.
/// - A holder's name comes back to the letter, and a lease is never shorter than what was asked for.
/// - A [prepared](Lock::prepare) write is not begun before it is awaited, and its mark is read back.
///
/// Nothing else may use the record meanwhile.
///
/// # Panics
/// Where a rule is broken, by its name; where a call fails that should not.
pub async fn conformance<L: Lock>(lock: L, delete: impl AsyncFn()) {
    const S: Duration = Duration::from_secs(1);
    let lock = Arc::new(lock);
    let take = |holder, lease| Write::Take { holder, lease };
    delete().await;
    assert!(read(&lock).await.is_none(), "a record that was deleted is not there");

    let first = write(&lock, None, take("a", 2 * S)).await;
    assert_eq!(first.holder, "a", "the holder is the one that was written");
    is_there(&lock, &first).await;
    conflicts(&lock, None, take("b", 2 * S), "a creation of what is there").await;
    is_there(&lock, &first).await;

    let second = write(&lock, Some(&first), Write::Renew { holder: "a", lease: 2 * S }).await;
    is_newer(&second, &first);
    conflicts(&lock, Some(&first), take("b", 2 * S), "a write over an older version").await;
    conflicts(&lock, Some(&first), Write::Release, "a release of an older version").await;
    is_there(&lock, &second).await;

    let released = write(&lock, Some(&second), Write::Release).await;
    assert!(released.version > second.version, "the version grows with a release");
    assert_eq!(
        (released.holder.as_str(), released.lease),
        ("", Duration::ZERO),
        "a release leaves no holder and no lease"
    );
    is_there(&lock, &released).await;
    let taken = write(&lock, Some(&released), take("a", 2 * S)).await;
    is_newer(&taken, &released);

    delete().await;
    conflicts(&lock, Some(&taken), take("a", 2 * S), "a write over what was deleted").await;
    assert!(read(&lock).await.is_none(), "a write over what was deleted leaves nothing");
    let mut last = write(&lock, None, take("a", 2 * S)).await;
    is_newer(&last, &taken);

    for holder in ["b", "worker 1/2 \"ä\" \u{1f980}, \\n", &"long".repeat(50)] {
        let next = write(&lock, Some(&last), take(holder, 2 * S)).await;
        assert_eq!(next.holder, holder, "the holder's name comes back to the letter");
        is_newer(&next, &last);
        is_there(&lock, &next).await;
        last = next;
    }
    for lease in [1, 1_000, 999_999_999, 1_000_000_001, 15_000_000_000, 3_600_000_000_001].map(Duration::from_nanos) {
        if lock.admits(lease).is_ok() {
            let next = write(&lock, Some(&last), Write::Renew { holder: &last.holder, lease }).await;
            assert!(next.lease >= lease, "a lease is never shorter than asked for: {lease:?}, {:?}", next.lease);
            is_newer(&next, &last);
            last = next;
        }
    }
    last = prepared(&lock, last).await;
    one_of_many(&lock, last).await;
    delete().await;
    assert!(read(&lock).await.is_none(), "a record that was deleted is not there");
}

/// Writes that are prepared, dropped, or done.
async fn prepared<L: Lock>(lock: &L, last: Record<L::Object>) -> Record<L::Object> {
    let put = Write::Take { holder: "marked", lease: Duration::from_secs(2) };
    let Some(dropped) = lock.prepare(Some(&last), put) else { return last };
    let other = lock.prepare(Some(&last), put).expect("a lock has marks, or has none");
    assert_ne!(dropped.mark(), other.mark(), "no two writes have one mark");
    drop(dropped);
    is_there(lock, &last).await;
    let mark = other.mark();
    let next = other.into_write().await.unwrap_or_else(|error| panic!("a prepared write failed: {error}"));
    assert_eq!(next.mark, Some(mark), "the answer of a prepared write has its mark");
    is_newer(&next, &last);
    is_there(lock, &next).await;
    let renewed = write(lock, Some(&next), Write::Renew { holder: "marked", lease: Duration::from_secs(2) }).await;
    assert_ne!(read(lock).await.and_then(|seen| seen.mark), Some(mark), "a mark is gone with the next write");
    renewed
}

/// Several candidates want the same record at once.
async fn one_of_many<L: Lock>(lock: &Arc<L>, last: Record<L::Object>) {
    let last = Arc::new(last);
    let mut writes = JoinSet::new();
    for number in 0..8 {
        let (lock, last) = (Arc::clone(lock), Arc::clone(&last));
        writes.spawn(async move {
            let holder = format!("candidate {number}");
            lock.write(Some(&last), Write::Take { holder: &holder, lease: Duration::from_secs(2) }).await
        });
    }
    let mut done = Vec::new();
    while let Some(write) = writes.join_next().await {
        match write.expect("a write does not panic") {
            Ok(seen) => done.push(seen),
            Err(error) => assert!(error.is_conflict(), "a write that came too late is a conflict: {error}"),
        }
    }
    assert_eq!(done.len(), 1, "of writes at the same time over one version, one is done");
    is_newer(&done[0], &last);
    is_there(&**lock, &done[0]).await;
}

async fn read<L: Lock>(lock: &L) -> Option<Record<L::Object>> {
    lock.read().await.unwrap_or_else(|error| panic!("a read failed: {error}"))
}

async fn write<L: Lock>(lock: &L, over: Option<&Record<L::Object>>, put: Write<'_>) -> Record<L::Object> {
    lock.write(over, put).await.unwrap_or_else(|error| panic!("{put:?} failed: {error}"))
}

async fn conflicts<L: Lock>(lock: &L, over: Option<&Record<L::Object>>, put: Write<'_>, what: &str) {
    match lock.write(over, put).await {
        Ok(_) => panic!("{what} was done"),
        Err(error) => assert!(error.is_conflict(), "{what} is a conflict, not: {error}"),
    }
}

async fn is_there<L: Lock>(lock: &L, written: &Record<L::Object>) {
    let seen = read(lock).await.expect("what was written is there");
    assert_eq!(parts(&seen), parts(written), "a read shows what the write answered");
}

fn parts<O>(seen: &Record<O>) -> (u128, u128, &str, Duration, Option<u64>) {
    (seen.version, seen.heartbeat, &seen.holder, seen.lease, seen.mark)
}

fn is_newer<O>(next: &Record<O>, before: &Record<O>) {
    assert!(next.version > before.version, "the version grows with every write: {}, {}", before.version, next.version);
    assert_ne!(next.heartbeat, before.heartbeat, "the heartbeat changes with every write that takes or renews");
}

/// What three candidates share: never two lead at once, and fences grow from one term to the next.
#[derive(Default)]
struct Office {
    held_by: Option<usize>,
    fence: u128,
    /// Machines that have been suspended, until their work is polled or dropped: what stands still does not work.
    suspended: [bool; 3],
}

/// A candidate's work: it leaves the office when it is dropped.
struct Work(Arc<Mutex<Office>>, usize);

impl Work {
    fn begin(office: Arc<Mutex<Office>>, number: usize, term: &Term) -> Self {
        let mut now = office.lock().unwrap_or_else(PoisonError::into_inner);
        now.suspended[number] = false;
        assert!(now.held_by.is_none_or(|other| now.suspended[other]), "two lead");
        let before = std::mem::replace(&mut now.fence, term.fence());
        assert!(term.fence() > before, "a fence that does not grow");
        now.held_by = Some(number);
        drop(now);
        Self(office, number)
    }

    /// Whenever it is polled its term is valid, and no newer one has begun.
    async fn goes_on(self, term: Term) {
        loop {
            assert!(!term.valid_for().is_zero(), "polled after its term");
            {
                let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(now.fence == term.fence(), "a newer term has begun");
                now.suspended[self.1] = false;
            }
            time::pause(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.suspended[self.1] = false;
        now.held_by = now.held_by.filter(|number| *number != self.1);
    }
}

/// Lets three candidates contend for one lock, on tokio's paused clock, and makes trouble twenty times up to 20 s
/// apart: each time a machine is suspended or goes on, or it is what `trouble` makes of a random number, for about so
/// many calls; the last time (`None`) it has to end all trouble. The same `seed` plays the same.
///
/// # Panics
/// If two lead at once, a fence does not grow, work is polled after its term, a campaign ends, or no candidate ever
/// leads.
pub async fn never_overlap<L: Lock>(lock: impl Fn() -> L, seed: u64, mut trouble: impl AsyncFnMut(Option<u64>, usize)) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (office, stop, mut runs) = (Arc::<Mutex<Office>>::default(), CancellationToken::new(), JoinSet::new());
    let machines = [Machine::new(), Machine::new(), Machine::new()];
    for (number, machine) in machines.iter().enumerate() {
        let office = Arc::clone(&office);
        let run = elect(lock(), format!("candidate {number}")).cancel_on(stop.clone()).again();
        let run = run.run(move |term: Term| {
            let work = Work::begin(Arc::clone(&office), number, &term);
            work.goes_on(term)
        });
        runs.spawn(machine.run(run));
    }
    for _ in 0..20 {
        time::pause(Duration::from_millis(random.u64(..20_000))).await;
        let (what, number) = (random.u64(..), random.usize(..machines.len()));
        match what % 4 {
            0 => {
                office.lock().unwrap_or_else(PoisonError::into_inner).suspended[number] = true;
                machines[number].suspend();
            }
            1 => machines.iter().for_each(Machine::resume),
            _ => trouble(Some(what / 4), random.usize(..12)).await,
        }
        assert!(runs.try_join_next().is_none(), "a campaign has ended");
    }
    machines.iter().for_each(Machine::resume);
    trouble(None, 0).await;
    time::pause(Duration::from_secs(60)).await;
    assert!(runs.try_join_next().is_none(), "a campaign has ended");
    stop.cancel();
    while let Some(run) = runs.join_next().await {
        let _ = run.expect("no candidate panics").expect("a campaign that is stopped has no error");
    }
    assert!(office.lock().unwrap_or_else(PoisonError::into_inner).fence > 0, "no candidate ever led");
}

/// Hands the lock over so many times, from a leader that has finished to a candidate that waits, and answers how long
/// each took from the end of the work to the begin of the next, the shortest first.
///
/// The retry period is 5 s: a candidate that finds out by reading takes seconds, one that [hears of it](Lock::watch)
/// does not.
///
/// # Panics
/// If no candidate takes over, a fence does not grow, or work begins before the work before it has ended.
pub async fn handovers<L: Lock + Clone>(lock: L, count: usize) -> Vec<Duration> {
    let seconds = Duration::from_secs;
    let timing = Timing::new(seconds(30), seconds(20), seconds(5)).expect("a valid timing");
    let stand = |number: usize| {
        let (leads, led) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = elect(lock.clone(), format!("candidate {number}")).timing(timing).lead_on_create();
        let run = tokio::spawn(run.run(move |term| async move {
            let _ = leads.send((time::now(), term.fence()));
            let _ = stopped.await;
            time::now()
        }));
        (led, stop, run)
    };
    let (led, mut stop, mut run) = stand(0);
    let (_, mut fence) = led.await.expect("the first leads");
    let mut took = Vec::new();
    for number in 1..=count {
        let (led, next_stop, next_run) = stand(number);
        // It has read the record, and listens.
        time::pause(Duration::from_millis(150)).await;
        drop(stop);
        let ended = run.await.expect("no candidate panics").expect("a term without an error");
        let ended: Instant = ended.into_finished().unwrap_or_else(|| panic!("a leader has lost the lock"));
        let (at, next_fence) = led.await.expect("another takes over");
        assert!(next_fence > fence, "a fence that does not grow");
        assert!(at >= ended, "the next term begins after the end of the work");
        took.push(at.saturating_duration_since(ended));
        (stop, run, fence) = (next_stop, next_run, next_fence);
    }
    drop(stop);
    let _ = run.await.expect("no candidate panics");
    took.sort_unstable();
    took
}
