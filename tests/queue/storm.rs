//! Runs that are dropped at random times and panic at random places: no value is lost, and no key runs twice at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Mutex,
    task::Poll,
    time::Duration,
};

use relent::{
    Backoff, Budget, Jitter, Ratio, TimedQueue,
    queue::{ItemEvent, Job, QueueHandle, RunWorkerFuture},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn doubling() -> TimedQueue<&'static str, u32> {
    TimedQueue::new().backoff(Backoff::exponential(10 * MS, 3600 * S).jitter(Jitter::None))
}

/// One that drops the run at a random time, over and over: every value is done or comes back, and no key runs twice at
/// once.
#[test]
fn nothing_is_lost_in_runs_that_are_dropped_and_panic() {
    let seed = crate::first_seed();
    let cases = std::env::var("PROPTEST_CASES").map_or(300, |cases| cases.parse().unwrap());
    let (mut dropped, mut panicked) = (0, 0);
    for case in 0..cases {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(case));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(storm(&mut rng))));
        let Ok((drops, panics)) = ran else { panic!("RELENT_SEED={}", seed.wrapping_add(case)) };
        (dropped, panicked) = (dropped + drops, panicked + panics);
    }
    println!("{cases} storms from RELENT_SEED={seed}: {dropped} runs dropped, {panicked} panics");
    assert!(dropped > cases && panicked > cases);
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

async fn storm(rng: &mut fastrand::Rng) -> (u64, u64) {
    let budget = Budget::ratio(Ratio::ZERO).reserve(1000);
    let mut queue = doubling().max_attempts(3);
    let handle = queue.handle();
    let dice = Mutex::new(fastrand::Rng::with_seed(rng.u64(..)));
    let roll = |one_in: u32| dice.lock().unwrap().u32(..one_in) == 0;
    let (given, back, done) = (Mutex::new(0_u32), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let give = |handle: &QueueHandle<&'static str, u32>| {
        let mut given = given.lock().unwrap();
        *given += 1;
        let (key, due, way) = {
            let mut dice = dice.lock().unwrap();
            (KEYS[dice.usize(..4)], dice.u32(..30) * MS, dice.u8(..4))
        };
        let scheduled = match way {
            0 => handle.schedule(key, *given, due),
            1 => handle.reschedule(key, *given, due),
            2 => handle.bring_forward(key, *given, due),
            _ => handle.begin_anew(key, *given, due),
        };
        use relent::queue::Scheduled::{AfterCurrentRun, Closed, Kept, Moved};
        if let Kept { value, .. }
        | Moved { value, .. }
        | Closed { value, .. }
        | AfterCurrentRun { replaced: Some((_, value)) } = scheduled
        {
            back.lock().unwrap().push(value);
        }
    };
    let running = Mutex::new(std::collections::BTreeSet::new());
    let (mut drops, mut panics) = (0, 0);
    for _ in 0..20 {
        (0..rng.u8(..5)).for_each(|_| give(&handle));
        let work = queue.run(|job: Job<&'static str, u32>| {
            assert!(running.lock().unwrap().insert(job.key), "{} runs twice at once", job.key);
            let key = job.key;
            let running = &running;
            let ended = OnEnd(move || assert!(running.lock().unwrap().remove(key)));
            assert!(!roll(20), "worker");
            if roll(5) {
                give(&handle);
            }
            let (panics, fails) = (roll(20), roll(2));
            let lasts = dice.lock().unwrap().u32(..20);
            async move {
                let _ended = ended;
                tokio::time::sleep(lasts * MS).await;
                assert!(!panics, "future");
                if fails { Err(job.value) } else { Ok(()) }
            }
        });
        let work = work
            .concurrency(3)
            .unwrap()
            .budget(&budget)
            .when(|_| {
                assert!(!roll(20), "classify");
                !roll(10)
            })
            .notify(|outcome| {
                if let ItemEvent::Done { value, .. } = outcome {
                    done.lock().unwrap().push(*value);
                }
                assert!(!roll(20), "listener");
            });
        let mut working: Pin<Box<RunWorkerFuture<'_, _, _, _, _>>> = Box::pin(work.into_future());
        let time = tokio::time::sleep(rng.u32(1..60) * MS);
        let mut time = std::pin::pin!(time);
        loop {
            let ended = std::future::poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(cx)));
                match polled {
                    Err(_) => Poll::Ready(None),
                    Ok(Poll::Ready(_)) => unreachable!("there is a handle"),
                    Ok(Poll::Pending) => time.as_mut().poll(cx).map(Some),
                }
            })
            .await;
            panics += u64::from(ended.is_none());
            if ended.is_some() || rng.bool() {
                break;
            }
        }
        drop(working);
        drops += 1;
        assert!(running.lock().unwrap().is_empty() && handle.running() == 0);
        back.lock().unwrap().extend(queue.take_given_up().into_iter().map(|back| back.value));
    }
    let mut all = back.into_inner().unwrap();
    all.extend(handle.cancel_all().into_iter().map(|(_, value, _)| value));
    all.extend(done.into_inner().unwrap());
    all.sort_unstable();
    let given = given.into_inner().unwrap();
    assert_eq!(all, (1..=given).collect::<Vec<_>>(), "each value once");
    (drops, panics)
}

struct OnEnd<F: FnMut()>(F);
impl<F: FnMut()> Drop for OnEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
