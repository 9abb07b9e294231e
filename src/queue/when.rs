//! When something is due, and the queue's own count of time.

use std::time::Duration;

use crate::{
    policy::nanos::{FOREVER, nanos},
    time::{self, Instant},
};

/// When something is due: at an instant, or in a while from now. Both convert into it.
///
/// The past is allowed: it is due at once, in its order. 438 years or more ahead is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// At this instant.
    At(Instant),
    /// So long from now.
    In(Duration),
}

impl From<Instant> for When {
    fn from(at: Instant) -> Self {
        Self::At(at)
    }
}

impl From<std::time::Instant> for When {
    fn from(at: std::time::Instant) -> Self {
        Self::At(Instant::from_std(at))
    }
}

impl From<Duration> for When {
    fn from(after: Duration) -> Self {
        Self::In(after)
    }
}

/// Queue time: nanoseconds with room on both sides of the queue's beginning, so that what was due before it has its
/// order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

/// The queue time at which a queue begins: 146 years.
pub(super) const BEGINNING: u64 = 1 << 62;

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: time::now() }
    }

    pub(super) fn now(&self) -> u64 {
        self.read(time::now())
    }

    pub(super) fn read(&self, at: Instant) -> u64 {
        if at >= self.start {
            BEGINNING.saturating_add(time::between(self.start, at))
        } else {
            BEGINNING.saturating_sub(time::between(at, self.start))
        }
    }

    pub(super) fn due(&self, when: When) -> u64 {
        match when {
            When::At(at) => self.read(at),
            When::In(after) => self.now().saturating_add(nanos(after)),
        }
    }

    /// The instant; for never, one that no process lives to see.
    pub(super) fn instant(&self, queue_time: u64) -> Instant {
        let instant = if queue_time >= BEGINNING {
            time::after(self.start, (queue_time - BEGINNING).min(FOREVER - 1))
        } else {
            self.start.checked_sub(Duration::from_nanos(BEGINNING - queue_time))
        };
        instant.unwrap_or(self.start)
    }

    /// When to set a timer to; `None` is never.
    pub(super) fn alarm(&self, queue_time: u64) -> Option<Instant> {
        (queue_time != FOREVER).then(|| self.instant(queue_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_time_has_both_sides() {
        let clock = Clock::new();
        let hour = Duration::from_secs(3600);
        let (before, after) = (clock.start.checked_sub(hour), clock.start + hour);
        assert_eq!(clock.instant(clock.read(after)), after);
        assert_eq!(before.map(|before| clock.instant(clock.read(before))), before);
        assert_eq!(clock.read(clock.start), BEGINNING);
        assert_eq!(clock.due(Duration::MAX.into()), FOREVER);
        assert_eq!(clock.alarm(FOREVER), None);
        assert!(clock.instant(FOREVER) > after);
    }
}
