//! Runs that block their thread. For all others that is a stall, so they are played where there are stalls.

use std::ops::Range;

use relent::{Attempt, Check, Decision, Policy, blocking, events::Event, testing::VirtualClock};

use super::{
    actors::{self, Kind},
    changing, ends,
    runs::{self, Answer, Run},
    verbs::{classify, shares, some_error},
    world::{self, E, MS, Nanos, ms, note, now, require, shared, some_stall, trouble, with},
};

/// The thread is blocked: its clock goes on by what is waited for, and afterwards the runtime's has to follow.
struct Blocked;

impl Blocked {
    fn new() -> Self {
        let clock = VirtualClock::new();
        with(|world| world.blocked = Some(clock));
        Self
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let clock = with(|world| world.blocked.take());
        // The runtime's clock first: nothing sees an earlier time.
        if let Some(clock) = clock {
            world::advance(clock.elapsed());
        }
    }
}

/// What is set, and what a call of it is told of its time.
#[derive(Clone, Copy)]
struct Bounds {
    timeout: Option<Nanos>,
    finish: Option<Nanos>,
}

/// A call on the thread: it takes its time, and cannot be cut.
fn call(id: usize, info: Attempt, bounds: Bounds) -> Answer {
    runs::called(id, info, false);
    tells_its_time(id, info, bounds);
    trouble("call of run", id);
    let span = with(|world| match world.rng.u8(0..8) {
        0..4 => None,
        4..7 => Some(ms(world.rng.u64(1..80))),
        // Longer than it was asked to take.
        _ => Some(some_stall(&mut world.rng)),
    });
    if let Some(span) = span {
        world::stall(span);
    }
    let (error, poll) = (some_error(), with(|world| world.runs[id].observes()));
    let answer = match with(|world| world.rng.u8(0..16)) {
        0 | 1 => Answer::Value,
        2..6 if poll => Answer::NotYet,
        6..9 if poll => Answer::Because(error),
        9 if poll => Answer::Dead(error),
        _ => Answer::Fails(error),
    };
    runs::answered(id, answer, false);
    // Of a thread the clock is read before the first call.
    trouble("answer of run", id);
    answer
}

/// A call that cannot be cut knows when it ought to end: what it is told is what is set, and what is left of the hard
/// bound since the attempt started.
fn tells_its_time(id: usize, info: Attempt, Bounds { timeout, finish }: Bounds) {
    let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap();
    let left = finish.map(|finish| finish.saturating_sub(nanos(info.elapsed())));
    let told = info.timeout().map(nanos);
    require(told == timeout.into_iter().chain(left).min(), "a call on a thread knows its deadline", || {
        format!("{}: told {told:?} of {timeout:?} and {finish:?}, {:?} after the start", runs::name(id), info.elapsed())
    });
}

fn bounds(rng: &mut fastrand::Rng, often: Range<u8>, most: u64) -> Option<Nanos> {
    (rng.u8(often) == 0).then(|| rng.u64(1..most) * MS)
}

/// Control, classification, listener, in every combination.
macro_rules! blocks {
    ($builder:expr, $id:expr, $policy:expr, $run:expr) => {{
        let (id, shared) = ($id, shared());
        let builder = $builder.policy(&$policy).when(classify(id));
        let builder = match $run.tokens[0] {
            Some(token) => builder.cancel_on(shared.tokens[token].clone()),
            None => builder.cancel_on(tokio_util::sync::CancellationToken::new()),
        };
        let builder = shares!(builder, $run, shared);
        drop(shared);
        let began = now();
        with(|world| {
            world.runs[id].began = Some(began);
            world.runs[id].counts = Some(began);
        });
        let hears = move |event: &Event<'_, E>| runs::heard(id, event);
        match ($run.listens, with(|world| world.rng.bool())) {
            (true, false) => ends::ended(id, &builder.notify(hears).call()),
            (true, true) => ends::ended(id, &reported(id, builder.notify(hears).with_report().call())),
            (false, false) => ends::ended(id, &builder.call()),
            (false, true) => ends::ended(id, &reported(id, builder.with_report().call())),
        }
    }};
}

/// What is reported of a run is what was seen of it.
fn reported(id: usize, end: Result<relent::builder::Reported<()>, relent::GaveUp<E>>) -> Result<(), relent::GaveUp<E>> {
    end.map(|reported| {
        let (calls, began) = with(|world| (world.runs[id].calls, world.runs[id].began.unwrap_or(0)));
        let elapsed = u64::try_from(reported.elapsed.as_nanos()).unwrap();
        require(reported.attempts == calls && elapsed <= now() - began, "attempts are counted", || {
            format!("{}: {} reported, {calls} made, {elapsed} ns", runs::name(id), reported.attempts)
        });
    })
}

/// Begins one, which is over when its first poll is.
pub fn begin() {
    let (run, policy, bounds) = with(|world| {
        let rng = &mut world.rng;
        let verb = if rng.bool() { "blocking retry" } else { "blocking poll" };
        let backoff = *rng.choice(&[0, 10, 200, 5000]).unwrap();
        let mut policy = Policy::new().backoff(changing::fixed(backoff));
        if rng.u8(0..5) == 0 {
            policy = policy.every(ms(rng.u64(1..200)));
        }
        let max = rng.u32(0..7);
        policy = policy.max_attempts(max);
        let timeout = bounds(rng, 0..2, 120);
        if let Some(timeout) = timeout {
            policy = policy.attempt_timeout(ms(timeout / MS));
        }
        let window = rng.u8(0..4) == 0;
        if window {
            policy = policy.start_within(ms(rng.u64(0..500)));
        }
        let finish = bounds(rng, 0..3, 1000);
        if let Some(finish) = finish {
            policy = policy.finish_within(ms(finish / MS));
        }
        // Nothing cuts a call on a thread.
        policy = policy.on_cut(Decision::Fatal);
        if rng.u8(0..8) == 0 {
            policy = policy.final_try();
        }
        if rng.u8(0..8) == 0 {
            policy = policy.delay_first();
        }
        let one = |rng: &mut fastrand::Rng, count: usize| (count > 0 && rng.bool()).then(|| rng.usize(0..count));
        let (token, mut limit, mut also) = (one(rng, world.cancelled.len()), one(rng, world.limits.len()), None);
        if world.limits.len() > 2 && rng.u8(0..4) == 0 {
            (limit, also) = (Some(2), Some(1));
        }
        let listens = limit.is_some_and(|limit| world.limits[limit].modelled) || rng.bool();
        let budget = one(rng, world.budgets.len());
        let run = Run {
            verb,
            max: Some(max),
            window,
            finish,
            tokens: [token, None],
            limit,
            also,
            budget,
            listens,
            ..Run::default()
        };
        runs::is_new(world, run.clone());
        (run, policy, Bounds { timeout, finish })
    });
    let id = with(|world| world.runs.len() - 1);
    note("run", id, run.verb, 0);
    actors::spawn(Kind::Run(id), async move {
        let _blocked = Blocked::new();
        if run.observes() {
            let check = move |info: Attempt| match call(id, info, bounds) {
                Answer::Value => Ok(Check::Ready(())),
                Answer::NotYet => Ok(Check::NotYet),
                Answer::Because(error) => Ok(Check::NotYetBecause(error)),
                Answer::Dead(error) => Ok(Check::Fatal(error)),
                Answer::Fails(error) => Err(error),
            };
            blocks!(blocking::poll(check), id, policy, run);
        } else {
            let operation = move |info: Attempt| {
                if let Answer::Fails(error) = call(id, info, bounds) { Err(error) } else { Ok(()) }
            };
            blocks!(blocking::retry(operation), id, policy, run);
        }
    });
}
