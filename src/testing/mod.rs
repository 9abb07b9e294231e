//! For tests of your own code: feature `test-util`.

mod clock;
mod machine;
pub mod proxy;

pub use clock::VirtualClock;
pub use machine::{Machine, OnMachine};
