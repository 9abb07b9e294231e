//! `retry` and `poll` beside a loop by hand, backon, mettle, relentless, tokio-retry, tokio-retry2 and
//! tower-resilience. No clock is made anew for each call where it can be kept.

use std::{future::ready, hint::black_box};

use backon::{BlockingRetryable, ConstantBuilder, Retryable};
use relent::{blocking, poll, retry};
use relentless::{clock::TokioClock, retry_async};
use tokio::{runtime::Runtime, time::sleep};
use tokio_retry::strategy::FixedInterval as Fixed;
use tokio_retry2::{RetryError as Refused, strategy::FixedInterval as Fixed2};
use tokio_util::sync::CancellationToken;

use crate::{
    drive::Answer,
    hand::{ATTEMPT, PAUSE, WHOLE, by_hand, by_hand_in_time, by_hand_until, op, waits},
    measure::{
        Row::{self, Allocations, Instructions, Nanoseconds},
        Run, Work,
    },
    tower,
};

pub fn works() -> Vec<Work> {
    let mut works = first_try();
    works.extend(others());
    works
}

pub fn work(name: &'static str, bare: Run, relent: Run, hand: Run, peers: Vec<(&'static str, Run)>) -> Work {
    Work { name, bare: Some(bare), relent, hand: Some(hand), peers, rows: &[Instructions, Allocations] }
}

const ALL: &[Row] = &[Instructions, Nanoseconds, Allocations];

fn first_try() -> Vec<Work> {
    vec![
        Work {
            rows: ALL,
            ..work(
                "first try",
                bare,
                |rt, n| times!(rt, n, retry(|_| op(black_box(0)))),
                |rt, n| times!(rt, n, by_hand(10, || op(black_box(0)), sleep)),
                vec![
                    ("backon", |rt, n| times!(rt, n, (|| op(black_box(0))).retry(ConstantBuilder::default()))),
                    ("mettle", |rt, n| times!(rt, n, mettle::retry(|| op(black_box(0))))),
                    ("relentless", |rt, n| {
                        with!(
                            clock = TokioClock::new(),
                            times!(rt, n, retry_async(|_| op(black_box(0))).clock(&clock).call())
                        )
                    }),
                    ("tokio-retry", |rt, n| {
                        times!(rt, n, tokio_retry::Retry::start(Fixed::new(PAUSE).take(3), || op(black_box(0))))
                    }),
                    ("tokio-retry2", |rt, n| {
                        times!(rt, n, tokio_retry2::Retry::spawn(Fixed2::new(PAUSE).take(3), || op2(black_box(0))))
                    }),
                    (tower::NAME, tower::first_try),
                ],
            )
        },
        Work {
            rows: ALL,
            ..work(
                "pending once",
                bare_pending,
                |rt, n| pending!(rt, n, retry(|_| waits())),
                |rt, n| pending!(rt, n, by_hand(10, waits, sleep)),
                vec![
                    ("backon", |rt, n| pending!(rt, n, waits.retry(ConstantBuilder::default()))),
                    ("mettle", |rt, n| pending!(rt, n, mettle::retry(waits))),
                    ("relentless", |rt, n| {
                        with!(clock = TokioClock::new(), pending!(rt, n, retry_async(|_| waits()).clock(&clock).call()))
                    }),
                    ("tokio-retry", |rt, n| {
                        pending!(rt, n, tokio_retry::Retry::start(Fixed::new(PAUSE).take(3), waits))
                    }),
                    ("tokio-retry2", |rt, n| {
                        let strategy = || Fixed2::new(PAUSE).take(3);
                        pending!(rt, n, tokio_retry2::Retry::spawn(strategy(), || transient(waits())))
                    }),
                    (tower::NAME, tower::pending_once),
                ],
            )
        },
        work(
            "first try, both deadlines",
            bare,
            |rt, n| times!(rt, n, retry(|_| op(black_box(0))).attempt_timeout(ATTEMPT).finish_within(WHOLE)),
            |rt, n| times!(rt, n, by_hand_in_time(|| op(black_box(0)))),
            vec![("mettle", |rt, n| {
                times!(rt, n, mettle::retry(|| op(black_box(0))).attempt_timeout(ATTEMPT, || 0).max_elapsed(WHOLE))
            })],
        ),
        work(
            "pending once, both deadlines",
            bare_pending,
            |rt, n| pending!(rt, n, retry(|_| waits()).attempt_timeout(ATTEMPT).finish_within(WHOLE)),
            |rt, n| pending!(rt, n, by_hand_in_time(waits)),
            vec![("mettle", |rt, n| {
                pending!(rt, n, mettle::retry(waits).attempt_timeout(ATTEMPT, || 0).max_elapsed(WHOLE))
            })],
        ),
        work(
            "first try, cancel_on",
            bare,
            |rt, n| {
                with!(
                    token = CancellationToken::new(),
                    times!(rt, n, retry(|_| op(black_box(0))).cancel_on(token.clone()))
                )
            },
            |rt, n| {
                with!(
                    token = CancellationToken::new(),
                    times!(rt, n, token.run_until_cancelled(by_hand(10, || op(black_box(0)), sleep)))
                )
            },
            vec![],
        ),
        work(
            "pending once, cancel_on",
            bare_pending,
            |rt, n| {
                with!(token = CancellationToken::new(), pending!(rt, n, retry(|_| waits()).cancel_on(token.clone())))
            },
            |rt, n| {
                with!(
                    token = CancellationToken::new(),
                    pending!(rt, n, token.run_until_cancelled(by_hand(10, waits, sleep)))
                )
            },
            vec![],
        ),
    ]
}

fn others() -> Vec<Work> {
    vec![
        work(
            "poll, ready at once",
            |rt, n| times!(rt, n, ready(black_box(Ok::<u32, u32>(1)))),
            |rt, n| times!(rt, n, poll(|_| ready(black_box(Some(1_u32))))),
            |rt, n| times!(rt, n, by_hand_until(|| ready(black_box(Some(1_u32))))),
            vec![("relentless", |rt, n| {
                with!(
                    clock = TokioClock::new(),
                    times!(rt, n, retry_async(|_| ready(black_box(Some(1_u32)))).clock(&clock).call())
                )
            })],
        ),
        work(
            "first try, on a thread",
            |_, n| on_a_thread(n, try_once),
            |_, n| on_a_thread(n, || blocking::retry(|_| try_once()).call()),
            |_, n| on_a_thread(n, || (1..10).find_map(|_| try_once().ok()).map_or_else(try_once, Ok)),
            vec![
                ("backon", |_, n| {
                    on_a_thread(n, || BlockingRetryable::retry(try_once, ConstantBuilder::default()).call())
                }),
                ("mettle", |_, n| on_a_thread(n, || mettle::blocking::retry(try_once).call())),
                ("relentless", |_, n| on_a_thread(n, || relentless::retry(|_| try_once()).call())),
            ],
        ),
    ]
}

pub fn bare(rt: &Runtime, n: u64) {
    times!(rt, n, op(black_box(0)));
}

fn bare_pending(rt: &Runtime, n: u64) {
    pending!(rt, n, waits());
}

fn try_once() -> Result<u32, u32> {
    Ok(black_box(1))
}

fn on_a_thread<E>(times: u64, call: impl Fn() -> Result<u32, E>) {
    for _ in 0..times {
        assert!(black_box(&call()).is_ok());
    }
}

async fn op2(answer: u32) -> Result<u32, Refused<u32>> {
    Ok(black_box(answer))
}

pub async fn transient<T, E>(operation: impl Future<Output = Result<T, E>>) -> Result<T, Refused<E>> {
    operation.await.map_err(Refused::transient)
}
