//! `golang.org/x/time/rate`, and client-go's `flowcontrol` on top of it.

use std::time::Duration;

use relent::{
    Limiter, Rate,
    limiter::{Refused, Reservation},
};
use tokio::time::{Instant, advance};

use super::{MS, SECOND};

/// `rate.Limiter`: tokens as floats, and below zero what is reserved. A reservation is an instant, and nothing moves
/// it.
struct GoLimiter {
    limit: f64,
    burst: f64,
    tokens: f64,
    last: Duration,
    /// When the latest reservation may act.
    last_event: Duration,
}

impl GoLimiter {
    fn new(limit: u32, burst: u32) -> Self {
        let (limit, burst) = (f64::from(limit), f64::from(burst));
        Self { limit, burst, tokens: burst, last: Duration::ZERO, last_event: Duration::ZERO }
    }

    fn advanced(&self, now: Duration) -> f64 {
        self.burst.min(self.tokens + (now - self.last).as_secs_f64() * self.limit)
    }

    /// `reserveN`: when it may act, if that is within `wait`.
    fn reserve(&mut self, now: Duration, permits: u32, wait: Duration) -> Option<Duration> {
        let tokens = self.advanced(now) - f64::from(permits);
        let delay = if tokens < 0.0 { Duration::from_secs_f64(-tokens / self.limit) } else { Duration::ZERO };
        if f64::from(permits) > self.burst || delay > wait {
            return None;
        }
        (self.tokens, self.last, self.last_event) = (tokens, now, now + delay);
        Some(now + delay)
    }

    /// `CancelAt`: what was reserved after it is taken for lost.
    fn cancel(&mut self, now: Duration, acts: Duration, permits: u32) {
        let after = (self.last_event - acts).as_secs_f64() * self.limit;
        let restored = f64::from(permits) - after;
        if acts >= now && restored > 0.0 {
            self.tokens = self.burst.min(self.advanced(now) + restored);
            self.last = now;
        }
    }
}

/// `Allow`, `AllowN`, `TryAccept`. Steps of 1/512 s and rates that are powers of two: so Go's floats are exact as well.
#[tokio::test(start_paused = true)]
async fn the_same_permits_are_there_at_the_same_instants() {
    for (rate, burst) in [(1, 1), (4, 1), (8, 3), (64, 20), (512, 512), (1, 100)] {
        let (own, mut go) = (Limiter::new(Rate::per_second(rate), burst), GoLimiter::new(rate, burst));
        let (began, mut rng) = (Instant::now(), fastrand::Rng::with_seed(u64::from(rate)));
        for _ in 0..3000 {
            advance(Duration::from_nanos(1_953_125) * rng.u32(..1500 / rate + 2)).await;
            let permits = rng.u32(1..burst.min(4) + 2);
            let theirs = go.reserve(began.elapsed(), permits, Duration::ZERO).is_some();
            assert_eq!(own.try_acquire(permits).is_ok(), theirs, "{rate}/s, burst {burst}, {:?}", began.elapsed());
        }
    }
}

/// client-go's defaults, 5 a second and 10 at once: twenty that come together get theirs at the same instants.
#[tokio::test(start_paused = true)]
async fn those_that_wait_go_at_the_same_instants() {
    for (rate, burst) in [(5, 10), (5, 1), (100, 3)] {
        let (own, mut go) = (Limiter::new(Rate::per_second(rate), burst), GoLimiter::new(rate, burst));
        let began = Instant::now();
        let waits = (0..20).map(|_| async {
            own.acquire(1).await.unwrap();
            began.elapsed()
        });
        let granted = futures_util::future::join_all(waits).await;
        let theirs: Vec<_> = (0..20).map(|_| go.reserve(Duration::ZERO, 1, Duration::MAX).unwrap()).collect();
        assert_eq!(granted, theirs, "{rate}/s, burst {burst}");
    }
}

/// "would exceed context deadline" and "exceeds limiter's burst": at once, and nothing is taken. What is ready just at
/// the end of the wait is in time.
#[tokio::test(start_paused = true)]
async fn what_would_come_too_late_is_refused_at_once() {
    let (own, mut go) = (Limiter::per_second(5), GoLimiter::new(5, 1));
    own.try_acquire(1).unwrap();
    go.reserve(Duration::ZERO, 1, Duration::ZERO).unwrap();
    let began = Instant::now();
    for (wait, ready) in
        [(199 * MS, false), (Duration::ZERO, false), (200 * MS, true), (399 * MS, false), (400 * MS, true)]
    {
        let theirs = go.reserve(Duration::ZERO, 1, wait);
        assert_eq!(theirs.is_some(), ready);
        match own.reserve(1).unwrap().within(wait) {
            Ok(held) => {
                assert_eq!(Some(held.ready_in()), theirs);
                held.spend();
            }
            Err(refused) => assert!(!ready && refused.ready_in() > Some(wait), "{refused}"),
        }
    }
    let refused = own.acquire(1).within(SECOND / 2).await.unwrap_err();
    assert_eq!((refused.ready_in(), began.elapsed()), (Some(600 * MS), Duration::ZERO));
    assert!(go.reserve(Duration::ZERO, 2, Duration::MAX).is_none());
    assert!(matches!(own.acquire(2).await, Err(Refused::OverBurst { asked: 2, burst: 1, .. })));
}

/// The first of three reservations is cancelled. Go's others keep their instants, and the permit is lost.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_moves_those_behind_up() {
    let (own, mut go) = (Limiter::per_second(5), GoLimiter::new(5, 1));
    own.try_acquire(1).unwrap();
    go.reserve(Duration::ZERO, 1, Duration::ZERO).unwrap();
    let [first, second, third] = [1, 2, 3].map(|_| own.reserve(1).unwrap());
    let theirs = [1, 2, 3].map(|_| go.reserve(Duration::ZERO, 1, Duration::MAX).unwrap());
    assert_eq!([&first, &second, &third].map(Reservation::ready_in), theirs);
    drop(first);
    go.cancel(Duration::ZERO, theirs[0], 1);
    assert_eq!([&second, &third].map(Reservation::ready_in), [200 * MS, 400 * MS]);
    assert_eq!(go.reserve(Duration::ZERO, 1, Duration::MAX), Some(800 * MS));
    assert_eq!(own.reserve(1).unwrap().ready_in(), 600 * MS);
    // Of the last one Go gives back all, and so do we.
    let (own, mut go) = (Limiter::per_second(5), GoLimiter::new(5, 1));
    own.try_acquire(1).unwrap();
    go.reserve(Duration::ZERO, 1, Duration::ZERO).unwrap();
    drop(own.reserve(1).unwrap());
    let last = go.reserve(Duration::ZERO, 1, Duration::MAX).unwrap();
    go.cancel(Duration::ZERO, last, 1);
    assert_eq!(Some(own.reserve(1).unwrap().ready_in()), go.reserve(Duration::ZERO, 1, Duration::MAX));
}

/// `SetLimit`, `SetBurst`: Go leaves what was reserved where it was.
#[tokio::test(start_paused = true)]
async fn a_new_rate_is_for_those_that_wait_too() {
    let own = Limiter::per_second(5);
    own.try_acquire(1).unwrap();
    let held = [own.reserve(1).unwrap(), own.reserve(1).unwrap()];
    own.set_rate(Rate::per_second(10));
    assert_eq!(held.each_ref().map(Reservation::ready_in), [100 * MS, 200 * MS]);
    own.set_burst(3);
    assert!(own.reserve(3).is_ok());
}
