//! What outlives its runtime: a queue and limiters in the next one, and what two threads do to one limiter of many
//! keys.

use std::{
    pin::Pin,
    sync::{Arc, Barrier},
    task::{Context, Waker},
    thread,
    time::Duration,
};

use futures_util::Stream;
use relent::{KeyedLimiter, Limiter, Rate, queue::QueueHandle};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, timeout},
};

use super::{
    queues::KEYS,
    world::{MS, Queue, Val, World, ms, shared, with},
};

/// What is left of a case.
pub struct Left {
    limiters: Vec<(Limiter, Duration)>,
    queue: Option<(Queue, QueueHandle<u8, Val>)>,
    /// Its first runtime goes on idle, or is dropped.
    idle: bool,
    threads: bool,
    /// The next runtime's clock, paused as well, stands behind this one's.
    back: bool,
    end: Instant,
}

impl Left {
    /// At the end of a case, in its runtime.
    pub fn of_this_runtime() -> Self {
        let shared = shared();
        let limiters = shared.limiters.iter().enumerate().filter_map(|(index, limiter)| {
            let limit =
                with(|world| (world.limits[index].unit, world.limits[index].yields, world.limits[index].changed));
            let wait = u64::try_from(limit.0 / limit.1).unwrap() + 11 * MS;
            (limiter.waiters() == 0 && !limit.2).then(|| (limiter.clone(), Duration::from_nanos(wait)))
        });
        let limiters = limiters.collect();
        let mut queue = shared.queue.as_ref().and_then(|slot| slot.try_borrow_mut().ok()?.take());
        if let (Some(queue), Some(handle)) = (&mut queue, &shared.handle) {
            // Its timer is set in this runtime.
            let _ = handle.schedule(KEYS, Val(usize::MAX), ms(3_600_000));
            let _ = Pin::new(queue).poll_next(&mut Context::from_waker(Waker::noop()));
            drop(handle.cancel_all());
        }
        // One that is closed takes nothing more.
        let queue = queue.zip(shared.handle.clone()).filter(|_| !with(|world| world.book.closed));
        let (idle, back, threads) = with(|world| (world.rng.bool(), world.rng.bool(), world.rng.u8(0..8) == 0));
        Self { limiters, queue, idle, threads, back, end: Instant::now() }
    }

    pub fn go_on(self, former: Runtime, world: &mut World) {
        let Self { limiters, queue, idle, threads, back, end } = self;
        let former = idle.then_some(former);
        *world.tally.events.entry("next runtime").or_default() += 1;
        let mut violated = |name: &'static str, message: String| {
            world.violations.push((name, message));
        };
        let next = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            next.block_on(async {
                let mut late = Vec::new();
                if !back {
                    tokio::time::advance(end.saturating_duration_since(Instant::now())).await;
                }
                for (limiter, wait) in limiters {
                    let began = Instant::now();
                    let _ = timeout(wait * 2, limiter.ready()).await;
                    if began.elapsed() > wait {
                        late.push(("limiter", began.elapsed()));
                    }
                }
                if let Some((mut queue, handle)) = queue {
                    let began = Instant::now();
                    let _ = handle.schedule(KEYS, Val(usize::MAX), ms(180));
                    let due = timeout(ms(10_000), std::future::poll_fn(|cx| Pin::new(&mut queue).poll_next(cx))).await;
                    // What is late is late by a timer's millisecond at most.
                    if due.is_err() || began.elapsed() > ms(181) {
                        late.push(("queue", began.elapsed()));
                    }
                    if let Ok(Some(due)) = due {
                        due.done();
                    }
                }
                late
            })
        }));
        match played {
            Ok(late) => {
                for (who, by) in late {
                    let name = if who == "queue" { "the next runtime (queue)" } else { "the next runtime (limiter)" };
                    violated(name, format!("{who} (idle {idle}, clock back {back}) took {by:?}"));
                }
            }
            Err(_) => violated("the next runtime (queue)", format!("(panic, idle {idle}, clock back {back})")),
        }
        drop(former);
        if threads {
            let rates = two_threads();
            if rates.0 != rates.1 {
                violated(
                    "settings made at once end the same for all keys",
                    format!("(keyed) {} and {}", rates.0, rates.1),
                );
            }
        }
    }
}

/// Two set the rate at once: what a key that is known has in the end, and a new one.
fn two_threads() -> (Rate, Rate) {
    let keyed = Arc::new(KeyedLimiter::new(Rate::per_second(1), 1));
    let known: Vec<Limiter> = (0..50).map(|key| keyed.get(&key)).collect();
    let barrier = Arc::new(Barrier::new(2));
    let both = [2, 1_000_000].map(|rate| {
        let (keyed, barrier) = (keyed.clone(), barrier.clone());
        thread::spawn(move || {
            barrier.wait();
            for _ in 0..20 {
                keyed.set_rate(Rate::per_second(rate));
            }
        })
    });
    for thread in both {
        thread.join().unwrap();
    }
    let fresh = keyed.get(&1000).rate();
    let other = known.iter().map(Limiter::rate).find(|rate| *rate != fresh);
    (other.unwrap_or(fresh), fresh)
}
