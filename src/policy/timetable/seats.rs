//! Who is there: numbered seats for keys, and the table that finds a key's seat. Each key is held once.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// Empty seats above this number are given back.
const KEPT: usize = 1024;

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

#[derive(Debug)]
enum Seat<K, V> {
    /// Free; the number of another free seat.
    Free(Option<u32>),
    Taken(K, Phase<V>),
}

pub(super) enum Entered<V> {
    New(u32),
    Known(u32, V),
}

#[derive(Debug)]
pub(super) struct Seats<K, V> {
    table: HashTable<u32>,
    rows: Vec<Seat<K, V>>,
    free: Option<u32>,
    hasher: DefaultHashBuilder,
}

impl<K: Hash + Eq, V> Seats<K, V> {
    pub(super) fn new() -> Self {
        Self { table: HashTable::new(), rows: Vec::new(), free: None, hasher: DefaultHashBuilder::default() }
    }

    /// The key's seat: the one it has, or a new one with the value waiting in it.
    #[inline]
    pub(super) fn enter(&mut self, key: K, value: V) -> Entered<V> {
        let Self { table, rows, free, hasher } = self;
        let entry = table.entry(
            hasher.hash_one(&key),
            |&seat| holds(rows, seat, &key),
            |&seat| match &rows[seat as usize] {
                Seat::Taken(key, _) => hasher.hash_one(key),
                Seat::Free(_) => 0,
            },
        );
        let entry = match entry {
            Entry::Occupied(entry) => return Entered::Known(*entry.get(), value),
            Entry::Vacant(entry) => entry,
        };
        let taken = Seat::Taken(key, Phase::Waiting(value));
        let seat = if let Some(seat) = *free {
            if let Seat::Free(next) = std::mem::replace(&mut rows[seat as usize], taken) {
                *free = next;
            }
            seat
        } else {
            let seat = u32::try_from(rows.len()).ok().filter(|seat| *seat != u32::MAX);
            let seat = seat.expect("a queue holds at most 2^32 - 2 keys");
            rows.push(taken);
            seat
        };
        entry.insert(seat);
        Entered::New(seat)
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.table.find(self.hasher.hash_one(key), |&seat| holds(&self.rows, seat, key)).copied()
    }

    pub(super) fn key(&self, seat: u32) -> Option<&K> {
        match &self.rows[seat as usize] {
            Seat::Taken(key, _) => Some(key),
            Seat::Free(_) => None,
        }
    }

    pub(super) fn look(&self, seat: u32) -> Option<&Phase<V>> {
        match &self.rows[seat as usize] {
            Seat::Taken(_, phase) => Some(phase),
            Seat::Free(_) => None,
        }
    }

    /// # Panics
    /// When the seat is free.
    pub(super) fn phase(&mut self, seat: u32) -> &mut Phase<V> {
        match &mut self.rows[seat as usize] {
            Seat::Taken(_, phase) => phase,
            Seat::Free(_) => unreachable!("seat {seat} is free"),
        }
    }

    /// Frees a seat; what waited in it comes back.
    pub(super) fn leave(&mut self, seat: u32) -> Option<V> {
        let left = std::mem::replace(&mut self.rows[seat as usize], Seat::Free(self.free));
        let Seat::Taken(key, phase) = left else { return None };
        self.free = Some(seat);
        if let Ok(entry) = self.table.find_entry(self.hasher.hash_one(&key), |other| *other == seat) {
            entry.remove();
        }
        match phase {
            Phase::Waiting(value) | Phase::Next(value) => Some(value),
            Phase::Running { .. } => None,
        }
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Forgets the free seats of an empty table.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.rows.len() > KEPT {
            (self.rows, self.free) = (Vec::new(), None);
            self.table.shrink_to_fit(|_| 0);
        }
    }
}

fn holds<K: Eq, V>(rows: &[Seat<K, V>], seat: u32, key: &K) -> bool {
    matches!(&rows[seat as usize], Seat::Taken(other, _) if other == key)
}
