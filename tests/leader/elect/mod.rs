//! The future of an election, under a paused clock.

#[cfg(feature = "test-util")]
mod chaos;
mod identity;
mod once;
#[cfg(feature = "test-util")]
mod suspended;
mod terms;
mod troubles;
#[cfg(feature = "test-util")]
mod unit;
mod watching;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use relent::leader::{Elect, ElectionEvent, MemoryLock};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// What the run reports, as text.
fn hear(elect: Elect<MemoryLock>) -> (Elect<MemoryLock>, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let elect = elect.on_event(move |change| {
        let text = match change {
            ElectionEvent::Holder(holder) => format!("holder {}", holder.as_deref().unwrap_or("-")),
            ElectionEvent::Elected { .. } => "elected".to_owned(),
            ElectionEvent::Lost(loss) => format!("lost: {loss}"),
            ElectionEvent::Trouble(error) => format!("trouble: {error}"),
            other => format!("{other:?}"),
        };
        log.lock().unwrap().push(text);
    });
    (elect, heard)
}

/// How many schedules a chaos test plays: as many as `RELENT_SCHEDULES` says.
fn schedules(unless_set: u64) -> u64 {
    std::env::var("RELENT_SCHEDULES").map_or(unless_set, |text| text.parse().expect("RELENT_SCHEDULES is a number"))
}

/// Xorshift: the same numbers for the same seed.
fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
