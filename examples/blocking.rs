//! On a thread, without a runtime: `cargo run --example blocking`.

use std::{net::TcpStream, time::Duration};

use relent::{Backoff, blocking, io};

fn main() {
    let connected = blocking::retry(|_| TcpStream::connect("127.0.0.1:1"))
        .backoff(Backoff::fixed(Duration::from_millis(100)))
        .when(io::classify)
        .max_attempts(3)
        .call();
    match connected {
        Ok(stream) => println!("connected to {:?}", stream.peer_addr()),
        Err(gave_up) => println!("{gave_up}"),
    }
    let mut temperature = 60;
    let cool = blocking::poll(|attempt| {
        temperature -= 7;
        println!("look {}: {temperature} degrees", attempt.number());
        (temperature < 40).then_some(temperature)
    });
    println!("{:?}", cool.every(Duration::from_millis(50)).call().map_err(|gave_up| gave_up.stop().clone()));
}
