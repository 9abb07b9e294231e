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
    /// Two budgets, and each must allow it.
    Both(Box<[Self; 2]>),
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
        match (self, more) {
            (Self::Unlimited, only) | (only, Self::Unlimited) => only,
            both => Self::Both(Box::new(both.into())),
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
            Self::Both(both) => both.iter_mut().for_each(Self::count_attempt),
        }
    }

    /// Whether a retry is allowed. One that is allowed already and was not made is not asked for again.
    #[inline]
    pub(crate) fn withdraw(&mut self) -> bool {
        match self {
            Self::Unlimited | Self::Of(_) => true,
            Self::Running(Counted(run)) => run.is_allowed() || run.may_retry(),
            Self::Both(both) => {
                let [first, second] = &mut **both;
                let allowed = first.withdraw() && second.withdraw();
                if !allowed {
                    first.give_back();
                }
                allowed
            }
        }
    }

    /// A retry that was allowed is not made.
    pub(crate) fn give_back(&mut self) {
        match self {
            Self::Unlimited | Self::Of(_) => {}
            Self::Running(Counted(run)) => run.give_back(),
            Self::Both(both) => both.iter_mut().for_each(Self::give_back),
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
            Self::Both(both) => both.iter_mut().for_each(Self::end_run),
        }
    }

    /// The same for a run that has not begun.
    pub(crate) fn anew(&self) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::Of(budget) => Self::Of(budget.clone()),
            Self::Running(Counted(run)) => Self::Of(run.budget().clone()),
            Self::Both(both) => Self::Both(Box::new([both[0].anew(), both[1].anew()])),
        }
    }

    fn budgets(&self, list: &mut fmt::DebugList<'_, '_>) {
        match self {
            Self::Unlimited => {}
            Self::Of(budget) => _ = list.entry(budget),
            Self::Running(Counted(run)) => _ = list.entry(run.budget()),
            Self::Both(both) => both.iter().for_each(|each| each.budgets(list)),
        }
    }
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        self.budgets(&mut list);
        list.finish()
    }
}
