//! The law of the window in real time: whatever stalls, whichever waiter comes late, leaves or gives back.

use proptest::{collection::vec, prelude::*};
use relent::{
    Rate,
    policy::limit::wait_list::{Admission, Polled, WaitList, WaiterId, WakeList},
};

const FOREVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting(WaiterId),
    /// When it was granted, and which of those that came out.
    Out(u64, usize),
    Gone,
}

/// Waiters that look when chance has it.
struct World {
    list: WaitList<usize>,
    now: u64,
    waiters: Vec<(u32, State)>,
    /// When how many came out.
    out: Vec<(u64, u32)>,
    late: usize,
}

impl World {
    fn refill_and_grant(&mut self) {
        let mut wakes = WakeList::new();
        while self.list.refill_and_grant(self.now, &mut wakes) {
            wakes = WakeList::new();
        }
    }

    fn come_out(&mut self, permits: u32) -> usize {
        self.out.push((self.now, permits));
        self.out.len() - 1
    }

    fn poll(&mut self, who: usize) -> Option<u64> {
        let (permits, State::Waiting(number)) = self.waiters[who] else { return None };
        let mut wakes = WakeList::new();
        loop {
            let looked = self.list.poll(self.now, number, permits, &mut wakes);
            // What is woken is polled when chance has it, like all others.
            wakes = WakeList::new();
            match looked {
                Polled::Granted(at) => {
                    assert!(at <= self.now);
                    self.late += usize::from(at < self.now);
                    let out = self.come_out(permits);
                    self.waiters[who].1 = State::Out(at, out);
                    return None;
                }
                Polled::ReadyAt(due) => {
                    assert!(due > self.now, "{who} would spin");
                    self.list.set_waker(number, who);
                    return Some(due);
                }
                _ => {}
            }
        }
    }

    /// A poll, of which what is said before it is true.
    fn poll_foretold(&mut self, who: usize, foretold: bool) {
        let (permits, State::Waiting(number)) = self.waiters[who] else { return };
        let ready_at = foretold.then(|| {
            self.refill_and_grant();
            self.list.ready_at_for(number, permits)
        });
        let polled = self.poll(who);
        if let Some(ready_at) = ready_at {
            assert_eq!(ready_at <= self.now, polled.is_none(), "{ready_at} {polled:?}");
        }
    }

    fn waiting(&self) -> impl Iterator<Item = usize> + use<'_> {
        let waiters = self.waiters.iter().enumerate();
        waiters.filter(|(_, (_, state))| matches!(state, State::Waiting(_))).map(|(who, _)| who)
    }

    fn step(&mut self, what: u8, many: u32, long: u64) {
        let who = many as usize % self.waiters.len().max(1);
        let mut wakes = WakeList::new();
        match what {
            0 => {
                self.refill_and_grant();
                match self.list.reserve(self.now, many, FOREVER) {
                    Admission::Waiting(number) => self.waiters.push((many, State::Waiting(number))),
                    Admission::OverBurst | Admission::Granted => {}
                    other => panic!("{other:?}"),
                }
            }
            1 => {
                self.refill_and_grant();
                if self.list.enqueue(self.now, many, 0) == Admission::Granted {
                    self.come_out(many);
                }
            }
            2 => self.now += long,
            3 => self.refill_and_grant(),
            // In the order in which they came, or the other, or one alone.
            4 => (0..self.waiters.len()).for_each(|who| _ = self.poll(who)),
            5 => (0..self.waiters.len()).rev().for_each(|who| _ = self.poll(who)),
            6 if !self.waiters.is_empty() => self.poll_foretold(who, long.is_multiple_of(2)),
            7 if !self.waiters.is_empty() => {
                let more = match self.waiters[who].1 {
                    State::Waiting(number) => self.list.remove(self.now, number, &mut wakes).0,
                    State::Out(at, out) => {
                        self.out[out].1 = 0;
                        self.list.refund_permits(self.now, self.waiters[who].0, at, &mut wakes)
                    }
                    State::Gone => false,
                };
                self.waiters[who].1 = State::Gone;
                if more {
                    self.refill_and_grant();
                }
            }
            8 => {
                self.refill_and_grant();
                self.list.pause(self.now + long, &mut Vec::new());
            }
            // Every waiter is on time until then.
            9 => self.run(self.now + long),
            _ => {}
        }
    }

    /// Timers and wakers do what they should, from now on until then.
    fn run(&mut self, to: u64) {
        loop {
            let waiting: Vec<_> = self.waiting().collect();
            let next = waiting.into_iter().filter_map(|who| self.poll(who)).min();
            match next.filter(|next| *next <= to) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = to;
        self.refill_and_grant();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_the_law_whatever_stalls(
        permits in 1_u32..5, per in 1_u64..20, burst in 0_u32..8, catch_up in 0_u64..12,
        steps in vec((0_u8..10, 0_u32..6, prop_oneof![4 => 0_u64..8, 1 => 0_u64..200]), 0..120),
    ) {
        let rate = Rate::new(permits, std::time::Duration::from_nanos(per)).unwrap();
        let list = WaitList::new(rate, burst, catch_up);
        let mut world = World { list, now: 0, waiters: Vec::new(), out: Vec::new(), late: 0 };
        for (what, many, long) in steps {
            world.step(what, many, long);
        }
        // Those that still wait get it, and in order.
        let left = world.waiting().count();
        let before = world.out.len();
        world.run(world.now + 200 + 10_000);
        prop_assert_eq!(world.out.len(), before + left);
        prop_assert_eq!(world.list.waiting(), 0);
        // Instants are whole nanoseconds, turns are not.
        let (permits, per) = (u64::from(permits), per);
        for (index, (from, _)) in world.out.iter().enumerate() {
            let mut sum = 0;
            for (to, many) in &world.out[index..] {
                sum += u64::from(*many) * per;
                let most = u64::from(burst.max(1)) * per + (to - from + catch_up + 1) * permits;
                prop_assert!(sum < most, "from {} to {}: {} of {} in {:?}", from, to, sum, most, world.out);
            }
        }
    }
}
