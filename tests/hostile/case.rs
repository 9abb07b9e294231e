//! One case: a random world, random steps, and an end at which all must be as if nothing had been.

use std::{cell::RefCell, rc::Rc};

use fastrand::Rng;
use relent::{Budget, KeyedLimiter, Limiter, Policy, Rate, Ratio, TimedQueue};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::{
    actors::{self, Kind},
    afterlife, blocking, changing,
    limits::{self, Limit},
    meddle, memory, queues, sessions, texts, verbs, waits,
    world::{
        self, BudgetBook, Hostile, MS, Shared, World, cancel, ms, note, now, require, shared, some_stall, stall, with,
    },
};

pub fn play(seed: u64) -> Box<World> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (mut world, left) = runtime.block_on(async {
        world::begin(seed, hostile);
        texts::are_read_back();
        prepare();
        let steps = with(|world| world.rng.usize(3..40));
        let mut weights: [u8; 3] = with(|world| [world.rng.u8(0..4), world.rng.u8(0..4), world.rng.u8(0..3)]);
        // Some are about the queue above all.
        if with(|world| world.rng.u8(0..5) == 0) {
            weights = [0, 1, 8];
        }
        for _ in 0..steps {
            step(weights).await;
            queues::plans_stand();
            if with(|world| !world.violations.is_empty()) {
                break;
            }
        }
        if with(|world| world.violations.is_empty()) {
            finish().await;
        }
        with(|world| world.quiet = true);
        if with(|world| world.violations.is_empty() && world.rng.u8(0..100) == 0) {
            memory::flood();
        }
        let goes_on = with(|world| world.violations.is_empty() && world.rng.u8(0..8) == 0);
        let left = goes_on.then(afterlife::Left::of_this_runtime);
        actors::clear();
        sessions::answer_all();
        (world::end(), left)
    });
    if let Some(left) = left {
        left.go_on(runtime, &mut world);
    }
    world
}

fn hostile(rng: &mut Rng) -> Hostile {
    let mut yes = |of: u8| rng.u8(0..of) == 0;
    Hostile {
        stalls: yes(2),
        panics: yes(3),
        drops: yes(2),
        cancels: yes(2),
        reentry: yes(3),
        leaks: yes(4),
        unpolled: yes(3),
        spent: yes(4),
        wakers: yes(3),
        settings: yes(6),
    }
}

fn prepare() {
    let mut shared = Shared::default();
    with(|world| {
        let rng = &mut world.rng;
        for _ in 0..rng.usize(0..3) {
            shared.tokens.push(CancellationToken::new());
            world.cancelled.push(None);
        }
        for _ in 0..rng.usize(0..3) {
            let (reserve, in_flight) = (rng.u32(0..6), rng.bool());
            let floor = if rng.u8(0..3) == 0 { rng.u32(1..5) } else { 0 };
            let budget = if in_flight {
                Budget::in_flight(Ratio::percent(rng.u32(0..100))).reserve(reserve)
            } else {
                changing::exact_budget(reserve)
            };
            let budget = if floor > 0 { budget.min_retries(Rate::per_minute(floor)) } else { budget };
            shared.budgets.push(budget);
            let reserve = reserve.into();
            world.budgets.push(BudgetBook { reserve, in_flight, floor, retries: 0, leaked: false });
        }
        world.keyed = rng.u8(0..4) == 0;
        for index in 0..rng.usize(1..4) {
            let (burst, some) = (rng.u32(1..5), rng.u32(1..50));
            let (rate, yields, unit) = match rng.u8(0..8) {
                0 => (Rate::every(ms(some.into())).unwrap(), 1, u64::from(some) * MS),
                1 => (Rate::every(ms(60_000)).unwrap(), 1, 60_000 * MS),
                2 => (Rate::per_second(1), 1, 1000 * MS),
                3 if !world.keyed => (Rate::UNLIMITED, 1_000_000_000, 1),
                _ => (Rate::per_second(some), some.into(), 1000 * MS),
            };
            let burst = if yields > unit { u32::MAX } else { burst };
            let first = shared.limiters.first().map(|first| (first.rate(), first.max_burst())).filter(|_| world.keyed);
            if let Some((keyed, first)) = shared.keyed.as_ref().zip(first) {
                // All keys have the settings of the first.
                shared.limiters.push(keyed.get(&(index as u8)));
                let Limit { yields, unit, .. } = world.limits[0];
                world.limits.push(Limit::new(yields as u64, unit as u64, first.1, false));
                continue;
            }
            let keyed = world.keyed.then(|| KeyedLimiter::new(rate, burst));
            shared.limiters.push(keyed.as_ref().map_or_else(|| Limiter::new(rate, burst), |keyed| keyed.get(&0)));
            shared.keyed = keyed.map(Rc::new);
            world.limits.push(Limit::new(yields, unit, burst, index == 0 && yields <= unit));
        }
    });
    let queue = with(|world| {
        let rng = &mut world.rng;
        rng.bool().then(|| {
            let book = &mut world.book;
            let (backoff, pauses) = queues::some_backoff(rng);
            let mut policy = Policy::new().backoff(backoff);
            book.pauses = pauses;
            book.max = rng.bool().then(|| rng.u32(1..5));
            if let Some(max) = book.max {
                policy = policy.max_attempts(max);
            }
            if rng.u8(0..3) == 0 {
                policy = policy.attempt_timeout(ms(rng.u64(1..100)));
            }
            book.finish = (rng.u8(0..4) == 0).then(|| rng.u64(1..2000) * MS);
            if let Some(finish) = book.finish {
                policy = policy.finish_within(ms(finish / MS));
            }
            book.cut_is_fatal = rng.u8(0..3) == 0;
            if book.cut_is_fatal {
                policy = policy.on_cut(relent::Decision::Fatal);
            }
            policy
        })
    });
    if let Some(policy) = queue {
        let queue = TimedQueue::new().policy(&policy);
        shared.handle = Some(queue.handle());
        shared.queue = Some(Rc::new(RefCell::new(Some(queue))));
    }
    world::share(shared);
}

/// One thing happens.
async fn step([runs, waits, queues]: [u8; 3]) {
    let (what, hostile) = with(|world| (world.rng.u8(0..20), world.hostile));
    let limiters = shared().limiters.len();
    match what {
        0..5 => {
            let pick = with(|world| world.rng.u8(0..=(runs + waits + queues)));
            if pick < runs && hostile.stalls && with(|world| world.rng.u8(0..5) == 0) {
                blocking::begin();
            } else if pick < runs {
                verbs::begin();
            } else if pick < runs + waits {
                let (limit, crowd) = with(|world| (world.rng.usize(0..limiters), world.rng.u8(0..3) == 0));
                if crowd {
                    waits::crowd(limit).await;
                } else {
                    waits::begin(limit);
                }
            } else if with(|world| world.rng.bool()) {
                sessions::begin();
            } else {
                queues::give();
            }
        }
        5 => stalls_between(hostile),
        6 if hostile.cancels => cancel(with(|world| world.rng.usize(0..4))),
        7 if hostile.drops => actors::drop_one("dropped"),
        8 if hostile.leaks => {
            // Of the queue's consumer nothing is promised then.
            if let Some(actor) = actors::any(|kind| matches!(kind, Kind::Run(_) | Kind::Wait(..))) {
                actors::leak(actor);
            }
        }
        9 | 10 if hostile.unpolled => {
            if let Some(actor) = actors::any(|_| true) {
                actors::set_unpolled(actor, with(|world| world.rng.u8(0..3) > 0));
            }
        }
        11 => meddle::meddle(),
        12 => sessions::answer_one(),
        13 if hostile.settings => changing::settings().await,
        13 => idle(),
        14 if hostile.drops && with(|world| world.rng.u8(0..6) == 0) => sessions::drop_queue(),
        // Some are polled, and some not yet.
        14 | 15 => {
            actors::step().await;
        }
        _ => {
            let span = with(|world| match world.rng.u8(0..6) {
                0 => 0,
                1..3 => world.rng.u64(1..20),
                3 | 4 => world.rng.u64(20..1000),
                _ => world.rng.u64(1000..120_000),
            });
            go_on(span).await;
        }
    }
}

fn stalls_between(hostile: Hostile) {
    if hostile.stalls {
        stall(with(|world| some_stall(&mut world.rng)));
    }
}

/// Time passes as it should, to a whole millisecond: then nothing is left undone.
async fn go_on(span: u64) {
    let zero = with(|world| world.zero);
    let until = now().div_ceil(MS) + span;
    note("clock", 0, "goes on for ms", span);
    actors::drive(zero + ms(until)).await;
    if with(|world| !world.violations.is_empty()) {
        return;
    }
    waits::those_in_line_wait();
    if !with(|world| world.hostile.stalls) {
        waits::none_waits_longer_than_the_ideal_list_says();
    }
    if now() == until * MS && with(|world| world.rng.u8(0..3) == 0) {
        actors::nothing_was_missed().await;
    }
}

fn idle() {
    for _ in 0..with(|world| world.rng.usize(1..4)) {
        idles();
    }
}

fn idles() {
    let Some(handle) = shared().handle.clone() else { return };
    let idle = handle.idle();
    drop(handle);
    actors::spawn(Kind::Other, async move {
        idle.await;
        let shared = shared();
        let running = shared.handle.as_ref().map_or(0, relent::queue::QueueHandle::running);
        let gone = queues::book(|book| book.gone);
        require(gone || running == 0, "idle is idle", || format!("{running} run"));
        actors::ended();
    });
}

/// Everything ends; what has ended lives on.
async fn finish() {
    note("case", 0, "ends", 0);
    with(|world| world.quiet = true);
    actors::all_polled();
    changing::none_stays_shut();
    if with(|world| world.rng.bool()) {
        let tokens = shared().tokens.len();
        (0..tokens).for_each(cancel);
    }
    go_on(10).await;
    if with(|world| world.rng.bool()) {
        those_that_need_several_get_them().await;
    }
    go_on(200_000).await;
    if with(|world| !world.violations.is_empty()) {
        return;
    }
    for (actor, _) in actors::live() {
        actors::drop_actor(actor, "dropped at the end");
    }
    waits::those_in_line_wait();
    // Guards outlive the queue, and what has ended outlives both.
    if with(|world| world.rng.bool()) {
        sessions::hold_one();
        sessions::drop_queue();
        if with(|world| world.book.gone && world.rng.bool()) {
            queues::cancel_waiting();
            note("queue", 0, "handle dropped", 0);
            world::drop_handle();
        }
    }
    sessions::answer_all();
    if with(|world| world.book.gone) {
        // What waits in it is not tried again.
        budgets_are_conserved();
    }
    queues::cancel_all();
    budgets_are_conserved();
    actors::drop_all();
    sessions::collect();
    queues::cancel_all();
    queues::every_value_came_out();
    go_on(500_000).await;
    limiters_are_as_new();
}

/// Left alone with others that need the same two limiters, in whatever order, each run gets its permits.
async fn those_that_need_several_get_them() {
    let waits = |kind: Kind| {
        let Kind::Run(id) = kind else { return None };
        with(|world| world.runs[id].also.is_some() && world.runs[id].in_line).then_some(id)
    };
    let all: Vec<_> = actors::live().into_iter().filter_map(|(_, kind)| waits(kind)).collect();
    if all.is_empty() || with(|world| world.limits.iter().any(|limit| limit.leaked)) {
        return;
    }
    for (actor, kind) in actors::live() {
        if waits(kind).is_none() {
            actors::drop_actor(actor, "dropped at the end");
        }
    }
    for id in &all {
        note("run", *id, "is left alone with those that need several", 0);
    }
    let before: Vec<_> = all.iter().map(|id| with(|world| world.runs[*id].started)).collect();
    // What was spent ahead of its turn comes first.
    let spent = with(|world| world.limits.iter().map(|limit| limit.spent).sum::<u64>());
    go_on(60_000 * (all.len() as u64 + spent + 8)).await;
    for (id, before) in all.into_iter().zip(before) {
        let got = with(|world| world.runs[id].over || world.runs[id].started > before);
        require(got, "no waiter waits for ever", || format!("{} needs two limiters", super::runs::name(id)));
    }
}

fn budgets_are_conserved() {
    let shared = shared();
    for (index, budget) in shared.budgets.iter().enumerate() {
        let available = budget.available();
        let (expected, leaked) = with(|world| {
            let BudgetBook { reserve, in_flight, retries, leaked, .. } = world.budgets[index];
            (if in_flight { reserve } else { reserve.saturating_sub(retries) }, leaked)
        });
        let (floor, least) = with(|world| {
            let BudgetBook { reserve, floor, retries, .. } = world.budgets[index];
            (u64::from(floor), reserve.saturating_sub(retries))
        });
        if floor > 0 {
            // Which of them the floor gave is not said; and what it gives by and by is there again.
            let passed = floor + now() / MS * floor / 60_000 + 1;
            let (made, reserve) = with(|world| (world.budgets[index].retries, world.budgets[index].reserve));
            let in_flight = with(|world| world.budgets[index].in_flight);
            let right = in_flight || (available >= if leaked { 0 } else { least } && made <= reserve + passed);
            require(right && available <= reserve + floor, "retries of the budget are conserved", || {
                format!("budget {index} with a floor: {available} available, {made} made: {budget:?}")
            });
            continue;
        }
        // What was leaked may hold a retry.
        let right = if leaked { available <= expected } else { available == expected };
        let excused = leaked && with(|world| world.budgets[index].in_flight);
        require(right || excused, "retries of the budget are conserved", || {
            format!("budget {index}: {available} available, {expected} by what was made: {budget:?}")
        });
    }
}

/// After a long time without a waiter there is a whole burst.
fn limiters_are_as_new() {
    let shared = shared();
    for (index, limiter) in shared.limiters.iter().enumerate() {
        let (waiting, exact) = with(|world| {
            let limit = &world.limits[index];
            (limit.ideal.line.len() + limit.ideal.granted.len() + limit.unlisted, limit.modelled && !limit.loose)
        });
        let (waiters, available, burst) = (limiter.waiters(), limiter.available(), limiter.max_burst());
        require(waiters <= waiting, "places in line are conserved", || {
            format!("limiter {index}: {waiters} in line at the end")
        });
        let full = available == burst || waiting > 0 || limiter.rate() == Rate::every(ms(60_000)).unwrap();
        require(full || !exact, "permits come back", || format!("limiter {index}: {available} of {burst} at the end"));
        if waiting == 0 && burst > 0 {
            limits::tried(index, 1, limiter.try_acquire(1).is_ok());
        }
    }
}
