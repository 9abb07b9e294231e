//! The delays of a backoff, one after the other.

use std::time::Duration;

use crate::policy::{
    nanos::duration,
    schedule::{
        backoff::{Backoff, BackoffState},
        jitter::series,
    },
};

impl IntoIterator for Backoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        Delays {
            seed: self.seeded().unwrap_or_else(|| fastrand::u64(..)),
            backoff: self,
            progress: BackoffState::default(),
            in_turn: (0, 0),
        }
    }
}

impl IntoIterator for &Backoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        self.iter()
    }
}

/// The delays of one run, as an iterator. Each iterator draws its own random series; with a [`seed`](Backoff::seed) it
/// is the one that a run draws.
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless asked"]
pub struct Delays {
    backoff: Backoff,
    progress: BackoffState,
    seed: u64,
    /// The schedule of the chain that was in turn last, and at which step it began.
    in_turn: (usize, u64),
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let schedule = self.backoff.schedule();
        self.in_turn = schedule.in_turn(self.progress.step, self.in_turn)?;
        let (at, begins) = self.in_turn;
        let (seed, number) = (self.seed, self.progress.step.into());
        let BackoffState { current, step } = &mut self.progress;
        let delay = schedule.nth(at)?.next_of(begins, current, step, || series(seed, number));
        Some(duration(delay))
    }
}
