//! `.listen(..)` with what is no listener.
//!
//! error: this hears no events of runs that fail with `u8`
//! label: `u16` is no listener
//! note: give a closure to `.notify(|event| ..)`; `.listen(..)` is for types that are a `Listener`

pub fn slips() {
    drop(relent::retry(async |_| Err::<(), u8>(1)).listen(1_u16));
}
