//! Turns and dues: when each is granted as things stand, and when it looks.

use crate::policy::{
    bucket::Bucket,
    line::{Line, Place, Told},
    nanos::FOREVER,
};

/// So many waiters that could be told know their exact turn, among so many of the first.
const WINDOW: usize = 64;
const SCANNED: usize = 256;

impl<W> Line<W> {
    /// Sees to it that the first ones know their turns.
    pub(super) fn tell(&mut self, told: &mut Told<W>) -> bool {
        let least = self.first();
        let (mut asked, mut index, mut known) = (0_u64, 0_usize, 0_usize);
        while self.moved.0 < self.moved.1 && known < WINDOW && index < SCANNED {
            let Some(place) = self.places.get(index) else {
                self.moved.0 = self.moved.1;
                break;
            };
            if place.permits == 0 {
                self.places.remove(index);
                self.left = self.left.saturating_sub(1);
                continue;
            }
            let number = place.number;
            asked = asked.saturating_add(place.permits.into());
            known = known.saturating_add(place.waker.is_some().into());
            if number >= self.moved.0 {
                if told.is_full() {
                    return true;
                }
                let turn = self.ready_at(asked, least);
                if let Some(place) = self.places.get_mut(index).filter(|place| turn < place.due) {
                    place.due = turn;
                    told.push(place.waker.take());
                }
                self.moved.0 = number.saturating_add(1);
            }
            index = index.saturating_add(1);
        }
        false
    }

    /// Every waiter has a new due.
    pub(super) fn plan(&mut self, told: &mut impl Extend<W>) {
        self.from = self.bucket.at();
        self.turns(|place, turn| {
            if turn != place.due {
                place.due = turn;
                told.extend(place.waker.take());
            }
        });
        self.moved = (self.next, self.next);
    }

    /// All turns are later, or some. Those that look too early learn it then.
    pub(super) fn put_off(&mut self) {
        self.turns(|place, turn| place.due = place.due.max(turn));
    }

    pub(super) fn turns(&mut self, mut act: impl FnMut(&mut Place<W>, u64)) {
        let least = self.first();
        let (bucket, lapsed) = (self.planned(least), self.is_lapsed());
        let mut asked = 0_u64;
        for place in self.places.iter_mut().filter(|place| place.permits != 0) {
            asked = asked.saturating_add(place.permits.into());
            act(place, if lapsed { FOREVER } else { bucket.ready_at(asked) });
        }
    }

    /// When `permits` are there, if nobody else takes any.
    pub(super) fn ready_at(&self, permits: u64, least: u32) -> u64 {
        if self.is_lapsed() {
            return FOREVER;
        }
        if self.is_paused() { self.planned(least).ready_at(permits) } else { self.bucket.ready_at(permits) }
    }

    /// The bucket as of the first instant at which it may grant.
    fn planned(&self, least: u32) -> Bucket {
        let mut bucket = self.bucket.clone();
        if self.is_paused() {
            bucket.flow(self.opens());
            bucket.cut(least);
        }
        bucket
    }
}
