//! Bytes: of futures, of errors.

use std::io;

use backon::{ConstantBuilder, Retryable};
use relent::{GaveUp, retry};
use relentless::{clock::TokioClock, retry_async};
use tokio::time::sleep;
use tokio_retry::strategy::FixedInterval as Fixed;
use tokio_retry2::strategy::FixedInterval as Fixed2;
use tokio_util::sync::CancellationToken;

use crate::{
    hand::{ATTEMPT, PAUSE, WHOLE, by_hand, by_hand_in_time, large, op},
    measure::{Figure, Unit},
    retry::transient,
};

pub fn figures() -> Vec<Figure> {
    let bytes = |name, relent, hand, peers| Figure { name, unit: Unit::Bytes, relent, hand, peers };
    vec![
        bytes(
            "future beyond its operation",
            || beyond(&large(), &retry(|_| large()).into_future()),
            Some(|| beyond(&large(), &by_hand(10, large, sleep))),
            vec![
                ("backon", || beyond(&large(), &large.retry(ConstantBuilder::default()))),
                ("mettle", || beyond(&large(), &mettle::retry(large).into_future())),
                ("relentless", || {
                    beyond(&large(), &retry_async(|_| large()).clock(TokioClock::new()).call().into_future())
                }),
                ("tokio-retry", || beyond(&large(), &tokio_retry::Retry::start(Fixed::new(PAUSE).take(3), large))),
                ("tokio-retry2", || {
                    let strategy = Fixed2::new(PAUSE).take(3);
                    beyond(&transient(large()), &tokio_retry2::Retry::spawn(strategy, || transient(large())))
                }),
            ],
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
        ),
        bytes(
            "future, cancel_on adds",
            || {
                let cancelled = retry(|_| large()).cancel_on(CancellationToken::new());
                beyond(&retry(|_| large()).into_future(), &cancelled.into_future())
            },
            Some(|| {
                let token = CancellationToken::new();
                beyond(&by_hand(10, large, sleep), &token.run_until_cancelled(by_hand(10, large, sleep)))
            }),
            vec![],
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

/// backon, tokio-retry and tokio-retry2 hand back the operation's own error, as the loop by hand does.
fn error<E>(name: &'static str) -> Figure {
    Figure {
        name,
        unit: Unit::Bytes,
        relent: || size_of::<GaveUp<E>>() as f64,
        hand: Some(|| size_of::<E>() as f64),
        peers: vec![
            ("mettle", || size_of::<mettle::RetryError<E>>() as f64),
            ("relentless", || size_of::<relentless::RetryError<E, Result<(), E>>>() as f64),
        ],
    }
}
