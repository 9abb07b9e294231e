//! Grants that have not been collected yet.

use std::collections::VecDeque;

use super::waiter::WaiterId;
use crate::policy::limit::bucket::Bucket;

/// Room for so many is kept, however few there are.
const RETAINED_CAPACITY: usize = 1024;

/// Permits that a waiter may collect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) id: WaiterId,
    /// Zero: collected.
    pub(super) permits: u32,
    /// The instant at which the bucket held them, in nanoseconds.
    pub(super) at: u64,
}

impl Grant {
    /// Puts its permits back into the bucket, from which nothing that was granted later is taken any more. False: it
    /// was older than `oldest`. Then what has come in meanwhile may have run over for it, and that much of it is lost.
    pub(super) fn give_back(self, bucket: &mut Bucket, oldest: u64) -> bool {
        let is_old = self.at < oldest;
        let (held, least) =
            if is_old { (bucket.updated_at().saturating_sub(self.at), self.permits) } else { (0, u32::MAX) };
        bucket.refund(self.permits, held, least);
        !is_old
    }
}

/// In order of their ids, and so of their instants.
#[derive(Debug, Default)]
pub(super) struct Grants(VecDeque<Grant>);

impl Grants {
    pub(super) fn push(&mut self, grant: Grant) {
        if self.0.len() == self.0.capacity() {
            // Those that were collected may lie behind one that is not, for as long as that one is kept.
            self.0.retain(|grant| grant.permits != 0);
            if self.0.len() > self.0.capacity() / 2 {
                self.0.reserve(self.0.capacity());
            }
        }
        self.0.push_back(grant);
    }

    /// Forgets what is collected, and what `is_over`.
    pub(super) fn expire(&mut self, is_over: impl Fn(&Grant) -> bool) {
        while self.0.front().is_some_and(|grant| grant.permits == 0 || is_over(grant)) {
            self.0.pop_front();
        }
        shrink(&mut self.0);
    }

    /// Whether `id` has one that is not older.
    pub(super) fn has(&self, id: WaiterId, oldest: u64) -> bool {
        self.get(id).is_some_and(|grant| grant.permits != 0 && grant.at >= oldest)
    }

    /// Takes that of `id` out, however old it is.
    pub(super) fn take(&mut self, id: WaiterId) -> Option<Grant> {
        let index = self.find(id)?;
        let grant = self.0.get_mut(index)?;
        let taken = (grant.permits != 0).then_some(*grant);
        grant.permits = 0;
        self.expire(|_| false);
        taken
    }

    /// Takes the last out whose id is not less.
    pub(super) fn pop_from(&mut self, id: WaiterId) -> Option<Grant> {
        while let Some(last) = self.0.back().copied().filter(|last| last.id >= id) {
            self.0.pop_back();
            if last.permits != 0 {
                return Some(last);
            }
        }
        None
    }

    /// Those whose id is not less, the last first.
    pub(super) fn from(&self, id: WaiterId) -> impl Iterator<Item = &Grant> {
        self.0.iter().rev().take_while(move |grant| grant.id >= id)
    }

    fn get(&self, id: WaiterId) -> Option<&Grant> {
        self.find(id).and_then(|index| self.0.get(index))
    }

    fn find(&self, id: WaiterId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |grant| grant.id).ok()
    }
}

/// Gives back room where most is vacant, so that memory follows what there is down.
pub(super) fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > RETAINED_CAPACITY && queue.len() < queue.capacity() / 4 {
        queue.shrink_to(RETAINED_CAPACITY.max(queue.len().saturating_mul(2)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_collected_behind_one_that_is_not_takes_no_room() {
        let mut grants = Grants::default();
        let mut id = WaiterId::default();
        grants.push(Grant { id, permits: 1, at: 0 });
        for at in 1..100_000 {
            id = id.next();
            grants.push(Grant { id, permits: 1, at });
            assert!(grants.take(id).is_some());
        }
        assert!(grants.0.capacity() <= 16, "{}", grants.0.capacity());
        assert!(grants.take(WaiterId::default()).is_some());
    }
}
