//! Retry and limit within a tower stack: `cargo run --example tower --features tower`.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use relent::tower::{LimitLayer, RetryLayer};
use relent::{Backoff, Limiter, Policy, Profile};
use tower::{ServiceBuilder, ServiceExt, service_fn};

static CALLS: AtomicU32 = AtomicU32::new(0);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let policy = Policy::new().backoff(Backoff::fixed(Duration::from_millis(50))).finish_within(Duration::from_secs(5));
    let server = service_fn(move |name: &'static str| async move {
        println!("called after {:?}", began.elapsed());
        if CALLS.fetch_add(1, Relaxed) < 2 { Err("busy") } else { Ok(format!("hello {name}")) }
    });
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(Profile::new(policy)))
        .layer(LimitLayer::new(&Limiter::per_second(5)))
        .service(server);
    println!("{}", client.oneshot("you").await?);
    Ok(())
}
