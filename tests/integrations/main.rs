//! The ways into the stacks that people have, each by its promises: http, io, tower, streams, rates that a server sets.
#![allow(clippy::disallowed_methods, clippy::unused_async)]

mod adaptive;
mod go;
mod hostile;
mod http;
mod kept;
mod limit;
mod stream;

mod tower;
#[path = "../models/wakes.rs"]
mod wakes;
