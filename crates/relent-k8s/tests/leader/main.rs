//! A Lease as the lock of elections: on the API server in this process, on a real one, beside candidates in Go.
#![allow(clippy::pedantic, clippy::disallowed_methods, clippy::async_yields_async, missing_docs)]

mod client_go;
mod lease;
mod lease_trouble;
mod real_time;
mod release;
mod restart;

/// How many schedules a test of chance plays: as many as `RELENT_SCHEDULES` says.
fn schedules(unless_set: u64) -> u64 {
    std::env::var("RELENT_SCHEDULES").map_or(unless_set, |text| text.parse().expect("RELENT_SCHEDULES is a number"))
}

/// The same numbers for the same seed.
fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move || random.u64(..)
}
