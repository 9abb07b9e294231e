//! For tests of your own code: feature `test-util`.

mod clock;
pub mod lock;
mod machine;
pub mod proxy;
mod term;

pub use clock::VirtualClock;
pub use machine::{Machine, OnMachine};
pub use term::TestTerm;
