//! `Limiter` beside governor (with the clock of the standard library, as everyone else here) and leaky-bucket.

use std::{
    cell::Cell,
    future::poll_fn,
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    rc::Rc,
    sync::{Barrier, OnceLock},
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
    let work =
        |name, bare, relent, peers, rows| Work { name, bare: Some(bare), relent, hand: None, peers, rows, times: 1000 };
    vec![
        work(
            "limiter, try_acquire",
            |_, n| {
                let limiter = relent(PLENTY, PLENTY);
                (0..n).for_each(|_| _ = black_box(&limiter));
            },
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
            async_loop,
            |rt, n| {
                let limiter = relent(PLENTY, PLENTY);
                rt.block_on(async {
                    for _ in 0..n {
                        black_box(&limiter).acquire(1).await.unwrap();
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
            "limiter, ready() that is",
            async_loop,
            |rt, n| {
                let limiter = relent(PLENTY, PLENTY);
                rt.block_on(async {
                    for _ in 0..n {
                        black_box(&limiter).ready().await;
                    }
                });
            },
            vec![("governor", |rt, n| {
                let limiter = governor(PLENTY, PLENTY);
                rt.block_on(async {
                    for _ in 0..n {
                        black_box(&limiter).until_ready().await;
                    }
                });
            })],
            rows(),
        ),
    ]
}

pub fn figures() -> Vec<Figure> {
    // A little different on every run: no targets.
    let polls = |name, relent, peers| Figure { name, unit: Unit::Count, relent, hand: None, peers, target: None };
    vec![
        Figure {
            name: "limiter, try_acquire on two threads: time",
            unit: Unit::Nanoseconds,
            relent: || on_two_threads()[0],
            hand: None,
            peers: vec![("governor", || on_two_threads()[1]), ("leaky-bucket", || on_two_threads()[2])],
            target: None,
        },
        polls(
            "limiter, polls a waiter in a line of 100",
            || relent_line(100),
            vec![("governor", || governor_line(100)), ("leaky-bucket", || leaky_line(100))],
        ),
        polls(
            "limiter, polls a waiter in a line of 1,000",
            || relent_line(1000),
            vec![("leaky-bucket", || leaky_line(1000))],
        ),
        polls("limiter, the same beside governor", || relent_line(1000), vec![("governor", || governor_line(1000))]),
        polls(
            "limiter, polls a waiter in a line of 100,000",
            || relent_line(100_000),
            vec![("leaky-bucket", || leaky_line(100_000))],
        ),
        // Each of N waiters is polled whenever one goes: 5,000,050,000 polls would take an hour.
        polls(
            "limiter, the same beside governor's N(N+1)/2",
            || relent_line(100_000),
            vec![("governor, computed", || (100_000.0 + 1.0) / 2.0)],
        ),
    ]
}

/// A loop around nothing.
fn async_loop(rt: &Runtime, n: u64) {
    let limiter = relent(PLENTY, PLENTY);
    rt.block_on(async {
        for _ in 0..n {
            _ = black_box(&limiter);
        }
    });
}

fn relent(rate: u32, burst: u32) -> Limiter {
    Limiter::new(Rate::per_second(rate), burst)
}

fn governor(rate: u32, burst: u32) -> Governor {
    let positive = |n| NonZeroU32::new(n).expect("positive");
    let quota = Quota::per_second(positive(rate)).allow_burst(positive(burst));
    RateLimiter::direct_with_clock(quota, MonotonicClock)
}

/// It refills at most once a millisecond, and must be able to hold that much.
fn leaky(rate: u32, burst: u32) -> leaky_bucket::RateLimiter {
    let refill = rate.div_ceil(1000);
    let interval = Duration::from_secs(1) * refill / rate;
    let (refill, burst) = (refill as usize, burst as usize);
    let builder = &mut leaky_bucket::RateLimiter::builder();
    builder.interval(interval).refill(refill).max(refill.max(burst)).initial(burst).build()
}

/// Nanoseconds a permit, of relent, governor and leaky-bucket: what else the machine does changes from moment to moment,
/// so they take turns, and what counts is by how much relent and leaky-bucket differ from the governor beside them. The
/// numbers are governor's median, times the median of those ratios.
fn on_two_threads() -> [f64; 3] {
    const PERMITS: u32 = 200_000;
    static MEASURED: OnceLock<[f64; 3]> = OnceLock::new();
    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
    let round = || {
        let relent = relent(PLENTY, PLENTY);
        let governor = governor(PLENTY, PLENTY);
        let leaky = leaky(PLENTY, PLENTY);
        [
            time_on_two_threads(PERMITS, || _ = black_box(relent.try_acquire(1))),
            time_on_two_threads(PERMITS, || _ = black_box(governor.check())),
            time_on_two_threads(PERMITS, || _ = black_box(leaky.try_acquire(1))),
        ]
    };
    *MEASURED.get_or_init(|| {
        let rounds: Vec<_> = (0..61).map(|_| round()).collect();
        let governor = median(rounds.iter().map(|round| round[1]).collect());
        [0, 1, 2].map(|who| governor * median(rounds.iter().map(|round| round[who] / round[1]).collect()))
    })
}

fn time_on_two_threads(permits: u32, take: impl Fn() + Sync) -> f64 {
    let gate = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                gate.wait();
                (0..permits / 2).for_each(|_| take());
                gate.wait();
            });
        }
        gate.wait();
        let start = Instant::now();
        gate.wait();
        start.elapsed().as_nanos() as f64 / f64::from(permits)
    })
}

/// Permits a second, so that a line takes a tenth of one.
fn rate(waiters: u32) -> u32 {
    waiters * 10
}

fn relent_line(waiters: u32) -> f64 {
    let limiter = relent(rate(waiters), 1);
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { _ = limiter.acquire(1).await }
    })
}

fn governor_line(waiters: u32) -> f64 {
    let limiter = Rc::new(governor(rate(waiters), 1));
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { limiter.until_ready().await }
    })
}

fn leaky_line(waiters: u32) -> f64 {
    let limiter = Rc::new(leaky(rate(waiters), 1));
    line(waiters, move || {
        let limiter = limiter.clone();
        async move { limiter.acquire(1).await }
    })
}

/// How often each of so many that wait at once is polled until all are through.
fn line<F: Future<Output = ()> + 'static>(waiters: u32, wait: impl Fn() -> F) -> f64 {
    let polls = Rc::new(Cell::new(0_u64));
    LocalSet::new().block_on(&runtime(), async {
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
    polls.get() as f64 / f64::from(waiters)
}
