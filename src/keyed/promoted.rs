//! Keys that have a limiter of their own: a slab.

use crate::{limiter::Limiter, policy::limit::packed::FIRST_FREE_WORD};

/// A key with a limiter of its own.
#[derive(Debug)]
pub(super) struct PromotedKey {
    /// Of the key.
    pub(super) hash: u64,
    pub(super) limiter: Limiter,
}

/// All of a shard. Each is in a slot that stays the same as long as it is there.
#[derive(Debug, Default)]
pub(super) struct PromotedKeys {
    slots: Vec<Option<PromotedKey>>,
    /// Slots that are empty.
    vacant: Vec<u32>,
    /// The slot that comes next in the round.
    next: u32,
}

impl PromotedKeys {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn insert(&mut self, key: PromotedKey) -> u32 {
        if let Some(slot) = self.vacant.pop() {
            self.slots[slot as usize] = Some(key);
            return slot;
        }
        self.slots.push(Some(key));
        u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 limiters at a time")
    }

    pub(super) fn get(&self, slot: u32) -> Option<&PromotedKey> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut PromotedKey> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if self.slots.get_mut(slot as usize).and_then(Option::take).is_some() {
            self.vacant.push(slot);
        }
        if self.vacant.len() == self.slots.len() {
            *self = Self::default();
        }
    }

    /// The slots in turn, the empty ones too.
    pub(super) fn next_slot(&mut self) -> u32 {
        self.next = if (self.next as usize) < self.slots.len() { self.next } else { 0 };
        let slot = self.next;
        self.next = slot.saturating_add(1);
        slot
    }

    /// Up to which slot there may be some.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        self.slots.iter().flatten().map(|key| &key.limiter)
    }
}

/// The word of a key whose limiter is in this slot.
pub(super) fn word_of(slot: u32) -> u64 {
    FIRST_FREE_WORD | u64::from(slot)
}

/// The slot of the limiter, if the key of this word has one.
pub(super) fn slot_of(word: u64) -> Option<u32> {
    word.checked_sub(FIRST_FREE_WORD).and_then(|slot| u32::try_from(slot).ok())
}
