//! How runs end without a value, and settings that cannot be.

mod chain;
pub mod reason;
#[cfg(test)]
mod sentences;
mod stop;
mod text;

use std::{convert::Infallible, error::Error, fmt, marker::PhantomData, time::Duration};

pub(crate) use self::stop::{End, EndStop, Ending};
pub use self::{
    chain::{BoxedError, Chained, chain},
    reason::Reason,
    stop::{Detail, Last, Stop},
    text::ErrorElseSayBoxed,
};
use crate::policy::nanos::duration;
pub use crate::policy::{config_error::ConfigError, schedule::bounds::CutBy};

/// A run ended without a value: why it stopped, and what the last attempt did.
///
/// The two are kept apart on purpose. [`stop`](Self::stop) says which bound, setting or decision ended the run;
/// [`last`](Self::last) says what the attempt before it did; and [`last_error`](Self::last_error) is the latest error
/// that the operation itself gave, even where a later attempt was cut before it could answer.
///
/// # Text
/// `GaveUp<E>` is an [`Error`] when `E` is one. Its text is one sentence for an operator, and ends with the error and
/// every cause below it (see [`chain`]). Because it has told them, [`source`](Error::source) is `None`: a cause is
/// shown or returned, never both, so that no reporter prints one twice. Code that looks for an error of its own in the
/// sources, as tonic and tower do, or wants to lay them out, asks for [`chained`](Self::chained).
///
/// For errors that are no [`Error`], such as `anyhow::Error`, boxed errors and strings, there is
/// [`boxed`](Self::boxed), and by reference [`sentence`](Self::sentence). `boxed` and `chained` are words of the
/// builders, too.
///
/// ```
/// use relent::{Backoff, Stop, retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let gave_up = retry(async |_| Err::<(), _>(std::io::Error::other("no route")))
///     .backoff(Backoff::fixed(std::time::Duration::ZERO))
///     .max_attempts(3)
///     .await
///     .unwrap_err();
/// assert_eq!(*gave_up.stop(), Stop::Attempts);
/// assert_eq!(gave_up.last_error().unwrap().to_string(), "no route");
/// assert!(gave_up.to_string().ends_with("at most 3 attempts were allowed; last attempt: no route"));
/// # }
/// ```
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
    Error { error: E, attempts: u32, ending: Ending, observes: bool },
    Nothing { attempts: u32, ending: Ending, observes: bool },
}

impl<E> Kept<E> {
    fn without_error<F>(&self) -> Kept<F> {
        match *self {
            Self::Error { attempts, ending, observes, .. } | Self::Nothing { attempts, ending, observes } => {
                Kept::Nothing { attempts, ending, observes }
            }
        }
    }
}

// ===== impl GaveUp =====

impl<E> GaveUp<E> {
    #[inline]
    pub(crate) fn new(end: End, error: Option<E>, detail: Option<Detail>) -> Self {
        let End { stop, attempts, elapsed, bound, cut_after, ending, observes } = end;
        let kept = match error {
            Some(error) => Kept::Error { error, attempts, ending, observes },
            None => Kept::Nothing { attempts, ending, observes },
        };
        Self { stop, elapsed, bound, cut_after, detail: detail.map(Box::new), kept }
    }

    /// The same end said again, without the error, which was given away.
    pub(crate) fn without_error<F>(&self) -> GaveUp<F> {
        GaveUp {
            stop: self.stop.clone(),
            elapsed: self.elapsed,
            bound: self.bound,
            cut_after: self.cut_after,
            detail: self.detail.clone(),
            kept: self.kept.without_error(),
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
            Kept::Error { error, attempts, ending, observes } => {
                Kept::Error { error: f(error), attempts, ending, observes }
            }
            Kept::Nothing { .. } => kept.without_error(),
        };
        GaveUp { stop, elapsed, bound, cut_after, detail, kept }
    }

    /// The latest error that an attempt gave, or what `f` makes of the reason why there is none: for traits and
    /// functions that fix the type of the error.
    ///
    /// No attempt gives an error where each was cut, or not ready without saying why, or where none was made. What `f`
    /// is given tells which.
    ///
    /// ```
    /// use std::{io, time::Duration};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let error: io::Error = relent::retry(async |_| std::future::pending::<io::Result<()>>().await)
    ///     .finish_within(Duration::from_secs(1))
    ///     .await
    ///     .map_err(|gave_up| gave_up.error_or_else(|why| io::Error::new(io::ErrorKind::TimedOut, why)))
    ///     .unwrap_err();
    /// assert!(error.to_string().ends_with("cut after 1s by the overall deadline, outcome unknown"));
    /// # }
    /// ```
    pub fn error_or_else(self, f: impl FnOnce(GaveUp<Infallible>) -> E) -> E {
        let Self { stop, elapsed, bound, cut_after, detail, kept } = self;
        match kept {
            Kept::Error { error, .. } => error,
            Kept::Nothing { .. } => f(GaveUp { stop, elapsed, bound, cut_after, detail, kept: kept.without_error() }),
        }
    }

    /// For errors that are no [`Error`] themselves, such as `anyhow::Error`, boxed errors and strings. The causes of an
    /// `anyhow::Error` and of a boxed error are kept, and told.
    ///
    /// ```
    /// # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// relent::retry(async |_| Err::<(), _>("out of luck"))
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

    /// The same, as an error whose text leaves its cause out and whose [`source`](Error::source) is the error that the
    /// operation gave: for code that looks for an error of its own in the sources, as tonic looks for its `Status`, and
    /// for reporters that lay out one cause a line.
    ///
    /// ```
    /// use std::{error::Error, io};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let chained = relent::retry(async |_| Err::<(), _>(io::Error::other("no route")))
    ///     .max_attempts(1)
    ///     .await
    ///     .map_err(relent::GaveUp::chained)
    ///     .unwrap_err();
    /// assert_eq!(chained.to_string(), "gave up after 1 attempt: at most 1 attempt was allowed; last attempt failed");
    /// assert!(chained.source().unwrap().is::<io::Error>());
    /// # }
    /// ```
    #[must_use]
    pub fn chained(self) -> Chained<E> {
        Chained(self)
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
        matches!(self.stop, Stop::Limiter { .. } | Stop::NoShare { .. } | Stop::Budget)
    }

    /// Whether nothing moved for too long.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stop == Stop::Stalled
    }

    /// The sentence without the text of the error and of its causes.
    #[must_use]
    pub fn summary(&self) -> impl fmt::Display + '_ {
        text::Summary(self)
    }

    /// The whole sentence, as [`Display`](fmt::Display) writes it, for errors that are no [`Error`] as well:
    /// `anyhow::Error` and boxed errors with all their causes, and strings. See [`Reason`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let gave_up = relent::retry(async |_| Err::<(), _>("out of luck")).max_attempts(1).await.unwrap_err();
    /// assert!(gave_up.sentence().to_string().ends_with("last attempt: out of luck"));
    /// # }
    /// ```
    #[must_use]
    pub fn sentence<K>(&self) -> impl fmt::Display + '_
    where
        E: Reason<K>,
        K: 'static,
    {
        text::Sentence(self, PhantomData)
    }

    fn ending(&self) -> Ending {
        match self.kept {
            Kept::Error { ending, .. } | Kept::Nothing { ending, .. } => ending,
        }
    }

    /// Whether what was attempted only observes.
    fn observes(&self) -> bool {
        match self.kept {
            Kept::Error { observes, .. } | Kept::Nothing { observes, .. } => observes,
        }
    }
}
