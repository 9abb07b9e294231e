//! An observation that says nothing of the progress.
//!
//! error: an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`
//! label: an observation answers `Option<u8>`
//! note: say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`
//! note: without anything to say of its progress, use `poll`

pub fn slips() {
    drop(relent::settle(async |_| Some(1_u8)));
}
