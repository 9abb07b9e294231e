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
    blocks::{BLOCK, Rows},
    wheel::{Node, Nodes},
};

/// What is to be done for the key of a seat.
#[derive(Debug)]
pub(super) enum Phase<E> {
    Waiting(E),
    Running {
        /// What fails now leaves nothing behind: no other try follows, and what follows begins anew.
        forgets: bool,
    },
    /// It runs, and this follows; as above.
    Next(E, bool),
}

/// A seat with its key and phase. One enum and not a phase beside a key: the print of the key shares a word with its tag.
#[derive(Debug)]
enum Seat<K, E> {
    Free,
    Waiting(Print, K, E),
    Running(Print, K, bool),
    Next(Print, K, E, bool),
}

/// All that is known of a seat.
#[derive(Debug)]
struct Row<K, E> {
    node: Node,
    seat: Seat<K, E>,
}

pub(super) enum Entered {
    New(u32),
    Known(u32),
}

#[derive(Debug)]
pub(super) struct Seats<K, E> {
    table: HashTable<(Print, u32)>,
    rows: Rows<Row<K, E>>,
    /// Free seats, and numbers of seats that have been given up since they were.
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
}

impl<K: Hash + Eq, E> Seats<K, E> {
    pub(super) fn new() -> Self {
        Self { table: HashTable::new(), rows: Rows::new(), free: Vec::new(), hasher: DefaultHashBuilder::default() }
    }

    /// The key's seat: the one it has, or a new one in which the value waits; both are taken then. `None` without them.
    ///
    /// # Panics
    /// When there is no further seat.
    #[inline]
    pub(super) fn enter<V>(
        &mut self,
        key: &mut Option<K>,
        value: &mut Option<V>,
        entry: impl FnOnce(V) -> E,
    ) -> Option<Entered> {
        let Self { table, rows, free, hasher } = self;
        let known = key.as_ref()?;
        let print = Print::of(hasher.hash_one(known));
        let same = |&(other, seat): &_| other == print && rows[seat].seat.holds(known);
        let vacant = match table.entry(print.hash(), same, |(print, _)| print.hash()) {
            Entry::Occupied(entry) => return Some(Entered::Known(entry.get().1)),
            Entry::Vacant(vacant) => vacant,
        };
        let (key, value) = (key.take()?, value.take()?);
        let taken = Seat::Waiting(print, key, entry(value));
        let seat = if let Some(seat) = next_free(free, rows) {
            rows[seat].seat = taken;
            seat
        } else {
            let seat = u32::try_from(rows.len()).ok().filter(|seat| *seat != u32::MAX);
            let seat = seat.expect("a queue holds at most 2^32 - 2 keys");
            rows.push(Row { node: Node::NEW, seat: taken });
            seat
        };
        vacant.insert((print, seat));
        Some(Entered::New(seat))
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let print = Print::of(self.hasher.hash_one(key));
        let same = |&(other, seat): &_| other == print && self.rows[seat].seat.holds(key);
        self.table.find(print.hash(), same).map(|(_, seat)| *seat)
    }

    pub(super) fn key(&self, seat: u32) -> Option<&K> {
        match &self.rows[seat].seat {
            Seat::Waiting(_, key, _) | Seat::Running(_, key, _) | Seat::Next(_, key, ..) => Some(key),
            Seat::Free => None,
        }
    }

    pub(super) fn look(&self, seat: u32) -> Option<Phase<&E>> {
        Some(match &self.rows[seat].seat {
            Seat::Waiting(_, _, entry) => Phase::Waiting(entry),
            Seat::Running(_, _, forgets) => Phase::Running { forgets: *forgets },
            Seat::Next(_, _, entry, forgets) => Phase::Next(entry, *forgets),
            Seat::Free => return None,
        })
    }

    /// What waits or follows in a seat.
    pub(super) fn entry_mut(&mut self, seat: u32) -> Option<&mut E> {
        match &mut self.rows[seat].seat {
            Seat::Waiting(_, _, entry) | Seat::Next(_, _, entry, _) => Some(entry),
            Seat::Running(..) | Seat::Free => None,
        }
    }

    /// Puts a seat that is taken into another phase; what waited or followed comes back.
    #[inline]
    pub(super) fn turn_to(&mut self, seat: u32, phase: Phase<E>) -> Option<E> {
        let row = &mut self.rows[seat].seat;
        let (print, key, entry) = match replace(row, Seat::Free) {
            Seat::Waiting(print, key, entry) | Seat::Next(print, key, entry, _) => (print, key, Some(entry)),
            Seat::Running(print, key, _) => (print, key, None),
            Seat::Free => return None,
        };
        *row = match phase {
            Phase::Waiting(entry) => Seat::Waiting(print, key, entry),
            Phase::Running { forgets } => Seat::Running(print, key, forgets),
            Phase::Next(entry, forgets) => Seat::Next(print, key, entry, forgets),
        };
        entry
    }

    /// What follows the run waits now.
    pub(super) fn follow(&mut self, seat: u32) {
        let row = &mut self.rows[seat].seat;
        *row = match replace(row, Seat::Free) {
            Seat::Next(print, key, entry, _) => Seat::Waiting(print, key, entry),
            other => other,
        };
    }

    /// Which run it is that runs in a seat.
    pub(super) fn run(&self, seat: u32) -> u64 {
        self.rows[seat].node.index
    }

    /// Nothing that runs waits: the place in a slot is free for the number of the run.
    pub(super) fn set_run(&mut self, seat: u32, run: u64) {
        self.rows[seat].node.index = run;
    }

    /// Frees a seat; its key and what waited in it come back.
    #[inline]
    pub(super) fn leave(&mut self, seat: u32) -> Option<(K, Option<E>)> {
        let (print, key, entry) = match replace(&mut self.rows[seat].seat, Seat::Free) {
            Seat::Waiting(print, key, entry) | Seat::Next(print, key, entry, _) => (print, key, Some(entry)),
            Seat::Running(print, key, _) => (print, key, None),
            Seat::Free => return None,
        };
        self.free.push(seat);
        if let Ok(entry) = self.table.find_entry(print.hash(), |(_, other)| *other == seat) {
            entry.remove();
        }
        if self.table.capacity() > FEW && self.table.len() < self.table.capacity() / 8 {
            let room = FEW.max(self.table.len().saturating_mul(2));
            self.table.shrink_to(room, |(print, _)| print.hash());
        }
        Some((key, entry))
    }

    /// The last seat, if there are more than a few and most are free.
    #[inline]
    pub(super) fn last_of_too_many(&self) -> Option<u32> {
        let seats = self.rows.len();
        if seats <= FEW || self.table.len() >= seats / 2 {
            return None;
        }
        u32::try_from(seats.saturating_sub(1)).ok()
    }

    /// The last seat is free, and goes. Its number stays among the free ones until it is met.
    pub(super) fn give_up_last(&mut self) {
        self.rows.pop();
        self.tidy_free();
    }

    /// Numbers of seats that have been given up are not kept for ever.
    fn tidy_free(&mut self) {
        let Self { rows, free, .. } = self;
        if free.len() > FEW.saturating_add(rows.len()) {
            free.retain(|&seat| is_free(rows, seat));
        }
        if free.capacity() > FEW && free.len() < free.capacity() / 4 {
            free.shrink_to(FEW.max(free.len().saturating_mul(2)));
        }
    }

    /// Whoever has the last seat gets another one, and the last one goes. What waited must not wait meanwhile.
    pub(super) fn relocate_last(&mut self) -> Option<u32> {
        let seat = next_free(&mut self.free, &self.rows)?;
        let last = self.rows.pop()?;
        let from = self.rows.len();
        self.tidy_free();
        let print = match &last.seat {
            Seat::Waiting(print, ..) | Seat::Running(print, ..) | Seat::Next(print, ..) => *print,
            Seat::Free => return None,
        };
        self.rows[seat] = last;
        if let Some((_, at)) = self.table.find_mut(print.hash(), |(_, other)| *other as usize == from) {
            *at = seat;
        }
        Some(seat)
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

    /// Seats that there is memory for, anywhere.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.rows.capacity().max(self.table.capacity()).max(self.free.capacity())
    }
}

/// So many seats are kept free without a thought.
const FEW: usize = BLOCK;

fn is_free<K, E>(rows: &Rows<Row<K, E>>, seat: u32) -> bool {
    rows.get(seat).is_some_and(|row| matches!(row.seat, Seat::Free))
}

/// Another free seat.
#[inline]
fn next_free<K, E>(free: &mut Vec<u32>, rows: &Rows<Row<K, E>>) -> Option<u32> {
    loop {
        let seat = free.pop()?;
        if is_free(rows, seat) {
            return Some(seat);
        }
    }
}

impl<K, E> Nodes for Seats<K, E> {
    /// Old tickets name seats that have been given up: nothing waits there.
    #[inline]
    fn node(&self, number: u32) -> &Node {
        self.rows.get(number).map_or(&Node::NEW, |row| &row.node)
    }
    #[inline]
    fn node_mut(&mut self, number: u32) -> &mut Node {
        &mut self.rows[number].node
    }
}

impl<K: Eq, E> Seat<K, E> {
    fn holds(&self, key: &K) -> bool {
        match self {
            Self::Waiting(_, other, _) | Self::Running(_, other, _) | Self::Next(_, other, ..) => other == key,
            Self::Free => false,
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
            assert!(
                matches!(seats.enter(&mut Some(key), &mut Some(()), |()| ()), Some(Entered::New(seat)) if seat == key)
            );
        }
        seats
    }

    #[test]
    fn free_seats_are_taken_again() {
        let mut seats = filled(5000);
        for key in [17, 3000] {
            assert!(matches!(seats.leave(key), Some((left, Some(()))) if left == key));
        }
        for seat in [3000, 17, 5000] {
            let (mut key, mut value) = (Some(seat), Some(()));
            assert!(matches!(seats.enter(&mut key, &mut value, |()| ()), Some(Entered::New(new)) if new == seat));
            assert_eq!((key, value), (None, None));
        }
        assert!(matches!(seats.enter(&mut Some(17), &mut Some(()), |()| ()), Some(Entered::Known(17))));
    }

    /// Most have gone: the last one moves to a free seat, and is found there.
    #[test]
    fn the_last_seat_is_given_up() {
        let mut seats = filled(5000);
        (0..4000).for_each(|seat| assert!(seats.leave(seat).is_some()));
        while let Some(last) = seats.last_of_too_many() {
            match seats.look(last) {
                None => seats.give_up_last(),
                Some(_) => assert!(seats.relocate_last().is_some_and(|seat| seat < last)),
            }
        }
        assert_eq!((seats.len(), seats.rows.len()), (1000, 2001));
        for key in 0..5000 {
            let seat = seats.find(&key);
            assert_eq!(seat.is_some(), key >= 4000);
            assert_eq!(seat.and_then(|seat| seats.key(seat)).copied(), seat.map(|_| key));
        }
        for key in 4000..5000 {
            let seat = seats.find(&key).unwrap();
            seats.leave(seat);
        }
        while seats.last_of_too_many().is_some() {
            seats.give_up_last();
        }
        assert!(seats.is_empty() && seats.capacity() <= 2 * FEW, "room for {}", seats.capacity());
    }
}
