//! The settings of a member.

use std::{fmt, time::Duration};

use super::{
    driver::Driver,
    events::{FleetEvent, OnEvent},
    explain::FleetExplained,
    ledger::Ledger,
    member::FleetMember,
    share::Controls,
};
use crate::{
    error::ConfigError,
    limiter::Limiter,
    policy::{
        fleet::{Member as Policy, Share, Timing, Wants, shares},
        limit::rate::Rate,
        ratio::Ratio,
    },
};

/// A member of a fleet to be: made by [`new`](Self::new), and joined by [`join`](Self::join).
///
/// All processes that share a ledger should have the same settings; where rate and burst differ the smallest is in
/// force, and the ttls may differ up to `max_ttl`.
#[must_use = "a fleet does nothing until it is joined"]
pub struct Fleet<L> {
    ledger: L,
    name: String,
    rate: Rate,
    burst: u32,
    timing: Timing,
    wanted: Option<Rate>,
    least: Rate,
    most_members: Option<u32>,
    on_event: Option<OnEvent>,
}

impl<L: fmt::Debug> fmt::Debug for Fleet<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("ledger", &self.ledger)
            .field("name", &self.name)
            .field("rate", &format_args!("{}", self.rate))
            .field("burst", &self.burst)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl<L: Ledger> Fleet<L> {
    /// A member that keeps its share in `ledger`. The name says in the record which process it is: the pod's, say. It
    /// need not be unique, a random part is added in each run.
    pub fn new(ledger: L, name: impl Into<String>) -> Self {
        Self {
            ledger,
            name: name.into(),
            rate: Rate::ZERO,
            burst: 0,
            timing: Timing::default(),
            wanted: None,
            least: Rate::ZERO,
            most_members: None,
            on_event: None,
        }
    }

    /// The rate of the whole fleet.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// The burst of the whole fleet: at least one for each member.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// How long others leave this member's share alone after its last sign of life. Default: 10 s. It is refreshed 3.3
    /// times as often.
    ///
    /// # Errors
    /// Less than 100 ms, or more than [`max_ttl`](Self::max_ttl).
    pub fn ttl(mut self, ttl: Duration) -> Result<Self, ConfigError> {
        self.timing = self.timing.ttl(ttl)?;
        Ok(self)
    }

    /// The longest ttl that any process of this fleet has, in any version of the program: so long nothing is given away
    /// when the record was lost, since what was in it is not known. Default: 30 s. The ttl grows up to this where
    /// members are many.
    ///
    /// # Errors
    /// Less than the [`ttl`](Self::ttl), or more than 24 h.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Result<Self, ConfigError> {
        self.timing = self.timing.max_ttl(max_ttl)?;
        Ok(self)
    }

    /// By how much a clock may run too fast or too slow. Default: 5 %.
    ///
    /// # Errors
    /// More than 1/6.
    pub fn clock_drift(mut self, drift: Ratio) -> Result<Self, ConfigError> {
        self.timing = self.timing.clock_drift(drift)?;
        Ok(self)
    }

    /// Wants this rate. By default a member wants 1.25 times what it was asked for lately, and all there is if anything
    /// had to wait.
    pub fn want(mut self, rate: Rate) -> Self {
        self.wanted = Some(rate);
        self
    }

    /// Wants at least this rate, however little is asked for.
    pub fn want_at_least(mut self, rate: Rate) -> Self {
        self.least = rate;
        self
    }

    /// When the store has not answered for so long that every share that it ever gave has lapsed, this process uses a
    /// fixed part of rate and burst: what is left for each if there are so many members. Without this, nothing.
    ///
    /// That keeps the law only while the store is gone for *all* and there are no more members than this: you vouch for
    /// both. One that is cut off alone uses its part on top of what the others share out.
    pub fn floor_for(mut self, most_members: u32) -> Self {
        self.most_members = Some(most_members);
        self
    }

    /// Hears of its share and of trouble. It is called within the member's task, and should be quick. If it panics the
    /// task ends, and the limiter grants nothing any more. Given twice, both hear.
    pub fn on_event(mut self, mut listener: impl FnMut(&FleetEvent) + Send + 'static) -> Self {
        self.on_event = Some(match self.on_event.take() {
            None => Box::new(listener),
            Some(mut before) => Box::new(move |event| {
                before(event);
                listener(event);
            }),
        });
        self
    }

    /// What these settings amount to for so many members, where a call of the ledger takes so long.
    ///
    /// ```
    /// use std::time::Duration;
    /// use relent::fleet::{Fleet, MemoryLedger};
    ///
    /// let explained = Fleet::new(MemoryLedger::new(), "web").explain(10, Duration::from_millis(5));
    /// assert_eq!(explained.after_crash().as_secs(), 20);
    /// println!("{explained}");
    /// ```
    #[must_use]
    pub fn explain(&self, members: u32, round_trip: Duration) -> FleetExplained {
        FleetExplained::new(self.timing, members, round_trip, &self.name)
    }

    /// Joins the fleet: a task keeps this member's share, and its limiter follows it. It has none until the first
    /// refresh; see [`FleetMember::ready`].
    ///
    /// # Errors
    /// No rate, or one without a limit, or less than one permit in 11 days; no burst; a name that is empty, has white
    /// space or more than 200 bytes; a floor for no members, or for more than the burst has permits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(self) -> Result<FleetMember, ConfigError> {
        let states = Share { rate: shares::billionths(self.rate), burst: self.burst };
        if self.rate.is_unlimited() || states.rate < 1_000 {
            let rule = "must be a limit, and at least one permit in 11 days: it is the rate of the whole fleet";
            return Err(ConfigError::new("rate", self.rate, rule));
        }
        if self.burst == 0 {
            return Err(ConfigError::new("burst", 0, "must be at least 1 for each member"));
        }
        if self.name.is_empty() || self.name.len() > 200 || self.name.contains(char::is_whitespace) {
            let rule = "must be 1 to 200 bytes without white space: it is a word of the record";
            return Err(ConfigError::new("name", format!("`{}`", self.name), rule));
        }
        let mut policy = Policy::new(self.timing, &self.name, states, fastrand::u64(..));
        if let Some(most) = self.most_members {
            let (Some(rate), Some(burst)) = (states.rate.checked_div(most.into()), self.burst.checked_div(most)) else {
                return Err(ConfigError::new("floor_for", most, "must be at least 1: it is the number of members"));
            };
            if burst == 0 {
                let rule = format!("must be at most the burst, here {}", self.burst);
                return Err(ConfigError::new("floor_for", most, rule));
            }
            policy = policy.with_floor(Share { rate, burst });
        }
        let wants = self.wanted.map_or_else(|| Wants::measured(self.least), Wants::said);
        let limiter = Limiter::leased(self.burst, self.ledger.name());
        let controls = Controls::new(states);
        let driver =
            Driver::new(self.ledger, policy, wants, limiter.clone(), controls.clone(), self.on_event, self.timing);
        Ok(FleetMember::new(limiter, controls, driver))
    }
}
