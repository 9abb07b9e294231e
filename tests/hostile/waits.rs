//! Direct waits for a limiter: `ready`, `acquire`, `reserve`, and those that never wait.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::Poll,
};

use relent::Limiter;
use tokio::{task::coop, time::Instant};

use super::{
    actors::{self, Kind},
    limits,
    world::{MS, ms, note, require, shared, trouble, with},
};

/// Many wait; some of them are never polled again, some leave.
pub async fn crowd(limit: usize) {
    let (count, hostile) = with(|world| (world.rng.usize(3..14), world.hostile));
    let all: Vec<usize> = (0..count).map(|_| begin(limit)).collect();
    while actors::step().await {}
    for actor in all {
        match with(|world| world.rng.u8(0..8)) {
            0 | 1 if hostile.unpolled => actors::set_unpolled(actor, true),
            2 if hostile.leaks => actors::leak(actor),
            3..6 if hostile.drops => actors::drop_actor(actor, "dropped"),
            _ => {}
        }
    }
}

/// A wait with a number of its own begins.
pub fn begin(limit: usize) -> usize {
    let shared = shared();
    let limiter = shared.limiters[limit].clone();
    let (wait, permits, form) = with(|world| {
        world.errors += 1;
        let most = u32::try_from(world.limits[limit].burst).unwrap_or(u32::MAX).clamp(1, 4);
        (world.errors as usize, world.rng.u32(1..=most), world.rng.u8(0..8))
    });
    let kind = Kind::Wait(limit, wait);
    note("wait", wait, "begins for limiter", limit as u64);
    match form {
        0..3 => actors::spawn(kind, ready(limit, wait, limiter)),
        3..5 => actors::spawn(kind, acquire(limit, wait, permits, limiter)),
        5 | 6 => actors::spawn(kind, reserve(limit, wait, permits, limiter)),
        _ => actors::spawn(kind, many(limit, wait, limiter)),
    }
}

/// The place in line is taken at the first poll, with whatever budget: it waits, or the permits that were there are its
/// own.
fn stands(limit: usize, wait: usize, limiter: &Limiter, before: u32) {
    let stands = limiter.waiters() > 0 || limiter.available() < before;
    require(stands || limits::is_granted(limit, wait), "the first poll takes the place", || {
        format!("limiter {limit}: no one waits after it")
    });
}

fn over() {
    actors::ended();
}

async fn ready(limit: usize, wait: usize, limiter: Limiter) {
    let mut ready = pin!(limiter.ready());
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            let before = limiter.available();
            limits::joins(limit, wait, 1);
            let polled = ready.as_mut().poll(cx);
            if polled.is_pending() {
                stands(limit, wait, &limiter, before);
            }
            return polled;
        }
        ready.as_mut().poll(cx)
    })
    .await;
    limits::got(limit, wait, 1, actors::is_delayed(actors::current()), false);
    over();
    trouble("wait", wait);
    pending::<()>().await;
}

async fn acquire(limit: usize, wait: usize, permits: u32, limiter: Limiter) {
    let (form, span) = with(|world| (world.rng.u8(0..3), world.rng.u64(0..2000)));
    let acquire = limiter.acquire(permits);
    let acquire = match form {
        0 => acquire,
        1 => acquire.within(ms(span)),
        _ => acquire.by(Instant::now() + ms(span)),
    };
    let mut acquire = pin!(acquire);
    let end = super::world::now() + span * MS;
    if form > 0 && !coop::has_budget_remaining() {
        // One that would be refused takes no place, and is told when it is polled again.
        with(|world| world.limits[limit].loose = true);
    }
    limits::joins(limit, wait, permits);
    let answer = acquire.as_mut().await;
    let late = form > 0 && super::world::now() > end.div_ceil(MS) * MS;
    let excused = with(|world| world.hostile.stalls) || actors::is_delayed(actors::current());
    require(!late || excused, "no wait outlasts its bound", || format!("limiter {limit}: {wait} had {span} ms"));
    let mut put_off = false;
    match answer {
        Ok(()) => limits::got(limit, wait, permits, actors::is_delayed(actors::current()), false),
        Err(refused) => {
            let changed = with(|world| world.limits[limit].changed);
            require(form > 0 || changed, "no wait is refused without a bound", || {
                format!("limiter {limit}: {refused}")
            });
            note("wait", wait, "refused", 0);
            limits::leaves(limit, wait);
            put_off = limits::puts_off(limit);
        }
    }
    if put_off {
        actors::ended_early();
    } else {
        over();
    }
    trouble("wait", wait);
    pending::<()>().await;
}

async fn reserve(limit: usize, wait: usize, permits: u32, limiter: Limiter) {
    let (gives_up, spends, uses) = with(|world| (world.rng.bool(), world.rng.u8(0..4) == 0, world.rng.bool()));
    let Ok(mut held) = limiter.reserve(permits) else {
        over();
        return;
    };
    limits::joins(limit, wait, permits);
    if spends {
        // Used before the turn has come: it takes its turn all the same.
        held.spend();
        with(|world| world.limits[limit].spent += u64::from(permits));
        note("wait", wait, "spent", permits.into());
        over();
        pending::<()>().await;
        return;
    }
    let mut was_ready = false;
    if gives_up {
        // The wait is dropped, the place stays.
        let mut ready = Box::pin(held.ready());
        was_ready = poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx))).await.is_ready();
        if !was_ready {
            trouble("wait", wait);
        }
    }
    let mut first = true;
    let mut at_once = was_ready;
    if !was_ready {
        let mut ready = pin!(held.ready());
        poll_fn(|cx| {
            let polled = ready.as_mut().poll(cx);
            at_once = std::mem::take(&mut first) && polled.is_ready() && !gives_up;
            polled
        })
        .await;
    }
    limits::got(limit, wait, permits, !at_once, true);
    over();
    if uses {
        held.spend();
    } else {
        let before = limiter.available();
        drop(held);
        let after = limiter.available();
        require(after <= before, "ready uses the permits", || {
            format!("limiter {limit}: {before} before the drop, {after}")
        });
    }
    trouble("wait", wait);
    pending::<()>().await;
}

/// A loop of waits that may all be ready.
async fn many(limit: usize, wait: usize, limiter: Limiter) {
    let count = with(|world| {
        let much = world.limits[limit].unit <= world.limits[limit].yields;
        if much { 3000 } else { world.rng.usize(1..6) }
    });
    for _ in 0..count {
        let mut ready = pin!(limiter.ready());
        limits::joins(limit, wait, 1);
        ready.as_mut().await;
        limits::got(limit, wait, 1, actors::is_delayed(actors::current()), false);
    }
    over();
    pending::<()>().await;
}

/// Every waiter that waits longer than the ideal list says.
pub fn none_waits_longer_than_the_ideal_list_says() {
    let now = super::world::now();
    for (actor, kind) in actors::live() {
        let Kind::Wait(limit, wait) = kind else { continue };
        if actors::is_delayed(actor) {
            continue;
        }
        let late = with(|world| {
            let limit = &mut world.limits[limit];
            limit.advance(now);
            (limit.modelled && !limit.loose).then(|| limit.granted_at(wait)).flatten().filter(|at| *at <= now)
        });
        if let Some(at) = late {
            super::world::violated(
                "no waiter waits longer than the ideal list says",
                format!("limiter {limit}: wait {wait} should have got its permits at {} ms", at / MS),
            );
        }
    }
}

/// Those in line are those that wait.
pub fn those_in_line_wait() {
    let shared = shared();
    for (index, limiter) in shared.limiters.iter().enumerate() {
        let real = limiter.waiters();
        let now = super::world::now();
        let (ideal, exact) = with(|world| {
            let limit = &mut world.limits[index];
            limit.advance(now);
            // Granted and not yet told, they may still be in line where things stalled.
            let told = limit.ideal.granted.len();
            let ideal = limit.ideal.line.len();
            let exact = limit.modelled && !limit.loose && !world.hostile.stalls;
            (ideal + if exact { 0 } else { told + limit.unlisted }, exact)
        });
        require(if exact { real == ideal } else { real <= ideal }, "places in line are conserved", || {
            format!("limiter {index}: {real} in line, and {ideal} wait (exact: {exact})")
        });
    }
}
