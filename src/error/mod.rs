//! How runs end without a value, and settings that cannot be.

mod config;
mod stop;

use std::{error::Error, fmt, time::Duration};

pub(crate) use self::stop::{End, Ending};
pub use self::{
    config::ConfigError,
    stop::{Detail, Last, Stop},
};
use crate::policy::{
    bounds::CutBy,
    nanos::{Measured, Written, duration},
};

/// A run ended without a value: why it stopped, and what the last attempt did.
///
/// The two are kept apart on purpose. [`stop`](Self::stop) says which bound, setting or decision ended the run;
/// [`last`](Self::last) says what the attempt before it did; and [`last_error`](Self::last_error) is the latest error
/// that the operation itself gave, even where a later attempt was cut before it could answer.
///
/// Its text is one sentence for an operator and contains the cause. [`summary`](Self::summary) leaves the cause out, for
/// reporters that walk [`source`](Error::source), which is never `None`.
///
/// `GaveUp<E>` is an [`Error`] when `E` is one. For `anyhow::Error`, boxed errors and strings use [`boxed`](Self::boxed).
///
/// ```
/// use relent::{Backoff, Stop, retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let gave_up = retry(|_| async { Err::<(), _>(std::io::Error::other("no route")) })
///     .backoff(Backoff::fixed(std::time::Duration::ZERO))
///     .max_attempts(3)
///     .await
///     .unwrap_err();
/// assert_eq!(*gave_up.stop(), Stop::Attempts);
/// assert_eq!(gave_up.last_error().unwrap().to_string(), "no route");
/// assert!(gave_up.to_string().ends_with("at most 3 attempts were allowed; last attempt: no route"));
/// # }
/// ```
#[derive(Debug)]
pub struct GaveUp<E> {
    stop: Stop,
    elapsed: u64,
    /// The bound that stopped the run, where one did.
    bound: u64,
    /// How long the last attempt ran before it was cut.
    cut_after: u64,
    detail: Option<Box<Detail>>,
    kept: Kept<E>,
}

/// One error at most, with the small fields beside it so that they share its padding.
#[derive(Debug)]
enum Kept<E> {
    Error { error: E, attempts: u32, ending: Ending },
    Nothing { attempts: u32, ending: Ending },
}

// ===== impl GaveUp =====

impl<E> GaveUp<E> {
    #[cold]
    pub(crate) fn new(end: End, error: Option<E>) -> Self {
        let End { stop, attempts, elapsed, bound, cut_after, ending } = end;
        let kept = match error {
            Some(error) => Kept::Error { error, attempts, ending },
            None => Kept::Nothing { attempts, ending },
        };
        Self { stop, elapsed, bound, cut_after, detail: None, kept }
    }

    pub(crate) fn with_detail(mut self, detail: Option<Detail>) -> Self {
        self.detail = detail.map(Box::new);
        self
    }

    /// The same end said again, without the error, which was given away.
    pub(crate) fn without_error<F>(&self) -> GaveUp<F> {
        GaveUp {
            stop: self.stop.clone(),
            elapsed: self.elapsed,
            bound: self.bound,
            cut_after: self.cut_after,
            detail: self.detail.clone(),
            kept: Kept::Nothing { attempts: self.attempts(), ending: self.ending() },
        }
    }

    /// Why the run stopped.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// What the last attempt did.
    #[must_use]
    pub fn last(&self) -> Last<&E> {
        self.ending().last(self.last_error(), duration(self.cut_after))
    }

    /// The latest error that an attempt gave. It may be older than the last attempt, if that one was cut or not ready.
    #[must_use]
    pub fn last_error(&self) -> Option<&E> {
        match &self.kept {
            Kept::Error { error, .. } => Some(error),
            Kept::Nothing { .. } => None,
        }
    }

    /// The latest error that an attempt gave, by value.
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        match self.kept {
            Kept::Error { error, .. } => Some(error),
            Kept::Nothing { .. } => None,
        }
    }

    /// How many attempts were started.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        match self.kept {
            Kept::Error { attempts, .. } | Kept::Nothing { attempts, .. } => attempts,
        }
    }

    /// From the start of the run to its end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        duration(self.elapsed)
    }

    /// What `settle` and `ensure` add.
    #[must_use]
    pub fn detail(&self) -> Option<&Detail> {
        self.detail.as_deref()
    }

    /// The same end with its error replaced.
    #[must_use]
    pub fn map_error<F>(self, f: impl FnOnce(E) -> F) -> GaveUp<F> {
        let Self { stop, elapsed, bound, cut_after, detail, kept } = self;
        let kept = match kept {
            Kept::Error { error, attempts, ending } => Kept::Error { error: f(error), attempts, ending },
            Kept::Nothing { attempts, ending } => Kept::Nothing { attempts, ending },
        };
        GaveUp { stop, elapsed, bound, cut_after, detail, kept }
    }

    /// For errors that are no [`Error`] themselves, such as `anyhow::Error`, boxed errors and strings.
    ///
    /// ```
    /// # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// relent::retry(|_| async { Err::<(), _>("out of luck") })
    ///     .max_attempts(1)
    ///     .await
    ///     .map_err(relent::GaveUp::boxed)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn boxed(self) -> GaveUp<BoxedError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.map_error(|error| BoxedError(error.into()))
    }

    /// Whether time ran out: the start window or the bound on everything.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(self.stop, Stop::Deadline | Stop::StartWindow)
    }

    /// Whether the run was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop == Stop::Cancelled
    }

    /// Whether the error is one that repeating cannot mend.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.stop == Stop::Fatal
    }

    /// Whether the attempts or the backoff were used up.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        matches!(self.stop, Stop::Attempts | Stop::BackoffEnded)
    }

    /// Whether a limiter or a budget refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.stop, Stop::Limiter { .. } | Stop::Budget)
    }

    /// Whether nothing moved for too long.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stop == Stop::Stalled
    }

    /// The sentence without the text of the error: for reporters that print [`source`](Error::source) themselves.
    #[must_use]
    pub fn summary(&self) -> impl fmt::Display + '_ {
        Summary(self)
    }

    fn ending(&self) -> Ending {
        match self.kept {
            Kept::Error { ending, .. } | Kept::Nothing { ending, .. } => ending,
        }
    }

    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts() {
            0 => f.write_str("gave up before the first attempt")?,
            1 => f.write_str("gave up after 1 attempt")?,
            many => write!(f, "gave up after {many} attempts")?,
        }
        if self.attempts() > 0 && !self.elapsed().is_zero() {
            write!(f, " in {}", Measured(self.elapsed()))?;
        }
        let bound = Written(duration(self.bound));
        match &self.stop {
            Stop::Fatal => f.write_str(": repeating cannot mend this")?,
            Stop::Attempts => match (self.detail(), self.attempts()) {
                (Some(Detail::Ensure { acts: 1, .. }), _) => f.write_str(": at most 1 act was allowed")?,
                (Some(Detail::Ensure { acts, .. }), _) => write!(f, ": at most {acts} acts were allowed")?,
                (_, 1) => f.write_str(": at most 1 attempt was allowed")?,
                (_, many) => write!(f, ": at most {many} attempts were allowed")?,
            },
            Stop::BackoffEnded => f.write_str(": the backoff has no further delay")?,
            Stop::StartWindow => write!(f, ": no attempt may start after {bound}")?,
            Stop::Deadline => write!(f, ": everything must be finished within {bound}")?,
            Stop::Cancelled => f.write_str(": cancelled")?,
            Stop::Budget => f.write_str(": the retry budget is spent")?,
            Stop::Limiter { ready_in: Duration::MAX, .. } => f.write_str(": the limiter will never have a permit")?,
            Stop::Limiter { ready_in, allowed } => write!(
                f,
                ": the limiter's permit would take {} and only {} could be waited",
                Measured(*ready_in),
                Measured(*allowed)
            )?,
            Stop::Stalled => f.write_str(": nothing has moved")?,
            Stop::Unobservable => f.write_str(": it could not be observed for too long")?,
        }
        match self.detail() {
            Some(Detail::Settle { on, unchanged_for }) => {
                write!(f, " (last seen: {on}, unchanged for {})", Measured(*unchanged_for))
            }
            Some(Detail::Ensure { acts, outcome_unknown }) => {
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
            None => Ok(()),
        }?;
        let cut = Measured(duration(self.cut_after));
        // Observations have no outcome, and of acts it has been said.
        let (ending, outcome) = match self.ending() {
            Ending::ObservationCut(by) => (Ending::Cut(by), ""),
            ending if self.detail().is_some() => (ending, ""),
            ending => (ending, ", outcome unknown"),
        };
        match ending {
            Ending::Failed if self.last_error().is_none() => {
                f.write_str("; last attempt: failed, and its error was given away before")
            }
            Ending::NotStarted if self.attempts() == 0 => f.write_str("; nothing was attempted"),
            Ending::NotStarted | Ending::Failed => f.write_str("; last attempt"),
            Ending::NotReady | Ending::NotReadyBecause => f.write_str("; last attempt: not ready"),
            Ending::Cut(CutBy::AttemptTimeout) => {
                write!(f, "; last attempt: cut after {cut} by its own deadline{outcome}")
            }
            Ending::Cut(CutBy::Deadline) => {
                write!(f, "; last attempt: cut after {cut} by the overall deadline{outcome}")
            }
            Ending::Cut(CutBy::Cancelled) | Ending::ObservationCut(_) => {
                write!(f, "; last attempt: cancelled after {cut}{outcome}")
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for GaveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_summary(f)?;
        match (self.last_error(), self.ending()) {
            (None, _) => Ok(()),
            (Some(error), Ending::Failed | Ending::NotReadyBecause) => write!(f, ": {error}"),
            (Some(error), _) => write!(f, "; last error: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for GaveUp<E> {
    /// The latest error that an attempt gave; without one, a [`NoAnswer`] that says what there was instead.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (self.last_error(), self.ending()) {
            (Some(error), _) => Some(error),
            (None, Ending::Cut(_) | Ending::ObservationCut(_)) => Some(&NoAnswer::Cut),
            (None, Ending::NotStarted) => Some(&NoAnswer::NotStarted),
            (None, _) => Some(&NoAnswer::NotReady),
        }
    }
}

struct Summary<'a, E>(&'a GaveUp<E>);

impl<E> fmt::Display for Summary<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_summary(f)
    }
}

/// The source of a [`GaveUp`] whose attempts never gave an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The condition was not met.
    #[error("the condition was not met")]
    NotReady,
    /// The attempt was cut before it answered.
    #[error("the attempt was cut before it answered")]
    Cut,
    /// Nothing was attempted.
    #[error("nothing was attempted")]
    NotStarted,
}

/// An error of any kind, as one type that is an [`Error`]: what [`GaveUp::boxed`] makes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BoxedError(Box<dyn Error + Send + Sync>);

impl BoxedError {
    /// The error inside.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }

    /// The error inside, by reference: `downcast_ref` works on it.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}
