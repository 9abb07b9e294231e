//! `KeyedLimiter` beside governor's (as it comes, and with relent's hasher and either clock) and rate-net's.

use std::{
    hint::black_box,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{DefaultClock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};
use hashbrown::DefaultHashBuilder;
use rate_net::{Eviction, Key};
use relent::{KeyedLimiter, Rate};

use crate::{
    measure::{Figure, Row, Unit, Work},
    queue::{each, scatter},
};

/// With relent's hasher; the clock is quanta.
type Hashed = RateLimiter<u64, DashMapStateStore<u64, DefaultHashBuilder>, DefaultClock>;
/// With relent's hasher and clock.
type LikeUs = RateLimiter<u64, DashMapStateStore<u64, DefaultHashBuilder>, MonotonicClock, NoOpMiddleware<Instant>>;

const AS_IT_COMES: &str = "governor";
const HASHED: &str = "governor, our hasher";
const LIKE_US: &str = "governor, our hasher and clock";
const RATE_NET: &str = "rate-net";

/// Full again after hours, so that no key is forgotten while it is looked at.
const BURST: u32 = 1000;
/// So many checks are timed, where there are keys enough.
const CHECKS: u64 = 200_000;

pub fn works() -> Vec<Work> {
    vec![Work {
        name: "keyed limiter of 1,000 keys, a check",
        bare: None,
        relent: |_, n| check_all(&filled::<Relent>(1000), 1000, n),
        hand: None,
        peers: vec![
            (AS_IT_COMES, |_, n| check_all(&filled::<DefaultKeyedRateLimiter<u64>>(1000), 1000, n)),
            (HASHED, |_, n| check_all(&filled::<Hashed>(1000), 1000, n)),
            (LIKE_US, |_, n| check_all(&filled::<LikeUs>(1000), 1000, n)),
            (RATE_NET, |_, n| check_all(&filled::<RateNet>(1000), 1000, n)),
        ],
        rows: &[Row::SeededInstructions],
    }]
}

/// All that do the same with so many keys.
macro_rules! figure {
    ($name:literal, $unit:expr, $does:ident($keys:literal)) => {
        Figure {
            name: $name,
            unit: $unit,
            relent: || $does::<Relent>($keys),
            hand: None,
            peers: vec![
                (AS_IT_COMES, || $does::<DefaultKeyedRateLimiter<u64>>($keys)),
                (HASHED, || $does::<Hashed>($keys)),
                (LIKE_US, || $does::<LikeUs>($keys)),
                (RATE_NET, || $does::<RateNet>($keys)),
            ],
        }
    };
}

pub fn figures() -> Vec<Figure> {
    vec![
        figure!("keyed limiter of 10 keys, heap a key", Unit::VaryingBytes, heap(10)),
        figure!("keyed limiter of 100 keys, heap a key", Unit::VaryingBytes, heap(100)),
        figure!("keyed limiter of 1,000 keys, heap a key", Unit::VaryingBytes, heap(1000)),
        figure!("keyed limiter of 10,000 keys, heap a key", Unit::VaryingBytes, heap(10_000)),
        figure!("keyed limiter of 100,000 keys, heap a key", Unit::VaryingBytes, heap(100_000)),
        figure!("keyed limiter of 1,000,000 keys, heap a key", Unit::VaryingBytes, heap(1_000_000)),
        figure!(
            "keyed limiter of 1,000,000 keys, heap a key at most, while they come in",
            Unit::VaryingBytes,
            peak(1_000_000)
        ),
        figure!("keyed limiter of 10 keys, a check", Unit::Nanoseconds, checks(10)),
        figure!("keyed limiter of 100 keys, a check", Unit::Nanoseconds, checks(100)),
        figure!("keyed limiter of 1,000 keys, a check", Unit::Nanoseconds, checks(1000)),
        figure!("keyed limiter of 10,000 keys, a check", Unit::Nanoseconds, checks(10_000)),
        figure!("keyed limiter of 100,000 keys, a check", Unit::Nanoseconds, checks(100_000)),
        figure!("keyed limiter of 1,000,000 keys, a check", Unit::Nanoseconds, checks(1_000_000)),
        figure!("keyed limiter, the slowest of 1,000,000 new keys", Unit::Nanoseconds, slowest(1_000_000)),
    ]
}

/// Something that keeps a limit for each key.
trait Keyed {
    fn new() -> Self;
    fn check(&self, key: u64) -> bool;
}

type Relent = KeyedLimiter<u64>;
type RateNet = rate_net::RateLimiter;

impl Keyed for Relent {
    fn new() -> Self {
        Self::new(Rate::per_hour(1), BURST)
    }
    fn check(&self, key: u64) -> bool {
        self.try_acquire(&key, 1).is_ok()
    }
}

fn quota() -> Quota {
    Quota::per_hour(NonZeroU32::MIN).allow_burst(NonZeroU32::new(BURST).expect("positive"))
}

impl Keyed for DefaultKeyedRateLimiter<u64> {
    fn new() -> Self {
        Self::dashmap(quota())
    }
    fn check(&self, key: u64) -> bool {
        self.check_key(&key).is_ok()
    }
}

impl Keyed for Hashed {
    fn new() -> Self {
        Self::dashmap_with_hasher(quota(), DefaultHashBuilder::default())
    }
    fn check(&self, key: u64) -> bool {
        self.check_key(&key).is_ok()
    }
}

impl Keyed for LikeUs {
    fn new() -> Self {
        Self::dashmap_with_clock_and_hasher(quota(), MonotonicClock, DefaultHashBuilder::default())
    }
    fn check(&self, key: u64) -> bool {
        self.check_key(&key).is_ok()
    }
}

impl Keyed for RateNet {
    /// It forgets keys above a number: here above more than there are.
    fn new() -> Self {
        let builder = rate_net::Builder::new().quota(1, Duration::from_secs(3600)).burst(BURST);
        builder.eviction(Eviction::capacity(1 << 21)).build()
    }
    fn check(&self, key: u64) -> bool {
        self.check(Key::id(key)).is_allow()
    }
}

/// One that knows so many keys.
fn filled<L: Keyed>(keys: u64) -> L {
    let limiter = L::new();
    for key in 0..keys {
        assert!(limiter.check(key), "a new key is full");
    }
    limiter
}

fn check_all(limiter: &impl Keyed, keys: u64, times: u64) {
    for n in 0..times {
        assert!(black_box(limiter.check(black_box(scatter(n) % keys))), "no key is used up");
    }
}

fn checks<L: Keyed>(keys: u64) -> f64 {
    let limiter: L = filled(keys);
    // No key is used up.
    let checks = CHECKS.min(keys * u64::from(BURST / 2));
    each(checks, || check_all(&limiter, keys, checks))
}

/// Heap in use, a key, when each was looked at once more: a table that grows in small steps has grown by then.
fn heap<L: Keyed>(keys: u64) -> f64 {
    let mut limiter = None;
    let used = allocation_counter::measure(|| check_all(limiter.insert(filled::<L>(keys)), keys, keys));
    drop(limiter);
    used.bytes_current as f64 / keys as f64
}

fn peak<L: Keyed>(keys: u64) -> f64 {
    let mut limiter = None;
    let used = allocation_counter::measure(|| limiter = Some(filled::<L>(keys)));
    drop(limiter);
    used.bytes_max as f64 / keys as f64
}

/// What the slowest call takes, while so many keys come in: time of this thread alone.
fn slowest<L: Keyed>(keys: u64) -> f64 {
    let limiter = L::new();
    let times = (0..keys).map(|key| {
        let start = ThreadTime::now();
        _ = black_box(limiter.check(key));
        start.elapsed()
    });
    times.max().expect("a key").as_nanos() as f64
}
