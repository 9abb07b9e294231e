//! Its types can be named and sent.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use relent::{
    Attempt, Limiter, Operation,
    stream::{Reconnect, ReconnectStream, Streamed, reconnect},
};

use super::{Server, Source, breaks_after};

/// Named in a field, and sent.
#[derive(Clone, Debug)]
struct Connect(Server);

impl Operation for Connect {
    type Output = Result<Source, String>;
    type Future = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn call(&mut self, _: Attempt) -> Self::Future {
        Box::pin(self.0.connect())
    }
}

struct Watch {
    changes: Pin<Box<ReconnectStream<Connect>>>,
}

#[tokio::test(start_paused = true)]
async fn it_can_be_named_and_spawned() {
    let server = Server::new([breaks_after(1)]);
    let mut watch = Watch { changes: Box::pin(Reconnect::new(Connect(server.clone())).into_stream()) };
    assert!(format!("{:?}", watch.changes).starts_with("ReconnectStream { state: \"waiting to connect\", attempts: 0"));
    let seen = tokio::spawn(async move {
        let mut seen = vec![];
        while let Ok(Some(item)) = watch.changes.try_next().await {
            if let Streamed::Item(item) = item {
                seen.push(item);
            }
            if seen.len() == 3 {
                break;
            }
        }
        seen
    });
    assert_eq!(seen.await.unwrap(), [1, 1, 2]);
    let spawned = tokio::spawn(async move {
        let changes = reconnect(move |_| server.connect()).when(|error: &String| error.is_empty()).into_stream();
        pin!(changes).next().await
    });
    assert!(matches!(spawned.await.unwrap(), Some(Ok(Streamed::Connected(None)))));
}

/// Whatever the type of the error is.
#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_with_errors_that_borrow() {
    async fn first<E: Send + 'static>(error: fn() -> E) -> bool {
        let spawned = tokio::spawn(async move {
            let run = reconnect(async |_| Err::<stream::Empty<Result<u32, E>>, E>(error()));
            let mut run = pin!(run.max_attempts(1).throttle(&Limiter::unlimited()).into_stream());
            run.next().await.unwrap().is_err()
        });
        spawned.await.unwrap()
    }
    let text = tokio::spawn(async {
        let mut run =
            pin!(reconnect(async |_| Err::<stream::Empty<Result<u32, _>>, _>("no")).max_attempts(1).into_stream());
        run.try_next().await.unwrap_err().into_error()
    });
    assert_eq!(text.await.unwrap(), Some("no"));
    assert!(first(|| std::borrow::Cow::Borrowed("no")).await);
    assert!(first(|| Box::<dyn std::error::Error + Send + Sync>::from("no")).await);
    assert!(first(|| anyhow::anyhow!("no")).await);
}
