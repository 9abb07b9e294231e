//! `settle`: wait until an operation has really finished.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    error::{Detail, GaveUp, Stop},
    events::Listener,
    operation::{Classify, Judged, Operation, RetryAll, Verb, VerbTypes},
    policy::{
        nanos::{duration, nanos},
        schedule::{
            Policy,
            attempts::{Attempt, Decision},
        },
        verb::settle::{Sample, SettleRules, SettleStep, StallDetector},
    },
    report::Reports,
    run::RunFuture,
    run::controls::Control,
    run::settings::settings,
    time::Timer,
};

/// Watches something that others do until it has really finished, and notices when it does not move.
///
/// Each observation answers [`Progress`], or `Result<Progress<T, E>, E>` so that `?` works. An error of the observation
/// is not one of the operation: it is tolerated, for [`tolerate_errors_for`](Settle::tolerate_errors_for) if that is
/// set, unless [`when`](Settle::when) says that it is fatal.
///
/// Observed every second, if nothing is set. [`stall_after`](Settle::stall_after) is judged when an observation has
/// ended.
///
/// # Errors
/// [`GaveUp`], with a [`Detail::Settle`]: what was last seen and for how long it had not changed.
///
/// # Cancel safety
/// Dropping the future leaves no timer, permit or task behind.
///
/// # Panics
/// As [`retry`](crate::retry()): if it has to wait outside a tokio runtime with time enabled.
///
/// ```
/// use std::time::Duration;
/// use relent::{Progress, settle};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let gave_up = settle(async |_| Progress::<(), std::io::Error>::Waiting("annotation still set".into()))
///     .every(Duration::from_secs(5))
///     .stall_after(Duration::from_secs(60))
///     .finish_within(Duration::from_secs(600))
///     .await
///     .unwrap_err();
/// assert!(gave_up.is_stalled());
/// assert_eq!(
///     gave_up.to_string(),
///     "gave up after 13 attempts in 1m: nothing has moved (last seen: annotation still set, unchanged for 1m); \
///      last attempt: not ready",
/// );
/// # }
/// ```
pub fn settle<F, Fut>(observe: F) -> Settle<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output: SettleOutput>,
{
    Settle::new(observe)
}

/// What an observation found.
///
/// An observation that cannot fail names no error: it answers `Progress<T>`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these four are what an observation can say")]
pub enum Progress<T, E = Infallible> {
    /// It has finished.
    Done(T),
    /// It moves. The same text as before is no movement.
    Moving(String),
    /// It waits for something: no movement, whatever the text.
    Waiting(String),
    /// It has failed, and will not recover.
    Failed(E),
}

/// The types of what an observation may answer: value and error.
// Apart from `SettleOutput`, as `VerbTypes` says.
#[diagnostic::on_unimplemented(
    message = "an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`",
    note = "a `Progress<T>` has no errors: in a `Result` it is `Progress<T, E>`, with the error of both",
    note = "without anything to say of its progress, use `poll`"
)]
pub trait SettleOutputTypes {
    /// The value of what has finished.
    type Value;
    /// The error of operation and observation.
    type Error;
}

impl<T, E> SettleOutputTypes for Progress<T, E> {
    type Value = T;
    type Error = E;
}

impl<T, F, E> SettleOutputTypes for Result<Progress<T, F>, E> {
    type Value = T;
    type Error = E;
}

/// What an observation may answer: [`Progress`] or `Result<Progress, E>`. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`",
    note = "a `Progress<T>` has no errors: in a `Result` it is `Progress<T, E>`, with the error of both",
    note = "without anything to say of its progress, use `poll`"
)]
pub trait SettleOutput: SettleOutputTypes {
    #[doc(hidden)]
    fn progress(self) -> Result<Progress<Self::Value, Self::Error>, Self::Error>;
}

impl<T, E> SettleOutput for Progress<T, E> {
    fn progress(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<T, E> SettleOutput for Result<Progress<T, E>, E> {
    fn progress(self) -> Self {
        self
    }
}

/// The error of what is watched.
type WatchErrorOf<O> = <<O as Operation>::Output as SettleOutputTypes>::Error;
/// The value of what is watched.
type WatchedOf<O> = <<O as Operation>::Output as SettleOutputTypes>::Value;

#[derive(Clone, Copy, Debug)]
struct SettleOp<O> {
    observe: O,
    rules: SettleRules,
}

/// A settle to be: made by [`settle`], run by `.await`. [`Retry`](crate::builder::Retry) tells which words can stand in
/// an `if`.
#[derive(Clone, Debug)]
#[must_use = "a settle does nothing unless you `.await` it"]
pub struct Settle<O, W = RetryAll, L = (), G = ()> {
    operation: SettleOp<O>,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Operation<Output: SettleOutput>> Settle<O> {
    /// [`settle`] for an observation that is a type, so that its future can be named: see [`Operation`].
    pub fn new(observe: O) -> Self {
        let operation = SettleOp { observe, rules: SettleRules { stable_for: 1, ..SettleRules::default() } };
        Self { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Settle, Operation<Output: SettleOutputTypes>, WatchErrorOf<O>);

impl<O, W, L, G> Settle<O, W, L, G> {
    /// Ends the run when nothing has moved for so long: since it began, since the text last changed, since it was first
    /// seen done and then no longer.
    pub fn stall_after(mut self, limit: Duration) -> Self {
        self.operation.rules.stall_after = nanos(limit);
        self
    }

    /// It has finished when so many observations in a row say so. 0 is 1, the default.
    pub fn stable_for(mut self, observations: u32) -> Self {
        self.operation.rules.stable_for = observations;
        self
    }

    /// Ends the run with [`Stop::Unobservable`](crate::Stop::Unobservable) when observations have failed or been cut
    /// for so long without one between that did not. Default: only the bounds do.
    pub fn tolerate_errors_for(mut self, span: Duration) -> Self {
        self.operation.rules.tolerate = nanos(span);
        self
    }
}

impl<O, W, L, G> IntoFuture for Settle<O, W, L, G>
where
    O: Operation<Output: SettleOutput>,
    W: Classify<WatchErrorOf<O>>,
    L: Listener<WatchErrorOf<O>>,
    G: Control,
{
    type Output = Result<WatchedOf<O>, GaveUp<WatchErrorOf<O>>>;
    type IntoFuture = SettleFuture<O, W, L, G>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { operation: SettleOp { observe, rules }, when, listener, policy, shared } = self;
        let policy = policy.or_every(Duration::from_secs(1));
        let settling = SettleVerb { rules, began: None, movement: StallDetector::default(), text: String::new() };
        SettleFuture { run: RunFuture::new(settling, observe, when, listener, policy, shared) }
    }
}

pin_project! {
    /// The future of [`settle`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct SettleFuture<O, W = RetryAll, L = (), G = ()>
    where
        O: Operation<Output: SettleOutputTypes>,
        G: Control,
    {
        #[pin]
        run: RunFuture<SettleVerb, O, W, L, G, Timer>,
    }
}

impl<O, W, L, G> Reports for SettleFuture<O, W, L, G>
where
    O: Operation<Output: SettleOutput>,
    G: Control,
{
    fn report(&self) -> (u32, u64) {
        self.run.report()
    }
}

impl<O, W, L, G> Future for SettleFuture<O, W, L, G>
where
    O: Operation<Output: SettleOutput>,
    W: Classify<WatchErrorOf<O>>,
    L: Listener<WatchErrorOf<O>>,
    G: Control,
{
    type Output = Result<WatchedOf<O>, GaveUp<WatchErrorOf<O>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.run.poll(cx)
    }
}

/// How `settle` reads an observation.
#[derive(Debug)]
struct SettleVerb {
    rules: SettleRules,
    /// When the first observation started, nanoseconds since the run began.
    began: Option<u64>,
    movement: StallDetector,
    /// What was last seen.
    text: String,
}

impl SettleVerb {
    /// Nanoseconds since watching began.
    fn since(&self, now: u64) -> u64 {
        now.saturating_sub(self.began.unwrap_or(now))
    }

    /// What follows what was seen at `now`, since watching began.
    fn observe(&mut self, now: u64, observed: Sample) -> Option<Stop> {
        match self.movement.observe(&self.rules, now, observed) {
            SettleStep::Settled | SettleStep::GoOn => None,
            SettleStep::Stalled => Some(Stop::Stalled),
            SettleStep::Unobservable => Some(Stop::Unobservable),
        }
    }
}

impl<A: SettleOutputTypes> VerbTypes<A> for SettleVerb {
    type Value = A::Value;
    type Error = A::Error;
    const NAME: &'static str = "SettleFuture";
    const OBSERVES: bool = true;
}

impl<A: SettleOutput> Verb<A> for SettleVerb {
    fn begin(&mut self, attempt: Attempt) {
        self.began.get_or_insert_with(|| nanos(attempt.elapsed()));
    }

    fn judge(&mut self, answer: A, now: impl FnOnce() -> u64) -> Judged<A::Value, A::Error> {
        let now = self.since(now());
        let (text, observed) = match answer.progress() {
            Ok(Progress::Done(value)) => {
                "done".clone_into(&mut self.text);
                return match self.movement.observe(&self.rules, now, Sample::Done) {
                    SettleStep::Settled => Judged::Value(value),
                    _ => Judged::NotYet,
                };
            }
            Ok(Progress::Moving(text)) => {
                let observed = if text == self.text { Sample::Same } else { Sample::Moved };
                (text, observed)
            }
            Ok(Progress::Waiting(text)) => (text, Sample::Waiting),
            Ok(Progress::Failed(error)) => return Judged::Decided(error, Decision::Fatal),
            Err(error) => {
                return match self.observe(now, Sample::Failed) {
                    Some(stop) => Judged::Stopped(stop, Some(error)),
                    None => Judged::Failed(error),
                };
            }
        };
        self.text = text;
        match self.observe(now, observed) {
            Some(stop) => Judged::Stopped(stop, None),
            None => Judged::NotYet,
        }
    }

    fn cut(&mut self, now: impl FnOnce() -> u64) -> Option<Stop> {
        let now = self.since(now());
        self.observe(now, Sample::Failed)
    }

    fn detail(&mut self, now: impl FnOnce() -> u64) -> Option<Detail> {
        let on = self.text.clone();
        let unchanged_for = duration(self.movement.unchanged_for(self.since(now())));
        Some(Detail::Settle { on, unchanged_for })
    }
}
