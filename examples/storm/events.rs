//! What will happen, in order of time and, at one instant, in the order in which it was planned.

use std::{collections::VecDeque, iter::repeat_with};

/// Events of so many nanoseconds are sorted together: 131 us.
const BUCKET: u32 = 17;
/// So many empty buckets are kept; more, and each of those that wait would come to be as large as the fullest.
const SPARE: usize = 1000;

/// A calendar: a row of buckets, each sorted when it is reached. A million clients plan a billion events, and a heap of
/// all that are planned would miss the cache at every step of each.
pub(crate) struct Events<E> {
    buckets: Vec<Vec<(u64, E)>>,
    /// So many buckets have been reached.
    reached: usize,
    /// What is left of the latest.
    now: VecDeque<(u64, E)>,
    /// What was planned for it since, later than all of its own.
    since: VecDeque<(u64, E)>,
    /// Buckets that are empty, with their memory.
    spare: Vec<Vec<(u64, E)>>,
    end: u64,
}

impl<E> Events<E> {
    /// What is planned for `end` or later never happens.
    pub(crate) fn until(end: u64) -> Self {
        let buckets = repeat_with(Vec::new).take((end >> BUCKET) as usize + 1).collect();
        Self { buckets, reached: 0, now: VecDeque::new(), since: VecDeque::new(), spare: Vec::new(), end }
    }

    pub(crate) fn plan(&mut self, at: u64, event: E) {
        let bucket = (at >> BUCKET) as usize;
        if at >= self.end {
        } else if bucket < self.reached {
            let place = self.since.partition_point(|(other, _)| *other <= at);
            self.since.insert(place, (at, event));
        } else {
            let bucket = &mut self.buckets[bucket];
            if bucket.capacity() == 0 {
                *bucket = self.spare.pop().unwrap_or_default();
            }
            bucket.push((at, event));
        }
    }

    pub(crate) fn next(&mut self) -> Option<(u64, E)> {
        while self.now.is_empty() && self.since.is_empty() {
            let mut bucket = std::mem::take(self.buckets.get_mut(self.reached)?);
            self.reached += 1;
            // Stable: in the order of planning where the instant is the same.
            bucket.sort_by_key(|(at, _)| *at);
            let empty = std::mem::replace(&mut self.now, bucket.into());
            if self.spare.len() < SPARE {
                self.spare.push(empty.into());
            }
        }
        match (self.now.front(), self.since.front()) {
            (Some((now, _)), Some((since, _))) if since < now => self.since.pop_front(),
            (None, _) => self.since.pop_front(),
            _ => self.now.pop_front(),
        }
    }
}
