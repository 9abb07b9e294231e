use super::*;

/// A history without bounds.
#[derive(Debug)]
struct Until(u64);

impl AttemptHistory for Until {
    fn window(&self) -> (u64, u64) {
        (self.0, u64::MAX)
    }

    fn split_off(&mut self) -> Self {
        Self(self.0)
    }
}

type Table = KeyedDelayQueue<u64, u64, Until>;

fn filled(keys: u64, due: impl Fn(u64) -> u64) -> Table {
    let mut table = KeyedDelayQueue::new(0);
    (0..keys).for_each(|key| {
        let _ = table.insert(OnOccupied::Keep, &mut Some(key), &mut Some(key), due(key));
    });
    table
}

/// Room for keys and for expirations, wherever it is.
fn room(table: &Table) -> usize {
    table.slab.capacity().max(table.wheel.capacity())
}

/// A hundred thousand keys, near, far and due, go down to a few: memory goes with them, however they go, and the few
/// are found, run and end as if nothing had happened.
#[test]
fn memory_follows_the_number_of_keys_down() {
    const KEYS: u64 = 20_000;
    const FEW: u64 = 10;
    for spread in [0, 1, 1 << 15, 1 << 40] {
        for ways in 0..3 {
            let mut table = filled(KEYS, |key| key * spread);
            // These run meanwhile, some of them in the last slots, and are given something that follows.
            let mut runs: Vec<_> = std::iter::from_fn(|| table.start(KEYS * spread)).take(5).collect();
            assert_eq!(runs.len(), 5);
            let _ = table.insert(OnOccupied::Keep, &mut Some(1), &mut Some(77), 7);
            let mut left: u64 = table.len() as u64;
            let survives = |key: u64| key < 5 || key.is_multiple_of(KEYS / FEW);
            if ways == 2 {
                while let Some(started) = table.start(u64::MAX) {
                    let again = survives(started.key).then_some((started.value, Until(started.due)));
                    let ended = table.end(started.run, again);
                    if matches!(ended, AfterRun::Again) {
                        break; // the first survivor: it would come again
                    }
                    left -= 1;
                    assert_eq!(table.len() as u64, left);
                }
            }
            for key in if ways == 0 { (0..KEYS).collect::<Vec<_>>() } else { (0..KEYS).rev().collect() } {
                if !survives(key) {
                    let _ = table.cancel(&key);
                }
            }
            assert!(table.len() <= 20, "{}", table.len());
            assert!(room(&table) <= 4096, "room for {} with {} keys, {spread} {ways}", room(&table), table.len());
            for key in 0..KEYS {
                assert_eq!(table.get(&key).is_some(), survives(key), "{key}");
            }
            assert_eq!(
                table.get(&1).map(|(state, value, _)| (state, value.copied())),
                Some((State::RunningWithNext { due: 7 }, Some(77)))
            );
            runs.rotate_left(2);
            for started in runs {
                let ended = table.end(started.run, Some((started.value, Until(9))));
                match started.key {
                    1 => assert!(
                        matches!(ended, AfterRun::Next { due: 9, superseded: Some((1, Until(9))) }),
                        "{ended:?}"
                    ),
                    _ => assert!(matches!(ended, AfterRun::Again), "{ended:?}"),
                }
            }
            let mut last = 0;
            while let Some(started) = table.start(u64::MAX) {
                assert!(last <= started.due);
                last = started.due;
                assert!(survives(started.key));
                assert!(matches!(table.end(started.run, None), AfterRun::Gone { key } if key == started.key));
            }
            assert!(table.is_empty() && table.relocated.is_empty());
        }
    }
}

/// Once the last key is removed, the memory of vacant slots and of old expirations is given back.
#[test]
fn an_empty_queue_forgets() {
    let mut table = KeyedDelayQueue::new(0);
    for round in 0..3 {
        for key in 0..50_000 {
            let _ = table.insert(OnOccupied::Keep, &mut Some(key), &mut Some(key), round);
        }
        if round == 1 {
            while let Some(started) = table.start(round) {
                table.end(started.run, None);
            }
        } else {
            assert_eq!(table.cancel_all().len(), 50_000);
        }
        assert!(table.is_empty() && table.wheel.is_vacant() && room(&table) <= 8192, "round {round}");
    }
}

/// How many are due is how many would start.
#[test]
fn what_is_due_is_counted() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut table = filled(0, |key| key);
    let mut now = 0;
    for _ in 0..2_000 {
        let key = rng.u64(..300);
        match rng.u8(..6) {
            0..2 => drop(table.insert(OnOccupied::Replace, &mut Some(key), &mut Some(key), now + rng.u64(..1 << 22))),
            2 => {
                let _ = table.insert(
                    OnOccupied::KeepEarlier,
                    &mut Some(key),
                    &mut Some(key),
                    now.saturating_sub(rng.u64(..1 << 22)),
                );
            }
            3 => drop(table.cancel(&key)),
            4 => now += rng.u64(..1 << 19),
            _ => {
                let Some(started) = table.start(now) else { continue };
                table.end(started.run, None);
            }
        }
        let due = (0..300).filter(|key| matches!(table.get(key), Some((State::Scheduled { due }, ..)) if due <= now));
        let due = due.count();
        assert_eq!(table.due(now), due);
    }
}
