//! `Limiter` beside governor (with the clock of the standard library, as everyone else here) and leaky-bucket.

use std::{
    cell::Cell,
    future::poll_fn,
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::MonotonicClock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use relent::{Limiter, Rate};
use tokio::{runtime::Runtime, task::LocalSet};

use crate::measure::{Figure, Row, Unit, Work, runtime};

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// More than anybody can take.
const PLENTY: u32 = 1_000_000_000;

pub fn works() -> Vec<Work> {
    let rows = || vec![Row::Instructions(Some(150)), Row::Nanoseconds(None), Row::Allocations(Some(0))];
    let work = |name, relent, peers, rows| Work { name, bare: None, relent, hand: None, peers, rows, times: 1000 };
    vec![
        work(
            "limiter, try_acquire",
            |_, n| {
                let limiter = relent(PLENTY, PLENTY);
                (0..n).for_each(|_| black_box(&limiter).try_acquire(1).unwrap());
            },
            vec![
                ("governor", |_, n| {
                    let limiter = governor(PLENTY, PLENTY);
                    (0..n).for_each(|_| black_box(&limiter).check().unwrap());
                }),
                ("leaky-bucket", |rt, n| {
                    let limiter = leaky(PLENTY, PLENTY);
                    rt.block_on(async { (0..n).for_each(|_| assert!(black_box(&limiter).try_acquire(1))) });
                }),
            ],
            rows(),
        ),
        work(
            "limiter, acquire that is ready",
            |rt, n| {
                let limiter = relent(PLENTY, PLENTY);
                rt.block_on(async {
                    for _ in 0..n {
                        _ = black_box(black_box(&limiter).acquire(1).await);
                    }
                });
            },
            vec![
                ("governor", |rt, n| {
                    let limiter = governor(PLENTY, PLENTY);
                    rt.block_on(async {
                        for _ in 0..n {
                            black_box(&limiter).until_ready().await;
                        }
                    });
                }),
                ("leaky-bucket", |rt, n| {
                    let limiter = leaky(PLENTY, PLENTY);
                    rt.block_on(async {
                        for _ in 0..n {
                            black_box(&limiter).acquire(1).await;
                        }
                    });
                }),
            ],
            rows(),
        ),
        work(
            "limiter, try_acquire on two threads",
            |_, n| {
                let limiter = relent(PLENTY, PLENTY);
                on_two_threads(n, || _ = limiter.try_acquire(1));
            },
            vec![
                ("governor", |_, n| {
                    let limiter = governor(PLENTY, PLENTY);
                    on_two_threads(n, || _ = limiter.check());
                }),
                ("leaky-bucket", |_, n| {
                    let limiter = leaky(PLENTY, PLENTY);
                    on_two_threads(n, || _ = limiter.try_acquire(1));
                }),
            ],
            vec![Row::Nanoseconds(None)],
        ),
    ]
}

pub fn figures() -> Vec<Figure> {
    let figure = |name, unit, relent, peers| Figure { name, unit, relent, hand: None, peers, target: None };
    use Unit::{Count, Nanoseconds};
    vec![
        // Polls differ a little from run to run: no target, no gate.
        figure("limiter, polls a waiter, of 100", Count, || relent_line(100).polls, {
            vec![("governor", || governor_line(100).polls), ("leaky-bucket", || leaky_line(100).polls)]
        }),
        figure("limiter, polls a waiter, of 1,000", Count, || relent_line(1000).polls, {
            vec![("governor", || governor_line(1000).polls), ("leaky-bucket", || leaky_line(1000).polls)]
        }),
        figure("limiter, polls a waiter, of 100,000", Count, || relent_line(100_000).polls, {
            vec![("leaky-bucket", || leaky_line(100_000).polls)]
        }),
        figure("limiter, time a waiter, of 1,000", Nanoseconds, || relent_line(1000).nanos, {
            vec![("governor", || governor_line(1000).nanos), ("leaky-bucket", || leaky_line(1000).nanos)]
        }),
        figure("limiter, time a waiter, of 100,000", Nanoseconds, || relent_line(100_000).nanos, {
            vec![("leaky-bucket", || leaky_line(100_000).nanos)]
        }),
    ]
}

fn relent(rate: u32, burst: u32) -> Limiter {
    Limiter::new(Rate::per_second(rate), burst)
}

fn governor(rate: u32, burst: u32) -> Governor {
    let positive = |n| NonZeroU32::new(n).expect("positive");
    let quota = Quota::per_second(positive(rate)).allow_burst(positive(burst));
    RateLimiter::direct_with_clock(quota, MonotonicClock)
}

/// It refills once a millisecond, and must be able to hold that much.
fn leaky(rate: u32, burst: u32) -> leaky_bucket::RateLimiter {
    let refill = rate as usize / 1000;
    let interval = Duration::from_millis(1);
    let (burst, most) = (burst as usize, refill.max(burst as usize));
    leaky_bucket::RateLimiter::builder().interval(interval).refill(refill).max(most).initial(burst).build()
}

fn on_two_threads(n: u64, take: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..n / 2).for_each(|_| take()));
        }
    });
}

/// What a line of waiters took, each.
struct Line {
    polls: f64,
    nanos: f64,
}

/// A million permits a second, one at a time: faster than a timer can tell, so that what counts is the work.
const FAST: u32 = 1_000_000;

fn relent_line(waiters: u32) -> Line {
    let limiter = relent(FAST, 1);
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { _ = limiter.acquire(1).await }
    })
}

fn governor_line(waiters: u32) -> Line {
    let limiter = Rc::new(governor(FAST, 1));
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { limiter.until_ready().await }
    })
}

fn leaky_line(waiters: u32) -> Line {
    let limiter = Rc::new(leaky(FAST, 1));
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { limiter.acquire(1).await }
    })
}

/// From the first that waits to the last that is let through.
fn line<F: Future<Output = ()> + 'static>(waiters: u32, wait: impl Fn() -> F) -> Line {
    let runtime: Runtime = runtime();
    let polls = Rc::new(Cell::new(0_u64));
    let start = Instant::now();
    LocalSet::new().block_on(&runtime, async {
        let tasks: Vec<_> = (0..waiters)
            .map(|_| {
                let (polls, waiting) = (polls.clone(), wait());
                tokio::task::spawn_local(async move {
                    let mut waiting = pin!(waiting);
                    poll_fn(|cx| {
                        polls.set(polls.get() + 1);
                        waiting.as_mut().poll(cx)
                    })
                    .await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a permit");
        }
    });
    let each = |all: f64| all / f64::from(waiters);
    Line { polls: each(polls.get() as f64), nanos: each(start.elapsed().as_nanos() as f64) }
}
