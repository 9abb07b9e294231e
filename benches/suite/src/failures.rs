//! `retry` of what fails, beside the same.

use std::{
    future::{Ready, ready},
    hint::black_box,
    time::{Duration, Instant},
};

use backon::{ConstantBuilder, Retryable};
use relent::{Backoff, Decision, retry};
use relentless::{clock::TokioClock, predicate, retry_async, stop, wait};
use tokio::{runtime::Runtime, time::sleep};
use tokio_retry::{RetryIf, strategy::FixedInterval as Fixed};
use tokio_retry2::{RetryError as Refused, strategy::FixedInterval as Fixed2};

use crate::{
    drive::Answer,
    hand::{PAUSE, WHOLE, always_fails, by_hand, by_hand_if},
    measure::{Row::Nanoseconds, Work},
    retry::{bare, transient, work},
    tower,
};

/// What pauses here pauses for no time.
pub fn works() -> Vec<Work> {
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
                (tower::NAME, tower::fatal_at_once),
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
                    (tower::NAME, tower::three_retries_without_delay),
                ],
            )
        },
    ]
}

fn bare_failure(rt: &Runtime, n: u64) {
    failures!(rt, n, always_fails());
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
