//! A limiter that is open for a time only: it follows a share of a rate that many keep together.

use std::{sync::OnceLock, time::Duration};

use super::{Inner, Limiter, next_number, shared::Shared};
use crate::{
    policy::{
        line::{CATCH_UP, Usage},
        nanos,
        rate::Rate,
    },
    sync::Arc,
    time::{self, Instant},
};

impl Limiter {
    /// One that is empty, and grants nothing until it is given a share. Its clock goes on while the machine is suspended, where the
    /// platform has one that does. `burst` is what may be waited for until then.
    pub(crate) fn leased(burst: u32) -> Self {
        let shared = Shared::leased(burst, CATCH_UP);
        let inner = Inner { made: next_number(), shared, start: OnceLock::new(), asleep: Some(time::asleep()) };
        Self { inner: Arc::new(inner) }
    }

    /// From now on, and until its clock shows `until`, it fills at `rate` and holds `burst`, all at once. Tokens above the burst
    /// are gone, and at `until` all of them are: nothing is granted then, by whatever thread and however late it comes.
    pub(crate) fn set_share(&self, rate: Rate, burst: u32, until: u64) {
        self.inner.shared.set_share(|| self.now(), rate, burst, until);
    }

    /// What was asked of it, all in all, and whether anything has had to wait since this was last called.
    pub(crate) fn take_usage(&self) -> Usage {
        self.inner.shared.hold().take_usage()
    }

    /// For how long it has had no share.
    pub(crate) fn lapsed_for(&self) -> Option<Duration> {
        self.inner.asleep?;
        let line = self.look();
        let since = line.lapsed_since()?;
        // One that never had any: since it was first used.
        Some(nanos::duration(line.bucket().at().saturating_sub(since.max(super::HEAD))))
    }

    /// What its clock shows, in nanoseconds.
    pub(crate) fn clock(&self) -> u64 {
        self.now()
    }

    /// When its clock will show that, if the machine is not suspended until then; `None`: never.
    pub(crate) fn instant_of(&self, clock: u64) -> Option<Instant> {
        self.instant(clock)
    }
}
