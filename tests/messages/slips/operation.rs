//! In a function of one's own: a value for an operation, an operation that answers no `Result`.
//!
//! error: this cannot be attempted: it is neither `async |attempt| ..` nor an `Operation`
//! label: `u8` is no operation
//! note: give a closure that makes a future for each attempt, `async |attempt| call().await`, not the future itself
//! note: or implement `Operation` for the type
//! error: what is retried must answer a `Result`
//! label: an attempt answers `Option<u8>`
//! note: for an `Option`, or for anything that becomes true in time, use `poll`: it takes `Option<T>`, `Check<T, E>` and `Result<Option<T>, E>`

use relent::{Operation, operation::RetryOutput};

fn call<O: Operation>(_: O) {}
fn retry_later<O: Operation<Output: RetryOutput>>(_: O) {}

pub fn slips() {
    call(1_u8);
    retry_later(async |_| Some(1_u8));
}
