//! Look until it is so: `cargo run --example poll`.
#![allow(clippy::disallowed_methods)]

use std::{io, time::Duration};

use relent::{Check, poll};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::temp_dir().join(format!("relent-example-{}", std::process::id()));
    let path = file.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(350)).await;
        tokio::fs::write(path, "done").await
    });
    let text = poll(async |attempt| match tokio::fs::read_to_string(&file).await {
        Ok(text) => Check::Ready(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("look {}: not there yet", attempt.number());
            Check::NotYetBecause(error)
        }
        Err(error) => Check::Fatal(error),
    })
    .every(Duration::from_millis(100))
    .start_within(Duration::from_secs(5))
    .await?;
    println!("it says {text:?}");
    Ok(std::fs::remove_file(file)?)
}
