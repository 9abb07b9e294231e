//! What the settings of a fleet amount to.

use std::{fmt, time::Duration};

use crate::policy::{
    fleet::Timing,
    nanos::{self, Written},
};

/// What the settings of a fleet amount to for so many members, as times and as text; made by
/// [`Fleet::explain`](super::Fleet::explain). The times are true time for the slowest clock that is allowed, while no call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetExplained {
    timing: Timing,
    members: u32,
    round_trip: u64,
}

impl FleetExplained {
    pub(super) fn new(timing: Timing, members: u32, round_trip: Duration) -> Self {
        Self { timing, members: members.max(1), round_trip: nanos::nanos(round_trip) }
    }

    fn ttl_nanos(&self) -> u64 {
        self.timing.stretched(self.members.into(), self.round_trip).0
    }

    fn time(&self, ttls: u64, periods: u64) -> Duration {
        let (ttl, calls) = (self.ttl_nanos(), self.round_trip.saturating_mul(4));
        let periods = Timing::period(ttl).saturating_mul(periods);
        nanos::duration(self.timing.slow(ttl.saturating_mul(ttls).saturating_add(periods).saturating_add(calls)))
    }

    /// How long a share lives: longer than the setting where the members are many, so that their refreshes do not get into each
    /// other's way.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        nanos::duration(self.ttl_nanos())
    }

    /// From one refresh of a member to the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        nanos::duration(Timing::period(self.ttl_nanos()))
    }

    /// Whether `max_ttl` is too short for so many members: then writes get into each other's way, and shares lapse.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.timing.stretched(self.members.into(), self.round_trip).1
    }

    /// Until a newcomer has its part of a rate that is all in use: the others give up theirs at their next refreshes.
    #[must_use]
    pub fn after_join(&self) -> Duration {
        self.time(0, 2)
    }

    /// Until the others have what one had that left.
    #[must_use]
    pub fn after_leave(&self) -> Duration {
        self.time(0, 2)
    }

    /// Until the others have what one had that crashed; it lies idle meanwhile.
    #[must_use]
    pub fn after_crash(&self) -> Duration {
        self.time(1, 3)
    }

    /// How long the sum of all shares may be above a rate that was lowered, where a member cannot be reached. Otherwise for a
    /// [period](Self::period).
    #[must_use]
    pub fn after_lowering(&self) -> Duration {
        self.time(1, 0)
    }

    /// Writes to the ledger in a second, all members together; there are as many reads.
    #[must_use]
    pub fn writes_per_second(&self) -> u32 {
        // A refresh comes after 0.9 periods in the middle.
        let period = Timing::period(self.ttl_nanos()).saturating_mul(9) / 10;
        let writes = u64::from(self.members).saturating_mul(1_000_000_000).div_ceil(period.max(1));
        u32::try_from(writes).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for FleetExplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ttl, period) = (Written(self.ttl()), nanos::Measured(self.period()));
        writeln!(f, "{} members: a share lives {ttl}, and is refreshed every {period}", self.members)?;
        writeln!(f, "the ledger has about {} writes a second, and as many reads", self.writes_per_second())?;
        let [join, leave, crash] = [self.after_join(), self.after_leave(), self.after_crash()].map(nanos::Measured);
        writeln!(f, "even parts after a join: within {join}; after one has left: {leave}; after a crash: {crash}")?;
        write!(
            f,
            "a new or deleted record gives nothing new for {}",
            nanos::Measured(nanos::duration(self.timing.slow(self.timing.max_ttl_nanos())))
        )?;
        if self.is_crowded() { write!(f, "\ntoo many members for max_ttl, or too slow a ledger") } else { Ok(()) }
    }
}
