//! Who is there: numbered seats for keys, and the table that finds a key's seat.
//!
//! Each key is held once. The table keeps half of each hash, so that it grows, and finds whom it looks for, without a look
//! at keys that lie all over the memory.

use std::{
    hash::{BuildHasher, Hash},
    mem::replace,
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use super::{
    rows::{BLOCK, Rows},
    wheel::{Node, Nodes},
};

/// What is to be done for the key of a seat.
#[derive(Debug)]
pub(super) enum Phase<V> {
    Waiting(V),
    Running {
        /// Nothing is to follow this run, not even another try.
        cancelled: bool,
    },
    /// It runs, and this follows.
    Next(V),
}

/// A seat with its key and phase. One enum and not a phase beside a key: the print of the key shares a word with its tag.
#[derive(Debug)]
enum Seat<K, V> {
    /// Free; the number of another free seat.
    Free(Option<u32>),
    Waiting(Print, K, V),
    Running(Print, K, bool),
    Next(Print, K, V),
}

/// All that is known of a seat.
#[derive(Debug)]
struct Row<K, V> {
    node: Node,
    seat: Seat<K, V>,
}

pub(super) enum Entered<V> {
    New(u32),
    Known(u32, V),
}

#[derive(Debug)]
pub(super) struct Seats<K, V> {
    table: HashTable<(Print, u32)>,
    rows: Rows<Row<K, V>>,
    free: Option<u32>,
    hasher: DefaultHashBuilder,
}

impl<K: Hash + Eq, V> Seats<K, V> {
    pub(super) fn new() -> Self {
        Self { table: HashTable::new(), rows: Rows::new(), free: None, hasher: DefaultHashBuilder::default() }
    }

    /// The key's seat: the one it has, or a new one with the value waiting in it.
    ///
    /// # Panics
    /// When there is no further seat.
    #[inline]
    pub(super) fn enter(&mut self, key: K, value: V) -> Entered<V> {
        let Self { table, rows, free, hasher } = self;
        let print = Print::of(hasher.hash_one(&key));
        let same = |&(other, seat): &_| other == print && rows[seat].seat.holds(&key);
        let entry = match table.entry(print.hash(), same, |(print, _)| print.hash()) {
            Entry::Occupied(entry) => return Entered::Known(entry.get().1, value),
            Entry::Vacant(entry) => entry,
        };
        let taken = Seat::Waiting(print, key, value);
        let seat = if let Some(seat) = *free {
            if let Seat::Free(next) = replace(&mut rows[seat].seat, taken) {
                *free = next;
            }
            seat
        } else {
            let seat = u32::try_from(rows.len()).ok().filter(|seat| *seat != u32::MAX);
            let seat = seat.expect("a queue holds at most 2^32 - 2 keys");
            rows.push(Row { node: Node::NEW, seat: taken });
            seat
        };
        entry.insert((print, seat));
        Entered::New(seat)
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let print = Print::of(self.hasher.hash_one(key));
        let same = |&(other, seat): &_| other == print && self.rows[seat].seat.holds(key);
        self.table.find(print.hash(), same).map(|(_, seat)| *seat)
    }

    pub(super) fn key(&self, seat: u32) -> Option<&K> {
        match &self.rows[seat].seat {
            Seat::Waiting(_, key, _) | Seat::Running(_, key, _) | Seat::Next(_, key, _) => Some(key),
            Seat::Free(_) => None,
        }
    }

    pub(super) fn look(&self, seat: u32) -> Option<Phase<&V>> {
        Some(match &self.rows[seat].seat {
            Seat::Waiting(_, _, value) => Phase::Waiting(value),
            Seat::Running(_, _, cancelled) => Phase::Running { cancelled: *cancelled },
            Seat::Next(_, _, value) => Phase::Next(value),
            Seat::Free(_) => return None,
        })
    }

    /// Another value in the place of the one that waits or follows.
    pub(super) fn exchange(&mut self, seat: u32, value: V) -> Option<V> {
        match &mut self.rows[seat].seat {
            Seat::Waiting(_, _, place) | Seat::Next(_, _, place) => Some(replace(place, value)),
            Seat::Running(..) | Seat::Free(_) => None,
        }
    }

    /// Puts a seat that is taken into another phase; the value that waited or followed comes back.
    #[inline]
    pub(super) fn turn_to(&mut self, seat: u32, phase: Phase<V>) -> Option<V> {
        let row = &mut self.rows[seat].seat;
        let (print, key, value) = match replace(row, Seat::Free(None)) {
            Seat::Waiting(print, key, value) | Seat::Next(print, key, value) => (print, key, Some(value)),
            Seat::Running(print, key, _) => (print, key, None),
            Seat::Free(next) => {
                *row = Seat::Free(next);
                return None;
            }
        };
        *row = match phase {
            Phase::Waiting(value) => Seat::Waiting(print, key, value),
            Phase::Running { cancelled } => Seat::Running(print, key, cancelled),
            Phase::Next(value) => Seat::Next(print, key, value),
        };
        value
    }

    /// What follows the run waits now.
    pub(super) fn follow(&mut self, seat: u32) {
        let row = &mut self.rows[seat].seat;
        *row = match replace(row, Seat::Free(None)) {
            Seat::Next(print, key, value) => Seat::Waiting(print, key, value),
            other => other,
        };
    }

    /// Frees a seat; what waited in it comes back.
    #[inline]
    pub(super) fn leave(&mut self, seat: u32) -> Option<V> {
        let (print, value) = match replace(&mut self.rows[seat].seat, Seat::Free(self.free)) {
            Seat::Waiting(print, _, value) | Seat::Next(print, _, value) => (print, Some(value)),
            Seat::Running(print, ..) => (print, None),
            Seat::Free(next) => {
                self.rows[seat].seat = Seat::Free(next);
                return None;
            }
        };
        self.free = Some(seat);
        if let Ok(entry) = self.table.find_entry(print.hash(), |(_, other)| *other == seat) {
            entry.remove();
        }
        value
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().map(|(_, seat)| *seat)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether no seat was ever taken, or all are forgotten.
    #[cfg(test)]
    pub(super) fn is_vacant(&self) -> bool {
        self.rows.len() == 0
    }

    /// Forgets the free seats of an empty table, unless they are few.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.rows.len() > BLOCK {
            self.rows.clear();
            self.free = None;
            self.table.shrink_to(BLOCK, |(print, _)| print.hash());
        }
    }
}

impl<K, V> Nodes for Seats<K, V> {
    #[inline]
    fn node(&self, number: u32) -> &Node {
        &self.rows[number].node
    }
    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        &mut self.rows[number].node
    }
}

impl<K: Eq, V> Seat<K, V> {
    fn holds(&self, key: &K) -> bool {
        match self {
            Self::Waiting(_, other, _) | Self::Running(_, other, _) | Self::Next(_, other, _) => other == key,
            Self::Free(_) => false,
        }
    }
}

/// Half of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print(u32);

impl Print {
    fn of(hash: u64) -> Self {
        Self((hash & 0xFFFF_FFFF) as u32)
    }

    /// A whole hash again: the table looks at the lowest bits and the highest.
    fn hash(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: u32) -> Seats<u32, ()> {
        let mut seats = Seats::new();
        for key in 0..keys {
            assert!(matches!(seats.enter(key, ()), Entered::New(seat) if seat == key));
        }
        seats
    }

    #[test]
    fn free_seats_are_taken_again_and_given_back_only_by_an_empty_table() {
        let mut seats = filled(5000);
        seats.leave(17);
        assert!(matches!(seats.enter(17, ()), Entered::New(17)));
        for seat in 1..5000 {
            seats.leave(seat);
        }
        seats.shrink();
        assert_eq!((seats.len(), seats.rows.len()), (1, 5000), "somebody is there");
        assert_eq!(seats.find(&0), Some(0));
        seats.leave(0);
        seats.shrink();
        assert!(seats.is_empty() && seats.rows.capacity() == BLOCK && seats.table.capacity() < 2 * BLOCK);
        assert!(matches!(seats.enter(9, ()), Entered::New(0)));
    }

    #[test]
    fn a_few_free_seats_are_kept() {
        let keep = u32::try_from(BLOCK).unwrap();
        let mut seats = filled(keep);
        for seat in 0..keep {
            seats.leave(seat);
        }
        seats.shrink();
        assert_eq!(seats.rows.len(), BLOCK);
        assert!(matches!(seats.enter(9, ()), Entered::New(seat) if seat == keep - 1));
    }
}
