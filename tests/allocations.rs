//! Runs allocate nothing, counted by the allocator itself.
#![allow(clippy::disallowed_methods)]
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use relent::{Backoff, Decision, Limiter, Policy, TimedQueue, poll, retry};
use tokio_util::sync::CancellationToken;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread has asked for, less what it has given back.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // A thread that ends gives back after its counters are gone.
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size().cast_signed()));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of a future's run, from its first poll to its end.
async fn allocations<F: Future>(future: F) -> usize {
    let before = ALLOCATIONS.get();
    let _ = future.await;
    ALLOCATIONS.get() - before
}

const MS: Duration = Duration::from_millis(1);

async fn fails() -> Result<(), Duration> {
    tokio::time::sleep(2 * MS).await;
    Err(MS)
}

#[tokio::test(start_paused = true)]
async fn runs_allocate_nothing() {
    // The runtime's own first sleeps may.
    tokio::time::sleep(MS).await;
    let policy = Policy::new()
        .backoff(Backoff::exponential(MS, 8 * MS))
        .attempt_timeout(MS)
        .start_within(500 * MS)
        .finish_within(1000 * MS);
    assert_eq!(allocations(async { retry(|_| async { Ok::<_, ()>(()) }).await.unwrap() }).await, 0);
    assert_eq!(allocations(async { retry(|_| fails()).policy(&policy).await.unwrap_err().attempts() }).await, 0);
    let whole = async {
        retry(|_| fails())
            .backoff(Backoff::exponential(MS, 8 * MS))
            .every(3 * MS)
            .max_attempts(20)
            .when(|pause| Decision::RetryAfter(*pause))
            .on_cut(Decision::Retry)
            .await
            .unwrap_err()
            .attempts()
    };
    assert_eq!(allocations(whole).await, 0, "the builder included");
    assert_eq!(allocations(async { poll(|_| async { None::<()> }).max_attempts(9).await.unwrap_err() }).await, 0);
    let limiter = Limiter::unlimited();
    assert_eq!(
        allocations(async { retry(|_| fails()).throttle(&limiter).max_attempts(3).await.unwrap_err() }).await,
        0
    );
    let token = CancellationToken::new();
    let cancellable = async { retry(|_| fails()).cancel_on(token).max_attempts(3).await.unwrap_err() };
    assert_eq!(allocations(cancellable).await, 0, "nor does the wait for a cancellation");
}

/// A thread keeps one waker for all of its runs.
#[test]
fn runs_on_a_thread_allocate_once() {
    let run = || {
        relent::blocking::retry(|attempt| if attempt.number() < 3 { Err(MS) } else { Ok(()) })
            .backoff(Backoff::fixed(MS))
    };
    let _ = run().call();
    let before = ALLOCATIONS.get();
    let answer = run().call();
    assert_eq!((answer.is_ok(), ALLOCATIONS.get() - before), (true, 0));
}

/// A queue's memory follows the number of its entries down, whichever of them are left, waiting or running, near or
/// far.
#[tokio::test(start_paused = true)]
async fn a_queue_gives_its_memory_back() {
    const ENTRIES: u32 = 20_000;
    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    for spread in [Duration::ZERO, MS / 1000, 10 * MS, 500 * MS] {
        for left in [0, ENTRIES / 2, ENTRIES - 1] {
            let before = BYTES.get();
            for key in 0..ENTRIES {
                let _ = handle.schedule(key, u64::from(key), spread * key);
            }
            let full = BYTES.get() - before;
            assert!(full > 1_000_000, "{full} bytes");
            for key in (0..ENTRIES).filter(|key| *key != left) {
                let _ = handle.cancel(&key);
            }
            let rest = BYTES.get() - before;
            assert!(rest < 250_000, "{rest} of {full} bytes with one entry left of {spread:?}");
            // The same by runs, with the one that is left failing again and again.
            for key in (0..ENTRIES).filter(|key| *key != left) {
                let _ = handle.schedule(key, u64::from(key), spread * key);
            }
            while handle.len() > 1 {
                let due = queue.next().await.unwrap();
                if *due.key() == left {
                    let _ = due.fail("no");
                } else {
                    due.done();
                }
            }
            let rest = BYTES.get() - before;
            assert!(rest < 250_000, "{rest} of {full} bytes with one entry left of {spread:?}, by runs");
            assert_eq!(handle.cancel_all().len(), 1);
        }
    }
}

/// What an entry takes, however many there are; and one that is moved in every direction leaves nothing behind, nor do
/// those that come and go.
#[tokio::test(start_paused = true)]
async fn an_entry_takes_less_than_a_hundred_bytes() {
    const MINUTE: u64 = 60_000_000_000;
    let mut rng = fastrand::Rng::with_seed(1);
    for entries in [1_000_u32, 30_000, 1_000_000] {
        let queue = TimedQueue::<u64, u64>::new();
        let (handle, before) = (queue.handle(), BYTES.get());
        let mut due = || Duration::from_nanos(rng.u64(..MINUTE));
        for key in 0..u64::from(entries) {
            let _ = handle.schedule(key, key, due());
        }
        let full = BYTES.get() - before;
        assert!(
            full < 100 * isize::try_from(entries).unwrap(),
            "{full} bytes for {entries} entries with key and value of 8 bytes each"
        );
        for turn in 0..u64::from(entries) {
            let _ = handle.reschedule(0, turn, due());
            let _ = handle.schedule(MINUTE, turn, Duration::ZERO);
            let _ = handle.cancel(&MINUTE);
        }
        let moved = BYTES.get() - before;
        assert!(moved < full + full / 4 + 10_000, "{moved} bytes where {full} were enough");
    }
}
