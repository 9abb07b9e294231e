//! Memory follows what there is down, whatever order it goes in: counted by the allocator of this thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use relent::{KeyedLimiter, Limiter, Rate, TimedQueue, limiter::Ready};

use super::world::{advance, ms, note, require, with};

struct Counting;

thread_local! {
    /// Bytes that this thread has asked for, less what it has given back.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends gives back after its counters are gone.
    let _ = BYTES.try_with(|all| all.set(all.get() + bytes));
}

// SAFETY: everything is the system allocator's doing.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Very many of something come, and nearly all of them go.
pub fn flood() {
    let (what, count, left) = with(|world| (world.rng.u8(0..4), world.rng.u32(6000..9000), world.rng.usize(1..4)));
    note("memory", what.into(), "flood", count.into());
    let (full, rest, name) = match what {
        0 | 1 => queue(count, left),
        2 => limiter(count, left),
        _ => keys(count),
    };
    // Most of it was memory of theirs, or this would show nothing.
    // What may be kept when there is next to nothing left: blocks of slots in which one is taken, tables of all shards;
    // room for a thousand waiters.
    let kept = if name == "limiter" { 100_000 } else { full / 3 };
    require(full > 2 * kept && rest < kept, "memory follows down what there is", || {
        format!("({name}) {rest} bytes with {left} left, {full} with {count}")
    });
}

/// A few steps at random with keys of a queue, until nearly all have gone.
fn queue(count: u32, left: usize) -> (isize, isize, &'static str) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut rng = with(|world| world.rng.fork());
    let (mut keys, mut next, mut held) = ((0..count).collect::<Vec<_>>(), 0, Vec::with_capacity(8));
    rng.shuffle(&mut keys);
    let before = BYTES.get();
    let mut queue = TimedQueue::<u32, u64>::new();
    let handle = queue.handle();
    let spread = *rng.choice(&[0, 1, 1000, 600_000]).unwrap();
    let due = |rng: &mut fastrand::Rng| ms(rng.u64(0..=spread));
    for key in 0..count {
        let _ = handle.schedule(key, u64::from(key), due(&mut rng));
    }
    let full = BYTES.get() - before;
    while handle.len() > left {
        match rng.u8(0..12) {
            0..6 => {
                for _ in 0..rng.usize(1..200) {
                    if handle.len() > left {
                        let _ = handle.cancel(&keys[next % keys.len()]);
                    }
                    next += 1;
                }
            }
            6 => drop(handle.reschedule(rng.u32(0..count), 0, due(&mut rng))),
            7 => advance(ms(rng.u64(0..=spread) / 8 + 20)),
            _ => {
                for _ in 0..rng.u8(1..80) {
                    let Poll::Ready(Some(due)) = queue.poll_due(&mut cx) else { break };
                    match rng.u8(0..8) {
                        0 => drop(due.fail("no")),
                        1 if held.len() < left => held.push(due),
                        _ => _ = due.done(),
                    }
                }
                if rng.bool()
                    && let Some(due) = held.pop()
                {
                    due.done();
                }
            }
        }
    }
    drop(queue.take_given_up());
    let rest = BYTES.get() - before;
    for due in held {
        due.done();
    }
    (full, rest, "queue")
}

/// Very many wait; they leave or are granted in any order.
fn limiter(count: u32, left: usize) -> (isize, isize, &'static str) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut rng = with(|world| world.rng.fork());
    let limiter = Limiter::new(Rate::per_second(1), 1);
    let mut all: Vec<Pin<Box<Ready<'_>>>> = Vec::with_capacity(count as usize);
    let before = BYTES.get();
    let _ = limiter.try_acquire(1);
    for _ in 0..count {
        let mut ready = Box::pin(limiter.ready());
        let _ = ready.as_mut().poll(&mut cx);
        all.push(ready);
    }
    let full = BYTES.get() - before;
    if rng.bool() {
        // Those granted go at the front.
        limiter.set_rate(Rate::per_second(1_000_000));
        while all.len() > left {
            advance(ms(1));
            let last = all.len() - left;
            all.drain(..last.min(500)).for_each(drop);
        }
    } else {
        rng.shuffle(&mut all);
        all.truncate(left);
    }
    (full, BYTES.get() - before, "limiter")
}

/// Very many keys are asked once, and rest.
fn keys(count: u32) -> (isize, isize, &'static str) {
    let mut rng = with(|world| world.rng.fork());
    let before = BYTES.get();
    let keyed = KeyedLimiter::new(Rate::per_second(10), 2);
    for key in 0..4 * count {
        let _ = keyed.try_acquire(&key, rng.u32(1..3));
    }
    let full = BYTES.get() - before;
    advance(ms(1000));
    if rng.bool() {
        keyed.forget_idle();
    } else {
        // In small steps it happens in passing, wherever a key is asked for: one look at a key for each call.
        for _ in 0..24 * count {
            let _ = keyed.try_acquire(&rng.u32(0..2000), 1);
        }
    }
    (full, BYTES.get() - before, "keyed")
}
