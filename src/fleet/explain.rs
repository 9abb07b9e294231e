//! What the settings of a fleet amount to.

use std::{fmt, time::Duration};

use crate::policy::{
    fleet::{MOST_MEMBERS, Timing, watches},
    nanos::{self, Written},
};

/// Bytes of the record's first lines, and of a member's line but for its name, with numbers of usual lengths.
const HEAD: u32 = 100;
const LINE: u32 = 180;

/// What the settings of a fleet amount to for so many members, as times and as text; made by
/// [`Fleet::explain`](super::Fleet::explain). The times are true time for the slowest clock that is allowed, while no
/// call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetExplained {
    timing: Timing,
    members: u32,
    round_trip: u64,
    /// Bytes of a member's name.
    name: u32,
}

impl FleetExplained {
    pub(super) fn new(timing: Timing, members: u32, round_trip: Duration, name: &str) -> Self {
        let name = u32::try_from(name.len()).unwrap_or(u32::MAX);
        Self { timing, members: members.max(1), round_trip: nanos::nanos(round_trip), name }
    }

    fn ttl_nanos(&self) -> u64 {
        self.timing.stretched(self.members.into(), self.round_trip).0
    }

    fn time(&self, ttls: u64, periods: u64) -> Duration {
        let (ttl, calls) = (self.ttl_nanos(), self.round_trip.saturating_mul(4));
        let periods = Timing::period(ttl).saturating_mul(periods);
        nanos::duration(self.timing.slow(ttl.saturating_mul(ttls).saturating_add(periods).saturating_add(calls)))
    }

    /// How long a share lives: longer than the setting where the members are many, so that their refreshes do not get
    /// into each other's way.
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
    /// Where many start together, up to a [period](Self::period) later, counted from when all are in the record.
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

    /// How long the sum of all shares may be above a rate that was lowered, where a member cannot be reached. Otherwise
    /// for a [period](Self::period).
    #[must_use]
    pub fn after_lowering(&self) -> Duration {
        self.time(1, 0)
    }

    /// How long the record may be with so many members. An etcd value may have 1.5 MiB, a `ConfigMap` 1 MiB.
    #[must_use]
    pub fn record_bytes(&self) -> u32 {
        self.members.saturating_mul(LINE.saturating_add(self.name)).saturating_add(HEAD)
    }

    /// Bytes that the ledger has to read and write in a second: each refresh reads the record and writes it, and in
    /// fleets of up to 20 each write is reported to all.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let watching = if watches(self.members) { self.members } else { 0 };
        let times = u64::from(self.writes_per_second()).saturating_mul(u64::from(watching).saturating_add(2));
        times.saturating_mul(self.record_bytes().into())
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
        let (writes, kilobytes) = (self.writes_per_second(), self.bytes_per_second().div_ceil(1000));
        writeln!(f, "the ledger has about {writes} writes a second, and as many reads, in all up to {kilobytes} kB")?;
        let [join, leave, crash] = [self.after_join(), self.after_leave(), self.after_crash()].map(nanos::Measured);
        writeln!(f, "even parts after a join: within {join}; after one has left: {leave}; after a crash: {crash}")?;
        write!(
            f,
            "a new or deleted record gives nothing new for {}",
            nanos::Measured(nanos::duration(self.timing.slow(self.timing.max_ttl_nanos())))
        )?;
        if usize::try_from(self.members).is_ok_and(|members| members > MOST_MEMBERS) {
            write!(f, "\ntoo many members: a record takes {MOST_MEMBERS}, and the others have no share")?;
        }
        if self.is_crowded() { write!(f, "\ntoo many members for max_ttl, or too slow a ledger") } else { Ok(()) }
    }
}
