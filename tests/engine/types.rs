//! What every public type must be, and what must infer without an annotation.

use std::time::Duration;

use relent::{
    Attempt, Backoff, Budget, Check, ConfigError, Decision, GaveUp, Jitter, Last, Limiter, Policy, Ratio, Stop,
    backoff::Delays,
    builder::{AttemptLoop, Controls, Polling, Retry},
    error::BoxedError,
    plan::Plan,
    poll, retry,
};
use tokio_util::sync::CancellationToken;

const fn is_sendable<T: Send + Sync + Unpin>() {}
const fn sends<T: Send>(_: &T) {}

const _: () = {
    is_sendable::<Attempt>();
    is_sendable::<Backoff>();
    is_sendable::<BoxedError>();
    is_sendable::<Budget>();
    is_sendable::<Check<u8, u8>>();
    is_sendable::<ConfigError>();
    is_sendable::<Decision>();
    is_sendable::<Delays>();
    is_sendable::<GaveUp<u8>>();
    is_sendable::<Jitter>();
    is_sendable::<Last<u8>>();
    is_sendable::<Limiter>();
    is_sendable::<Plan>();
    is_sendable::<Policy>();
    is_sendable::<Polling<u8>>();
    is_sendable::<Ratio>();
    is_sendable::<Retry<u8>>();
    is_sendable::<Retry<u8, u8, u8, Controls>>();
    is_sendable::<AttemptLoop<u8>>();
    is_sendable::<Stop>();
};

#[derive(Debug)]
struct Io;

impl Io {
    fn is_transient(&self) -> bool {
        matches!(self, Self)
    }
}

#[tokio::test(start_paused = true)]
async fn closures_infer_and_borrowing_futures_are_send() {
    tokio::spawn(async {
        let local = String::from("borrowed");
        let borrowing = retry(|_| async {
            tokio::task::yield_now().await;
            if local.is_empty() { Err(Io) } else { Ok(local.len()) }
        })
        .when(|error| error.is_transient())
        .into_future();
        sends(&borrowing);
        assert_eq!(borrowing.await.unwrap(), 8);
    })
    .await
    .unwrap();
    assert_eq!(retry(async |attempt: Attempt| Ok::<_, Io>(attempt.number())).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_cursor_takes_what_no_closure_can_hand_out() {
    tokio::spawn(async {
        let mut lines = Vec::new();
        async fn push(lines: &mut Vec<u32>, number: u32) -> Result<usize, Io> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            lines.push(number);
            if number < 3 { Err(Io) } else { Ok(lines.len()) }
        }
        let mut run = Policy::new().every(Duration::from_millis(10)).begin();
        let pushed = loop {
            let turn = run.next().await.unwrap();
            let number = turn.info().number();
            if let Some(pushed) = turn.run(push(&mut lines, number)).await {
                break pushed;
            }
        };
        assert_eq!((pushed, lines), (3, vec![1, 2, 3]));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_borrowed_limiter_leaves_the_future_static() {
    fn is_static<T: 'static + Send>(_: &T) {}
    let limiter = Limiter::unlimited();
    let future =
        retry(|_| async { Ok::<_, Io>(()) }).throttle(&limiter).cancel_on(CancellationToken::new()).into_future();
    is_static(&future);
    future.await.unwrap();
    poll(|_| async { Some(1) }).throttle(&limiter).await.unwrap();
}

/// The future over its operation's: what the design allows, on the sizes that tokio has today.
#[test]
fn sizes_are_what_was_promised() {
    let size = |future: &dyn std::any::Any| size_of_val(future);
    let plain = retry(|_| async { Ok::<u8, u32>(1) }).into_future();
    let cancellable = retry(|_| async { Ok::<u8, u32>(1) }).cancel_on(CancellationToken::new()).into_future();
    assert!(size(&plain) <= 264 + 1, "{}", size(&plain));
    // The wait for the cancellation is inside: it takes no allocation.
    assert!(size(&cancellable) <= size(&plain) + 144, "{}", size(&cancellable));
    assert!(size_of::<GaveUp<u64>>() <= size_of::<u64>() + 72);
    assert!(size_of::<GaveUp<[u64; 8]>>() <= size_of::<[u64; 8]>() + 72);
}
