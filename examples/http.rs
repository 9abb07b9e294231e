//! HTTP, with any client on the types of the crate `http`: `cargo run --example http --features http`.
#![allow(clippy::unused_async)]

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::Response;
use relent::{http::Idempotency::Idempotent, http::StatusError, http::check, retry};

/// In place of a client: the server is busy at first. With reqwest it is `client.get(url).send().await?`.
async fn get() -> Response<&'static str> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let busy = Response::builder().status(503).header("retry-after", "1").body("busy").unwrap();
    if ASKED.fetch_add(1, Relaxed) < 2 { busy } else { Response::new("hello") }
}

#[tokio::main]
async fn main() -> Result<(), relent::GaveUp<StatusError>> {
    let text = retry(async |attempt| {
        let response = get().await;
        println!("attempt {} after {:?}: {}", attempt.number(), attempt.elapsed(), response.status());
        check(response.status(), response.headers()).map(|()| response.into_body())
    });
    let text = text.classify(Idempotent).on_cut(Idempotent).max_retry_after(Duration::from_secs(30));
    println!("{}", text.finish_within(Duration::from_secs(60)).await?);
    Ok(())
}
