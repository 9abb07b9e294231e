//! The real one, with its tasks.

use std::collections::VecDeque;

use relent::policy::limit::{
    packed::Params,
    wait_list::{Polled, WaitList, WaiterId, WakeList},
};

use super::FOREVER;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Waiting(WaiterId),
    /// Since when.
    Granted(u64),
    Gone,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) permits: u32,
    pub(super) state: State,
    pub(super) timer: u64,
    /// Polled when it joins, and never again: leaked, or a branch of a `select!` that does something else.
    pub(super) idle: bool,
}

/// The real one, with tasks that do what they should when they are woken.
pub(super) struct Real {
    pub(super) list: WaitList<usize>,
    pub(super) measure: Params,
    pub(super) now: u64,
    pub(super) waiters: Vec<Waiter>,
    pub(super) woken: VecDeque<usize>,
    pub(super) grants: Vec<(u64, usize)>,
    pub(super) polls: usize,
}

impl Real {
    pub(super) fn refill_and_grant(&mut self) {
        loop {
            let mut wakes = WakeList::new();
            let more = self.list.refill_and_grant(self.now, &mut wakes);
            while let Some(who) = wakes.pop() {
                self.woken.push_back(who);
            }
            if !more {
                return;
            }
        }
    }

    pub(super) fn poll(&mut self, who: usize) {
        self.polls += 1;
        let State::Waiting(number) = self.waiters[who].state else { return };
        if self.waiters[who].idle {
            return;
        }
        let looked = loop {
            let mut wakes = WakeList::new();
            let looked = self.list.poll(self.now, number, self.waiters[who].permits, &mut wakes);
            while let Some(who) = wakes.pop() {
                self.woken.push_back(who);
            }
            if looked != Polled::WakeFirst {
                break looked;
            }
        };
        match looked {
            Polled::Granted(at) => {
                self.waiters[who].state = State::Granted(at);
                self.grants.push((self.now, who));
            }
            Polled::ReadyAt(due) => {
                self.waiters[who].timer = due;
                self.list.set_waker(number, who);
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn run_woken(&mut self) {
        while let Some(who) = self.woken.pop_front() {
            self.poll(who);
        }
        // In one word and back again: nothing may come of it.
        if let Some((measure, spent)) = self.list.pack(self.measure) {
            self.list.unpack(measure, spent);
            self.measure = measure;
        }
    }

    pub(super) fn advance(&mut self, to: u64) {
        loop {
            self.run_woken();
            let waiting = self
                .waiters
                .iter()
                .enumerate()
                .filter(|(_, waiter)| matches!(waiter.state, State::Waiting(_)) && !waiter.idle);
            let next = waiting.map(|(who, waiter)| (waiter.timer, who)).min();
            match next.filter(|(timer, _)| *timer <= to && *timer != FOREVER) {
                Some((timer, who)) => {
                    // A timer that was set before the rate went down fires early.
                    self.now = self.now.max(timer);
                    self.poll(who);
                    let after = self.waiters[who];
                    assert!(
                        matches!(after.state, State::Granted(_)) || after.timer > self.now,
                        "{who} would spin: {after:?}"
                    );
                }
                None => break,
            }
        }
        self.now = to;
    }
}
