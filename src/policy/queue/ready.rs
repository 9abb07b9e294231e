//! What is due in the present block of the wheel or before, in order.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::deadline::{Expiration, RETAINED_CAPACITY, Store};

/// Expirations in order. One whose slot has been removed or moved stays, not [current](Expiration::is_current) any
/// more, until it is met or too many have gathered.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    /// What came in order, sorted.
    ordered: VecDeque<Expiration>,
    /// What came out of order: due before something that was in the queue already.
    late: BinaryHeap<Reverse<Expiration>>,
    /// How many in both are not current any more.
    removed: usize,
}

impl ReadyQueue {
    /// The first current expiration. Those before it are thrown away.
    pub(super) fn peek(&mut self, store: &impl Store) -> Option<Expiration> {
        loop {
            let ordered = self.ordered_is_first();
            let first = if ordered { self.ordered.front() } else { self.late.peek().map(|late| &late.0) };
            let first = *first?;
            if first.is_current(store) {
                return Some(first);
            }
            self.removed = self.removed.saturating_sub(1);
            self.pop();
        }
    }

    /// Takes the first expiration, current or not.
    pub(super) fn pop(&mut self) -> Option<Expiration> {
        if self.ordered_is_first() {
            let (len, capacity) = (self.ordered.len(), self.ordered.capacity());
            if capacity > RETAINED_CAPACITY && len < capacity / 4 {
                self.ordered.shrink_to(RETAINED_CAPACITY.max(len.saturating_mul(2)));
            }
            self.ordered.pop_front()
        } else {
            let (len, capacity) = (self.late.len(), self.late.capacity());
            if capacity > RETAINED_CAPACITY && len < capacity / 4 {
                self.late.shrink_to(RETAINED_CAPACITY.max(len.saturating_mul(2)));
            }
            self.late.pop().map(|late| late.0)
        }
    }

    /// How many current expirations are due by `now`: all but the last few of those that came in order.
    pub(super) fn count_due(&self, store: &impl Store, now: u64) -> usize {
        let later = |next: &&Expiration| next.deadline.at > now && next.is_current(store);
        let ordered = self.ordered.iter().rev().take_while(|next| next.deadline.at > now).filter(later).count();
        let late = self.late.iter().map(|late| &late.0).filter(later).count();
        self.len().saturating_sub(self.removed).saturating_sub(ordered).saturating_sub(late)
    }

    fn ordered_is_first(&self) -> bool {
        match (self.ordered.front(), self.late.peek()) {
            (Some(ordered), Some(late)) => *ordered < late.0,
            (ordered, _) => ordered.is_some(),
        }
    }

    pub(super) fn push(&mut self, expiration: Expiration) {
        if self.ordered.back().is_none_or(|last| *last < expiration) {
            self.ordered.push_back(expiration);
        } else {
            self.late.push(Reverse(expiration));
        }
    }

    /// Sorted expirations that come after all that came in order.
    pub(super) fn append(&mut self, expirations: &mut Vec<Expiration>) {
        if self.ordered.is_empty() {
            self.ordered.shrink_to(expirations.len().max(RETAINED_CAPACITY));
        }
        self.ordered.extend(expirations.drain(..));
        expirations.shrink_to(RETAINED_CAPACITY);
    }

    /// One is not current any more. Such ones are cleared away once they are most of the queue.
    pub(super) fn removed_one(&mut self, store: &impl Store) {
        self.removed = self.removed.saturating_add(1);
        if self.removed < 32 || self.removed < self.len() / 2 {
            return;
        }
        self.ordered.retain(|expiration| expiration.is_current(store));
        self.late.retain(|expiration| expiration.0.is_current(store));
        self.shrink();
    }

    pub(super) fn clear(&mut self) {
        self.ordered.clear();
        self.late.clear();
        self.shrink();
    }

    fn shrink(&mut self) {
        self.removed = 0;
        self.ordered.shrink_to(RETAINED_CAPACITY);
        self.late.shrink_to(RETAINED_CAPACITY);
    }

    /// Expirations, current or not.
    pub(super) fn len(&self) -> usize {
        self.ordered.len().saturating_add(self.late.len())
    }

    /// Whether every expiration is current, as far as is known.
    #[cfg(test)]
    pub(super) fn has_none_removed(&self) -> bool {
        self.removed == 0
    }

    /// Expirations that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.ordered.capacity().max(self.late.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::queue::deadline::{Deadline, WheelEntry};

    struct Waiting(Vec<WheelEntry>);

    impl Store for Waiting {
        fn wheel_entry(&self, slot: u32) -> &WheelEntry {
            &self.0[slot as usize]
        }
        fn wheel_entry_mut(&mut self, slot: u32) -> &mut WheelEntry {
            &mut self.0[slot as usize]
        }
    }

    fn expiration(due: u64, slot: u32) -> Expiration {
        Expiration { deadline: Deadline { at: due, seq: 1 + u64::from(slot) }, slot }
    }

    fn waiting(expirations: &[Expiration]) -> Waiting {
        Waiting(
            expirations
                .iter()
                .map(|expiration| WheelEntry { deadline: expiration.deadline, ..WheelEntry::NEW })
                .collect(),
        )
    }

    /// Only what comes out of order has to be sorted in.
    #[test]
    fn what_comes_in_order_is_appended() {
        let expirations: Vec<_> =
            [3, 3, 7, 5, 7, 7, 1].into_iter().zip(0..).map(|(due, slot)| expiration(due, slot)).collect();
        let (store, mut ready) = (waiting(&expirations), ReadyQueue::default());
        for expiration in &expirations {
            ready.push(*expiration);
        }
        assert_eq!((ready.ordered.len(), ready.late.len()), (5, 2));
        let order: Vec<u32> = std::iter::from_fn(|| {
            let first = ready.peek(&store)?;
            assert_eq!(ready.pop(), Some(first));
            Some(first.slot)
        })
        .collect();
        assert_eq!(order, [6, 0, 1, 3, 2, 4, 5]);
    }

    /// A few that are not current are passed over when they are met; when they are half of the queue, all go at once.
    #[test]
    fn removed_expirations_are_cleared_away_together() {
        let expirations: Vec<_> = (0..100).map(|slot| expiration(9, slot)).collect();
        let (mut store, mut ready) = (waiting(&expirations), ReadyQueue::default());
        ready.append(&mut expirations.clone());
        for slot in (0..100).rev() {
            store.wheel_entry_mut(slot).deadline = Deadline::NONE;
            ready.removed_one(&store);
            let left = match slot {
                51.. => 100,
                19..=50 => 50,
                _ => 18,
            };
            assert_eq!(ready.len(), left, "{slot} are there");
        }
        assert_eq!((ready.peek(&store), ready.len()), (None, 0));
    }
}
