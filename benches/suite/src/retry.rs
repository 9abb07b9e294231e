//! `retry` beside a loop by hand, backon, tokio-retry2, tokio-retry and mettle.

use std::{
    future::{Ready, ready},
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use backon::{ConstantBuilder, Retryable};
use mettle::Clock;
use relent::{Backoff, GaveUp, retry};
use tokio::{
    runtime::Runtime,
    time::{error::Elapsed, sleep, timeout},
};
use tokio_retry::strategy::FixedInterval as Fixed;
use tokio_retry2::{RetryError as Refused, strategy::FixedInterval as Fixed2};
use tokio_util::sync::CancellationToken;

use crate::measure::{Figure, Row, Unit, Work};

const PAUSE: Duration = Duration::from_millis(100);
const ATTEMPT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(60);

/// Awaits something over and over: something anew each time, or something of an operation that fails three times first.
macro_rules! times {
    ($rt:expr, $n:expr, |$op:pat_param| $do:expr) => {
        times!($rt, $n, {
            let mut left = 3;
            let $op = move || {
                let fails = left > 0;
                left -= 1;
                fallible(black_box(fails))
            };
            $do
        })
    };
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(async {
            for _ in 0..$n {
                _ = black_box(black_box($do.await).unwrap());
            }
        })
    };
}

macro_rules! with_token {
    ($rt:expr, $n:expr, |$token:ident| $do:expr) => {{
        let $token = CancellationToken::new();
        times!($rt, $n, $do)
    }};
}

pub fn works() -> Vec<Work> {
    use Row::{Allocations, Instructions, Nanoseconds};
    let work = |name, relent, hand, peers, rows| Work {
        name,
        bare: Some(bare),
        relent,
        hand: Some(hand),
        peers,
        rows,
        times: 1000,
    };
    vec![
        work(
            "first try",
            |rt, n| times!(rt, n, retry(|_| op(black_box(0)))),
            |rt, n| times!(rt, n, by_hand(|| op(black_box(0)), sleep)),
            vec![
                ("backon", |rt, n| times!(rt, n, (|| op(black_box(0))).retry(ConstantBuilder::default()))),
                ("mettle", |rt, n| times!(rt, n, mettle::retry(|| op(black_box(0))))),
                ("tokio-retry", |rt, n| {
                    times!(rt, n, tokio_retry::Retry::start(Fixed::new(PAUSE).take(3), || op(black_box(0))))
                }),
                ("tokio-retry2", |rt, n| {
                    times!(rt, n, tokio_retry2::Retry::spawn(Fixed2::new(PAUSE).take(3), || op2(black_box(0))))
                }),
            ],
            vec![Instructions(Some(90)), Nanoseconds(None), Allocations(Some(0))],
        ),
        work(
            "first try, both deadlines",
            |rt, n| times!(rt, n, retry(|_| op(black_box(0))).attempt_timeout(ATTEMPT).finish_within(WHOLE)),
            |rt, n| times!(rt, n, by_hand_in_time(|| op(black_box(0)))),
            vec![("mettle", |rt, n| {
                times!(rt, n, mettle::retry(|| op(black_box(0))).attempt_timeout(ATTEMPT, || 0).max_elapsed(WHOLE))
            })],
            vec![Instructions(Some(150)), Nanoseconds(None), Allocations(Some(0))],
        ),
        work(
            "three failures, no timer",
            |rt, n| {
                times!(rt, n, |mut op| retry(move |_| op()).backoff(Backoff::fixed(Duration::ZERO)).max_attempts(10))
            },
            |rt, n| times!(rt, n, |op| by_hand(op, |_| ready(()))),
            vec![
                ("backon", |rt, n| times!(rt, n, |op| op.retry(constant(PAUSE)).sleep(|_| ready(())))),
                ("mettle", |rt, n| times!(rt, n, |op| mettle::retry(op).backoff(Same(10, PAUSE)).clock(NoSleep))),
            ],
            vec![Instructions(Some(350)), Nanoseconds(None), Allocations(Some(0))],
        ),
        work(
            "three zero-delay retries",
            |rt, n| {
                times!(rt, n, |mut op| retry(move |_| op()).backoff(Backoff::fixed(Duration::ZERO)).max_attempts(10))
            },
            |rt, n| times!(rt, n, |op| by_hand(op, |_| sleep(Duration::ZERO))),
            vec![
                ("backon", |rt, n| times!(rt, n, |op| op.retry(constant(Duration::ZERO)))),
                ("mettle", |rt, n| times!(rt, n, |op| mettle::retry(op).backoff(Same(10, Duration::ZERO)))),
                ("tokio-retry", |rt, n| {
                    times!(rt, n, |op| tokio_retry::Retry::start(Fixed::new(Duration::ZERO).take(9), op))
                }),
                ("tokio-retry2", |rt, n| {
                    times!(rt, n, |mut op| {
                        let op = move || transient(op());
                        tokio_retry2::Retry::spawn(Fixed2::new(Duration::ZERO).take(9), op)
                    })
                }),
            ],
            vec![Nanoseconds(Some(1000))],
        ),
        Work {
            bare: None,
            ..work(
                "an attempt that waits, both deadlines",
                |rt, n| times!(rt, n, retry(|_| waits()).attempt_timeout(ATTEMPT).finish_within(WHOLE)),
                |rt, n| times!(rt, n, by_hand_in_time(waits)),
                vec![("mettle", |rt, n| {
                    times!(rt, n, mettle::retry(waits).attempt_timeout(ATTEMPT, || 0).max_elapsed(WHOLE))
                })],
                vec![Instructions(None), Allocations(Some(0))],
            )
        },
        work(
            "first try, cancel_on",
            |rt, n| with_token!(rt, n, |token| retry(|_| op(black_box(0))).cancel_on(token.clone())),
            |rt, n| with_token!(rt, n, |token| token.run_until_cancelled(by_hand(|| op(black_box(0)), sleep))),
            vec![],
            vec![Instructions(None), Allocations(Some(0))],
        ),
        Work {
            bare: None,
            ..work(
                "an attempt that waits, cancel_on",
                |rt, n| with_token!(rt, n, |token| retry(|_| waits()).cancel_on(token.clone())),
                |rt, n| with_token!(rt, n, |token| token.run_until_cancelled(by_hand(waits, sleep))),
                vec![],
                vec![Allocations(Some(1))],
            )
        },
    ]
}

pub fn figures() -> Vec<Figure> {
    let bytes = |name, relent, hand, peers, target| Figure { name, unit: Unit::Bytes, relent, hand, peers, target };
    vec![
        bytes(
            "future beyond its operation",
            || beyond(&large(), &retry(|_| large()).into_future()),
            Some(|| beyond(&large(), &by_hand(large, sleep))),
            vec![
                ("backon", || beyond(&large(), &large.retry(ConstantBuilder::default()))),
                ("mettle", || beyond(&large(), &mettle::retry(large).into_future())),
                ("tokio-retry", || beyond(&large(), &tokio_retry::Retry::start(Fixed::new(PAUSE).take(3), large))),
                ("tokio-retry2", || {
                    let strategy = Fixed2::new(PAUSE).take(3);
                    beyond(&transient(large()), &tokio_retry2::Retry::spawn(strategy, || transient(large())))
                }),
            ],
            Some(264.0),
        ),
        bytes(
            "future beyond a tiny operation, all bounds",
            || {
                let bounded = retry(|_| op(0)).attempt_timeout(ATTEMPT).start_within(WHOLE).finish_within(WHOLE);
                beyond(&op(0), &bounded.into_future())
            },
            Some(|| beyond(&op(0), &by_hand_in_time(|| op(0)))),
            vec![("mettle", || {
                let bounded = mettle::retry(|| op(0)).attempt_timeout(ATTEMPT, || 0).max_elapsed(WHOLE);
                beyond(&op(0), &bounded.into_future())
            })],
            Some(264.0),
        ),
        bytes(
            "future, cancel_on adds",
            || {
                let cancelled = retry(|_| large()).cancel_on(CancellationToken::new());
                beyond(&retry(|_| large()).into_future(), &cancelled.into_future())
            },
            Some(|| {
                let token = CancellationToken::new();
                beyond(&by_hand(large, sleep), &token.run_until_cancelled(by_hand(large, sleep)))
            }),
            vec![],
            Some(72.0),
        ),
        error::<()>("error of ()"),
        error::<u64>("error of u64"),
        error::<io::Error>("error of io::Error"),
        error::<[u64; 8]>("error of 64 bytes"),
    ]
}

fn beyond<A, B>(operation: &A, future: &B) -> f64 {
    (size_of_val(future) - size_of_val(operation)) as f64
}

fn error<E>(name: &'static str) -> Figure {
    Figure {
        name,
        unit: Unit::Bytes,
        relent: || size_of::<GaveUp<E>>() as f64,
        hand: Some(|| size_of::<E>() as f64),
        peers: vec![("mettle", || size_of::<mettle::RetryError<E>>() as f64)],
        target: None,
    }
}

fn bare(rt: &Runtime, n: u64) {
    times!(rt, n, op(black_box(0)));
}

#[inline(never)]
async fn op(answer: u32) -> Result<u32, u32> {
    Ok(black_box(answer))
}

async fn op2(answer: u32) -> Result<u32, Refused<u32>> {
    Ok(black_box(answer))
}

async fn fallible(fails: bool) -> Result<u32, u32> {
    if fails { Err(1) } else { Ok(2) }
}

async fn transient<T, E>(operation: impl Future<Output = Result<T, E>>) -> Result<T, Refused<E>> {
    operation.await.map_err(Refused::transient)
}

/// Is pending once.
async fn waits() -> Result<u32, u32> {
    tokio::task::yield_now().await;
    Ok(black_box(2))
}

/// Keeps 256 bytes across a wait.
async fn large() -> Result<u32, io::Error> {
    let bytes = [0_u8; 256];
    tokio::task::yield_now().await;
    black_box(&bytes);
    Ok(1)
}

/// What people write: ten attempts, doubled pauses.
async fn by_hand<T, E, F, S>(mut operation: impl FnMut() -> F, pause: impl Fn(Duration) -> S) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    S: Future<Output = ()>,
{
    let mut delay = PAUSE;
    for _ in 0..9 {
        if let Ok(value) = operation().await {
            return Ok(value);
        }
        pause(delay).await;
        delay = (delay * 2).min(WHOLE);
    }
    operation().await
}

/// The same with a timeout around each attempt and one around it all.
async fn by_hand_in_time<T, E, F>(mut operation: impl FnMut() -> F) -> Result<Result<T, E>, Elapsed>
where
    F: Future<Output = Result<T, E>>,
{
    timeout(WHOLE, async {
        let mut delay = PAUSE;
        for _ in 0..9 {
            if let Ok(Ok(value)) = timeout(ATTEMPT, operation()).await {
                return Ok(value);
            }
            sleep(delay).await;
            delay = (delay * 2).min(WHOLE);
        }
        operation().await
    })
    .await
}

fn constant(delay: Duration) -> ConstantBuilder {
    ConstantBuilder::default().with_delay(delay).with_max_times(9)
}

/// A pause, so many times, for mettle, whose own schedules have no zero.
struct Same(u32, Duration);

impl mettle::Backoff for Same {
    fn next_delay(&mut self) -> Option<Duration> {
        self.0 = self.0.checked_sub(1)?;
        Some(self.1)
    }
}

/// For mettle: a clock whose sleeps are over at once.
struct NoSleep;

impl Clock for NoSleep {
    type Sleep = Ready<()>;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, _: Duration) -> Ready<()> {
        ready(())
    }
}
