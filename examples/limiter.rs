//! So many in each second, in order and within a deadline: `cargo run --example limiter`.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use relent::{Limiter, limiter::Refused, retry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let limiter = Limiter::per_second(10).burst(3); // shared by its clones
    for number in 1..=5 {
        limiter.ready().await;
        println!("{number} goes after {:?}", began.elapsed());
    }
    match limiter.acquire(3).within(Duration::from_millis(100)).await {
        Err(Refused::TooFar { ready_in, .. }) => println!("refused at once: three would be ready in {ready_in:?}"),
        other => println!("{other:?}"),
    }
    // Before each attempt of a run.
    let answer = retry(async |attempt| if attempt.number() < 3 { Err("busy") } else { Ok(attempt.elapsed()) });
    let elapsed = answer.every(Duration::ZERO).throttle(&limiter).boxed().await?;
    println!("the third attempt started after {elapsed:?}");
    Ok(())
}
