//! Machines that are suspended.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::time::{self, Instant};

/// A machine that can be suspended, as a laptop or a virtual machine is: the futures that [`run`](Self::run) on it
/// stand still, its monotonic clock with them, while tokio's clock and everything else go on. Clones stand for the same
/// machine.
///
/// What waits by tokio's own timers inside the future does not know of it; what this crate waits for does.
///
/// ```
/// use std::time::Duration;
/// use relent::{leader::{Ended, MemoryLock, elect}, testing::Machine};
/// use tokio::time::sleep;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let machine = Machine::new();
/// let run = machine.run(elect(MemoryLock::new(), "laptop").run(|_| std::future::pending::<()>()));
/// let suspend = async {
///     sleep(Duration::from_secs(30)).await;
///     machine.suspend();
///     sleep(Duration::from_secs(60)).await;
///     machine.resume();
/// };
/// let (ended, ()) = tokio::join!(run, suspend);
/// assert!(matches!(ended, Ok(Ended::Lost { .. })), "its work was not polled again");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Held for a few assignments. Whenever it is free, wakers wait only while the machine is suspended.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// For how long it has been suspended, in all.
    asleep: Duration,
    since: Option<Instant>,
    waiting: Vec<Waker>,
}

impl Machine {
    /// A machine that runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The future on this machine.
    pub fn run<F: Future>(&self, future: F) -> OnMachine<F> {
        OnMachine { machine: self.clone(), future }
    }

    /// Everything on it stands still from now on.
    pub fn suspend(&self) {
        self.state().since.get_or_insert_with(time::now);
    }

    /// It goes on, and does not know.
    pub fn resume(&self) {
        let mut state = self.state();
        if let Some(since) = state.since.take() {
            state.asleep = state.asleep.saturating_add(time::now().saturating_duration_since(since));
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// A future on a machine: made by [`Machine::run`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct OnMachine<F> {
        machine: Machine,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for OnMachine<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        struct Before(Duration);
        impl Drop for Before {
            fn drop(&mut self) {
                time::set_asleep(self.0);
            }
        }
        let this = self.project();
        let mut state = this.machine.state();
        if state.since.is_some() {
            state.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let asleep = state.asleep;
        drop(state);
        let _before = Before(time::set_asleep(asleep));
        this.future.poll(cx)
    }
}
