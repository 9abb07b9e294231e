//! The retry storm: clients, a server of fixed capacity, an outage, and what is left afterwards.

use std::collections::VecDeque;

use relent::{Budget, InFlight, Ratio};

/// What a client does when it fails: at once again, up to `RETRIES` times, if the budget lets it.
const RETRIES: u32 = 4;
/// Milliseconds.
const OUTAGE: std::ops::Range<u64> = 60_000..90_000;
const END: u64 = 240_000;
const MINUTE: u64 = 60_000;
/// A call that takes longer than this has failed for its client; the server does not know and does the work all the same.
const PATIENCE: u64 = 1_000;
/// So many calls fit before the server; more are refused, which takes so long.
const QUEUE: usize = 2_000;
const REFUSAL: u64 = 10;

#[derive(Debug)]
struct Storm {
    firsts: u64,
    calls: u64,
    /// Good answers per thousand first attempts, in the last minute.
    goodput: u64,
    /// Calls per hundred first attempts during the outage.
    amplification: u64,
}

struct Call {
    fails_at: u64,
    retries: u32,
    run: Option<InFlight>,
}

/// What has been sent: whose it is, and when he gives up on it.
type Sent = (u64, usize);

struct World {
    /// Before the server, which answers in this order.
    queue: VecDeque<Sent>,
    /// Calls that will have failed, in order, should they not be answered: refused ones, accepted ones.
    refused: VecDeque<Sent>,
    accepted: VecDeque<Sent>,
    calls: Vec<Option<Call>>,
}

impl World {
    fn send(&mut self, now: u64, who: usize) {
        let refused = self.queue.len() >= QUEUE;
        let fails_at = now + if refused { REFUSAL } else { PATIENCE };
        if refused {
            self.refused.push_back((fails_at, who));
        } else {
            self.queue.push_back((fails_at, who));
            self.accepted.push_back((fails_at, who));
        }
        if let Some(call) = &mut self.calls[who] {
            call.fails_at = fails_at;
        }
    }

    /// One that has failed by now.
    fn failed(&mut self, now: u64) -> Option<usize> {
        for calls in [&mut self.refused, &mut self.accepted] {
            while let Some((at, who)) = calls.front().copied().filter(|(at, _)| *at <= now) {
                calls.pop_front();
                if self.calls[who].as_ref().is_some_and(|call| call.fails_at == at) {
                    return Some(who);
                }
            }
        }
        None
    }
}

/// A server that answers one call a millisecond, at nine tenths of its capacity. In the outage it answers none.
fn storm(budget: Option<&Budget>, seed: u64) -> Storm {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world =
        World { queue: VecDeque::new(), refused: VecDeque::new(), accepted: VecDeque::new(), calls: Vec::new() };
    let mut out = Storm { firsts: 0, calls: 0, goodput: 0, amplification: 0 };
    let (mut last_firsts, mut last_good, mut outage_firsts, mut outage_calls) = (0, 0, 0, 0);
    for now in 0..END {
        let before = out.calls;
        if random.u32(..10) < 9 {
            world.calls.push(Some(Call { fails_at: 0, retries: 0, run: budget.map(Budget::begin) }));
            world.send(now, world.calls.len() - 1);
            out.calls += 1;
            out.firsts += 1;
            outage_firsts += u64::from(OUTAGE.contains(&now));
            last_firsts += u64::from(now >= END - MINUTE);
        }
        // One whose client gave up meanwhile costs as much as any.
        if !OUTAGE.contains(&now)
            && let Some((fails_at, who)) = world.queue.pop_front()
            && world.calls[who].as_ref().is_some_and(|call| call.fails_at == fails_at)
        {
            world.calls[who] = None;
            last_good += u64::from(now >= END - MINUTE);
        }
        while let Some(who) = world.failed(now) {
            let Some(call) = &mut world.calls[who] else { continue };
            if call.retries < RETRIES && call.run.as_mut().is_none_or(InFlight::may_retry) {
                call.retries += 1;
                world.send(now, who);
                out.calls += 1;
            } else {
                world.calls[who] = None;
            }
        }
        outage_calls += if OUTAGE.contains(&now) { out.calls - before } else { 0 };
    }
    out.goodput = last_good * 1000 / last_firsts;
    out.amplification = outage_calls * 100 / outage_firsts;
    out
}

#[test]
fn with_a_budget_the_storm_passes_and_without_one_it_stays() {
    for seed in 0..5 {
        let without = storm(None, seed);
        assert!(without.goodput < 500, "the test has no teeth: {without:?}");
        assert!(without.amplification > 400, "{without:?}");

        let with = storm(Some(&Budget::ratio(Ratio::percent(5)).reserve(50)), seed);
        println!("without a budget: {without:?}\nwith 5 %: {with:?}");
        // 1 + ratio, and the reserve.
        assert!(with.calls <= with.firsts + with.firsts / 20 + 50, "{with:?}");
        assert!(with.amplification <= 105, "{with:?}");
        assert!(with.goodput >= 990, "{with:?}");
    }
}
