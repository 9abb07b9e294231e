//! A limiter that is open for a time only: it follows a share of a rate that many keep together.

use std::{fmt, time::Duration};

use super::{
    Limiter, Refused,
    clock::{HEAD, LimiterClock},
};
use crate::{
    policy::{
        limit::{
            rate::Rate,
            wait_list::{CATCH_UP, Usage, WaitList},
        },
        nanos::{self, Measured},
    },
    sync::{Arc, Mutex, lock},
    time::Instant,
};

/// Why the limiter of a [fleet](crate::fleet)'s member has no share: of which fleet, and what was wrong last. Clones are cheap.
///
/// ```
/// use std::time::Duration;
/// use relent::{Rate, fleet::{Fleet, MemoryLedger}, limiter::Refused};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ledger = MemoryLedger::new();
/// let member = Fleet::new(ledger.clone(), "web").rate(Rate::per_second(100)).burst(200).join()?;
/// member.ready().await;
/// ledger.fail(usize::MAX);
/// tokio::time::sleep(Duration::from_secs(19)).await;
/// let refused = member.limiter().try_acquire(1).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "the limiter's share of the fleet in memory lapsed 10s ago: the ledger is not available"
/// );
/// let Refused::NoShare { lapsed, why, .. } = refused else { panic!("it has no share") };
/// assert_eq!((lapsed.as_secs(), why.fleet(), why.trouble()), (10, "in memory", Some("the ledger is not available")));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Lapse {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    fleet: String,
    standing: Standing,
    trouble: Option<String>,
}

/// How a member stands in its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has had no share yet.
    New,
    /// It has or had one.
    Member,
    /// It has asked for nothing lately, and others want all there is.
    Without,
    /// It has left, or was dropped.
    Gone,
}

impl Lapse {
    pub(crate) fn new(fleet: String, standing: Standing, trouble: Option<String>) -> Self {
        Self { inner: Arc::new(Inner { fleet, standing, trouble }) }
    }

    /// The [name](crate::fleet::Ledger::name) of the fleet's ledger.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.inner.fleet
    }

    /// What was wrong last, since the member's last refresh, with all its causes: the error of a call of the ledger, as a rule. The
    /// errors themselves are told to [`on_event`](crate::fleet::Fleet::on_event). `None`: nothing, or nothing that is known.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.inner.trouble.as_deref()
    }

    /// The whole sentence.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, lapsed: Duration) -> fmt::Result {
        let Inner { fleet, standing, trouble } = &*self.inner;
        let (share, lapsed) = ("the limiter's share of the fleet", Measured(lapsed));
        match standing {
            Standing::New => write!(f, "the limiter has waited for a first share of the fleet {fleet} for {lapsed}"),
            Standing::Member => write!(f, "{share} {fleet} lapsed {lapsed} ago"),
            Standing::Without => write!(f, "{share} {fleet} went to other members {lapsed} ago"),
            Standing::Gone => write!(f, "the limiter's member left the fleet {fleet} {lapsed} ago"),
        }?;
        trouble.as_ref().map_or(Ok(()), |trouble| write!(f, ": {trouble}"))
    }
}

impl fmt::Debug for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lapse").field("fleet", &self.fleet()).field("trouble", &self.trouble()).finish_non_exhaustive()
    }
}

/// What a limiter knows of its member.
#[derive(Debug)]
pub(super) struct Leased(Mutex<Lapse>);

impl Limiter {
    /// One that is empty, and grants nothing until it is given a share. Its clock goes on while the machine is suspended, where the
    /// platform has one that does. `burst` is what may be waited for until then.
    pub(crate) fn leased(burst: u32, fleet: String) -> Self {
        let leased = Leased(Mutex::new(Lapse::new(fleet, Standing::New, None)));
        Self::of(WaitList::leased(burst, CATCH_UP), LimiterClock::boot(), 0, Some(Box::new(leased)))
    }

    pub(super) fn is_leased(&self) -> bool {
        self.semaphore.leased.is_some()
    }

    /// From now on, and until its clock shows `until`, it fills at `rate` and holds `burst`, all at once. Tokens above the burst
    /// are gone, and at `until` all of them are: nothing is granted then, by whatever thread and however late it comes.
    pub(crate) fn set_share(&self, rate: Rate, burst: u32, until: u64) {
        self.semaphore.set_share(rate, burst, until);
    }

    /// Nothing is granted any more: the member has left.
    pub(crate) fn end_share(&self, trouble: Option<String>) {
        self.set_lapse(Standing::Gone, trouble);
        self.set_share(Rate::ZERO, 0, 0);
    }

    /// What to tell while it has no share.
    pub(crate) fn set_lapse(&self, standing: Standing, trouble: Option<String>) {
        let Some(Leased(lapse)) = self.semaphore.leased.as_deref() else { return };
        let mut lapse = lock(lapse);
        if lapse.inner.standing != Standing::Gone {
            *lapse = Lapse::new(lapse.inner.fleet.clone(), standing, trouble);
        }
    }

    /// What was asked of it, all in all, and whether anything has had to wait since this was last called.
    pub(crate) fn take_usage(&self) -> Usage {
        self.semaphore.lock().take_usage()
    }

    /// For how long it has had no share, unless because others want all of it and it did not ask for one.
    pub(crate) fn no_share_for(&self) -> Option<Duration> {
        let Leased(lapse) = self.semaphore.leased.as_deref()?;
        let without = lock(lapse).inner.standing == Standing::Without;
        if without { None } else { self.lapsed_for() }
    }

    fn lapsed_for(&self) -> Option<Duration> {
        let list = self.lock_and_grant();
        let since = list.lapsed_since()?;
        // One that never had any: since it was first used.
        Some(nanos::duration(list.bucket().updated_at().saturating_sub(since.max(HEAD))))
    }

    /// The refusal of one without a share.
    pub(super) fn no_share(&self) -> Option<Refused> {
        let Leased(lapse) = self.semaphore.leased.as_deref()?;
        let lapsed = self.lapsed_for()?;
        let why = lock(lapse).clone();
        Some(Refused::NoShare { lapsed, why })
    }

    /// What its clock shows, in nanoseconds.
    pub(crate) fn clock(&self) -> u64 {
        self.semaphore.now()
    }

    /// When its clock will show that, if the machine is not suspended until then; `None`: never.
    pub(crate) fn instant_of(&self, clock: u64) -> Option<Instant> {
        self.semaphore.clock.instant(clock)
    }
}
