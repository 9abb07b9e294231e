//! A `bool`, or a plain `Result`, for a check, and one that can fail with a `Check` that cannot.
//!
//! error: a check of `poll` must answer `Check<T, E>`, `Option<T>`, `Result<Option<T>, E>` or `Result<Check<T, E>, E>`
//! label: a check answers `bool`
//! label: a check answers `Result<u8, u8>`
//! note: for a `bool`: `is_so.then_some(())`
//! label: a check answers `Result<Check<u8>, u8>`
//! note: a `Check<T>` has no errors: in a `Result` it is `Check<T, E>`, with the error of both
//! note: to repeat a call that answers `Result<T, E>` until it is `Ok`, use `retry`

pub fn slips() {
    drop(relent::poll(async |_| true));
    drop(relent::poll(async |_| Err::<u8, u8>(1)));
    drop(relent::poll(async |_| Err::<relent::Check<u8>, u8>(1)));
}
