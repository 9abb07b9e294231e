//! A call or a stream that has ended and is kept: nothing wakes its task any more.

use std::{future::poll_fn, pin::pin, time::Duration};

use futures_util::{Stream, stream};
use relent::{Policy, Profile, stream::reconnect, tower::RetryLayer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, service_fn};

use super::wakes::nothing_wakes_it_after;

const S: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    "attempt_timeout 10s, finish_within 1m, every 2s, max_attempts 2".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_a_call_that_has_ended() {
    for answer in [Ok(7), Err("no")] {
        let token = CancellationToken::new();
        let service = service_fn(move |_: u32| async move {
            sleep(S).await;
            answer
        });
        let call = RetryLayer::new(Profile::new(policy()).cancel_on(token.clone())).layer(service).call(1);
        let ended = if answer.is_ok() { "Ok" } else { "Err" };
        nothing_wakes_it_after("a call", call, &token, ended).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_a_stream() {
    let token = CancellationToken::new();
    let connect = async |_| {
        sleep(S).await;
        Err::<stream::Pending<Result<u32, &str>>, _>("refused")
    };
    let run = reconnect(connect).policy(&policy()).cancel_on(token.clone());
    let mut stream = pin!(run.into_stream());
    let next = poll_fn(|cx| stream.as_mut().poll_next(cx));
    nothing_wakes_it_after("a stream", next, &token, "Some(Err").await;
}
