//! Many that wait.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use relent::{Limiter, Rate};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};

use super::waiting::{ms, now};

#[tokio::test(start_paused = true)]
async fn a_million_a_second_come_in_batches_without_drift() {
    let limiter = Limiter::per_second(1_000_000);
    limiter.ready().await;
    // A thousand in each tick of the timer.
    let at = Instant::now();
    let wait = || {
        let limiter = limiter.clone();
        async move { limiter.acquire(1).within(ms(1000)).await }
    };
    let list: Vec<_> = (0..100_000).map(|_| tokio::spawn(wait())).collect();
    let mut done = 0;
    for task in list {
        task.await.unwrap().unwrap();
        done += 1;
        let spent = at.elapsed().as_micros();
        assert!(done <= spent + 1 && spent <= done.div_ceil(1000) * 1000, "{done} after {spent} us");
    }
    assert_eq!(at.elapsed(), ms(100));
}

/// Ten thousand wait for different numbers of permits, some leave at random: none overtakes, nothing is lost, none is
/// polled more often than need be.
async fn ten_thousand(leave: bool) -> (usize, f64) {
    let limiter = Limiter::per_second(10_000).burst(4);
    limiter.acquire(4).await.unwrap();
    let start = Instant::now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let polls = Arc::new(AtomicUsize::new(0));
    let mut random = fastrand::Rng::with_seed(7);
    let mut asked = 0_u64;
    let mut tasks = Vec::new();
    for waiter in 0..10_000_u32 {
        let permits = random.u32(1..=4);
        let (limiter, order, polls) = (limiter.clone(), order.clone(), polls.clone());
        let patience = (leave && random.bool()).then(|| ms(random.u64(0..1500)));
        let task = tokio::spawn(async move {
            let mut wait = pin!(limiter.acquire(permits));
            let counted = std::future::poll_fn(|cx| {
                polls.fetch_add(1, Relaxed);
                wait.as_mut().poll(cx)
            });
            let granted = match patience {
                Some(patience) => tokio::time::timeout(patience, counted).await.is_ok(),
                None => {
                    counted.await.unwrap();
                    true
                }
            };
            if granted {
                order.lock().unwrap().push((waiter, permits, Instant::now()));
            }
        });
        tasks.push(task);
        asked += u64::from(permits);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut order = order.lock().unwrap();
    let granted: u64 = order.iter().map(|(_, permits, _)| u64::from(*permits)).sum();
    if leave {
        assert!(granted < asked);
    } else {
        assert_eq!(granted, asked);
        // The last came when everything before it was there, by the millisecond of the timer.
        assert_eq!(start.elapsed(), ms(asked.div_ceil(10)));
    }
    // Those that go within one tick of the timer go at one instant.
    order.sort_by_key(|(waiter, ..)| *waiter);
    let inversions = order.windows(2).filter(|pair| pair[0].2 > pair[1].2).count();
    assert_eq!(limiter.waiters(), 0);
    assert!(limiter.available() <= 4);
    // Nothing was lost: the next permit is there when the ideal count says so.
    let ideal = start.elapsed().as_micros() as u64 / 100;
    assert!(granted <= ideal + 4, "{granted} of {ideal}");
    (inversions, polls.load(Relaxed) as f64 / 10_000.0)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_and_none_overtakes() {
    let (inversions, polls) = ten_thousand(false).await;
    println!("10000 waiters: {inversions} inversions, {polls:.2} polls each");
    assert_eq!(inversions, 0);
    assert!(polls <= 2.01);
    let (inversions, polls) = ten_thousand(true).await;
    println!("10000 waiters, half of them impatient: {inversions} inversions, {polls:.2} polls each");
    assert_eq!(inversions, 0);
    assert!(polls <= 3.5);
}

#[tokio::test(start_paused = true)]
async fn those_that_come_and_go_behind_a_slow_first_leave_no_memory_behind() {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    limiter.ready().await;
    let mut first = task::spawn(limiter.ready());
    assert_pending!(first.poll());
    for _ in 0..100_000 {
        assert!(now(limiter.ready()).is_pending());
    }
    assert_eq!(limiter.waiters(), 1);
    advance(Duration::from_secs(3600)).await;
    assert_ready!(first.poll());
}
