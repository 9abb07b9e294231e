//! tower-resilience, whose retry and limiter are layers around a service: made once, and then called.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::{RetryConfigBuilder, RetryLayer};

use crate::{
    drive::Answer,
    hand::{PAUSE, always_fails, fallible, op, waits},
};

pub const NAME: &str = "tower-resilience";

fn layer(pause: Duration) -> RetryConfigBuilder<(), u32, u32> {
    RetryLayer::<(), u32, u32>::builder().max_attempts(10).fixed_backoff(pause)
}

pub fn first_try(rt: &Runtime, n: u64) {
    let mut service = layer(PAUSE).build().layer(service_fn(|()| op(black_box(0))));
    times!(rt, n, service.call(()));
}

pub fn pending_once(rt: &Runtime, n: u64) {
    let mut service = layer(PAUSE).build().layer(service_fn(|()| waits()));
    pending!(rt, n, service.call(()));
}

pub fn fatal_at_once(rt: &Runtime, n: u64) {
    let never = layer(PAUSE).retry_on(|_| black_box(false)).build();
    let mut service = never.layer(service_fn(|()| always_fails()));
    failures!(rt, n, service.call(()));
}

/// It always pauses by a timer.
pub fn three_retries_without_delay(rt: &Runtime, n: u64) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let mut service =
        layer(Duration::ZERO).build().layer(service_fn(|()| fallible(CALLS.fetch_add(1, Relaxed) % 4 < 3)));
    times!(rt, n, service.call(()));
}

/// A permit as the service gets it that asks for one when it is asked whether it is ready: it takes no future.
pub fn acquire(rt: &Runtime, permits: u32, n: u64) {
    let layer = RateLimiterLayer::per_second(permits as usize).backpressure().build().expect("a limiter");
    let mut service = layer.layer(service_fn(|()| done()));
    rt.block_on(async {
        for _ in 0..n {
            assert!(black_box(service.ready().await.expect("a permit").call(())).await.is_ok());
        }
    });
}

fn done() -> Ready<Result<(), Infallible>> {
    ready(Ok(()))
}
