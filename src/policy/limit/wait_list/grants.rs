//! Grants that have not been collected yet.

use std::collections::VecDeque;

/// Permits that a waiter may come for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) number: u64,
    /// Zero: collected.
    pub(super) permits: u32,
    /// When its turn came.
    pub(super) at: u64,
}

/// In order of their numbers, and so of their instants.
#[derive(Debug, Default)]
pub(super) struct Grants(VecDeque<Grant>);

impl Grants {
    pub(super) fn push(&mut self, grant: Grant) {
        self.0.push_back(grant);
    }

    /// Forgets what is collected, and what is older than `oldest`.
    pub(super) fn expire(&mut self, oldest: u64) {
        while self.0.front().is_some_and(|grant| grant.permits == 0 || grant.at < oldest) {
            self.0.pop_front();
        }
    }

    /// Whether `number` has one that is not older.
    pub(super) fn has(&self, number: u64, oldest: u64) -> bool {
        self.get(number).is_some_and(|grant| grant.permits != 0 && grant.at >= oldest)
    }

    /// Takes that of `number` out, if it is not older.
    pub(super) fn collect(&mut self, number: u64, oldest: u64) -> Option<Grant> {
        let index = self.find(number)?;
        let grant = self.0.get_mut(index)?;
        let collected = (grant.permits != 0 && grant.at >= oldest).then_some(*grant);
        grant.permits = 0;
        self.expire(oldest);
        collected
    }

    /// Takes the last out, if its number is not less.
    pub(super) fn pop_from(&mut self, number: u64) -> Option<Grant> {
        while let Some(last) = self.0.back().copied().filter(|last| last.number >= number) {
            self.0.pop_back();
            if last.permits != 0 {
                return Some(last);
            }
        }
        None
    }

    fn get(&self, number: u64) -> Option<&Grant> {
        self.find(number).and_then(|index| self.0.get(index))
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.0.binary_search_by_key(&number, |grant| grant.number).ok()
    }
}
