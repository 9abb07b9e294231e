//! An observation of `ensure` that is a `bool`.
//!
//! error: an observation of `ensure` must answer `Result<Option<T>, E>`, `Observed<T, S, E>` or `Result<Observed<T, S, E>, E>`
//! label: an observation answers `bool`
//! note: `Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows
//! note: for a `bool`: `Ok(is_so.then_some(()))`

pub fn slips() {
    drop(relent::ensure(async |_| true, async |()| Ok::<(), u8>(())));
}
