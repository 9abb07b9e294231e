//! Stalls, greedy tasks, panics and strange clocks, by the futures.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use relent::{Limiter, Rate, limiter::Refused, retry};
use tokio::{
    task::coop,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, task};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

type Times = Arc<Mutex<Vec<u64>>>;

/// So many tasks that note when, in milliseconds, they got a permit.
async fn crowd(limiter: &Limiter, many: usize, through_retry: bool) -> Times {
    let (start, times) = (Instant::now(), Times::default());
    for _ in 0..many {
        let (limiter, times) = (limiter.clone(), times.clone());
        tokio::spawn(async move {
            let note = || times.lock().unwrap().push(start.elapsed().as_millis() as u64);
            if through_retry {
                let call = retry(async |_| {
                    note();
                    Ok::<_, &str>(())
                });
                call.throttle(&limiter).await.unwrap();
            } else {
                limiter.ready().await;
                note();
            }
        });
    }
    sleep(ms(1)).await;
    times
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_they_come_one_by_one() {
    for through_retry in [false, true] {
        let limiter = Limiter::per_second(10);
        let times = crowd(&limiter, 100, through_retry).await;
        advance(ms(5_000)).await;
        sleep(ms(550)).await;
        let late = [5_001, 5_101, 5_201, 5_301, 5_401, 5_501];
        assert_eq!(times.lock().unwrap()[..], [&[0], &late[..]].concat());
        assert_eq!(limiter.waiters(), 93);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_there_is_the_burst() {
    let limiter = Limiter::per_second(10).burst(5);
    let times = crowd(&limiter, 100, false).await;
    advance(ms(5_000)).await;
    sleep(ms(250)).await;
    assert_eq!(times.lock().unwrap()[..], [0, 0, 0, 0, 0, 5_001, 5_001, 5_001, 5_001, 5_001, 5_101, 5_201]);
}

/// Whoever comes first has the others granted, and they were not there in time.
#[tokio::test(start_paused = true)]
async fn after_a_stall_it_does_not_matter_which_is_polled_first() {
    for backwards in [false, true] {
        let limiter = Limiter::per_second(1);
        limiter.try_acquire(1).unwrap();
        let mut waits = [limiter.ready(), limiter.ready(), limiter.ready()].map(task::spawn);
        for wait in &mut waits {
            assert_pending!(wait.poll());
        }
        advance(ms(1_050)).await;
        let polled = if backwards { [2, 1, 0] } else { [0, 1, 2] };
        let ready = polled.map(|which| waits[which].poll().is_ready().then_some(which));
        assert_eq!(ready.into_iter().flatten().collect::<Vec<_>>(), [0]);
        for late in [1, 2] {
            advance(ms(999)).await;
            assert_pending!(waits[late].poll());
            advance(ms(1)).await;
            assert_ready!(waits[late].poll());
        }
    }
}

/// What was granted to one that is gone is there for the next, as in a bucket that was never asked.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_not_collected_in_time_is_not_lost_with_its_waiter() {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    limiter.try_acquire(1).unwrap();
    let mut wait = task::spawn(limiter.ready());
    assert_pending!(wait.poll());
    advance(Duration::from_secs(3600)).await;
    assert!(limiter.try_acquire(1).is_err(), "it is the waiter's");
    advance(ms(11)).await;
    drop(wait);
    assert!(limiter.try_acquire(1).is_ok());
    let ready_in = limiter.try_acquire(1).unwrap_err().ready_in();
    assert_eq!(ready_in, Some(Duration::from_secs(3600)));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_late_by_less_than_the_catch_up_loses_nothing() {
    let limiter = Limiter::per_second(1000);
    let times = crowd(&limiter, 10_001, false).await;
    for _ in 0..1_000 {
        // Ten permits in each.
        advance(ms(10)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(times.lock().unwrap().len(), 10_001);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_refused_during_a_stall_and_those_that_come_after_it_break_no_law() {
    let limiter = Limiter::per_second(10);
    let times = crowd(&limiter, 20, false).await;
    advance(ms(1_000)).await;
    // One that never waited is the first to look.
    assert!(limiter.try_acquire(1).is_err());
    assert_eq!(limiter.available(), 0);
    sleep(ms(300)).await;
    let times = times.lock().unwrap();
    for (index, from) in times.iter().enumerate() {
        for (more, to) in times[index..].iter().enumerate() {
            assert!(more as u64 * 100 <= to - from + 10, "{times:?}");
        }
    }
    assert!(times.len() >= 4, "{times:?}");
}

#[tokio::test]
async fn a_loop_lets_others_run() {
    async fn before_the_other<F: Future<Output = ()>>(take: impl Fn() -> F) -> usize {
        let other = tokio::spawn(async {});
        let mut taken = 0;
        while !other.is_finished() && taken < 100_000 {
            take().await;
            taken += 1;
        }
        taken
    }
    static UNLIMITED: std::sync::LazyLock<Limiter> = std::sync::LazyLock::new(Limiter::unlimited);
    static FULL: std::sync::LazyLock<Limiter> = std::sync::LazyLock::new(|| Limiter::per_second(1).burst(u32::MAX));
    static EMPTY: std::sync::LazyLock<Limiter> = std::sync::LazyLock::new(|| Limiter::per_second(1).burst(0));
    for limiter in [&*UNLIMITED, &*FULL] {
        assert!(before_the_other(move || limiter.ready()).await < 1_000);
        assert!(before_the_other(move || async move { limiter.acquire(1).await.unwrap() }).await < 1_000);
        assert!(before_the_other(move || async move { limiter.acquire(0).await.unwrap() }).await < 1_000);
        assert!(before_the_other(move || async move { limiter.reserve(1).unwrap().ready().await }).await < 1_000);
        let run = move || async move { retry(async |_| Ok::<_, &str>(())).throttle(limiter).await.unwrap() };
        assert!(before_the_other(run).await < 1_000);
    }
    let refused = || async { assert!(EMPTY.acquire(1).within(ms(0)).await.is_err()) };
    assert!(before_the_other(refused).await < 1_000);
}

/// Uses up what the task may do before it lets others run.
fn greedy(cx: &mut Context<'_>) {
    while let Poll::Ready(progress) = coop::poll_proceed(cx) {
        progress.made_progress();
    }
}

#[tokio::test(start_paused = true)]
async fn a_greedy_task_has_its_place_at_the_first_poll() {
    let limiter = Limiter::per_second(1);
    let mut first = std::pin::pin!(limiter.acquire(1).within(ms(3_000)));
    let mut second = std::pin::pin!(limiter.ready());
    poll_fn(|cx| {
        greedy(cx);
        assert!(second.as_mut().poll(cx).is_pending());
        assert!(limiter.try_acquire(1).is_err(), "the permit is taken");
        assert!(first.as_mut().poll(cx).is_pending());
        assert_eq!(limiter.waiters(), 1);
        Poll::Ready(())
    })
    .await;
    let start = Instant::now();
    second.await;
    assert_eq!(start.elapsed(), ms(0));
    first.await.unwrap();
    assert_eq!(start.elapsed(), ms(1_000));
}

/// Counts, and panics.
struct Panics(AtomicU32, bool);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
        assert!(!self.1, "on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn those_behind_wakers_that_panic_are_woken_too() {
    for how in 0..5 {
        let limiter = Limiter::per_second(1).burst(40);
        let held = limiter.reserve(40).unwrap();
        let mut waits: Vec<_> = (0..40).map(|_| Box::pin(limiter.ready())).collect();
        let wakers: Vec<_> = (0..40).map(|who| Arc::new(Panics(AtomicU32::new(0), who % 3 == 0))).collect();
        for (wait, waker) in waits.iter_mut().zip(&wakers) {
            let waker = Waker::from(waker.clone());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let panic = catch_unwind(AssertUnwindSafe(|| match how {
            0 => drop(held),
            1 => limiter.set_rate(Rate::UNLIMITED),
            2 => limiter.set_rate(Rate::ZERO),
            3 => limiter.pause_for(ms(100_000)),
            _ => {
                drop(waits.remove(0));
                drop(held);
            }
        }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
        let from = usize::from(how == 4);
        assert!(wakers[from..].iter().all(|waker| waker.0.load(Relaxed) >= 1), "{how}");
        assert!(limiter.try_acquire(1).is_err() || how < 2 || how == 4);
    }
}

/// Uses the limiter wherever foreign code can.
struct Nosy(Limiter);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.0.set_burst(self.0.max_burst());
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        assert!(self.0.waiters() < 10);
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_called_or_dropped_under_the_lock() {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    limiter.try_acquire(1).unwrap();
    let nosy = || Waker::from(Arc::new(Nosy(limiter.clone())));
    let mut waits: Vec<_> = (0..6).map(|_| Box::pin(limiter.ready())).collect();
    for _ in 0..3 {
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&nosy())).is_pending());
        }
        drop(waits.remove(1));
        limiter.set_rate(Rate::per_minute(1));
        limiter.pause_for(ms(1));
    }
    let mut reserved = limiter.reserve(1).unwrap();
    {
        let mut ready = Box::pin(reserved.ready());
        assert!(ready.as_mut().poll(&mut Context::from_waker(&nosy())).is_pending());
    }
    reserved.spend();
    limiter.set_rate(Rate::UNLIMITED);
    advance(ms(1)).await;
    for mut wait in waits {
        assert!(wait.as_mut().poll(&mut Context::from_waker(&nosy())).is_ready());
    }
}

#[test]
fn a_clock_that_is_behind_shuts_nothing_and_opens_nothing() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (ahead, behind) = (runtime(), runtime());
    for first_ahead in [true, false] {
        let limiter = Limiter::per_second(100).burst(10);
        let before = || {
            behind.block_on(async { limiter.acquire(10).await.unwrap() });
        };
        if !first_ahead {
            before();
        }
        ahead.block_on(async {
            sleep(Duration::from_secs(3600)).await;
            limiter.acquire(10).await.unwrap();
            let mut waits = task::spawn(limiter.ready());
            assert_pending!(waits.poll());
            limiter.pause_for(ms(5));
        });
        behind.block_on(async {
            let start = Instant::now();
            assert!(limiter.try_acquire(1).is_err(), "what it has, it keeps");
            for _ in 0..20 {
                limiter.acquire(1).within(ms(20)).await.unwrap();
            }
            assert!(start.elapsed() >= ms(200), "{:?}", start.elapsed());
            assert!(start.elapsed() <= ms(210), "{:?}", start.elapsed());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_all_and_the_later_end_of_two() {
    let limiter = Limiter::per_second(10).burst(3);
    let start = Instant::now();
    limiter.acquire(3).await.unwrap();
    let mut waits = task::spawn(limiter.ready());
    let mut bounded = task::spawn(limiter.acquire(1).within(ms(1_000)));
    assert_pending!(waits.poll());
    assert_pending!(bounded.poll());
    let mut reserved = limiter.reserve(2).unwrap();
    assert_eq!(reserved.ready_in(), ms(400));
    limiter.pause_for(ms(2_000));
    limiter.pause_for(ms(500));
    assert!(waits.is_woken() && bounded.is_woken());
    let refused = assert_ready!(bounded.poll()).unwrap_err();
    assert!(
        matches!(refused, Refused::TooFar { ready_in, allowed, .. } if (ready_in, allowed) == (ms(2_000), ms(1_000)))
    );
    assert_pending!(waits.poll());
    assert_eq!(reserved.ready_in(), ms(2_000), "it has filled by then");
    let refused = limiter.try_acquire(1).unwrap_err();
    assert_eq!((refused.ready_in(), limiter.available()), (Some(ms(2_100)), 0));
    advance(ms(1_999)).await;
    assert_pending!(waits.poll());
    waits.await;
    reserved.ready().await;
    assert_eq!(start.elapsed(), ms(2_000));
    limiter.ready().await;
    assert_eq!(start.elapsed(), ms(2_100), "a burst, not two seconds");
    // What was granted and not collected is not granted.
    let mut granted = limiter.reserve(1).unwrap();
    advance(ms(100)).await;
    assert_eq!(granted.ready_in(), ms(0));
    limiter.pause_for(ms(50));
    assert_eq!(granted.ready_in(), ms(50));
    granted.ready().await;
    assert_eq!(start.elapsed(), ms(2_250));
    // No end, and no limit.
    let limiter = Limiter::unlimited();
    limiter.pause_for(ms(10));
    assert_eq!(limiter.try_acquire(7).unwrap_err().ready_in(), Some(ms(10)));
    limiter.acquire(7).await.unwrap();
    assert_eq!(start.elapsed(), ms(2_260));
    limiter.pause_for(Duration::MAX);
    assert_eq!(limiter.acquire(1).within(ms(1)).await.unwrap_err().ready_in(), None);
}
