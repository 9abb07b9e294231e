//! The naive one: it goes from grant to grant in exact fractions.

use std::collections::VecDeque;

use relent::{Rate, policy::limit::wait_list::CATCH_UP};

use super::FOREVER;

/// What the naive one answers. Its waiters have no ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expected {
    Granted,
    Waiting,
    TooFar(u64),
    OverBurst,
}

/// The naive one. A level is a number of `1/unit` permits.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) yields: u128,
    pub(super) unit: u128,
    pub(super) unlimited: bool,
    pub(super) burst: u32,
    pub(super) level: u128,
    pub(super) at: u64,
    pub(super) waiting: VecDeque<(usize, u32)>,
    /// No grant is dated before: what was given back counts from when it was taken.
    pub(super) from: u64,
    pub(super) dates: Vec<(u64, usize)>,
    /// Those whose grants were too old to be collected when the settings changed.
    lost: Vec<usize>,
    /// Since when there have been waiters.
    pub(super) busy: Option<u64>,
    pub(super) grants: Vec<(u64, usize)>,
}

fn lowest(permits: u32, per: u64) -> (u128, u128) {
    let (mut a, mut b) = (u128::from(permits), u128::from(per));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (u128::from(permits) / a, u128::from(per) / a)
}

impl Model {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let mut model = Self {
            yields: 0,
            unit: 1,
            unlimited: true,
            burst,
            level: 0,
            at: 0,
            waiting: VecDeque::new(),
            from: 0,
            dates: Vec::new(),
            lost: Vec::new(),
            busy: None,
            grants: Vec::new(),
        };
        model.set_rate(rate);
        model.level = model.full();
        model
    }

    pub(super) fn full(&self) -> u128 {
        u128::from(self.burst) * self.unit
    }

    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.lose();
        self.from = self.at;
        if rate.is_unlimited() {
            self.unlimited = true;
            return;
        }
        let (yields, unit) = match rate.permits() {
            0 => (0, self.unit),
            permits => lowest(permits, rate.per().as_nanos() as u64),
        };
        if self.unlimited {
            let unit = if rate.permits() == 0 { 1 } else { unit };
            (self.yields, self.unit, self.unlimited) = (yields, unit, false);
            self.level = self.full();
        } else {
            self.level = self.level / self.unit * unit + self.level % self.unit * unit / self.unit;
            (self.yields, self.unit) = (yields, unit);
        }
        self.settle();
    }

    pub(super) fn set_burst(&mut self, burst: u32) {
        if burst == self.burst {
            return;
        }
        self.lose();
        self.burst = burst;
        self.from = self.at;
        self.settle();
    }

    fn lose(&mut self) {
        let late = self.dates.iter().filter(|(at, _)| self.at - at > CATCH_UP);
        self.lost.extend(late.map(|(_, who)| who));
    }

    pub(super) fn settle(&mut self) {
        if self.waiting.is_empty() {
            self.level = self.level.min(self.full());
            self.busy = None;
        } else {
            self.busy = self.busy.or(Some(self.at));
        }
    }

    /// When the first in line would go.
    pub(super) fn first(&self) -> Option<u64> {
        let (_, permits) = self.waiting.front()?;
        let price = u128::from(*permits) * self.unit;
        if self.unlimited || self.level >= price {
            return Some(self.at);
        }
        if self.yields == 0 {
            return None;
        }
        let wait = (price - self.level).div_ceil(self.yields);
        u64::try_from(wait).ok().and_then(|wait| self.at.checked_add(wait)).filter(|at| *at < FOREVER)
    }

    pub(super) fn pass(&mut self, to: u64) {
        if !self.unlimited {
            self.level += u128::from(to - self.at) * self.yields;
        }
        self.at = to;
        self.settle();
    }

    pub(super) fn advance(&mut self, to: u64) {
        while let Some(at) = self.first().filter(|at| *at <= to) {
            self.pass(at);
            let (who, permits) = self.waiting.pop_front().unwrap();
            if !self.unlimited {
                self.level -= u128::from(permits) * self.unit;
            }
            self.grants.push((at, who));
            let passed = self.level.checked_div(self.yields).unwrap_or(0).min(self.at.into()) as u64;
            self.dates.push(((self.at - passed).max(self.from), who));
            self.settle();
        }
        self.pass(to);
    }

    pub(super) fn turn(&self, who: usize) -> u64 {
        let mut future = self.clone();
        while let Some(at) = future.first() {
            future.advance(at);
            if let Some((at, _)) = future.grants.iter().find(|(_, granted)| *granted == who) {
                return *at;
            }
        }
        FOREVER
    }

    pub(super) fn join(&mut self, who: usize, permits: u32, allowed: u64) -> Expected {
        let enough = self.unlimited || self.level >= u128::from(permits) * self.unit;
        if permits == 0 || (self.waiting.is_empty() && enough) {
            if !self.unlimited {
                self.level -= u128::from(permits) * self.unit;
            }
            return Expected::Granted;
        }
        if permits > self.burst.max(1) && !self.unlimited {
            return Expected::OverBurst;
        }
        let mut future = self.clone();
        future.waiting.push_back((who, permits));
        future.settle();
        let turn = future.turn(who);
        if turn.saturating_sub(self.at) > allowed || (turn == FOREVER && allowed != FOREVER) {
            return Expected::TooFar(turn);
        }
        *self = future;
        Expected::Waiting
    }

    pub(super) fn leave(&mut self, who: usize, permits: u32, held: u64, uncollected: bool) {
        if let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == who) {
            self.waiting.remove(index);
            self.from = self.at;
        } else if !(self.unlimited || uncollected && self.lost.contains(&who)) {
            // What came back late is worth what has not flowed in anew, and nothing gets fuller than full by it.
            let waited_for = self.busy.is_some_and(|since| since <= self.at - held);
            let whole = held <= CATCH_UP && waited_for;
            self.from = if whole { self.from.max(self.at - held) } else { self.at };
            let anew = if whole { 0 } else { u128::from(held) * self.yields };
            let back = (u128::from(permits) * self.unit).saturating_sub(anew);
            let first = self.waiting.front().map_or(0, |(_, permits)| u128::from(*permits) * self.unit);
            self.level = (self.level + back).min(self.level.max(self.full()).max(first));
        }
        self.settle();
        self.advance(self.at);
    }
}
