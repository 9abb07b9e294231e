//! `Limiter` beside governor (with its own clock, quanta, and with that of the standard library, which relent uses),
//! leaky-bucket, ratelimit, rate-net and tower-resilience.

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
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::MonotonicClock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use rate_net::DirectLimiter;
use ratelimit::Ratelimiter;
use relent::{Limiter, Rate};
use tokio::task::LocalSet;

use crate::{
    measure::{
        Figure, LEAKY,
        Row::{Allocations, Instructions, Nanoseconds},
        Run, Unit, Work, runtime,
    },
    tower,
};

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// More than can be taken.
const PLENTY: u32 = 1_000_000_000;

/// With the clock of the standard library.
const GOVERNOR: &str = "governor";
const GOVERNOR_QUANTA: &str = "governor, quanta";

/// Takes one permit after the other from what is made before.
macro_rules! takes {
    ($limiter:expr, |$name:ident| $take:expr) => {
        |_, n| {
            let limiter = $limiter;
            for _ in 0..n {
                let $name = black_box(&limiter);
                $take;
            }
        }
    };
}

/// The same of what is awaited.
macro_rules! awaits {
    ($limiter:expr, |$name:ident| $take:expr) => {
        |rt, n| {
            let limiter = $limiter;
            rt.block_on(async {
                for _ in 0..n {
                    let $name = black_box(&limiter);
                    $take;
                }
            });
        }
    };
}

pub fn works() -> Vec<Work> {
    let work = |name, bare, relent, peers| Work {
        name,
        bare: Some(bare),
        relent,
        hand: None,
        peers,
        rows: &[Instructions, Nanoseconds, Allocations],
    };
    vec![
        work(
            "limiter, try_acquire",
            takes!(relent(PLENTY, PLENTY), |limiter| _ = limiter),
            takes!(relent(PLENTY, PLENTY), |limiter| limiter.try_acquire(1).unwrap()),
            vec![
                (GOVERNOR, takes!(governor(PLENTY, PLENTY), |limiter| limiter.check().unwrap())),
                (GOVERNOR_QUANTA, takes!(governor_quanta(PLENTY, PLENTY), |limiter| limiter.check().unwrap())),
                (LEAKY, |rt, n| {
                    let limiter = leaky(PLENTY, PLENTY);
                    rt.block_on(async { (0..n).for_each(|_| assert!(black_box(&limiter).try_acquire(1))) });
                }),
                ("ratelimit", takes!(ratelimit(PLENTY.into()), |limiter| limiter.try_wait().unwrap())),
                ("rate-net", takes!(DirectLimiter::per_second(PLENTY), |limiter| assert!(limiter.check().is_allow()))),
            ],
        ),
        Work {
            rows: &[Instructions],
            ..work(
                "limiter, try_acquire that is refused",
                takes!(emptied(), |limiter| _ = limiter),
                takes!(emptied(), |limiter| _ = black_box(limiter.try_acquire(1).unwrap_err())),
                vec![
                    (
                        GOVERNOR,
                        takes!(
                            {
                                let limiter =
                                    RateLimiter::direct_with_clock(Quota::per_hour(NonZeroU32::MIN), MonotonicClock);
                                limiter.check().unwrap();
                                limiter
                            },
                            |limiter| _ = black_box(limiter.check().unwrap_err())
                        ),
                    ),
                    (
                        "ratelimit",
                        takes!(Ratelimiter::builder(1).period(Duration::from_secs(3600)).build().unwrap(), |limiter| {
                            _ = black_box(limiter.try_wait().unwrap_err())
                        }),
                    ),
                ],
            )
        },
        work(
            "limiter, acquire that is ready",
            awaits!(relent(PLENTY, PLENTY), |limiter| _ = limiter),
            awaits!(relent(PLENTY, PLENTY), |limiter| limiter.acquire(1).await.unwrap()),
            ready_peers(),
        ),
        work(
            "limiter, ready() that is",
            awaits!(relent(PLENTY, PLENTY), |limiter| _ = limiter),
            awaits!(relent(PLENTY, PLENTY), |limiter| limiter.ready().await),
            ready_peers(),
        ),
    ]
}

fn ready_peers() -> Vec<(&'static str, Run)> {
    vec![
        (GOVERNOR, awaits!(governor(PLENTY, PLENTY), |limiter| limiter.until_ready().await)),
        (GOVERNOR_QUANTA, awaits!(governor_quanta(PLENTY, PLENTY), |limiter| limiter.until_ready().await)),
        (LEAKY, awaits!(leaky(PLENTY, PLENTY), |limiter| limiter.acquire(1).await)),
        (tower::NAME, |rt, n| tower::acquire(rt, PLENTY, n)),
    ]
}

/// How often each waiter of a line is polled.
macro_rules! line {
    ($name:literal, $waiters:literal) => {
        line!($name, (GOVERNOR, || governor_line($waiters)), $waiters)
    };
    ($name:literal, $waiters:literal, computed) => {
        line!($name, ("governor, computed as (N+1)/2", || (f64::from($waiters) + 1.0) / 2.0), $waiters)
    };
    ($name:literal, $governor:expr, $waiters:literal) => {
        Figure {
            name: $name,
            unit: Unit::VaryingCount,
            relent: || relent_line($waiters),
            hand: None,
            peers: vec![$governor, (LEAKY, || leaky_line($waiters))],
        }
    };
}

pub fn figures() -> Vec<Figure> {
    vec![
        Figure {
            name: "limiter, try_acquire on two threads: time",
            unit: Unit::Nanoseconds,
            relent: || on_two_threads()[0],
            hand: None,
            peers: vec![
                (GOVERNOR, || on_two_threads()[1]),
                (GOVERNOR_QUANTA, || on_two_threads()[2]),
                (LEAKY, || on_two_threads()[3]),
                ("ratelimit", || on_two_threads()[4]),
            ],
        },
        line!("limiter, polls a waiter in a line of 10", 10),
        line!("limiter, polls a waiter in a line of 100", 100),
        line!("limiter, polls a waiter in a line of 1,000", 1000),
        // Each of N waiters is polled whenever one goes: 50,005,000 polls and more would take minutes, and then hours.
        line!("limiter, polls a waiter in a line of 10,000", 10_000, computed),
        line!("limiter, polls a waiter in a line of 100,000", 100_000, computed),
        line!("limiter, polls a waiter in a line of 1,000,000", 1_000_000, computed),
    ]
}

fn relent(rate: u32, burst: u32) -> Limiter {
    Limiter::new(Rate::per_second(rate), burst)
}

/// One that has nothing, for an hour.
fn emptied() -> Limiter {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    limiter.try_acquire(1).expect("full");
    limiter
}

fn quota(rate: u32, burst: u32) -> Quota {
    let positive = |n| NonZeroU32::new(n).expect("positive");
    Quota::per_second(positive(rate)).allow_burst(positive(burst))
}

fn governor(rate: u32, burst: u32) -> Governor {
    RateLimiter::direct_with_clock(quota(rate, burst), MonotonicClock)
}

fn governor_quanta(rate: u32, burst: u32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(quota(rate, burst))
}

fn ratelimit(rate: u64) -> Ratelimiter {
    Ratelimiter::builder(rate).initial_available(rate).build().expect("a limiter")
}

/// It refills at most once a millisecond, and must be able to hold that much.
fn leaky(rate: u32, burst: u32) -> leaky_bucket::RateLimiter {
    let refill = rate.div_ceil(1000);
    let interval = Duration::from_secs(1) * refill / rate;
    let (refill, burst) = (refill as usize, burst as usize);
    let builder = &mut leaky_bucket::RateLimiter::builder();
    builder.interval(interval).refill(refill).max(refill.max(burst)).initial(burst).build()
}

/// Nanoseconds a permit, of relent, governor with either clock, leaky-bucket and ratelimit: what else the machine does
/// changes from moment to moment, so they take turns, and what counts is by how much the others differ from the
/// governor beside them. The numbers are governor's median, times the median of those ratios.
fn on_two_threads() -> [f64; 5] {
    const PERMITS: u32 = 200_000;
    static MEASURED: OnceLock<[f64; 5]> = OnceLock::new();
    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
    let round = || {
        let relent = relent(PLENTY, PLENTY);
        let governor = governor(PLENTY, PLENTY);
        let quanta = governor_quanta(PLENTY, PLENTY);
        let leaky = leaky(PLENTY, PLENTY);
        let ratelimit = ratelimit(PLENTY.into());
        [
            time_on_two_threads(PERMITS, || _ = black_box(relent.try_acquire(1))),
            time_on_two_threads(PERMITS, || _ = black_box(governor.check())),
            time_on_two_threads(PERMITS, || _ = black_box(quanta.check())),
            time_on_two_threads(PERMITS, || _ = black_box(leaky.try_acquire(1))),
            time_on_two_threads(PERMITS, || _ = black_box(ratelimit.try_wait())),
        ]
    };
    *MEASURED.get_or_init(|| {
        let rounds: Vec<_> = (0..61).map(|_| round()).collect();
        let governor = median(rounds.iter().map(|round| round[1]).collect());
        [0, 1, 2, 3, 4].map(|who| governor * median(rounds.iter().map(|round| round[who] / round[1]).collect()))
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
