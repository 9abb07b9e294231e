//! A limiter that learns from "too many" what a server bears: `cargo run --example adaptive`.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use relent::{Limiter, Ratio, limiter::Adaptive, retry};

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("429: too many")]
struct TooMany;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bears = Limiter::per_second(40).burst(8); // the server, which this client knows nothing of
    let limiter = Limiter::per_second(100);
    let adaptive = Adaptive::new(&limiter, 5..=100)?.steps(2, Ratio::percent(70), Duration::from_millis(100))?;
    for second in 1..=5 {
        let (began, mut calls, mut refused) = (std::time::Instant::now(), 0, 0);
        while began.elapsed() < Duration::from_secs(1) {
            let call = retry(async |_| bears.try_acquire(1).map_err(|_| TooMany)).throttle(&limiter).max_attempts(1);
            refused += u32::from(call.listen(adaptive.listener(|error| *error == TooMany)).await.is_err());
            calls += 1;
        }
        println!("second {second}: {calls} calls, {refused} of them refused; now at {}", limiter.rate());
    }
    Ok(())
}
