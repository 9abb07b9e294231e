//! The line in front of a bucket, and a naive one that goes from grant to grant in exact fractions: what one does the
//! other must.

mod naive;
mod tasks;

use std::collections::VecDeque;

use relent::{
    Rate,
    policy::limit::{
        packed::Params,
        wait_list::{Admission, CATCH_UP, WaitList, WakeList},
    },
};

use self::{
    naive::{Expected, Model},
    tasks::{Real, State, Waiter},
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
                        Ok(_) => assert!(matches!(model.clone().join(who, many, 0), Expected::Granted)),
                        Err(missing) => {
                            if let Some(wait) = measure.ready_in(missing, many) {
                                assert_eq!(model.clone().join(who, many, 0), Expected::TooFar(real.now + wait));
                            }
                        }
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
                let same = rate((many, long)) == real.list.bucket().rate();
                real.list.set_rate(rate((many, long)), &mut wakes);
                real.woken.extend(wakes);
                real.refill_and_grant();
                if !same {
                    model.set_rate(rate((many, long)));
                }
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
