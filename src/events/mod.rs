//! Watching a run: attempts started and ended, waits, the end.
//!
//! Every verb takes a closure with `.notify(..)`, and a [`Listener`] that is a type with `.listen(..)`: `Tracing`
//! (feature `tracing`), which writes spans and events, or `Metrics` (feature `metrics`), which counts. Several add up.
//!
//! ```
//! use relent::{Backoff, Last, retry, events::Event};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let answer = retry(async |attempt| if attempt.number() < 3 { Err("busy") } else { Ok(7) })
//!     .notify(|event| {
//!         if let Event::Ended { last: Last::Failed(error), again: Some(pause), .. } = event {
//!             println!("failed with {error}, retrying in {pause:?}");
//!         }
//!     })
//!     .await;
//! assert_eq!(answer.unwrap(), 7);
//! # }
//! ```

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

use std::{fmt, time::Duration};

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use self::tracing::Tracing;
use crate::{
    error::{GaveUp, Last},
    policy::{nanos::Shown, schedule::attempts::Attempt},
};

/// What happens in a run of any verb, in this order: (`Waiting`* `Started` `Ended`)*, then `Waiting`* `Started`
/// `Succeeded`, or `Waiting`* `GaveUp`.
///
/// The attempt that succeeds has no `Ended`: `Succeeded` is it. A run that ends in a wait, cancelled or refused by a
/// limiter, has told of the wait before its `GaveUp`. In an [`ensure`](crate::ensure()), whose attempts are rounds that
/// begin and end with an observation, `Acting` and `Acted` stand behind `Started` where it acts. A run that is dropped
/// tells nothing more.
#[non_exhaustive]
pub enum Event<'a, E> {
    /// An attempt starts.
    Started(Attempt),
    /// An attempt has ended without a value.
    #[non_exhaustive]
    Ended {
        /// Which one, from 1.
        attempt: u32,
        /// Time since the run began.
        elapsed: Duration,
        /// What it did.
        last: Last<&'a E>,
        /// How long the run pauses before the next attempt, which a limiter may put off further. Zero: it follows at
        /// once; `None`: there is none.
        again: Option<Duration>,
    },
    /// An `ensure` has observed, it is not as wanted, and the act begins.
    #[non_exhaustive]
    Acting {
        /// The round, from 1.
        attempt: u32,
        /// Time since the run began.
        elapsed: Duration,
    },
    /// The act has ended, and another observation begins: only that tells what came of it.
    #[non_exhaustive]
    Acted {
        /// The round, from 1.
        attempt: u32,
        /// Time since the run began.
        elapsed: Duration,
        /// What it did; `None`: it answered that it had done it. [`NotCalled`](Last::NotCalled): the listener ended
        /// the run before it began.
        failed: Option<Last<&'a E>>,
    },
    /// The run waits before its next attempt.
    Waiting(Wait),
    /// The run ends with a value.
    #[non_exhaustive]
    Succeeded {
        /// Attempts made.
        attempts: u32,
        /// Time since the run began; zero if the first attempt of a run without bounds gave the value at once.
        elapsed: Duration,
    },
    /// The run ends without a value.
    GaveUp(&'a GaveUp<E>),
}

/// As derived, but for times that never come.
impl<E: fmt::Debug> fmt::Debug for Event<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(attempt) => f.debug_tuple("Started").field(attempt).finish(),
            Self::Ended { attempt, elapsed, last, again } => {
                let mut out = f.debug_struct("Ended");
                out.field("attempt", attempt).field("elapsed", elapsed).field("last", last);
                out.field("again", &again.map(Shown)).finish()
            }
            Self::Acting { attempt, elapsed } => {
                f.debug_struct("Acting").field("attempt", attempt).field("elapsed", elapsed).finish()
            }
            Self::Acted { attempt, elapsed, failed } => {
                let mut out = f.debug_struct("Acted");
                out.field("attempt", attempt).field("elapsed", elapsed).field("failed", failed).finish()
            }
            Self::Waiting(wait) => f.debug_tuple("Waiting").field(wait).finish(),
            Self::Succeeded { attempts, elapsed } => {
                f.debug_struct("Succeeded").field("attempts", attempts).field("elapsed", elapsed).finish()
            }
            Self::GaveUp(gave_up) => f.debug_tuple("GaveUp").field(gave_up).finish(),
        }
    }
}

/// What a run waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// The pause before the next attempt.
    Pause(Duration),
    /// A permit of its limiter, for about so long.
    Limiter(Duration),
}

/// As derived, but for times that never come.
impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, time) = match *self {
            Self::Pause(time) => ("Pause", time),
            Self::Limiter(time) => ("Limiter", time),
        };
        f.debug_tuple(name).field(&Shown(time)).finish()
    }
}

/// Hears what happens in a run: every `FnMut(&Event<'_, E>)`, a pair of listeners, an `Option` of one, and `()`, which
/// costs nothing.
///
/// It is called inside the run's `poll`: it must not block. If it panics, the run's future panics; what it was told of
/// is decided by then, and nothing that is shared stays taken.
#[diagnostic::on_unimplemented(
    message = "this hears no events of runs that fail with `{E}`",
    label = "`{Self}` is no listener",
    note = "give a closure to `.notify(|event| ..)`; `.listen(..)` is for types that are a `Listener`"
)]
pub trait Listener<E> {
    /// Whether nothing is heard, so that nothing need be said.
    #[doc(hidden)]
    const SILENT: bool = false;

    /// Something happened.
    fn on_event(&mut self, event: &Event<'_, E>);
}

impl<E> Listener<E> for () {
    const SILENT: bool = true;

    #[inline]
    fn on_event(&mut self, _: &Event<'_, E>) {}
}

impl<E, F: FnMut(&Event<'_, E>)> Listener<E> for F {
    fn on_event(&mut self, event: &Event<'_, E>) {
        self(event);
    }
}

/// A listener that is there only sometimes.
impl<E, L: Listener<E>> Listener<E> for Option<L> {
    const SILENT: bool = L::SILENT;

    #[inline]
    fn on_event(&mut self, event: &Event<'_, E>) {
        if let Some(listener) = self {
            listener.on_event(event);
        }
    }
}

impl<E, A: Listener<E>, B: Listener<E>> Listener<E> for (A, B) {
    const SILENT: bool = A::SILENT && B::SILENT;

    #[inline]
    fn on_event(&mut self, event: &Event<'_, E>) {
        self.0.on_event(event);
        self.1.on_event(event);
    }
}
