//! One rate for a fleet: the protocol in a simulated world, and the future on a paused clock.

mod hostile;
mod members;
mod sim;
