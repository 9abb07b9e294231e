//! Call until it works, and know why not: `cargo run --example retry`.

use std::{io, time::Duration};

use relent::{Backoff, events::Event, io::classify, retry};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() {
    let connected = retry(async |_| TcpStream::connect("127.0.0.1:1").await)
        .backoff(Backoff::exponential(Duration::from_millis(50), Duration::from_secs(1)))
        .attempt_timeout(Duration::from_millis(500)) // each call
        .finish_within(Duration::from_secs(1)) // everything
        .when(classify) // what repeating cannot mend ends it at once
        .notify(|event: &Event<'_, io::Error>| {
            if let Event::Ended { last, again: Some(pause), .. } = event {
                println!("{last}, retrying in {pause:?}");
            }
        })
        .await;
    match connected {
        Ok(stream) => println!("connected to {:?}", stream.peer_addr()),
        Err(gave_up) => println!("{gave_up}"), // why it stopped, and what the last attempt did
    }
}
