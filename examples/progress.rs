//! A listener that drives a bar: attempt, last error, next try: `cargo run --example progress`.
#![allow(clippy::disallowed_methods)]

use std::{io, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use relent::{Backoff, Last, events::Event, retry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bar =
        ProgressBar::new(5).with_style(ProgressStyle::with_template("{bar:20} attempt {pos} of {len}: {wide_msg}")?);
    let answer = retry(async |attempt| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if attempt.number() < 5 { Err(io::Error::other("no route to host")) } else { Ok(7) }
    })
    .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1)))
    .notify(|event: &Event<'_, io::Error>| match event {
        Event::Started(attempt) => bar.set_position(attempt.number().into()),
        Event::Ended { last: Last::Failed(error), again: Some(pause), .. } => {
            bar.set_message(format!("{error}, next try in {pause:?}"));
        }
        Event::Succeeded { elapsed, .. } => bar.finish_with_message(format!("done in {elapsed:?}")),
        _ => {}
    })
    .await?;
    println!("{answer}");
    Ok(())
}
