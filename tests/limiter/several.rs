//! Permits of several limiters, taken together or not at all.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::{Limiter, Stop, queue::TimedQueue, retry};
use tokio::time::{Instant, sleep, timeout};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// When it came through both, in milliseconds.
async fn call(limiters: &[&Limiter]) -> u64 {
    let start = Instant::now();
    let mut run = retry(async |_| Ok::<_, &str>(start.elapsed().as_millis() as u64)).throttle(limiters[0]);
    for limiter in &limiters[1..] {
        run = run.throttle(limiter);
    }
    run.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_one_does_not_grant_is_not_taken_from_the_other() {
    let (slow, fast) = (Limiter::per_second(1), Limiter::per_second(100).burst(3));
    for limiters in [[&slow, &fast], [&fast, &slow]] {
        assert_eq!(call(&limiters).await, 0);
        let late =
            retry(async |_| Ok::<_, &str>(())).throttle(limiters[0]).throttle(limiters[1]).finish_within(ms(999));
        let stop = late.await.unwrap_err();
        assert!(matches!(stop.stop(), Stop::Limiter { ready_in, .. } if *ready_in == ms(1000)), "{stop:?}");
        assert_eq!((slow.waiters(), fast.waiters()), (0, 0));
        assert_eq!(fast.available(), 2, "only the first has come through");
        assert_eq!(call(&limiters).await, 1000);
        sleep(ms(1000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_is_heeded_and_nothing_is_lost() {
    let (a, b) = (Limiter::per_second(10), Limiter::per_second(4).burst(2));
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let (a, b) = (a.clone(), b.clone());
            tokio::spawn(async move { call(&[&a, &b]).await })
        })
        .collect();
    let mut at = Vec::new();
    for call in calls {
        at.push(call.await.unwrap());
    }
    // Two by the first's tempo, the others by the second's.
    assert_eq!(at, [0, 100, 250, 500, 750, 1000]);
}

#[tokio::test(start_paused = true)]
async fn the_same_limiter_twice_is_asked_once() {
    let limiter = Limiter::per_second(10);
    assert_eq!(call(&[&limiter, &limiter]).await, 0);
    assert_eq!(call(&[&limiter, &limiter]).await, 100);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_polled_or_leaves_while_it_holds_a_turn_holds_up_none() {
    let (slow, fast) = (Limiter::per_second(1), Limiter::per_second(100));
    slow.try_acquire(1).unwrap();
    // It holds its turn before the fast one until the slow one lets it.
    let holds = retry(async |_| Ok::<_, &str>(())).throttle(&slow).throttle(&fast).into_future();
    let mut holds = Box::pin(holds);
    assert!(timeout(ms(100), holds.as_mut()).await.is_err());
    let behind = tokio::spawn({
        let fast = fast.clone();
        async move { call(&[&fast]).await }
    });
    sleep(ms(100)).await;
    assert_eq!((fast.waiters(), slow.waiters()), (2, 1));
    drop(holds);
    assert_eq!(behind.await.unwrap(), 100, "at once when that one leaves");
    let holds = retry(async |_| Ok::<_, &str>(())).throttle(&slow).throttle(&fast).into_future();
    let mut holds = Box::pin(holds);
    assert!(timeout(ms(100), holds.as_mut()).await.is_err());
    std::mem::forget(holds);
    assert_eq!(call(&[&fast]).await, 710, "after the turn that one does not take, and its permit");
    assert_eq!(slow.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_got_too_old_while_another_held_its_own_stands_in_line_once() {
    let (slow, fast) = (Limiter::per_second(1), Limiter::per_second(200));
    slow.try_acquire(1).unwrap();
    let mut late = fast.reserve(1).unwrap();
    // It is granted at 5 ms and holds that until the slow one lets it.
    let holds = tokio::spawn({
        let (slow, fast) = (slow.clone(), fast.clone());
        async move { call(&[&slow, &fast]).await }
    });
    sleep(ms(200)).await;
    assert_eq!((fast.waiters(), slow.waiters()), (1, 1));
    // Ahead of the one that holds, as it has always been.
    let start = Instant::now();
    late.ready().await;
    assert_eq!((start.elapsed(), fast.waiters()), (ms(0), 1));
    // What it took comes in again, and no more was taken.
    drop(late);
    assert_eq!(holds.await.unwrap(), 1000);
    assert_eq!((fast.waiters(), fast.available()), (0, 0));
    sleep(ms(5)).await;
    assert_eq!(fast.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_one_held_up_runs_over_and_is_not_there_when_it_leaves() {
    let (slow, fast) = (Limiter::per_second(1), Limiter::per_second(100).burst(2));
    slow.reserve(1).unwrap().spend();
    slow.reserve(1).unwrap().spend();
    let holds = retry(async |_| Ok::<_, &str>(())).throttle(&slow).throttle(&fast).into_future();
    let mut holds = Box::pin(holds);
    assert!(timeout(ms(1), holds.as_mut()).await.is_err());
    let start = Instant::now();
    let behind: Vec<_> = (0..6)
        .map(|_| {
            let fast = fast.clone();
            tokio::spawn(async move {
                fast.ready().await;
                start.elapsed().as_millis()
            })
        })
        .collect();
    sleep(ms(700)).await;
    drop(holds);
    let mut at = Vec::new();
    for wait in behind {
        at.push(wait.await.unwrap());
    }
    assert_eq!(at, [700, 700, 710, 720, 730, 740]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_asks_both() {
    let (a, b) = (Limiter::per_second(10), Limiter::per_second(4));
    let mut queue: TimedQueue<u32, ()> = TimedQueue::new();
    let handle = queue.handle();
    for key in 0..4 {
        let _ = handle.schedule(key, (), Duration::ZERO);
    }
    drop(handle);
    let (start, times) = (Instant::now(), Mutex::new(Vec::new()));
    let run = queue.run(|_| {
        times.lock().unwrap().push(start.elapsed().as_millis());
        async { Ok::<_, String>(()) }
    });
    let _ = run.throttle(&a).throttle(&b).await;
    assert_eq!(*times.lock().unwrap(), [0, 250, 500, 750]);
}

/// Many runs with one to three of three limiters in any order, a quarter of them dropped in the middle, some stalls: no
/// law is broken, none is stuck, nothing is left behind.
#[test]
fn random_runs_break_no_law_and_never_get_stuck() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rates = [(100, 1), (10, 1 + random.u32(0..3)), (50, 2)];
            let limiters = rates.map(|(rate, burst)| Limiter::per_second(rate).burst(burst));
            let out: Arc<Mutex<Vec<(u64, usize)>>> = Arc::default();
            let start = Instant::now();
            let mut tasks = Vec::new();
            for _ in 0..40 {
                let mut own: Vec<usize> = (0..3).collect();
                random.shuffle(&mut own);
                own.truncate(random.usize(1..=3));
                let own_limiters: Vec<_> = own.iter().map(|which| limiters[*which].clone()).collect();
                let (out, patience) = (out.clone(), random.u64(1..3_000));
                let patience = if random.u8(0..4) == 0 { ms(patience) } else { Duration::from_secs(100) };
                let delay = ms(random.u64(0..500));
                tasks.push(tokio::spawn(async move {
                    sleep(delay).await;
                    let mut run = retry(async |_| {
                        let now = start.elapsed().as_nanos() as u64;
                        out.lock().unwrap().extend(own.iter().map(|which| (now, *which)));
                        Ok::<_, &str>(())
                    })
                    .throttle(&own_limiters[0]);
                    for limiter in &own_limiters[1..] {
                        run = run.throttle(limiter);
                    }
                    timeout(patience, run).await.is_ok() || patience < Duration::from_secs(100)
                }));
            }
            for _ in 0..random.u32(0..4) {
                sleep(ms(random.u64(0..1_000))).await;
                tokio::time::advance(ms(random.u64(0..2_000))).await;
            }
            for task in tasks {
                assert!(task.await.unwrap(), "stuck: seed {seed}, {limiters:?}");
            }
            assert_eq!(limiters.each_ref().map(Limiter::waiters), [0; 3]);
            let out = out.lock().unwrap();
            for (which, (rate, burst)) in rates.into_iter().enumerate() {
                let times: Vec<_> = out.iter().filter(|(_, of)| *of == which).map(|(at, _)| *at).collect();
                for (index, from) in times.iter().enumerate() {
                    for (more, to) in times[index..].iter().enumerate() {
                        let flowed = u64::from(rate) * (to - from + 10_000_001) / 1_000_000_000;
                        assert!((more as u64) < u64::from(burst) + flowed, "seed {seed}, {which}: {from} to {to}");
                    }
                }
            }
        });
    }
}
