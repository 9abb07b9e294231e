//! Wakers as a hostile program makes them.

use std::{
    cell::RefCell,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Wake, Waker},
};

use relent::{Limiter, queue::QueueHandle};

use super::{
    sessions::{self, Held},
    world::{self, Injected, Val, WAKERS_MAY_PANIC, note, shared, with},
};

thread_local! {
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// The waker of the task that polls all of them.
pub fn set_root(root: Option<Waker>) {
    ROOT.set(root);
}

fn wake_root() {
    ROOT.with_borrow(|root| root.iter().for_each(Waker::wake_by_ref));
}

/// A new one, for one poll.
pub fn waker(woken: Arc<AtomicBool>) -> Waker {
    let (odd, evil) = with(|world| {
        let odd = world.hostile.wakers && !world.quiet && world.rng.u8(0..3) == 0;
        (odd, world.hostile.panics && world.rng.bool())
    });
    let shared = shared();
    Waker::from(Arc::new(Flag {
        woken,
        panics: odd && evil,
        limiter: if odd { shared.limiters.first().cloned() } else { None },
        handle: if odd { shared.handle.clone() } else { None },
        guard: Mutex::new(if odd { sessions::take_one() } else { None }),
    }))
}

/// A waker as the world makes them: new for each poll, it may panic, it may own and use what it is kept in.
struct Flag {
    woken: Arc<AtomicBool>,
    panics: bool,
    limiter: Option<Limiter>,
    handle: Option<QueueHandle<u8, Val>>,
    /// Dropped with it.
    guard: Mutex<Option<Held>>,
}

impl Flag {
    fn look(&self) {
        if let Some(limiter) = &self.limiter {
            let _ = limiter.waiters();
        }
        if let Some(handle) = &self.handle {
            let _ = (handle.len(), handle.running());
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        wake_root();
        self.look();
        if self.panics && WAKERS_MAY_PANIC.get() && !std::thread::panicking() {
            with(|world| {
                world.injected = true;
                // What the call was about to give back is gone.
                world.book.unsure = true;
            });
            note("waker", 0, "panics", 0);
            resume_unwind(Box::new(Injected));
        }
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        // Where tokio drops it, a panic goes no further.
        let may = WAKERS_MAY_PANIC.replace(false);
        self.look();
        if let Ok(Some(guard)) = self.guard.get_mut().map(Option::take) {
            drop(guard);
            if world::is_on() {
                with(|world| world.guards_dropped += 1);
            }
        }
        WAKERS_MAY_PANIC.set(may);
    }
}
