//! A budget of retries that many runs share.

use std::fmt;

use crate::{
    policy::{
        budget::{Account, Crowd},
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
/// - [`Budget::ratio`]: so many retries per first attempt, exactly, and a reserve. In any stretch with `f` first attempts
///   at most `reserve + ratio * f` retries are made, so a server sees at most `1 + ratio` times the load, plus the reserve.
/// - [`Budget::in_flight`]: at most a share of the runs in flight may be retrying at a time.
///
/// Each operation is a handful of instructions on one atomic word. No clock is read: after a year of idling everything
/// is as it was. Clones share one budget.
///
/// ```
/// use relent::{Budget, Ratio};
///
/// let budget = Budget::ratio(Ratio::percent(50)).reserve(0);
/// let mut first = budget.begin();
/// assert!(!first.may_retry());
/// let mut second = budget.begin();
/// assert!(second.may_retry()); // two first attempts yield one retry
/// assert!(!second.may_retry());
/// ```
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    rule: Rule,
    word: AtomicU64,
}

#[derive(Clone, Copy)]
enum Rule {
    Ratio(Account, Ratio, u32),
    Share(Crowd, Ratio, u32),
}

/// A run that began under a [`Budget`]; made by [`Budget::begin`]. Dropped, the run is over.
#[derive(Debug)]
#[must_use = "dropped, the run is over"]
pub struct InFlight {
    budget: Budget,
    counted: bool,
    retrying: bool,
}

impl Budget {
    /// `ratio` retries per first attempt, with a reserve of 10: see [`reserve`](Self::reserve).
    #[must_use]
    pub fn ratio(ratio: impl Into<Ratio>) -> Self {
        let ratio = ratio.into();
        Self::new(Rule::Ratio(Account::new(ratio, 10), ratio, 10))
    }

    /// At most `share` of the runs in flight, rounded down, may be retrying at a time, or 10 if that is more: see
    /// [`reserve`](Self::reserve). A run counts as retrying from its first retry to its end, its waits included.
    #[must_use]
    pub fn in_flight(share: impl Into<Ratio>) -> Self {
        let share = share.into();
        Self::new(Rule::Share(Crowd::new(share, 10), share, 10))
    }

    /// A new budget of the same kind with another reserve.
    ///
    /// For a ratio: so many retries are there at first, and so many at most are saved up (one and the ratio, if that is
    /// more). For a share in flight: so many may always retry at a time.
    #[must_use]
    pub fn reserve(self, retries: u32) -> Self {
        Self::new(match self.inner.rule {
            Rule::Ratio(_, ratio, _) => Rule::Ratio(Account::new(ratio, retries), ratio, retries),
            Rule::Share(_, share, _) => Rule::Share(Crowd::new(share, retries), share, retries),
        })
    }

    /// A run makes its first attempt.
    pub fn begin(&self) -> InFlight {
        let counted = match &self.inner.rule {
            Rule::Ratio(account, ..) => self.inner.update(|balance| Some(account.deposit(balance))),
            Rule::Share(crowd, ..) => self.inner.update(|word| crowd.begin(word)),
        };
        InFlight { budget: self.clone(), counted, retrying: false }
    }

    /// How many more retries would be allowed at this moment.
    #[must_use]
    pub fn available(&self) -> u64 {
        let word = self.inner.word.load(Relaxed);
        match &self.inner.rule {
            Rule::Ratio(account, ..) => account.retries(word),
            Rule::Share(crowd, share, least) => {
                let (runs, retrying) = crowd.counts(word);
                share.of(runs.into()).max((*least).into()).saturating_sub(retrying.into())
            }
        }
    }

    fn new(rule: Rule) -> Self {
        let start = match &rule {
            Rule::Ratio(account, ..) => account.start(),
            Rule::Share(..) => 0,
        };
        Self { inner: Arc::new(Inner { rule, word: AtomicU64::new(start) }) }
    }
}

impl Inner {
    /// One variable and nothing that hangs on it: no order is needed beyond its own.
    #[inline]
    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.word.fetch_update(Relaxed, Relaxed, change).is_ok()
    }
}

impl InFlight {
    /// The budget it counts for.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Asks to make one more attempt. Each is asked for anew.
    #[must_use]
    pub fn may_retry(&mut self) -> bool {
        let inner = &*self.budget.inner;
        match &inner.rule {
            Rule::Ratio(account, ..) => inner.update(|balance| account.withdraw(balance)),
            Rule::Share(crowd, ..) => {
                let (retrying, counted) = (self.retrying, self.counted);
                let allowed = counted && inner.update(|word| crowd.retry(word, retrying));
                self.retrying = allowed || retrying;
                allowed
            }
        }
    }

    /// The retry that was allowed last is not made after all.
    pub fn give_back(&mut self) {
        let inner = &*self.budget.inner;
        match &inner.rule {
            Rule::Ratio(account, ..) => {
                inner.update(|balance| Some(account.give_back(balance)));
            }
            Rule::Share(crowd, ..) => {
                if std::mem::take(&mut self.retrying) {
                    inner.update(|word| Some(crowd.rest(word)));
                }
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Rule::Share(crowd, ..), true) = (&self.budget.inner.rule, self.counted) {
            let retrying = self.retrying;
            self.budget.inner.update(|word| Some(crowd.end(word, retrying)));
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
        out.field(name, &format_args!("{ratio}"))
            .field("reserve", reserve)
            .field("available", &self.available())
            .finish()
    }
}
