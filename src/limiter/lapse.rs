//! Why a limiter that follows a share has none.

use std::{fmt, sync::Arc, time::Duration};

use crate::{policy::nanos::Measured, sync::Mutex};

/// Why the limiter of a [fleet](crate::fleet)'s member has no share: of which fleet, and what was wrong last. Clones
/// are cheap.
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

    /// The same member, as it stands now.
    pub(super) fn renewed(&self, standing: Standing, trouble: Option<String>) -> Self {
        Self::new(self.inner.fleet.clone(), standing, trouble)
    }

    pub(super) fn standing(&self) -> Standing {
        self.inner.standing
    }

    /// The [name](crate::fleet::Ledger::name) of the fleet's ledger.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.inner.fleet
    }

    /// What was wrong last, since the member's last refresh, with all its causes: the error of a call of the ledger, as
    /// a rule. The errors themselves are told to [`on_event`](crate::fleet::Fleet::on_event). `None`: nothing, or
    /// nothing that is known.
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

/// What a limiter knows of its member, to be told to what it refuses. The lock is held for a copy or an assignment.
/// Whenever it is free the lapse is a whole one, and once it says [`Standing::Gone`] it says so for ever.
#[derive(Debug)]
pub(super) struct Leased(pub(super) Mutex<Lapse>);
