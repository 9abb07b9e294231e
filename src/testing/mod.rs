//! For tests of your own code: feature `test-util`.

mod clock;

pub use clock::VirtualClock;
