//! The policies that are compared.

use std::time::Duration;

use relent::Backoff;

/// What a client does when a call fails.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// `None`: it gives the request up.
    pub(crate) backoff: Option<fn() -> Backoff>,
    /// Whether the clients of a process share a budget of retries: one for ten requests, and ten saved up.
    pub(crate) budget: bool,
    /// Whether they share a limiter of calls: a fifth more than they need in good times, less than the server can
    /// answer.
    pub(crate) limiter: bool,
}

const MS: Duration = Duration::from_millis(1);

fn fixed() -> Backoff {
    Backoff::fixed(100 * MS)
}

fn plain() -> Backoff {
    use relent::Jitter;
    full().jitter(Jitter::None)
}

fn full() -> Backoff {
    Backoff::exponential(100 * MS, 20_000 * MS)
}

fn decorrelated() -> Backoff {
    Backoff::decorrelated(100 * MS, 20_000 * MS)
}

const fn with(name: &'static str, backoff: Option<fn() -> Backoff>, budget: bool, limiter: bool) -> Contender {
    Contender { name, backoff, budget, limiter }
}

pub(crate) const POLICIES: [Contender; 9] = [
    with("no retry", None, false, false),
    with("every 100ms", Some(fixed), false, false),
    with("exponential 100ms..20s, no jitter", Some(plain), false, false),
    with("exponential, full jitter", Some(full), false, false),
    with("decorrelated 100ms..20s", Some(decorrelated), false, false),
    with("every 100ms, budget", Some(fixed), true, false),
    with("every 100ms, limiter", Some(fixed), false, true),
    with("exponential, full jitter, budget", Some(full), true, false),
    with("exponential, full jitter, both", Some(full), true, true),
];
