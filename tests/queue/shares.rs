//! What a queue shares with others: a limiter.

use std::{
    future::{Ready, ready},
    sync::Mutex,
    time::Duration,
};

use relent::{
    Backoff, Jitter, Limiter, Policy, Rate, Stop, TimedQueue,
    queue::{Cancelled, Job, QueueHandle, Scheduled},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) fn queue() -> TimedQueue<u32, u32> {
    TimedQueue::new().backoff(Backoff::fixed(10 * MS).jitter(Jitter::None)).max_attempts(3)
}

pub(super) fn schedule(handle: &QueueHandle<u32, u32>, key: u32, due: u32) {
    assert_eq!(handle.schedule(key, key, due * MS), Scheduled::New);
}

/// What started when.
#[derive(Default)]
pub(super) struct Starts(Mutex<Vec<(u32, u128)>>);

impl Starts {
    pub(super) fn note(&self, key: u32, begin: Instant) {
        self.0.lock().unwrap().push((key, begin.elapsed().as_millis()));
    }

    /// Work that notes its key, and is done.
    fn work(&self, begin: Instant) -> impl FnMut(Job<u32, u32>) -> Ready<Result<(), ()>> {
        move |job| {
            self.note(job.key, begin);
            ready(Ok(()))
        }
    }

    pub(super) fn all(&self) -> Vec<(u32, u128)> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_starts_than_the_limiter_allows_and_in_order() {
    let limiter = Limiter::per_second(10).burst(3);
    let mut queue = queue();
    let handle = queue.handle();
    for (key, due) in [(1, 5), (2, 0), (3, 5), (4, 3), (5, 0), (6, 250), (7, 2000)] {
        schedule(&handle, key, due);
    }
    drop(handle);
    let (starts, begin) = (Starts::default(), Instant::now());
    let work = queue.run(starts.work(begin));
    let finished = work.concurrency(4).unwrap().throttle(&limiter).await;
    assert_eq!(starts.all(), [(2, 0), (5, 0), (4, 3), (1, 100), (3, 200), (6, 300), (7, 2000)]);
    assert!(finished.given_up.is_empty());
    assert_eq!((limiter.waiters(), limiter.available()), (0, 2));
}

/// Attempts that fail take a permit each time, and wait for it without a timeout of theirs running.
#[tokio::test(start_paused = true)]
async fn every_attempt_takes_a_permit_and_the_wait_is_not_the_attempts() {
    let limiter = Limiter::per_second(10);
    let mut queue = queue().attempt_timeout(50 * MS);
    schedule(&queue.handle(), 1, 0);
    let (starts, begin) = (Starts::default(), Instant::now());
    let work = queue.run(|job: Job<u32, u32>| {
        starts.note(job.attempt.number(), begin);
        async {
            sleep(40 * MS).await;
            Err::<(), _>("no")
        }
    });
    let finished = work.throttle(&limiter).await;
    assert_eq!(starts.all(), [(1, 0), (2, 100), (3, 200)]);
    assert_eq!(finished.given_up[0].error.last_error(), Some(&"no"), "no attempt was cut");
}

#[tokio::test(start_paused = true)]
async fn a_queue_waits_its_turn_among_others() {
    let limiter = Limiter::per_second(10);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    drop(handle);
    let (starts, begin) = (Starts::default(), Instant::now());
    let others = async {
        sleep(50 * MS).await;
        limiter.acquire(1).await.unwrap();
        starts.note(77, begin);
    };
    let work = queue.run(starts.work(begin));
    let _ = tokio::join!(work.throttle(&limiter).into_future(), others);
    assert_eq!(starts.all(), [(1, 100), (77, 200), (2, 300)]);
}

/// Which item starts is decided when the permit comes: what is moved, brought forward or cancelled until then is.
#[tokio::test(start_paused = true)]
async fn what_waits_for_the_limiter_can_be_moved_and_cancelled() {
    let limiter = Limiter::per_second(10);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue();
    let handle = queue.handle();
    let (starts, begin) = (Starts::default(), Instant::now());
    (1..=4).for_each(|key| schedule(&handle, key, 0));
    let work = queue.run(starts.work(begin));
    let mut working = task::spawn(work.concurrency(4).unwrap().throttle(&limiter).into_future());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1, "one place for the item that is first");
    assert!(matches!(handle.cancel(&1), Cancelled::Removed { value: 1, .. }));
    assert!(matches!(handle.reschedule(2, 22, 150 * MS), Scheduled::Moved { value: 2, .. }));
    let earlier = begin.checked_sub(MS).unwrap();
    assert!(matches!(handle.bring_forward(4, 44, earlier), Scheduled::Moved { value: 4, .. }));
    for _ in 0..4 {
        assert_pending!(working.poll());
        advance(100 * MS).await;
    }
    assert_pending!(working.poll());
    assert_eq!(starts.all(), [(4, 100), (3, 200), (2, 300)]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_leaves_the_limiters_line_at_once() {
    let limiter = Limiter::per_second(10);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    let mut working =
        task::spawn(queue.run(|_| async { panic!("started") as Result<(), ()> }).throttle(&limiter).into_future());
    assert_pending!(working.poll());
    let mut behind = task::spawn(limiter.acquire(1));
    assert_pending!(behind.poll());
    assert_eq!(limiter.waiters(), 2);
    let _ = handle.cancel(&1);
    assert!(working.is_woken());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 2, "the second is still due");
    assert_eq!(handle.cancel_all().len(), 1);
    assert!(working.is_woken());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1);
    advance(100 * MS).await;
    assert!(behind.poll().is_ready(), "the waiter behind moves up");
    // Postponed is the same.
    schedule(&handle, 3, 0);
    assert!(working.is_woken());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1);
    let _ = handle.reschedule(3, 3, 500 * MS);
    assert!(working.is_woken());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 0);
}

/// A permit that came while no task polled goes back when there is nothing to start any more.
#[tokio::test(start_paused = true)]
async fn an_unused_permit_goes_back() {
    let limiter = Limiter::per_second(10);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    let mut working = task::spawn(queue.run(|_| async { Ok::<_, ()>(()) }).throttle(&limiter).into_future());
    assert_pending!(working.poll());
    advance(100 * MS).await;
    let _ = handle.cancel(&1);
    assert_eq!(limiter.available(), 0, "it is the queue's");
    assert_pending!(working.poll());
    assert_eq!((limiter.available(), limiter.waiters()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn shutdown_and_drop_leave_the_line() {
    let limiter = Limiter::per_second(10);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    let mut working = task::spawn(queue.run(|_| async { Ok::<_, ()>(()) }).throttle(&limiter).into_future());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1);
    drop(working);
    assert_eq!((limiter.waiters(), handle.len()), (0, 1));

    let token = CancellationToken::new();
    let work = queue.run(|_| async { Ok::<_, ()>(()) });
    let mut working = task::spawn(work.throttle(&limiter).cancel_on(token.clone()).into_future());
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1);
    token.cancel();
    assert!(working.is_woken());
    let std::task::Poll::Ready(finished) = working.poll() else { panic!("nothing runs") };
    assert_eq!((finished.waiting.len(), limiter.waiters()), (1, 0));
}

/// While something still runs, a queue that shuts down holds no place either.
#[tokio::test(start_paused = true)]
async fn shutdown_leaves_the_line_while_something_runs() {
    let limiter = Limiter::per_second(10);
    let mut queue = queue();
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 0);
    let token = CancellationToken::new();
    let work = queue.run(|_| std::future::pending::<Result<(), ()>>()).concurrency(2).unwrap();
    let mut working = task::spawn(work.throttle(&limiter).cancel_on(token.clone()).into_future());
    assert_pending!(working.poll());
    assert_eq!((handle.running(), limiter.waiters()), (1, 1));
    token.cancel();
    assert_pending!(working.poll());
    assert_eq!((handle.running(), limiter.waiters()), (1, 0));
}

/// A try that the limiter puts beyond its bounds is given up when that is known; others wait on.
#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_fit_ends_the_item_at_once() {
    let limiter = Limiter::per_second(1);
    let policy = Policy::new().backoff(Backoff::fixed(10 * MS).jitter(Jitter::None)).start_within(50 * MS);
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    schedule(&handle, 2, 20);
    drop(handle);
    let (starts, begin) = (Starts::default(), Instant::now());
    let told = Starts::default();
    let work = queue.run(|job: Job<u32, u32>| {
        starts.note(job.key, begin);
        async move { if job.key == 1 { Err("luckless") } else { Ok(()) } }
    });
    let mut back = Vec::new();
    let work = work.throttle(&limiter).notify(|outcome| {
        if let relent::queue::ItemEvent::GaveUp(given_up) = outcome {
            told.note(given_up.key, begin);
        }
    });
    let finished = work.on_given_up(|given_up| back.push(given_up)).await;
    assert_eq!(starts.all(), [(1, 0), (2, 1000)], "a first attempt waits as long as it takes");
    assert_eq!(told.all(), [(1, 10)]);
    let given_up = back.pop().unwrap();
    assert_eq!((given_up.value, given_up.error.last_error()), (1, Some(&"luckless")));
    let Stop::Limiter { ready_in, allowed, .. } = given_up.error.stop() else { panic!("{:?}", given_up.error) };
    assert_eq!((*ready_in, *allowed), (990 * MS, 40 * MS));
    assert_eq!((given_up.error.attempts(), given_up.error.elapsed()), (1, 10 * MS));
    assert!(finished.given_up.is_empty());
}

/// At the last instant that the window allows is in time; one nanosecond before the hard bound, too.
#[tokio::test(start_paused = true)]
async fn a_wait_that_just_fits() {
    for (policy, fits) in [
        (Policy::new().start_within(100 * MS), true),
        (Policy::new().start_within(99 * MS), false),
        (Policy::new().finish_within(101 * MS), true),
        (Policy::new().finish_within(100 * MS), false),
    ] {
        let limiter = Limiter::per_second(10);
        let mut queue = TimedQueue::new().policy(&policy.clone().backoff(Backoff::fixed(MS)).max_attempts(2));
        schedule(&queue.handle(), 1, 0);
        let finished = queue.run(|_| async { Err::<(), _>(()) }).throttle(&limiter).await;
        let attempts = finished.given_up[0].error.attempts();
        assert_eq!(attempts, if fits { 2 } else { 1 }, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_changes_its_rate() {
    let limiter = Limiter::new(Rate::ZERO, 1);
    limiter.try_acquire(1).unwrap();
    let mut queue = queue().start_within(500 * MS);
    let handle = queue.handle();
    schedule(&handle, 1, 0);
    let (starts, begin) = (Starts::default(), Instant::now());
    let work = queue.run(|job: Job<u32, u32>| {
        starts.note(job.attempt.number(), begin);
        async { Err::<(), _>("no") }
    });
    let mut working = task::spawn(work.throttle(&limiter).into_future());
    assert_pending!(working.poll());
    advance(10_000 * MS).await;
    assert_pending!(working.poll());
    limiter.set_rate(Rate::per_second(10));
    assert!(working.is_woken());
    assert_pending!(working.poll());
    advance(100 * MS).await;
    assert_pending!(working.poll());
    assert_eq!(starts.all(), [(1, 10_100)]);
    // Its second attempt is in line; then there are no permits any more, and it cannot wait for ever.
    advance(10 * MS).await;
    assert_pending!(working.poll());
    assert_eq!(limiter.waiters(), 1);
    limiter.set_rate(Rate::ZERO);
    assert!(working.is_woken());
    drop(handle);
    let std::task::Poll::Ready(finished) = working.poll() else { panic!("it is given up") };
    let stop = finished.given_up[0].error.stop();
    assert!(matches!(stop, Stop::Limiter { ready_in: Duration::MAX, allowed, .. } if *allowed == 490 * MS), "{stop:?}");
    assert_eq!(limiter.waiters(), 0);
}
