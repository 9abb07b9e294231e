//! Dropped at any await point, a run leaves nothing behind.

use std::{
    cell::Cell,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use relent::{Backoff, Budget, Limiter, Policy, Rate, Ratio, retry};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

/// What lives as long as an attempt does.
struct Held(Rc<Cell<i32>>);

impl Held {
    fn new(count: &Rc<Cell<i32>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Drops the run after its `n`-th poll, for every `n` there is: in the limiter, in each attempt, in each pause, with a
/// cancellation and bounds armed, to four attempts. Wakers, permits, retries and what the operation held are all back.
#[test]
fn nothing_stays_wherever_it_is_dropped() {
    let mut dropped = 0;
    for polls in 1.. {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let finished = runtime.block_on(async {
            let held = Rc::new(Cell::new(0));
            let limiter = Limiter::new(Rate::per_second(20), 1);
            let budget = Budget::ratio(Ratio::ONE).reserve(5);
            let token = CancellationToken::new();
            let waker: Arc<Nothing> = Arc::new(Nothing);
            let attempts = Rc::new(Cell::new(0_u32));
            let finished = {
                let mut run = Box::pin(
                    retry(|_| {
                        let (held, attempts) = (held.clone(), attempts.clone());
                        async move {
                            let _held = Held::new(&held);
                            attempts.set(attempts.get() + 1);
                            tokio::time::sleep(10 * MS).await;
                            Err::<(), ()>(())
                        }
                    })
                    .backoff(Backoff::fixed(15 * MS))
                    .attempt_timeout(100 * MS)
                    .finish_within(1000 * MS)
                    .max_attempts(4)
                    .throttle(&limiter)
                    .budget(&budget)
                    .cancel_on(token.clone())
                    .into_future(),
                );
                let std_waker = Waker::from(waker.clone());
                let mut finished = false;
                for _ in 0..polls {
                    finished = run.as_mut().poll(&mut Context::from_waker(&std_waker)).is_ready();
                    if finished {
                        break;
                    }
                    tokio::time::advance(5 * MS).await;
                }
                finished
            };
            assert_eq!(held.get(), 0, "what the operation held is gone");
            assert_eq!(Arc::strong_count(&waker), 1, "no timer, limiter or token knows its waker");
            assert_eq!(limiter.waiters(), 0);
            // All that was taken is what the attempts used: the line is as if no task had waited.
            let used = attempts.get();
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(limiter.available(), 1);
            assert_eq!(budget.available(), u64::from(5 - used.saturating_sub(1)), "retries not made went back");
            finished
        });
        dropped += 1;
        if finished {
            break;
        }
    }
    assert!(dropped > 30, "{dropped} places to drop it");
}

/// The same for the cursor: dropped while it waits, it waits for the same instant again.
#[tokio::test(start_paused = true)]
async fn the_cursor_resumes_its_wait() {
    let began = tokio::time::Instant::now();
    let mut run = Policy::new().every(50 * MS).begin();
    assert!(run.next().await.unwrap().run(async { Err::<(), _>("first") }).await.is_none());
    assert!(tokio::time::timeout(20 * MS, run.next()).await.is_err());
    run.next().await.map(drop).unwrap();
    assert_eq!(began.elapsed(), 50 * MS);
    // The attempt was taken and dropped: that counts.
    let turn = run.next().await.unwrap();
    assert_eq!((turn.info().number(), began.elapsed()), (3, 100 * MS));
}

/// A future that is done says so and does not touch the operation again.
#[tokio::test]
async fn done_is_done() {
    let mut calls = 0;
    let mut run = pin!(
        retry(|_| {
            calls += 1;
            async { Ok::<_, ()>(()) }
        })
        .into_future()
    );
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(run.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.as_mut().poll(&mut cx).is_ready()));
    let said = again.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(*said, "`RetryFuture` polled after completion");
    assert_eq!(calls, 1);
}
