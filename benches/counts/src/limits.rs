//! What limiters and keys cost: one function that is never inlined for each row. The loop itself is included.

use std::{hint::black_box, sync::LazyLock, time::Duration};

use relent::{Backoff, Jitter, KeyedBackoff, KeyedLimiter, Limiter, Rate};

use crate::rows::{Row, drive};

/// More than is ever taken.
const PLENTY: u32 = 1_000_000_000;
/// A limiter of so many keys, each of which has been used once.
const KEYS: u64 = 1000;
/// Of each key: small enough for a word, and never used up.
const BURST: u32 = 1000;

pub fn all() -> Vec<Row> {
    let row = |name, run| Row { name, run, scale: 1 };
    let keys = |name, run| Row { name, run, scale: CALLS };
    vec![
        row("limiters: the loop alone", bare),
        row("limiter: try_acquire", try_acquire),
        row("limiter: try_acquire, refused", refused),
        row("limiter: acquire, ready", acquire),
        row("limiter: ready(), ready", ready),
        keys("keys: the loop alone", bare_keys),
        keys("keyed limiter: a check", check),
        keys("keyed limiter: a check, refused", check_refused),
        keys("keyed limiter: acquire, ready", keyed_acquire),
        keys("keyed backoff: one more failure", failed),
    ]
}

fn plenty() -> Limiter {
    Limiter::new(Rate::per_second(PLENTY), PLENTY)
}

#[inline(never)]
fn bare(times: u64) {
    let limiter = plenty();
    for _ in 0..times {
        _ = black_box((black_box(&limiter), black_box(1)));
    }
}

#[inline(never)]
fn try_acquire(times: u64) {
    let limiter = plenty();
    for _ in 0..times {
        assert!(black_box(&limiter).try_acquire(black_box(1)).is_ok());
    }
}

#[inline(never)]
fn refused(times: u64) {
    let limiter = Limiter::new(Rate::per_hour(1), 1);
    _ = limiter.try_acquire(1);
    for _ in 0..times {
        assert!(black_box(&limiter).try_acquire(black_box(1)).is_err());
    }
}

#[inline(never)]
fn acquire(times: u64) {
    let limiter = plenty();
    drive(async {
        for _ in 0..times {
            assert!(black_box(&limiter).acquire(black_box(1)).await.is_ok());
        }
    });
}

#[inline(never)]
fn ready(times: u64) {
    let limiter = plenty();
    drive(async {
        for _ in 0..times {
            black_box(&limiter).ready().await;
        }
    });
}

/// What one call in hundreds does in passing evens out over so many calls each time.
const CALLS: u64 = 32;
/// Hashers have random seeds, by which tables are filled one way or another: so many of them together hardly differ.
const SEEDS: u64 = 128;

/// Full again after hours, so that no key is forgotten meanwhile. Made once, so that only calls are counted.
fn keyed(burst: u32) -> Vec<KeyedLimiter<u64>> {
    let keyed = || {
        let keyed = KeyedLimiter::new(Rate::per_hour(1), burst);
        // Twice: a table that was still growing has grown then.
        for key in (0..KEYS).chain(0..KEYS) {
            _ = keyed.try_acquire(&key, 1);
        }
        keyed
    };
    (0..SEEDS).map(|_| keyed()).collect()
}

static KEYED: LazyLock<Vec<KeyedLimiter<u64>>> = LazyLock::new(|| keyed(BURST));
static USED_UP: LazyLock<Vec<KeyedLimiter<u64>>> = LazyLock::new(|| keyed(1));
static FAILED: LazyLock<Vec<KeyedBackoff<u64>>> = LazyLock::new(|| {
    let keyed = || {
        let backoff = Backoff::exponential(Duration::from_millis(5), Duration::from_secs(1000)).jitter(Jitter::None);
        let keyed = KeyedBackoff::new(backoff, Duration::from_secs(3600));
        for key in (0..KEYS).chain(0..KEYS) {
            _ = keyed.failed(&key);
        }
        keyed
    };
    (0..SEEDS).map(|_| keyed()).collect()
});

fn one<T>(all: &[T], n: u64) -> &T {
    black_box(&all[(n % SEEDS) as usize])
}

fn key(n: u64) -> u64 {
    black_box(n.wrapping_mul(7919) % KEYS)
}

#[inline(never)]
fn bare_keys(times: u64) {
    let all: &[_] = &KEYED;
    for n in 0..times * CALLS {
        _ = black_box((one(all, n), &key(n), black_box(1)));
    }
}

#[inline(never)]
fn check(times: u64) {
    let all: &[_] = &KEYED;
    for n in 0..times * CALLS {
        assert!(one(all, n).try_acquire(&key(n), black_box(1)).is_ok());
    }
}

#[inline(never)]
fn check_refused(times: u64) {
    let all: &[_] = &USED_UP;
    for n in 0..times * CALLS {
        assert!(one(all, n).try_acquire(&key(n), black_box(1)).is_err());
    }
}

#[inline(never)]
fn keyed_acquire(times: u64) {
    let all: &[_] = &KEYED;
    drive(async {
        for n in 0..times * CALLS {
            assert!(one(all, n).acquire(&key(n), black_box(1)).await.is_ok());
        }
    });
}

#[inline(never)]
fn failed(times: u64) {
    let all: &[_] = &FAILED;
    for n in 0..times * CALLS {
        _ = black_box(one(all, n).failed(&key(n)));
    }
}
