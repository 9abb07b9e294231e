//! A stream that breaks off, connects anew and says what was missed: `cargo run --example stream --features stream`.
#![allow(clippy::disallowed_methods, clippy::unused_async)]

use std::{io, pin::pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use relent::stream::{Streamed, reconnect};

/// A watch of three changes, whose server then is away for a while.
async fn watch(attempt: u32) -> io::Result<impl Stream<Item = io::Result<u32>>> {
    let away = || io::Error::other("connection refused");
    if attempt % 4 > 1 { Err(away()) } else { Ok(stream::iter([Ok(1), Ok(2), Ok(3), Err(away())])) }
}

#[tokio::main]
async fn main() {
    let changes = reconnect(async |attempt| watch(attempt.number()).await);
    let mut changes = pin!(changes.every(Duration::from_millis(200)).max_attempts(7).into_stream());
    while let Some(item) = changes.next().await {
        match item {
            Ok(Streamed::Connected(None)) => println!("connected"),
            Ok(Streamed::Connected(Some(gap))) => println!("connected anew: blind for {:?}, read all", gap.length()),
            Ok(Streamed::Item(change)) => println!("change {change}"),
            Ok(_) => println!("lost"),
            Err(gave_up) => println!("{gave_up}"),
        }
    }
}
