//! A slab of keys in numbered slots, and the hash table that finds a key's slot.
//!
//! Each key is held once. The table keeps half of each hash, so that it grows, and finds a key, without reading keys
//! that lie all over the memory.
//!
//! Invariants: the table has exactly the slots that are not vacant; every vacant slot is in the list of vacant ones,
//! which may also hold numbers of slots that are gone.

use std::{
    hash::{BuildHasher, Hash},
    mem::replace,
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use super::deadline::{Store, WheelEntry};
use crate::policy::blocks::Blocks;

/// What is to be done for the key of a slot. `E` is what waits.
#[derive(Debug)]
pub(super) enum Phase<E> {
    Waiting(E),
    Running {
        /// If the run fails it leaves nothing: no further attempt follows, and what was given meanwhile begins anew.
        forgets: bool,
    },
    /// It runs, and this follows; as above.
    Next(E, bool),
}

/// A slot's key and phase. One enum and not a phase beside a key: the hash tag shares a word with the enum's own tag.
#[derive(Debug)]
enum SlotState<K, E> {
    Vacant,
    Waiting(HashTag, K, E),
    Running(HashTag, K, bool),
    Next(HashTag, K, E, bool),
}

#[derive(Debug)]
struct Slot<K, E> {
    wheel: WheelEntry,
    state: SlotState<K, E>,
}

/// The slot of a key.
pub(super) enum KeySlot {
    New(u32),
    Existing(u32),
}

/// Slots come in blocks of so many.
const BLOCK: usize = 1024;

type Slots<K, E> = Blocks<Slot<K, E>, BLOCK>;

#[derive(Debug)]
pub(super) struct Slab<K, E> {
    /// Hash tag and slot of each key.
    table: HashTable<(HashTag, u32)>,
    slots: Slots<K, E>,
    /// Vacant slots, the last one to be filled first, and numbers of slots that are gone since.
    vacant: Vec<u32>,
    hasher: DefaultHashBuilder,
}

impl<K: Hash + Eq, E> Slab<K, E> {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            slots: Blocks::new(),
            vacant: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The key's slot: the one that it has, or another in which the value waits; key and value are taken then. `None`
    /// without them.
    ///
    /// # Panics
    /// With more than 2^32 - 2 keys.
    #[inline]
    pub(super) fn insert<V>(
        &mut self,
        key: &mut Option<K>,
        value: &mut Option<V>,
        entry: impl FnOnce(V) -> E,
    ) -> Option<KeySlot> {
        let Self { table, slots, vacant, hasher } = self;
        let known = key.as_ref()?;
        let tag = HashTag::of(hasher.hash_one(known));
        let same = |&(other, slot): &_| other == tag && slots[slot].state.holds(known);
        let vacancy = match table.entry(tag.hash(), same, |(tag, _)| tag.hash()) {
            Entry::Occupied(entry) => return Some(KeySlot::Existing(entry.get().1)),
            Entry::Vacant(vacancy) => vacancy,
        };
        let (key, value) = (key.take()?, value.take()?);
        let filled = SlotState::Waiting(tag, key, entry(value));
        let slot = if let Some(slot) = next_vacant(vacant, slots) {
            slots[slot].state = filled;
            slot
        } else {
            let slot = u32::try_from(slots.len()).ok().filter(|slot| *slot != u32::MAX);
            let slot = slot.expect("a queue holds at most 2^32 - 2 keys");
            slots.push(Slot { wheel: WheelEntry::NEW, state: filled });
            slot
        };
        vacancy.insert((tag, slot));
        Some(KeySlot::New(slot))
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let tag = HashTag::of(self.hasher.hash_one(key));
        let same = |&(other, slot): &_| other == tag && self.slots[slot].state.holds(key);
        self.table.find(tag.hash(), same).map(|(_, slot)| *slot)
    }

    pub(super) fn key(&self, slot: u32) -> Option<&K> {
        match &self.slots[slot].state {
            SlotState::Waiting(_, key, _) | SlotState::Running(_, key, _) | SlotState::Next(_, key, ..) => Some(key),
            SlotState::Vacant => None,
        }
    }

    pub(super) fn phase(&self, slot: u32) -> Option<Phase<&E>> {
        Some(match &self.slots[slot].state {
            SlotState::Waiting(_, _, entry) => Phase::Waiting(entry),
            SlotState::Running(_, _, forgets) => Phase::Running { forgets: *forgets },
            SlotState::Next(_, _, entry, forgets) => Phase::Next(entry, *forgets),
            SlotState::Vacant => return None,
        })
    }

    /// What waits or follows in a slot.
    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut E> {
        match &mut self.slots[slot].state {
            SlotState::Waiting(_, _, entry) | SlotState::Next(_, _, entry, _) => Some(entry),
            SlotState::Running(..) | SlotState::Vacant => None,
        }
    }

    /// Puts a slot that is occupied into another phase; what waited or followed comes back.
    #[inline]
    pub(super) fn set_phase(&mut self, slot: u32, phase: Phase<E>) -> Option<E> {
        let state = &mut self.slots[slot].state;
        let (tag, key, entry) = match replace(state, SlotState::Vacant) {
            SlotState::Waiting(tag, key, entry) | SlotState::Next(tag, key, entry, _) => (tag, key, Some(entry)),
            SlotState::Running(tag, key, _) => (tag, key, None),
            SlotState::Vacant => return None,
        };
        *state = match phase {
            Phase::Waiting(entry) => SlotState::Waiting(tag, key, entry),
            Phase::Running { forgets } => SlotState::Running(tag, key, forgets),
            Phase::Next(entry, forgets) => SlotState::Next(tag, key, entry, forgets),
        };
        entry
    }

    /// What follows the run waits now.
    pub(super) fn promote_next(&mut self, slot: u32) {
        let state = &mut self.slots[slot].state;
        *state = match replace(state, SlotState::Vacant) {
            SlotState::Next(tag, key, entry, _) => SlotState::Waiting(tag, key, entry),
            other => other,
        };
    }

    /// Which run it is that runs in a slot.
    pub(super) fn run_id(&self, slot: u32) -> u64 {
        self.slots[slot].wheel.index
    }

    /// What runs is not in the wheel: its index there has room for the number of the run.
    pub(super) fn set_run_id(&mut self, slot: u32, run: u64) {
        self.slots[slot].wheel.index = run;
    }

    /// Vacates a slot; its key and what waited in it come back.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) -> Option<(K, Option<E>)> {
        let (tag, key, entry) = match replace(&mut self.slots[slot].state, SlotState::Vacant) {
            SlotState::Waiting(tag, key, entry) | SlotState::Next(tag, key, entry, _) => (tag, key, Some(entry)),
            SlotState::Running(tag, key, _) => (tag, key, None),
            SlotState::Vacant => return None,
        };
        self.vacant.push(slot);
        if let Ok(entry) = self.table.find_entry(tag.hash(), |(_, other)| *other == slot) {
            entry.remove();
        }
        if self.table.capacity() > SPARE_SLOTS && self.table.len() < self.table.capacity() / 8 {
            let room = SPARE_SLOTS.max(self.table.len().saturating_mul(2));
            self.table.shrink_to(room, |(tag, _)| tag.hash());
        }
        Some((key, entry))
    }

    /// The last slot, if there are more than a few and most are vacant.
    #[inline]
    pub(super) fn last_if_sparse(&self) -> Option<u32> {
        let slots = self.slots.len();
        if slots <= SPARE_SLOTS || self.table.len() >= slots / 2 {
            return None;
        }
        u32::try_from(slots.saturating_sub(1)).ok()
    }

    /// Gives back the last slot, which is vacant. Its number stays among the vacant ones until it is met.
    pub(super) fn pop_vacant(&mut self) {
        self.slots.pop();
        self.compact_vacant();
    }

    /// Numbers of slots that are gone are not kept for ever.
    fn compact_vacant(&mut self) {
        let Self { slots, vacant, .. } = self;
        if vacant.len() > SPARE_SLOTS.saturating_add(slots.len()) {
            vacant.retain(|&slot| is_vacant(slots, slot));
        }
        if vacant.capacity() > SPARE_SLOTS && vacant.len() < vacant.capacity() / 4 {
            vacant.shrink_to(SPARE_SLOTS.max(vacant.len().saturating_mul(2)));
        }
    }

    /// Moves the key of the last slot to a vacant one, and gives the last one back. It must not be in the wheel
    /// meanwhile.
    pub(super) fn relocate_last(&mut self) -> Option<u32> {
        let slot = next_vacant(&mut self.vacant, &self.slots)?;
        let last = self.slots.pop()?;
        let from = self.slots.len();
        self.compact_vacant();
        let tag = match &last.state {
            SlotState::Waiting(tag, ..) | SlotState::Running(tag, ..) | SlotState::Next(tag, ..) => *tag,
            SlotState::Vacant => return None,
        };
        self.slots[slot] = last;
        if let Some((_, at)) = self.table.find_mut(tag.hash(), |(_, other)| *other as usize == from) {
            *at = slot;
        }
        Some(slot)
    }

    pub(super) fn occupied(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().map(|(_, slot)| *slot)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Slots that there is memory for, anywhere.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity().max(self.table.capacity()).max(self.vacant.capacity())
    }
}

impl<K, E> Slab<K, E> {
    /// All that waits or follows a run.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.slots.iter_mut().filter_map(|slot| match &mut slot.state {
            SlotState::Waiting(_, _, entry) | SlotState::Next(_, _, entry, _) => Some(entry),
            SlotState::Running(..) | SlotState::Vacant => None,
        })
    }
}

/// So many slots are kept vacant before any is given back.
const SPARE_SLOTS: usize = BLOCK;

fn is_vacant<K, E>(slots: &Slots<K, E>, slot: u32) -> bool {
    slots.get(slot).is_some_and(|slot| matches!(slot.state, SlotState::Vacant))
}

/// Takes a vacant slot.
#[inline]
fn next_vacant<K, E>(vacant: &mut Vec<u32>, slots: &Slots<K, E>) -> Option<u32> {
    loop {
        let slot = vacant.pop()?;
        if is_vacant(slots, slot) {
            return Some(slot);
        }
    }
}

impl<K, E> Store for Slab<K, E> {
    /// Expirations that are not current may name slots that are gone: nothing waits there.
    #[inline]
    fn wheel_entry(&self, slot: u32) -> &WheelEntry {
        self.slots.get(slot).map_or(&WheelEntry::NEW, |slot| &slot.wheel)
    }
    #[inline]
    fn wheel_entry_mut(&mut self, slot: u32) -> &mut WheelEntry {
        &mut self.slots[slot].wheel
    }
}

impl<K: Eq, E> SlotState<K, E> {
    fn holds(&self, key: &K) -> bool {
        match self {
            Self::Waiting(_, other, _) | Self::Running(_, other, _) | Self::Next(_, other, ..) => other == key,
            Self::Vacant => false,
        }
    }
}

/// Half of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HashTag(u32);

impl HashTag {
    fn of(hash: u64) -> Self {
        Self((hash & 0xFFFF_FFFF) as u32)
    }

    /// A whole hash again: the table uses the lowest bits and the highest.
    fn hash(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: u32) -> Slab<u32, ()> {
        let mut slab = Slab::new();
        for key in 0..keys {
            assert!(
                matches!(slab.insert(&mut Some(key), &mut Some(()), |()| ()), Some(KeySlot::New(slot)) if slot == key)
            );
        }
        slab
    }

    #[test]
    fn vacant_slots_are_filled_again() {
        let mut slab = filled(5000);
        for key in [17, 3000] {
            assert!(matches!(slab.remove(key), Some((left, Some(()))) if left == key));
        }
        for slot in [3000, 17, 5000] {
            let (mut key, mut value) = (Some(slot), Some(()));
            assert!(matches!(slab.insert(&mut key, &mut value, |()| ()), Some(KeySlot::New(new)) if new == slot));
            assert_eq!((key, value), (None, None));
        }
        assert!(matches!(slab.insert(&mut Some(17), &mut Some(()), |()| ()), Some(KeySlot::Existing(17))));
    }

    /// Most have gone: the last one moves to a vacant slot, and is found there.
    #[test]
    fn the_last_slot_is_given_back() {
        let mut slab = filled(5000);
        (0..4000).for_each(|slot| assert!(slab.remove(slot).is_some()));
        while let Some(last) = slab.last_if_sparse() {
            match slab.phase(last) {
                None => slab.pop_vacant(),
                Some(_) => assert!(slab.relocate_last().is_some_and(|slot| slot < last)),
            }
        }
        assert_eq!((slab.len(), slab.slots.len()), (1000, 2001));
        for key in 0..5000 {
            let slot = slab.find(&key);
            assert_eq!(slot.is_some(), key >= 4000);
            assert_eq!(slot.and_then(|slot| slab.key(slot)).copied(), slot.map(|_| key));
        }
        for key in 4000..5000 {
            let slot = slab.find(&key).unwrap();
            slab.remove(slot);
        }
        while slab.last_if_sparse().is_some() {
            slab.pop_vacant();
        }
        assert!(slab.is_empty() && slab.capacity() <= 2 * SPARE_SLOTS, "room for {}", slab.capacity());
    }
}
