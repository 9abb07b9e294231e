//! What else becomes of a wait list: waiters leave, hold or give back; settings change, and clocks.

use crate::policy::{
    line::{Line, Told, grants::Grants},
    rate::Rate,
};

impl<W> Line<W> {
    /// The permits of `number` are used when its turn comes: nobody will collect them. What woke it comes back.
    pub fn spend(&mut self, number: u64) -> Option<W> {
        self.grants.collect(number, 0);
        let place = self.find(number).and_then(|index| self.places.get_mut(index))?;
        place.spent = true;
        place.waker.take()
    }

    /// One leaves, and uses nothing. Those behind move up. True as in [`Line::flow`]. What woke it comes back.
    pub fn leave(&mut self, now: u64, number: u64, told: &mut Told<W>) -> (bool, Option<W>) {
        let first = self.places.front().is_some_and(|first| first.number == number);
        // The first stood in the way until now, or its turn. What it did not take for so long has run over.
        let (mut stalled, mut more) = (false, false);
        if first {
            let turn = self.turn(number).min(now);
            stalled = turn.saturating_add(self.catch_up) < now;
            self.pass_closed(if stalled { now } else { turn });
        } else {
            more = self.pass(now, false, told);
        }
        let mut waker = None;
        if let Some(grant) = self.grants.collect(number, self.oldest()) {
            self.put_back(grant.permits, grant.at);
        } else if let Some(place) = self.find(number).and_then(|index| self.places.get_mut(index)) {
            waker = place.waker.take();
            self.asked = self.asked.saturating_sub(place.permits.into());
            place.permits = 0;
            self.left = self.left.saturating_add(1);
            self.from = self.bucket.at();
            self.moved = (self.moved.0.min(number), self.next);
            self.tidy();
        }
        let more = if first { self.pass(now, stalled, told) } else { more || self.go(told) };
        (more, waker)
    }

    /// Lets time pass, and nobody be granted.
    fn pass_closed(&mut self, now: u64) {
        if self.is_paused() {
            self.bucket.flow(now.min(self.opens()));
            self.cut();
        }
        self.bucket.flow(now);
    }

    /// One whose turn has come, and those of others not, is in the list again as far ahead as it was, and holds its turn
    /// `until` then: nobody behind it is granted before. What it has collected, granted at the instant given, goes back.
    /// True as in [`Line::flow`].
    pub fn hold(
        &mut self,
        now: u64,
        number: u64,
        collected: Option<(u32, u64)>,
        until: u64,
        told: &mut Told<W>,
    ) -> bool {
        if collected.is_none() && self.get(number).is_none_or(|place| place.not_before == until) {
            return false;
        }
        let more = self.pass(now, false, told);
        if let Some((permits, at)) = collected {
            self.put_back(permits, at);
            self.come_back(number, permits);
        }
        if let Some(place) = self.find(number).and_then(|index| self.places.get_mut(index)) {
            place.not_before = until;
        }
        self.moved = (0, self.next);
        more || self.go(told)
    }

    /// Permits come back that were granted at `at` and not used. True as in [`Line::flow`].
    pub fn give_back(&mut self, now: u64, permits: u32, at: u64, told: &mut Told<W>) -> bool {
        let more = self.pass(now, false, told);
        self.put_back(permits, at);
        more || self.go(told)
    }

    /// Within the catch-up, and where others have waited for them since, it is as if they had never been asked for.
    /// Otherwise what has flowed in for them meanwhile is another's, or has run over.
    fn put_back(&mut self, permits: u32, at: u64) {
        if at < self.opened() {
            return;
        }
        let held = self.bucket.at().saturating_sub(at);
        if held <= self.catch_up && !self.places.is_empty() && self.busy <= at {
            self.bucket.give_back(permits, 0, self.first());
            self.from = self.from.max(at.min(self.bucket.at()));
        } else {
            self.bucket.give_back(permits, held, self.first());
            self.from = self.bucket.at();
        }
        self.moved = (0, self.next);
    }

    /// From now on the bucket fills at `rate`. Every waiter has a new due and is to be told.
    pub fn set_rate(&mut self, rate: Rate, told: &mut impl Extend<W>) {
        self.bucket.set_rate(rate);
        self.plan(told);
    }

    /// From now on the bucket holds `burst`. Those in the list keep their places, also when they ask for more.
    pub fn set_burst(&mut self, burst: u32, told: &mut impl Extend<W>) {
        self.bucket.set_burst(burst);
        self.plan(told);
    }

    /// Nobody is granted before `until`, nor before the end of a former pause. Meanwhile the bucket fills to its burst.
    pub fn pause(&mut self, until: u64, told: &mut impl Extend<W>) {
        self.paused = self.paused.max(until);
        if self.is_paused() {
            self.withdraw(0);
            self.cut();
            self.plan(told);
        }
    }

    /// The clock is another one, and behind: what is in the bucket stays, and time goes on from `now`.
    pub fn rewind(&mut self, now: u64) {
        let left = self.paused.saturating_sub(self.bucket.at());
        self.bucket.rewind(now);
        self.paused = if left == 0 { 0 } else { now.saturating_add(left) };
        self.from = now;
        self.grants = Grants::default();
        self.turns(|place, turn| place.due = turn);
    }
}
