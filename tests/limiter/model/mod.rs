//! The line in front of a bucket, and a naive one that goes from grant to grant in exact fractions: what one does the other must.

use std::collections::VecDeque;

use relent::{
    Rate,
    policy::limit::{
        packed::{Params, Take},
        wait_list::{Admission, CATCH_UP, Polled, WaitList, WaiterId, WakeList},
    },
};

pub(crate) const FOREVER: u64 = u64::MAX;

/// A history, in numbers that a generator or a fuzzer can make: what, how many, how long.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) rate: (u32, u64),
    pub(crate) burst: u32,
    pub(crate) steps: Vec<(u8, u32, u64)>,
}

/// What came to pass, so that a test can show that it saw something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) grants: usize,
    pub(crate) waited: usize,
    pub(crate) refused: usize,
    pub(crate) left: usize,
    pub(crate) polls: usize,
}

fn rate((permits, per): (u32, u64)) -> Rate {
    match (permits, per) {
        (_, 0) => Rate::UNLIMITED,
        (permits, per) => Rate::new(permits, std::time::Duration::from_nanos(per)).unwrap(),
    }
}

/// What the naive one answers. Its waiters have no ids.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Granted,
    Waiting,
    TooFar(u64),
    OverBurst,
}

/// The naive one. A level is a number of `1/unit` permits.
#[derive(Clone, Debug)]
struct Model {
    yields: u128,
    unit: u128,
    unlimited: bool,
    burst: u32,
    level: u128,
    at: u64,
    waiting: VecDeque<(usize, u32)>,
    /// No grant is dated before: what was given back counts from when it was taken.
    from: u64,
    dates: Vec<(u64, usize)>,
    /// Since when there have been waiters.
    busy: Option<u64>,
    grants: Vec<(u64, usize)>,
}

fn lowest(permits: u32, per: u64) -> (u128, u128) {
    let (mut a, mut b) = (u128::from(permits), u128::from(per));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (u128::from(permits) / a, u128::from(per) / a)
}

impl Model {
    fn new(rate: Rate, burst: u32) -> Self {
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
            busy: None,
            grants: Vec::new(),
        };
        model.set_rate(rate);
        model.level = model.full();
        model
    }

    fn full(&self) -> u128 {
        u128::from(self.burst) * self.unit
    }

    fn set_rate(&mut self, rate: Rate) {
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

    fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
        self.from = self.at;
        self.settle();
    }

    fn settle(&mut self) {
        if self.waiting.is_empty() {
            self.level = self.level.min(self.full());
            self.busy = None;
        } else {
            self.busy = self.busy.or(Some(self.at));
        }
    }

    /// When the first in line would go.
    fn first(&self) -> Option<u64> {
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

    fn pass(&mut self, to: u64) {
        if !self.unlimited {
            self.level += u128::from(to - self.at) * self.yields;
        }
        self.at = to;
        self.settle();
    }

    fn advance(&mut self, to: u64) {
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

    fn turn(&self, who: usize) -> u64 {
        let mut future = self.clone();
        while let Some(at) = future.first() {
            future.advance(at);
            if let Some((at, _)) = future.grants.iter().find(|(_, granted)| *granted == who) {
                return *at;
            }
        }
        FOREVER
    }

    fn join(&mut self, who: usize, permits: u32, allowed: u64) -> Expected {
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

    fn leave(&mut self, who: usize, permits: u32, held: u64, uncollected: bool) {
        if let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == who) {
            self.waiting.remove(index);
            self.from = self.at;
        } else if !(self.unlimited || uncollected && held > CATCH_UP) {
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

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting(WaiterId),
    /// Since when.
    Granted(u64),
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    permits: u32,
    state: State,
    timer: u64,
    /// Polled when it joins, and never again: leaked, or a branch of a `select!` that does something else.
    idle: bool,
}

/// The real one, with tasks that do what they should when they are woken.
struct Real {
    list: WaitList<usize>,
    measure: Params,
    now: u64,
    waiters: Vec<Waiter>,
    woken: VecDeque<usize>,
    grants: Vec<(u64, usize)>,
    polls: usize,
}

impl Real {
    fn refill_and_grant(&mut self) {
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

    fn poll(&mut self, who: usize) {
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

    fn run_woken(&mut self) {
        while let Some(who) = self.woken.pop_front() {
            self.poll(who);
        }
        // In one word and back again: nothing may come of it.
        if let Some((measure, spent)) = self.list.pack(self.measure) {
            self.list.unpack(measure, spent);
            self.measure = measure;
        }
    }

    fn advance(&mut self, to: u64) {
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

/// Runs both and compares after each step. Panics where they differ.
pub(crate) fn check(case: &Case) -> Seen {
    let mut real = Real {
        list: WaitList::new(rate(case.rate), case.burst, CATCH_UP),
        measure: Params::default(),
        now: 0,
        waiters: Vec::new(),
        woken: VecDeque::new(),
        grants: Vec::new(),
        polls: 0,
    };
    let mut model = Model::new(rate(case.rate), case.burst);
    let (mut seen, mut steady) = (Seen::default(), true);
    let mut direct: Vec<(u64, u32)> = Vec::new();
    for (index, &(what, many, long)) in case.steps.iter().enumerate() {
        match what % 8 {
            0..=2 => {
                let allowed = if what % 16 < 8 { FOREVER } else { long };
                let who = real.waiters.len();
                if let (0, Some((measure, spent))) = (real.list.waiting(), real.list.pack(real.measure)) {
                    match measure.take(real.now, spent, many) {
                        Take::Taken(_) => assert!(matches!(model.clone().join(who, many, 0), Expected::Granted)),
                        Take::ReadyIn(wait) => {
                            assert_eq!(model.clone().join(who, many, 0), Expected::TooFar(real.now + wait));
                        }
                        _ => {}
                    }
                }
                real.refill_and_grant();
                let answer = real.list.enqueue(real.now, many, allowed);
                let expected = model.join(who, many, allowed);
                let state = match (answer, expected) {
                    (Admission::Waiting(number), Expected::Waiting) => State::Waiting(number),
                    (Admission::Granted, Expected::Granted) => {
                        direct.push((real.now, many));
                        State::Granted(real.now)
                    }
                    (Admission::TooFar(at), Expected::TooFar(turn)) => {
                        assert_eq!(at, turn);
                        seen.refused += 1;
                        State::Gone
                    }
                    _ => {
                        assert_eq!((answer, expected), (Admission::OverBurst, Expected::OverBurst));
                        seen.refused += 1;
                        State::Gone
                    }
                };
                real.waiters.push(Waiter { permits: many, state, timer: FOREVER, idle: false });
                seen.waited += usize::from(matches!(state, State::Waiting(_)));
                real.poll(who);
                real.waiters[who].idle = what >= 16;
            }
            3 if !real.waiters.is_empty() => {
                // Time passes, and no waiter is polled but those whose timers fire. A turn that has come is known.
                let to = real.now.saturating_add(long).min(FOREVER - 1);
                real.advance(to);
                model.advance(to);
                let who = many as usize % real.waiters.len();
                if model.dates.iter().any(|(_, granted)| *granted == who) {
                    real.refill_and_grant();
                }
                let waiter = real.waiters[who];
                real.waiters[who].state = State::Gone;
                let mut wakes = WakeList::new();
                let held;
                let more = match waiter.state {
                    State::Waiting(number) => {
                        let turn = model.dates.iter().find(|(_, granted)| *granted == who);
                        held = turn.map_or(0, |(at, _)| real.now - at);
                        // What it did not collect comes out later, for another: the catch-up is for that.
                        steady &= turn.is_none();
                        real.list.remove(real.now, number, &mut wakes).0
                    }
                    State::Granted(at) if waiter.permits > 0 && what % 16 < 8 => {
                        steady = false;
                        held = real.now - at;
                        real.list.refund_permits(real.now, waiter.permits, at, &mut wakes)
                    }
                    State::Granted(_) | State::Gone => {
                        real.waiters[who].state = waiter.state;
                        continue;
                    }
                };
                while let Some(who) = wakes.pop() {
                    real.woken.push_back(who);
                }
                if more {
                    real.refill_and_grant();
                }
                model.leave(who, waiter.permits, held, matches!(waiter.state, State::Waiting(_)));
                seen.left += 1;
            }
            4 => {
                steady = false;
                real.refill_and_grant();
                let mut wakes = Vec::new();
                real.list.set_rate(rate((many, long)), &mut wakes);
                real.woken.extend(wakes);
                real.refill_and_grant();
                model.set_rate(rate((many, long)));
            }
            5 => {
                steady = false;
                real.refill_and_grant();
                let mut wakes = Vec::new();
                real.list.set_burst(many, &mut wakes);
                real.woken.extend(wakes);
                real.refill_and_grant();
                model.set_burst(many);
            }
            _ => {
                let to = real.now.saturating_add(long).min(FOREVER - 1);
                real.advance(to);
                real.refill_and_grant();
                model.advance(to);
            }
        }
        real.run_woken();
        real.refill_and_grant();
        model.advance(real.now);
        let mut grants = real.grants.clone();
        grants.sort_unstable();
        let mut expected = model.grants.clone();
        expected.retain(|(_, who)| !real.waiters[*who].idle);
        expected.sort_unstable();
        assert_eq!(grants, expected, "after {what}, {many}, {long}");
        assert_eq!(real.list.waiting(), model.waiting.len());
        if model.waiting.is_empty() && !model.unlimited {
            let available = u32::try_from(model.level / model.unit).unwrap_or(u32::MAX);
            assert_eq!(real.list.bucket().available(), available);
        }
        // The naive way to a turn is long: only now and then.
        for (who, waiter) in real.waiters.iter().enumerate().filter(|(who, _)| (who + index) % 8 == 0) {
            if let State::Waiting(number) = waiter.state
                && !waiter.idle
            {
                assert_eq!(real.list.ready_at(number), model.turn(who));
                assert!(waiter.timer >= model.turn(who));
            }
        }
    }
    // In every window at most the burst and what flows in meanwhile. Instants are whole nanoseconds, turns are not: one
    // that came within a nanosecond shows at its end.
    if steady && !model.unlimited {
        let waited = real.grants.iter().map(|(at, who)| (*at, real.waiters[*who].permits));
        let mut grants: Vec<_> = waited.chain(direct).collect();
        grants.sort_unstable();
        for (index, (from, _)) in grants.iter().enumerate() {
            let mut sum = 0_u128;
            for (to, permits) in &grants[index..] {
                sum += u128::from(*permits) * model.unit;
                let least = u128::from(case.burst.max(1)) * model.unit;
                let flow = (u128::from(to - from) + 1) * model.yields;
                assert!(sum < least + flow.max(1), "window from {from} to {to}");
            }
        }
    }
    seen.grants = real.grants.len();
    seen.polls = real.polls;
    seen
}
