//! How many keys are remembered, and what a call does for them.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    ops::Range,
    time::Duration,
};

use relent::{Backoff, KeyedBackoff, KeyedLimiter, Rate};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn many_keys_pass_by_and_few_are_remembered() {
    let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(1), 1);
    let held = keyed.get(&u32::MAX);
    held.try_acquire(1).unwrap();
    let mut most = 0;
    for tick in 0..200 {
        for key in 0..1000 {
            keyed.try_acquire(&(tick * 1000 + key), 1).unwrap();
        }
        advance(Duration::from_millis(100)).await;
        most = most.max(keyed.len());
    }
    // Ten thousand were in use within a second; each map is swept once per as many look-ups as it has keys.
    println!("200000 keys, 10000 at a time in use: at most {most} remembered");
    assert!(most <= 25_000, "{most}");
    advance(Duration::from_secs(2)).await;
    held.try_acquire(1).unwrap();
    keyed.forget_idle();
    assert_eq!(keyed.len(), 1, "the one that is held and not full");
    assert!(keyed.try_acquire(&u32::MAX, 1).is_err(), "and it is the same");
    drop(held);
    advance(Duration::from_secs(1)).await;
    keyed.forget_idle();
    assert!(keyed.is_empty());
}

/// Whatever the seeds of the hasher are.
#[tokio::test(start_paused = true)]
async fn items_that_are_never_forgotten_do_not_pile_up() {
    for _ in 0..15 {
        let items: KeyedBackoff<u32> = KeyedBackoff::new(Backoff::fixed(Duration::ZERO), Duration::from_secs(1));
        let mut most = 0;
        for tick in 0..50 {
            for key in 0..1000 {
                let _ = items.failed(&(tick * 1000 + key));
            }
            advance(Duration::from_millis(100)).await;
            most = most.max(items.len());
        }
        assert!(most <= 30_000, "{most}");
        // The others go while one fails on.
        advance(Duration::from_secs(2)).await;
        (0..200_000).for_each(|_| _ = items.failed(&0));
        assert_eq!(items.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_used_once_do_not_pile_up() {
    for _ in 0..15 {
        let keyed: KeyedLimiter<u32> = KeyedLimiter::new(Rate::per_second(1), 1);
        let mut most = 0;
        for tick in 0..50 {
            for key in 0..1000 {
                keyed.try_acquire(&(tick * 1000 + key), 1).unwrap();
            }
            advance(Duration::from_millis(100)).await;
            most = most.max(keyed.len());
        }
        // 10,000 of them are not full at a time.
        assert!(most <= 25_000, "{most}");
        // The others go while the last ones are used, or a single one.
        let used = if fastrand::bool() { 1 } else { 1000 };
        for round in 0..200_000 / used {
            for key in 0..used {
                _ = keyed.try_acquire(&key, 1);
            }
            if round == 10 {
                advance(Duration::from_secs(1)).await;
            }
        }
        assert!(keyed.len() <= used as usize, "{}", keyed.len());
    }
}

/// A key that counts how often it is hashed and compared.
#[derive(Clone, Copy, Debug)]
struct Counted(u64);

thread_local! {
    static LOOKS: Cell<u32> = const { Cell::new(0) };
}

fn look() {
    LOOKS.set(LOOKS.get() + 1);
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        look();
        self.0.hash(state);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        look();
        self.0 == other.0
    }
}

impl Eq for Counted {}

/// The most looks of any of these calls, each about one key.
fn most_looks(keys: Range<u64>, mut call: impl FnMut(&Counted)) -> u32 {
    let looks = |key| {
        LOOKS.set(0);
        call(&Counted(key));
        LOOKS.get()
    };
    keys.map(looks).max().unwrap_or(0)
}

/// While all of thirty thousand, a thousand under each lock, come, stay and go again. At the end of a round of looks a
/// call takes 32 steps, and in one it hashes eight keys that are moved, or, of two that are dropped, each and the one
/// that fills the gap.
#[tokio::test(start_paused = true)]
async fn no_call_looks_at_more_keys_because_there_are_many() {
    const KEYS: u64 = 30_000;
    const MOST: u32 = 34 * 12;
    let keyed = KeyedLimiter::new(Rate::per_second(1), 1);
    let items = KeyedBackoff::new(Backoff::fixed(Duration::ZERO), Duration::from_secs(1));
    let mut most = [0, 0];
    for keys in [0..KEYS, 0..KEYS, 0..1, KEYS..2 * KEYS, 0..KEYS] {
        if keys.end == 1 {
            assert_eq!((keyed.len(), items.len()), (KEYS as usize, KEYS as usize));
            advance(Duration::from_secs(2)).await;
        }
        most[0] = most_looks(keys.clone(), |key| _ = keyed.try_acquire(key, 1)).max(most[0]);
        most[1] = most_looks(keys, |key| _ = items.failed(key)).max(most[1]);
    }
    for _ in 0..40 {
        most[0] = most_looks(0..KEYS, |_| _ = keyed.try_acquire(&Counted(0), 1)).max(most[0]);
        most[1] = most_looks(0..KEYS, |_| _ = items.failed(&Counted(0))).max(most[1]);
        advance(Duration::from_secs(2)).await;
    }
    assert_eq!((keyed.len(), items.len()), (1, 1));
    most[1] = most_looks(0..KEYS, |key| _ = items.forget(key)).max(most[1]);
    assert!(most.iter().all(|most| *most <= MOST), "{most:?}");
}
