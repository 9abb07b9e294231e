//! `retry` and `poll` beside a loop by hand, backon, mettle, relentless, tokio-retry and tokio-retry2.
//!
//! Nobody's clock is made anew for each call where it can be kept.

use std::{
    future::{Ready, poll_fn, ready},
    hint::black_box,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use backon::{BlockingRetryable, ConstantBuilder, Retryable};
use relent::{Backoff, Decision, blocking, poll, retry};
use relentless::{clock::TokioClock, predicate, retry_async, stop, wait};
use tokio::{runtime::Runtime, task::unconstrained, time::sleep};
use tokio_retry::{RetryIf, strategy::FixedInterval as Fixed};
use tokio_retry2::{RetryError as Refused, strategy::FixedInterval as Fixed2};
use tokio_util::sync::CancellationToken;

use crate::{
    hand::{
        ATTEMPT, PAUSE, WHOLE, always_fails, by_hand, by_hand_if, by_hand_in_time, by_hand_until, fallible, op, waits,
    },
    measure::{
        Row::{Allocations, Instructions, Nanoseconds},
        Run, Work,
    },
};

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
        $rt.block_on(unconstrained(async {
            for _ in 0..$n {
                assert!(black_box(&$do.await).is_done());
            }
        }))
    };
}

/// The same with what must fail.
macro_rules! failures {
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(unconstrained(async {
            for _ in 0..$n {
                assert!(!black_box(&$do.await).is_done());
            }
        }))
    };
}

/// The same with what is pending once and then polled again at once, so that no scheduler is counted.
macro_rules! pending {
    ($rt:expr, $n:expr, $do:expr) => {
        $rt.block_on(unconstrained(async {
            for _ in 0..$n {
                let mut future = pin!(IntoFuture::into_future($do));
                let again = poll_fn(|cx| {
                    loop {
                        if let Poll::Ready(answer) = future.as_mut().poll(cx) {
                            break Poll::Ready(answer);
                        }
                    }
                });
                assert!(black_box(&again.await).is_done());
            }
        }))
    };
}

macro_rules! with {
    ($name:ident = $value:expr, $do:expr) => {{
        let $name = $value;
        $do
    }};
}

pub fn works() -> Vec<Work> {
    let mut works = first_try();
    works.extend(failing());
    works.extend(others());
    works
}

fn work(name: &'static str, bare: Run, relent: Run, hand: Run, peers: Vec<(&'static str, Run)>) -> Work {
    Work { name, bare: Some(bare), relent, hand: Some(hand), peers, rows: &[Instructions, Allocations] }
}

const ALL: &[crate::measure::Row] = &[Instructions, Nanoseconds, Allocations];

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

/// What pauses here pauses for no time.
fn failing() -> Vec<Work> {
    vec![
        work(
            "three failures, no timer",
            bare,
            |rt, n| times!(rt, n, |mut op| retry(move |_| op()).backoff(no_pause()).max_attempts(10)),
            |rt, n| times!(rt, n, |op| by_hand(10, op, |_| ready(()))),
            vec![
                ("backon", |rt, n| times!(rt, n, |op| op.retry(constant(PAUSE)).sleep(|_| ready(())))),
                ("mettle", |rt, n| times!(rt, n, |op| mettle::retry(op).backoff(Same(10, PAUSE)).clock(NoSleep))),
                ("relentless", |rt, n| {
                    let clock = NoSleepOf(TokioClock::new());
                    times!(rt, n, |mut op| {
                        retry_async(move |_| op())
                            .wait(wait::fixed(PAUSE))
                            .stop(stop::attempts(10))
                            .clock(&clock)
                            .call()
                    })
                }),
            ],
        ),
        work(
            "three failures, no timer, start_within",
            bare,
            |rt, n| {
                times!(rt, n, |mut op| retry(move |_| op()).backoff(no_pause()).max_attempts(10).start_within(WHOLE))
            },
            |rt, n| {
                times!(rt, n, |op| {
                    let end = tokio::time::Instant::now() + WHOLE;
                    by_hand_if(op, |_| ready(()), move |_| tokio::time::Instant::now() < end)
                })
            },
            vec![
                ("mettle", |rt, n| {
                    times!(rt, n, |op| mettle::retry(op).backoff(Same(10, PAUSE)).max_elapsed(WHOLE).clock(NoSleep))
                }),
                ("relentless", |rt, n| {
                    let clock = NoSleepOf(TokioClock::new());
                    times!(rt, n, |mut op| {
                        let stop = stop::attempts(10);
                        retry_async(move |_| op())
                            .wait(wait::fixed(PAUSE))
                            .stop(stop)
                            .timeout(WHOLE)
                            .clock(&clock)
                            .call()
                    })
                }),
            ],
        ),
        work(
            "three failures, no timer, listener",
            bare,
            |rt, n| {
                times!(rt, n, |mut op| {
                    retry(move |_| op()).backoff(no_pause()).max_attempts(10).notify(|event| _ = black_box(event))
                })
            },
            |rt, n| {
                times!(rt, n, |op| {
                    by_hand_if(
                        op,
                        |_| ready(()),
                        |error| {
                            _ = black_box(error);
                            true
                        },
                    )
                })
            },
            vec![
                ("backon", |rt, n| {
                    times!(rt, n, |op| {
                        op.retry(constant(PAUSE))
                            .sleep(|_| ready(()))
                            .notify(|error, pause| _ = black_box((error, pause)))
                    })
                }),
                ("relentless", |rt, n| {
                    let clock = NoSleepOf(TokioClock::new());
                    times!(rt, n, |mut op| {
                        retry_async(move |_| op())
                            .wait(wait::fixed(PAUSE))
                            .stop(stop::attempts(10))
                            .clock(&clock)
                            .after_attempt(|state: &relentless::AttemptState<'_, Result<u32, u32>>| {
                                _ = black_box(state)
                            })
                            .call()
                    })
                }),
            ],
        ),
        work(
            "four failures for good, no timer",
            bare_failure,
            |rt, n| failures!(rt, n, retry(|_| always_fails()).backoff(no_pause()).max_attempts(4)),
            |rt, n| failures!(rt, n, by_hand(4, always_fails, |_| ready(()))),
            vec![
                ("backon", |rt, n| {
                    failures!(rt, n, always_fails.retry(constant(PAUSE).with_max_times(3)).sleep(|_| ready(())))
                }),
                ("mettle", |rt, n| {
                    failures!(rt, n, mettle::retry(always_fails).backoff(Same(3, PAUSE)).clock(NoSleep))
                }),
                ("relentless", |rt, n| {
                    let clock = NoSleepOf(TokioClock::new());
                    failures!(rt, n, {
                        let stop = stop::attempts(4);
                        retry_async(|_| always_fails()).wait(wait::fixed(PAUSE)).stop(stop).clock(&clock).call()
                    })
                }),
            ],
        ),
        work(
            "fatal at once",
            bare_failure,
            |rt, n| failures!(rt, n, retry(|_| always_fails()).when(|_| Decision::Fatal)),
            |rt, n| failures!(rt, n, by_hand_if(always_fails, sleep, |_| black_box(false))),
            vec![
                ("backon", |rt, n| {
                    failures!(rt, n, always_fails.retry(ConstantBuilder::default()).when(|_| black_box(false)))
                }),
                ("mettle", |rt, n| failures!(rt, n, mettle::retry(always_fails).when(|_| black_box(false)))),
                ("relentless", |rt, n| {
                    with!(
                        clock = TokioClock::new(),
                        failures!(rt, n, {
                            let never = predicate::error(|_: &u32| black_box(false));
                            retry_async(|_| always_fails()).when(never).clock(&clock).call()
                        })
                    )
                }),
                ("tokio-retry", |rt, n| {
                    failures!(
                        rt,
                        n,
                        RetryIf::start(Fixed::new(PAUSE).take(3), always_fails, |_: &u32| black_box(false))
                    )
                }),
                ("tokio-retry2", |rt, n| {
                    let refuses = || async { always_fails().await.map_err(Refused::permanent) };
                    failures!(rt, n, tokio_retry2::Retry::spawn(Fixed2::new(PAUSE).take(3), refuses))
                }),
            ],
        ),
        Work {
            rows: &[Nanoseconds],
            ..work(
                "three retries without delay",
                bare,
                |rt, n| times!(rt, n, |mut op| retry(move |_| op()).backoff(no_pause()).max_attempts(10)),
                |rt, n| times!(rt, n, |op| by_hand(10, op, |_| sleep(Duration::ZERO))),
                vec![
                    ("backon", |rt, n| times!(rt, n, |op| op.retry(constant(Duration::ZERO)))),
                    ("mettle", |rt, n| times!(rt, n, |op| mettle::retry(op).backoff(Same(10, Duration::ZERO)))),
                    ("relentless", |rt, n| {
                        with!(
                            clock = TokioClock::new(),
                            times!(rt, n, |mut op| {
                                let wait = wait::fixed(Duration::ZERO);
                                retry_async(move |_| op()).wait(wait).stop(stop::attempts(10)).clock(&clock).call()
                            })
                        )
                    }),
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
            )
        },
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

fn bare(rt: &Runtime, n: u64) {
    times!(rt, n, op(black_box(0)));
}

fn bare_pending(rt: &Runtime, n: u64) {
    pending!(rt, n, waits());
}

fn bare_failure(rt: &Runtime, n: u64) {
    failures!(rt, n, always_fails());
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

/// What an await gives.
trait Answer {
    fn is_done(&self) -> bool;
}

impl<T, E> Answer for Result<T, E> {
    fn is_done(&self) -> bool {
        self.is_ok()
    }
}

/// By a token that may cancel it.
impl<T, E> Answer for Option<Result<T, E>> {
    fn is_done(&self) -> bool {
        matches!(self, Some(Ok(_)))
    }
}

pub async fn transient<T, E>(operation: impl Future<Output = Result<T, E>>) -> Result<T, Refused<E>> {
    operation.await.map_err(Refused::transient)
}

fn no_pause() -> Backoff {
    Backoff::fixed(Duration::ZERO)
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

impl mettle::Clock for NoSleep {
    type Sleep = Ready<()>;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, _: Duration) -> Ready<()> {
        ready(())
    }
}

/// The same for relentless.
struct NoSleepOf(TokioClock);

impl relentless::Clock for NoSleepOf {
    fn now(&self) -> Duration {
        self.0.now()
    }
}

impl relentless::AsyncClock for NoSleepOf {
    type Wait = Ready<()>;

    fn wait_async(&self, _: Duration) -> Ready<()> {
        ready(())
    }
}
