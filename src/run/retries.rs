//! The budgets of a run: whether it may retry, and what goes back when it ends.

use std::fmt;

use crate::budget::{Budget, InFlight};

/// What a run, or an item of a queue, has to do with its budgets.
#[doc(hidden)]
#[derive(Default)]
#[non_exhaustive]
pub enum Retries {
    /// Every retry is allowed.
    #[default]
    Unlimited,
    /// The run has not begun.
    Of(Budget),
    /// The run counts for its budget, for as long as it runs.
    Running(Counted),
    /// Several budgets, each once and as one of these, and each must allow it. Boxed, so that runs with one stay small.
    All(Box<Vec<Self>>),
}

/// A run that counts for its budget. A retry that is allowed and has not begun goes back when it is dropped.
#[doc(hidden)]
#[derive(Debug)]
pub struct Counted(InFlight);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Retries {
    /// Asks this budget too.
    pub(crate) fn and(self, budget: Budget) -> Self {
        self.and_all(Self::Of(budget))
    }

    /// Asks these too.
    pub(crate) fn and_all(self, more: Self) -> Self {
        let (mut all, more) = match (self, more) {
            (Self::Unlimited, only) | (only, Self::Unlimited) => return only,
            (Self::All(all), more) => (all, more),
            (one, more) => (Box::new(vec![one]), more),
        };
        match more {
            Self::All(more) => more.into_iter().for_each(|each| each.join(&mut all)),
            one => one.join(&mut all),
        }
        match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                Self::All(all)
            }
        }
    }

    /// Joins these, unless its budget is among them.
    fn join(self, all: &mut Vec<Self>) {
        let is_known = self.of().is_some_and(|budget| all.iter().filter_map(Self::of).any(|other| other.is(budget)));
        if !is_known {
            all.push(self);
        }
    }

    /// The budget, if it is one.
    fn of(&self) -> Option<&Budget> {
        match self {
            Self::Unlimited | Self::All(_) => None,
            Self::Of(budget) => Some(budget),
            Self::Running(Counted(run)) => Some(run.budget()),
        }
    }

    /// An attempt begins; if it is the first, the run counts.
    #[inline]
    pub(crate) fn begin_attempt(&mut self) {
        if !matches!(self, Self::Unlimited) {
            self.count_attempt();
        }
    }

    fn count_attempt(&mut self) {
        match self {
            Self::Unlimited => {}
            Self::Of(budget) => *self = Self::Running(Counted(budget.begin())),
            Self::Running(Counted(run)) => run.begin_attempt(),
            Self::All(all) => all.iter_mut().for_each(Self::count_attempt),
        }
    }

    /// Whether a retry is allowed. One that is allowed already and was not made is not asked for again.
    #[inline]
    pub(crate) fn withdraw(&mut self) -> bool {
        match self {
            Self::Unlimited | Self::Of(_) => true,
            Self::Running(Counted(run)) => run.is_allowed() || run.may_retry(),
            Self::All(all) => {
                let refused = all.iter_mut().position(|each| !each.withdraw());
                all.iter_mut().take(refused.unwrap_or(0)).for_each(Self::give_back);
                refused.is_none()
            }
        }
    }

    /// A retry that was allowed is not made.
    pub(crate) fn give_back(&mut self) {
        match self {
            Self::Unlimited | Self::Of(_) => {}
            Self::Running(Counted(run)) => run.give_back(),
            Self::All(all) => all.iter_mut().for_each(Self::give_back),
        }
    }

    /// The run is over: it no longer counts, and could begin anew.
    #[inline]
    pub(crate) fn end_run(&mut self) {
        match self {
            Self::Unlimited | Self::Of(_) => {}
            Self::Running(_) => {
                self.give_back();
                *self = self.anew();
            }
            Self::All(all) => all.iter_mut().for_each(Self::end_run),
        }
    }

    /// The same for a run that has not begun.
    pub(crate) fn anew(&self) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::Of(budget) => Self::Of(budget.clone()),
            Self::Running(Counted(run)) => Self::Of(run.budget().clone()),
            Self::All(all) => Self::All(Box::new(all.iter().map(Self::anew).collect())),
        }
    }

    fn budgets(&self) -> impl Iterator<Item = &Budget> {
        let all = if let Self::All(all) = self { &**all } else { std::slice::from_ref(self) };
        all.iter().filter_map(Self::of)
    }
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.budgets()).finish()
    }
}
