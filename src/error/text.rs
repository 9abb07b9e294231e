//! The sentence of a [`GaveUp`].

use std::{error::Error, fmt, marker::PhantomData, time::Duration};

use super::{Detail, Ending, GaveUp, Last, Reason, Stop, reason::AsError};
use crate::policy::{
    nanos::{Measured, NEVER, Written, duration, nanos},
    schedule::bounds::CutBy,
};

/// Without the text of the error.
pub(super) struct Summary<'a, E>(pub(super) &'a GaveUp<E>);

impl<E> fmt::Display for Summary<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_end(f)?;
        match (self.0.last_error(), self.0.ending()) {
            (None, _) | (_, Ending::NotReadyBecause) => Ok(()),
            (Some(_), Ending::Failed) => f.write_str(" failed"),
            (Some(_), _) => f.write_str("; an earlier attempt failed"),
        }
    }
}

/// With the text of the error, which is of kind `K`.
pub(super) struct Sentence<'a, E, K>(pub(super) &'a GaveUp<E>, pub(super) PhantomData<fn() -> K>);

impl<E: Reason<K>, K> fmt::Display for Sentence<'_, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_end(f)?;
        let Some(error) = self.0.last_error() else { return Ok(()) };
        f.write_str(match self.0.ending() {
            Ending::Failed | Ending::NotReadyBecause => ": ",
            _ => "; last error: ",
        })?;
        error.tell(f)
    }
}

/// An error that a [`GaveUp`] can tell of and be an error with: every [`Error`], and nothing else.
///
/// It has this name because rustc says of `?` no more than which bound failed: for `anyhow::Error`, boxed errors and
/// strings, which are no `Error`, say `.boxed()`. See [`GaveUp::boxed`].
#[diagnostic::on_unimplemented(
    message = "`GaveUp<{Self}>` has no text and is no error by itself, because `{Self}` is no `std::error::Error`",
    label = "`{Self}` is no `std::error::Error`",
    note = "say `.boxed()` before `.await`, or `.map_err(GaveUp::boxed)?` after it",
    note = "to print it, say `gave_up.sentence()`"
)]
pub trait ErrorElseSayBoxed: Error {}

#[diagnostic::do_not_recommend]
impl<E: Error> ErrorElseSayBoxed for E {}

impl<E: ErrorElseSayBoxed> fmt::Display for GaveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sentence::<E, AsError>(self, PhantomData).fmt(f)
    }
}

impl<E: ErrorElseSayBoxed> Error for GaveUp<E> {}

/// What the last attempt did, its error with every cause.
impl<E: Error> fmt::Display for Last<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.tell(f),
            Self::FailedBefore => f.write_str("failed with an error that was handed out before"),
            Self::NotReady => f.write_str("not ready"),
            Self::NotReadyBecause(error) => {
                f.write_str("not ready: ")?;
                error.tell(f)
            }
            Self::Cut { after, by: CutBy::AttemptTimeout } => {
                write!(f, "cut after {} by its own deadline", Measured(*after))
            }
            Self::Cut { after, by: CutBy::Deadline } => {
                write!(f, "cut after {} by the overall deadline", Measured(*after))
            }
            Self::Cut { after, by: CutBy::Cancelled } => write!(f, "dropped after {}", Measured(*after)),
            Self::NotCalled => f.write_str("not called"),
            Self::NotStarted => f.write_str("nothing was attempted"),
        }
    }
}

/// As derived, but for times that never come.
impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready_in, allowed) = match *self {
            Self::Fatal => return f.write_str("Fatal"),
            Self::Attempts => return f.write_str("Attempts"),
            Self::BackoffEnded => return f.write_str("BackoffEnded"),
            Self::StartWindow => return f.write_str("StartWindow"),
            Self::Deadline => return f.write_str("Deadline"),
            Self::Cancelled => return f.write_str("Cancelled"),
            Self::Budget => return f.write_str("Budget"),
            Self::Stalled => return f.write_str("Stalled"),
            Self::Unobservable => return f.write_str("Unobservable"),
            Self::NoShare { lapsed, ref why } => {
                return f.debug_struct("NoShare").field("lapsed", &lapsed).field("why", why).finish();
            }
            Self::Limiter { ready_in, allowed } => (ready_in, allowed),
        };
        let time = |time: Duration| if nanos(time) >= NEVER { None } else { Some(time) };
        f.debug_struct("Limiter").field("ready_in", &time(ready_in)).field("allowed", &time(allowed)).finish()
    }
}

/// What there is to say, by name; times as `352ms`.
#[expect(clippy::missing_fields_in_debug, reason = "the error and what packs it are shown as what they mean")]
impl<E: fmt::Debug> fmt::Debug for GaveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("GaveUp");
        parts.field("stop", &self.stop).field("last", &self.last());
        if self.ending() != Ending::Failed {
            parts.field("last_error", &self.last_error());
        }
        if matches!(self.stop, Stop::StartWindow | Stop::Deadline) {
            parts.field("bound", &format_args!("{}", Written(duration(self.bound))));
        }
        parts
            .field("attempts", &self.attempts())
            .field("elapsed", &format_args!("{}", Written(self.elapsed())))
            .field("detail", &self.detail())
            .finish()
    }
}

impl<E> GaveUp<E> {
    /// All but the error: as far as "last attempt", where that failed.
    fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts() {
            0 => f.write_str("gave up before the first attempt")?,
            1 => f.write_str("gave up after 1 attempt")?,
            many => write!(f, "gave up after {many} attempts")?,
        }
        // Less is no time that an operator could do anything about.
        if self.elapsed() >= Duration::from_millis(1) {
            let after = if self.attempts() == 0 { ", after" } else { " in" };
            write!(f, "{after} {}", Measured(self.elapsed()))?;
        }
        self.write_stop(f)?;
        self.write_detail(f)?;
        self.write_last(f)
    }

    fn write_stop(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = Written(duration(self.bound));
        match &self.stop {
            Stop::Fatal if matches!(self.ending(), Ending::Cut(_)) => {
                f.write_str(": a call without an answer must not be repeated")
            }
            Stop::Fatal => f.write_str(": repeating cannot mend this"),
            Stop::Attempts => {
                // Of an `ensure` it is the acts that are counted.
                let (allowed, one, many) = match self.detail() {
                    Some(&Detail::Ensure { acts, .. }) => (acts, "act was", "acts were"),
                    _ => (self.attempts(), "attempt was", "attempts were"),
                };
                write!(f, ": at most {allowed} {} allowed", if allowed == 1 { one } else { many })
            }
            Stop::BackoffEnded => f.write_str(": the backoff has no further delay"),
            Stop::StartWindow => write!(f, ": no attempt may start after {bound}"),
            Stop::Deadline => write!(f, ": everything must be finished within {bound}"),
            Stop::Cancelled => f.write_str(": cancelled"),
            Stop::Budget => f.write_str(": the retry budget is spent"),
            &Stop::Limiter { ready_in, .. } if nanos(ready_in) >= NEVER => {
                f.write_str(": the limiter will never have a permit")
            }
            &Stop::Limiter { ready_in, allowed: Duration::ZERO } => {
                write!(f, ": the limiter's permit would take {} and no time was left to wait", Measured(ready_in))
            }
            &Stop::Limiter { ready_in, allowed } => write!(
                f,
                ": the limiter's permit would take {} and only {} could be waited",
                Measured(ready_in),
                Measured(allowed)
            ),
            Stop::NoShare { lapsed, why } => {
                f.write_str(": ")?;
                why.write(f, *lapsed)
            }
            Stop::Stalled => f.write_str(": nothing has moved"),
            Stop::Unobservable => f.write_str(": observing has failed for longer than is tolerated"),
        }
    }

    fn write_detail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            None => Ok(()),
            Some(Detail::Settle { on, unchanged_for }) => {
                write!(f, " (last seen: {on}, unchanged for {})", Measured(*unchanged_for))
            }
            Some(Detail::Read { of }) => write!(f, " (reading {of})"),
            Some(&Detail::Ensure { acts, outcome_unknown }) => {
                match acts {
                    0 => f.write_str(" (never acted")?,
                    1 => f.write_str(" (acted once")?,
                    many => write!(f, " (acted {many} times")?,
                }
                f.write_str(match (acts, outcome_unknown) {
                    (0, _) => ")",
                    (_, true) => ", and whether it was applied is unknown)",
                    (_, false) => ", and it was not seen to be applied)",
                })
            }
        }
    }

    fn write_last(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = self.ending();
        if ending == Ending::NotStarted {
            return f.write_str("; nothing was attempted");
        }
        f.write_str("; last attempt")?;
        // Observations have no outcome, and of acts it has been said.
        let (by, outcome) = match ending {
            Ending::Failed if self.last_error().is_none() => {
                return f.write_str(" failed with an error that was handed out before");
            }
            Ending::NotStarted | Ending::Failed => return Ok(()),
            Ending::NotReady | Ending::NotReadyBecause => return f.write_str(": not ready"),
            Ending::NotCalled => return f.write_str(": not called"),
            Ending::Cut(by) if self.detail().is_none() && !self.observes() => (by, ", outcome unknown"),
            Ending::Cut(by) => (by, ""),
        };
        let after = Measured(duration(self.cut_after));
        match by {
            CutBy::AttemptTimeout => write!(f, ": cut after {after} by its own deadline{outcome}"),
            CutBy::Deadline => write!(f, ": cut after {after} by the overall deadline{outcome}"),
            CutBy::Cancelled if self.is_cancelled() => write!(f, ": cancelled after {after}{outcome}"),
            // By its owner, and the run went on.
            CutBy::Cancelled => write!(f, ": dropped after {after}{outcome}"),
        }
    }
}
