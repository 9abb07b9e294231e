//! A server of limited capacity: it answers one call after the other, in order, and does not know which clients still
//! wait.

use std::collections::VecDeque;

use super::simulation::SECOND;

/// Calls that wait for their turn. Those that find it full are refused at once.
pub(crate) struct Server {
    queue: VecDeque<(u32, u32)>,
    room: usize,
    /// Nanoseconds of work for a call when it is well.
    work: u64,
    down: (u64, u64),
    recovery: u64,
    working: bool,
}

/// What becomes of a call at its arrival.
pub(crate) enum Received {
    Refused,
    Queued,
    /// It is worked on at once, and done at this time.
    Starts(u64),
}

impl Server {
    /// Answers `capacity` calls a second, is down between two times, and needs `recovery` to be as fast as before.
    pub(crate) fn new(capacity: f64, down: (u64, u64), recovery: u64) -> Self {
        let work = (SECOND as f64 / capacity) as u64;
        let room = (5.0 * capacity) as usize;
        Self { queue: VecDeque::with_capacity(room), room, work, down, recovery, working: false }
    }

    fn is_down(&self, now: u64) -> bool {
        (self.down.0..self.down.1).contains(&now)
    }

    /// After the outage it is at 30 % of its speed first: caches are cold, connections are made anew.
    fn done_at(&self, now: u64) -> u64 {
        let since = now.saturating_sub(self.down.1);
        let is_cold = now >= self.down.1 && since < self.recovery;
        let speed = if is_cold { 0.3 + 0.7 * since as f64 / self.recovery as f64 } else { 1.0 };
        now + (self.work as f64 / speed) as u64
    }

    /// A call comes in.
    pub(crate) fn receive(&mut self, now: u64, client: u32, call: u32) -> Received {
        if self.is_down(now) || self.queue.len() >= self.room {
            return Received::Refused;
        }
        self.queue.push_back((client, call));
        if self.working {
            return Received::Queued;
        }
        self.working = true;
        Received::Starts(self.done_at(now))
    }

    /// The call that is worked on is done. Which client gets the answer, and when the next one is done.
    pub(crate) fn finish(&mut self, now: u64) -> (Option<(u32, u32)>, Option<u64>) {
        if self.is_down(now) {
            self.queue.clear();
        }
        let answered = self.queue.pop_front();
        self.working = !self.queue.is_empty();
        (answered, self.working.then(|| self.done_at(now)))
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}
