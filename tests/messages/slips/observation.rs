//! An observation that says nothing of the progress, and one that can fail with a `Progress` that cannot.
//!
//! error: an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`
//! label: an observation answers `Option<u8>`
//! note: say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`
//! label: an observation answers `Result<Progress<u8>, u8>`
//! note: a `Progress<T>` has no errors: in a `Result` it is `Progress<T, E>`, with the error of both
//! note: without anything to say of its progress, use `poll`

pub fn slips() {
    drop(relent::settle(async |_| Some(1_u8)));
    drop(relent::settle(async |_| Err::<relent::Progress<u8>, u8>(1)));
}
