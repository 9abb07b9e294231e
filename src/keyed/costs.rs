//! What a call looks at, however many keys there are: words and limiters.

use std::{cell::Cell, hash::BuildHasher, time::Duration};

use hashbrown::DefaultHashBuilder;
use tokio::time::advance;

use super::{
    KeyedLimiter,
    request::{Tried, Wanted},
    settings::{Context, Settings},
    shard::Shard,
};
use crate::{limiter::LimiterClock, policy::limit::rate::Rate};

thread_local! {
    static LOOKS: Cell<usize> = const { Cell::new(0) };
}

/// So many more were looked at.
pub(super) fn count(looks: usize) {
    LOOKS.set(LOOKS.get() + looks);
}

struct Costs {
    keyed: KeyedLimiter<u32>,
    keys: u32,
    most: usize,
    total: usize,
}

impl Costs {
    /// So many keys, each of which has taken all it can.
    async fn of(keys: u32) -> Self {
        let keyed = KeyedLimiter::new(Rate::per_hour(1), 100);
        let mut costs = Self { keyed, keys, most: 0, total: 0 };
        (0..keys).for_each(|key| costs.call(|keyed| keyed.try_acquire(&key, 100).unwrap()));
        advance(Duration::from_millis(1)).await;
        costs
    }

    fn call<T>(&mut self, call: impl FnOnce(&KeyedLimiter<u32>) -> T) -> T {
        LOOKS.set(0);
        let told = call(&self.keyed);
        self.most = self.most.max(LOOKS.get());
        self.total += LOOKS.get();
        told
    }

    fn change(&mut self, round: u32) {
        let rate = Rate::new(1 + round % 7, Duration::from_secs(3600 + u64::from(round % 11))).unwrap();
        self.call(
            |keyed| if round.is_multiple_of(2) { keyed.set_rate(rate) } else { keyed.set_burst(100 + round % 3) },
        );
    }

    fn try_any(&mut self, which: u32) {
        let key = which.wrapping_mul(0x9E37_79B1) % self.keys;
        _ = self.call(|keyed| keyed.try_acquire(&key, 1));
    }
}

/// At the end of a round a call takes 32 steps, in each of which it looks at two words or at eight; where there are
/// many tags it looks at a 1024th of the words as well.
const MOST: usize = 408;

#[tokio::test(start_paused = true)]
async fn no_call_looks_at_more_words_because_settings_have_changed_often() {
    for keys in [3_000, 40_000] {
        let mut costs = Costs::of(keys).await;
        for changes in [300, 2_000] {
            costs.total = 0;
            (0..changes).for_each(|round| costs.change(round));
            assert_eq!(costs.total, 0, "a change looks at no key at rest");
            costs.try_any(1);
        }
        // A call in between: about one key, about any, about many.
        for (calls, same) in [(1, true), (1, false), (3, false), (40, false)] {
            for round in 0..1_000 {
                costs.change(round);
                (0..calls).for_each(|call| costs.try_any(if same { 7 } else { round * calls + call }));
                if round % 100 == 0 {
                    advance(Duration::from_millis(1)).await;
                }
            }
        }
        assert!(costs.most <= MOST, "{} of {keys}", costs.most);
        assert_eq!(costs.keyed.len(), keys as usize);
    }
}

/// Each time the clock leaves the span that words can tell, which is 8.6 s at this rate.
#[tokio::test(start_paused = true)]
async fn no_call_looks_at_more_words_because_time_has_passed() {
    for keys in [3_000, 40_000] {
        let mut costs = Costs::of(keys).await;
        costs.keyed.set_rate(Rate::new(u32::MAX, Duration::from_secs(180_001)).unwrap());
        for round in 0..2_000 {
            (0..=round % 5).for_each(|call| costs.try_any(round * 5 + call));
            advance(Duration::from_secs(9)).await;
        }
        advance(Duration::from_secs(365 * 24 * 3600)).await;
        (0..300).for_each(|round| costs.try_any(round));
        assert!(costs.most <= MOST, "{} of {keys}", costs.most);
    }
}

/// As many in one shard as there are of a million, and just so many asked for between two changes that a tag is used up
/// by each.
#[test]
fn there_are_never_too_many_tags() {
    const KEYS: u32 = 30_000;
    let context = Context { clock: LimiterClock::default(), hasher: DefaultHashBuilder::default() };
    let settings = |round: u32| Settings { rate: Rate::per_hour(1 + round % 7), burst: 100, version: round.into() };
    let mut shard = Shard::new(settings(0));
    let (mut most, mut now) = (0, 1);
    let mut take = |shard: &mut Shard<u32>, now: u64, key: u32, permits: u32| {
        LOOKS.set(0);
        let wanted = Wanted { key: &key, hash: context.hasher.hash_one(key) };
        match shard.try_take(now, wanted, permits, &context) {
            (Tried::Unknown, _) => _ = shard.try_take_unpacked(now, wanted, permits, &context),
            (_, true) => shard.look_after(now, 1, &context),
            (_, false) => {}
        }
        most = most.max(LOOKS.get());
    };
    (0..KEYS).for_each(|key| take(&mut shard, now, key, 100));
    for round in 1..600 {
        now += 1;
        drop(shard.set(now, settings(round), 0, &context));
        (0..34).for_each(|call| take(&mut shard, now, (round * 34 + call).wrapping_mul(0x9E37_79B1) % KEYS, 1));
    }
    assert!(most <= MOST, "{most}");
    assert_eq!(shard.len(), KEYS as usize);
}
