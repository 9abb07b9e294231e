//! Runs as spans and events of `tracing`: `cargo run --example tracing --features tracing`.

use std::{io, time::Duration};

use relent::{Backoff, events::Tracing, retry};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let fetch = retry(async |attempt| {
        tracing::info!(number = attempt.number(), "asking");
        if attempt.number() < 3 { Err(io::Error::other("no route to host")) } else { Ok(7) }
    });
    let answer = fetch.backoff(Backoff::fixed(Duration::from_millis(100))).listen(Tracing::new("fetch")).await;
    tracing::info!(?answer);
    let fetch = retry(async |_| Err::<(), _>(io::Error::other("denied"))).when(|_| false);
    if let Err(gave_up) = fetch.listen(Tracing::new("fetch")).await {
        tracing::error!(error = %gave_up, "fetching");
    }
}
