//! Settings that change while all of it runs; and what uses the parts of the API that may still change.

use relent::{
    Backoff, Budget, Limiter, Policy, Rate, Ratio,
    budget::InFlight,
    builder::{AttemptLoop, Controls},
    limiter::Adaptive,
    queue::GivenUp,
};
use tokio_util::sync::CancellationToken;

use super::{
    actors, limits, queues, texts,
    world::{E, MS, Queue, Shared, Val, ms, note, now, shared, with},
};

/// Some setting changes.
pub async fn settings() {
    // Whatever is granted by now is told before.
    while actors::step().await {}
    let shared = shared();
    let (limit, what) = with(|world| (world.rng.usize(0..shared.limiters.len()), world.rng.u8(0..10)));
    match what {
        0..3 => pause(&shared, limit),
        3 => adapts(limit, &shared.limiters[limit]),
        4 => queue(&shared),
        5 => {
            if let Some(keyed) = &shared.keyed {
                keyed.forget_idle();
            }
        }
        _ => {
            let (rate, burst) = with(|world| {
                let some = world.rng.u32(1..40);
                let rate = match world.rng.u8(0..8) {
                    // A run that blocks its thread would wait for ever.
                    0 if !world.hostile.stalls => Rate::ZERO,
                    1 => Rate::every(ms(some.into())).unwrap(),
                    _ => Rate::per_second(some),
                };
                (rate, world.rng.bool().then(|| world.rng.u32(1..6)))
            });
            set(&shared, limit, rate, burst);
        }
    }
}

fn set(shared: &Shared, limit: usize, rate: Rate, burst: Option<u32>) {
    note("limiter", limit, "set", rate.permits().into());
    texts::rate(rate);
    let limiter = &shared.limiters[limit];
    // The ideal list first: whatever the waiters do about it they do by the new settings.
    let (now, before) = (now(), limiter.max_burst());
    with(|world| limits::set(world, now, limit, rate, before));
    match &shared.keyed {
        Some(keyed) => keyed.set_rate(rate),
        None => limiter.set_rate(rate),
    }
    if let Some(burst) = burst {
        with(|world| limits::set(world, now, limit, rate, burst));
        match &shared.keyed {
            Some(keyed) => keyed.set_burst(burst),
            None => limiter.set_burst(burst),
        }
    }
}

/// A server asks one caller for a pause, or all keys have one.
fn pause(shared: &Shared, limit: usize) {
    let (span, all) = with(|world| (world.rng.u64(1..3000), world.keyed && world.rng.bool()));
    let now = now();
    note("limiter", limit, "pauses for ms", span);
    with(|world| {
        let of = if all { 0..world.limits.len() } else { limit..limit + 1 };
        world.limits[of].iter_mut().for_each(|limit| limit.pause(now, now + span * MS));
    });
    match &shared.keyed {
        Some(keyed) if all => keyed.pause_for(ms(span)),
        _ => shared.limiters[limit].pause_for(ms(span)),
    }
}

/// A server says that it was too much, or that it was not: the ideal list goes by what the limiter says of itself then.
fn adapts(index: usize, limiter: &Limiter) {
    let (up, down, keyed) = with(|world| (world.rng.u32(1..9), world.rng.bool(), world.keyed));
    let (bounds, rate) = (1..=50, limiter.rate());
    if keyed || rate.is_unlimited() || !bounds.contains(&rate.permits()) {
        return;
    }
    note("limiter", index, "adapts", u64::from(down));
    let adaptive = Adaptive::new(limiter, bounds).unwrap().steps(up, Ratio::percent(50), ms(1)).unwrap();
    let now = now();
    if down {
        adaptive.too_many();
    } else {
        adaptive.succeeded();
    }
    with(|world| limits::set(world, now, index, limiter.rate(), limiter.max_burst()));
}

/// The queue is given other settings while no one runs it; what was planned stands.
fn queue(shared: &Shared) {
    let Some(slot) = &shared.queue else { return };
    let Ok(mut slot) = slot.try_borrow_mut() else { return };
    let Some(queue) = slot.take() else { return };
    note("queue", 0, "set", 0);
    let (what, (backoff, pauses), most) =
        with(|world| (world.rng.u8(0..3), queues::some_backoff(&mut world.rng), world.rng.u32(1..2000)));
    *slot = Some(match what {
        0 => {
            queues::book(|book| (book.pauses, book.other_pauses) = (pauses, true));
            queue.backoff(backoff)
        }
        1 => {
            queues::book(|book| book.max = Some(most % 6 + 1));
            queue.max_attempts(most % 6 + 1)
        }
        _ => {
            queues::book(|book| book.finish = Some(u64::from(most) * MS));
            queue.finish_within(ms(most.into()))
        }
    });
}

/// What was shut for good is open again.
pub fn none_stays_shut() {
    let shared = shared();
    for (index, limiter) in shared.limiters.iter().enumerate() {
        if limiter.rate() == Rate::ZERO {
            set(&shared, index, Rate::per_second(1), None);
        }
    }
}

/// What is set after a run began holds from then on, and its counts go on as they were.
pub fn begun<W, L>(id: usize, run: AttemptLoop<E, W, L, Controls>) -> AttemptLoop<E, W, L, Controls> {
    let (chance, token, count) = with(|world| (world.rng.u8(0..24), world.rng.usize(0..4), world.limits.len()));
    let shared = shared();
    let known = with(|world| world.runs[id].clone());
    match (chance, shared.tokens.get(token)) {
        (0, Some(other)) if known.tokens[1].is_none_or(|known| known == token) => {
            note("run", id, "another token", token as u64);
            with(|world| world.runs[id].tokens[1] = Some(token));
            run.cancel_on(other.clone())
        }
        (1, _) => run.cancel_on(CancellationToken::new()),
        // The ideal list is of one limiter: that one is never one of two.
        (2, _) if count > 1 && known.limit.is_none() => {
            note("run", id, "another limiter", 1);
            with(|world| world.runs[id].limit = Some(1));
            run.throttle(&shared.limiters[1])
        }
        (3, _) if !shared.budgets.is_empty() && known.budget.is_none() => {
            note("run", id, "another budget", 0);
            with(|world| (world.runs[id].budget, world.runs[id].charged) = (Some(0), world.runs[id].started));
            run.budget(&shared.budgets[0])
        }
        _ => run,
    }
}

/// Values that were given up where no listener was told: key, value, what the error says.
pub fn given_up(queue: &Queue) -> Vec<(Val, String)> {
    let all = queue.take_given_up().into_iter();
    all.map(|GivenUp { value, error, .. }| (value, error.to_string())).collect()
}

/// Whether a listener is handed the item itself, or only shown it.
pub trait Handed {
    const OVER: bool;
    fn item(&self) -> &GivenUp<u8, Val, E>;
}

impl Handed for GivenUp<u8, Val, E> {
    const OVER: bool = true;

    fn item(&self) -> &Self {
        self
    }
}

impl Handed for &GivenUp<u8, Val, E> {
    const OVER: bool = false;

    fn item(&self) -> &GivenUp<u8, Val, E> {
        self
    }
}

/// A budget that only the reserve fills.
pub fn exact_budget(reserve: u32) -> Budget {
    Budget::ratio(Ratio::ZERO).reserve(reserve)
}

pub fn give_back(run: &mut InFlight) {
    run.give_back();
}

pub fn cursor(policy: &Policy) -> AttemptLoop<E> {
    policy.begin()
}

/// With full jitter, and always the same pauses.
pub fn seeded(seed: u64, base: u64) -> Backoff {
    Backoff::exponential(ms(base), ms(20 * base)).seed(seed)
}

pub fn fixed(ms: u64) -> Backoff {
    Backoff::fixed(super::world::ms(ms))
}
