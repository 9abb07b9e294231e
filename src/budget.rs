//! A budget of retries that many runs share.

use std::fmt;

use crate::{
    limiter::Limiter,
    policy::{
        limit::{
            budget::{ConcurrencyBudget, RatioBudget},
            rate::Rate,
        },
        ratio::Ratio,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How many retries all runs that share it may make together, so that a server in trouble is not buried under them.
///
/// There are two ways to count:
/// - [`Budget::ratio`]: so many retries per first attempt, and a reserve. In any stretch with `f` first attempts at
///   most `reserve + ratio * f` retries are made, so a server sees at most `1 + ratio` times the load, plus the
///   reserve. Where first attempts and retries keep pace it is exactly that many; what is not asked for is saved up to
///   the reserve and no further. For clients with steady traffic, and where the load on the server has to be known.
/// - [`Budget::in_flight`]: at most a share of the runs in flight may be retrying at a time, or the reserve. It asks
///   how things are and not how they were. For clients whose traffic comes in bursts, and for those with little.
///
/// A ratio alone starves a client with little traffic: with one request a minute, 20 % and a reserve that is used up,
/// four of five that fail once are not retried. [`min_retries`](Self::min_retries) is a floor by time for it, under
/// either way.
///
/// Each operation is a handful of instructions on one atomic word. A clock is read only under a floor, when a retry is
/// not allowed otherwise; after a year of idling the next operation takes no longer. Clones share one budget.
///
/// ```
/// use relent::{Budget, Rate, Ratio};
///
/// let budget = Budget::ratio(Ratio::percent(50)).reserve(0);
/// let mut first = budget.begin();
/// assert!(!first.may_retry());
/// let mut second = budget.begin();
/// assert!(second.may_retry()); // two first attempts yield one retry
/// assert!(!second.may_retry());
///
/// let budget = Budget::ratio(Ratio::percent(20)).min_retries(Rate::per_minute(3));
/// # let _ = budget;
/// ```
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    rule: Rule,
    /// What `rule` counts, all of it: each change is one exchange of the whole word, so what is allowed is allowed by
    /// what was counted at one instant. Two threads that ask while there is balance for one retry: the one whose
    /// exchange is second finds the word changed, asks the rule again, and is refused.
    word: AtomicU64,
    floor: Option<Limiter>,
}

#[derive(Clone, Copy)]
enum Rule {
    Ratio(RatioBudget, Ratio, u32),
    Share(ConcurrencyBudget, Ratio, u32),
}

/// A run that began under a [`Budget`]; made by [`Budget::begin`]. Dropped, the run is over.
#[derive(Debug)]
#[must_use = "dropped, the run is over"]
pub struct InFlight {
    budget: Budget,
    counted: bool,
    /// For a share in flight: one of those that retry.
    retrying: bool,
    /// The retry that was allowed last, until it goes back or another is asked for.
    allowed: Option<Allowed>,
}

#[derive(Clone, Copy, Debug)]
enum Allowed {
    /// By the rule. True: it made the run one of those that retry.
    Rule(bool),
    /// By the floor; as above.
    Floor(bool),
}

impl Budget {
    /// `ratio` retries per first attempt, with a reserve of 10 that is also the most that is saved up: see
    /// [`reserve`](Self::reserve).
    #[must_use]
    pub fn ratio(ratio: impl Into<Ratio>) -> Self {
        let ratio = ratio.into();
        Self::new(Rule::Ratio(RatioBudget::new(ratio, 10), ratio, 10), None)
    }

    /// At most `share` of the runs in flight, rounded down, may be retrying at a time, or 10 if that is more: see
    /// [`reserve`](Self::reserve). A run counts as retrying from its first retry to its end, its waits included.
    #[must_use]
    pub fn in_flight(share: impl Into<Ratio>) -> Self {
        let share = share.into();
        Self::new(Rule::Share(ConcurrencyBudget::new(share, 10), share, 10), None)
    }

    /// A new budget of the same kind with another reserve.
    ///
    /// For a ratio: so many retries are there at first, and so many at most are saved up (one and the ratio, if that is
    /// more). For a share in flight: so many may always retry at a time.
    #[must_use]
    pub fn reserve(self, retries: u32) -> Self {
        let rule = match self.inner.rule {
            Rule::Ratio(_, ratio, _) => Rule::Ratio(RatioBudget::new(ratio, retries), ratio, retries),
            Rule::Share(_, share, _) => Rule::Share(ConcurrencyBudget::new(share, retries), share, retries),
        };
        Self::new(rule, self.inner.min_retries())
    }

    /// A new budget of the same kind with a floor: so many retries are allowed in each span of time, whatever the rule
    /// says.
    ///
    /// A retry counts for the floor only if the rule does not allow it. In any span of time `w` the floor allows at
    /// most `permits + rate * w` retries, and as many as the rate has permits at once:
    /// [`Rate::per_minute(3)`](Rate::per_minute) is three at once, and then one each 20 s. For a server that is what a
    /// client may send on top, so it should be small beside the usual load; for a client it should be as many as its
    /// few requests need.
    #[must_use]
    pub fn min_retries(self, rate: Rate) -> Self {
        Self::new(self.inner.rule, Some(rate))
    }

    /// A run makes its first attempt.
    pub fn begin(&self) -> InFlight {
        let counted = match &self.inner.rule {
            Rule::Ratio(account, ..) => self.inner.update(|balance| Some(account.deposit(balance))),
            Rule::Share(..) => self.inner.update(ConcurrencyBudget::begin),
        };
        InFlight { budget: self.clone(), counted, retrying: false, allowed: None }
    }

    /// How many more retries would be allowed at this moment.
    #[must_use]
    pub fn available(&self) -> u64 {
        let word = self.inner.word.load(Relaxed);
        let floor = self.inner.floor.as_ref().map_or(0, Limiter::available);
        let by_rule = match &self.inner.rule {
            Rule::Ratio(account, ..) => account.retries(word),
            Rule::Share(_, share, least) => {
                let (runs, retrying) = ConcurrencyBudget::counts(word);
                share.of(runs.into()).max((*least).into()).saturating_sub(retrying.into())
            }
        };
        by_rule.saturating_add(floor.into())
    }

    /// Whether both are clones of one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn new(rule: Rule, floor: Option<Rate>) -> Self {
        let start = match &rule {
            Rule::Ratio(account, ..) => account.start(),
            Rule::Share(..) => 0,
        };
        let floor = floor.map(|rate| Limiter::new(rate, rate.permits()));
        Self { inner: Arc::new(Inner { rule, word: AtomicU64::new(start), floor }) }
    }
}

impl Inner {
    /// One variable and nothing that hangs on it: no order is needed beyond its own.
    #[inline]
    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.word.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    /// One that the floor allows is one of those that retry all the same, if it is `counted` at all.
    fn join(&self, counted: bool) -> bool {
        match &self.rule {
            Rule::Share(..) => counted && self.update(ConcurrencyBudget::retry_beyond),
            Rule::Ratio(..) => false,
        }
    }

    fn min_retries(&self) -> Option<Rate> {
        self.floor.as_ref().map(Limiter::rate)
    }
}

impl InFlight {
    /// The budget it counts for.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The retry that was allowed last is made.
    #[inline]
    pub(crate) fn begin_attempt(&mut self) {
        self.allowed = None;
    }

    /// Whether a retry is allowed that has not been made.
    #[inline]
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.is_some()
    }

    /// Asks to make one more attempt. Each is asked for anew; the one before has been made then, or counts as made.
    #[must_use]
    pub fn may_retry(&mut self) -> bool {
        let (counted, retrying) = (self.counted, self.retrying);
        let inner = &*self.budget.inner;
        let by_rule = match &inner.rule {
            Rule::Ratio(account, ..) => inner.update(|balance| account.withdraw(balance)),
            Rule::Share(crowd, ..) => counted && inner.update(|word| crowd.retry(word, retrying)),
        };
        let newly = counted && !retrying;
        self.allowed = if by_rule {
            Some(Allowed::Rule(newly))
        } else {
            let by_floor = inner.floor.as_ref().is_some_and(|floor| floor.try_acquire(1).is_ok());
            by_floor.then(|| Allowed::Floor(newly && inner.join(counted)))
        };
        self.retrying |= matches!(self.allowed, Some(Allowed::Rule(_) | Allowed::Floor(true)));
        self.allowed.is_some()
    }

    /// The retry that was allowed last is not made after all. Nothing goes back twice, nor what never was allowed.
    pub fn give_back(&mut self) {
        let Some(allowed) = self.allowed.take() else { return };
        let inner = &*self.budget.inner;
        if let (Allowed::Floor(_), Some(floor)) = (allowed, &inner.floor) {
            floor.give_back(1);
        }
        match (&inner.rule, allowed) {
            (Rule::Ratio(account, ..), Allowed::Rule(_)) => {
                inner.update(|balance| Some(account.give_back(balance)));
            }
            (Rule::Share(..), Allowed::Rule(true) | Allowed::Floor(true)) => {
                self.retrying = false;
                inner.update(|word| Some(ConcurrencyBudget::retries_no_more(word)));
            }
            _ => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Rule::Share(..), true) = (&self.budget.inner.rule, self.counted) {
            let retrying = self.retrying;
            self.budget.inner.update(|word| Some(ConcurrencyBudget::end(word, retrying)));
        }
    }
}

/// `Budget { ratio: 1/5, reserve: 10, available: 3 }`
impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Budget");
        let (name, ratio, reserve) = match &self.inner.rule {
            Rule::Ratio(_, ratio, reserve) => ("ratio", ratio, reserve),
            Rule::Share(_, share, least) => ("in_flight", share, least),
        };
        out.field(name, &format_args!("{ratio}")).field("reserve", reserve).field("available", &self.available());
        if let Some(rate) = self.inner.min_retries() {
            out.field("min_retries", &format_args!("{rate}"));
        }
        out.finish()
    }
}
