//! `settle`: wait until an operation has really finished.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;

use crate::{
    error::{Detail, GaveUp, Stop},
    events::Listener,
    operation::{Classify, Judged, Operation, RetryAll, Verb, VerbTypes},
    policy::{
        nanos::{duration, nanos},
        schedule::{Policy, attempts::Attempt},
        verb::settle::{Movement, Observed, Rules, Settling},
    },
    report::Reports,
    run::Run,
    run::controls::Ties,
    run::settings::settings,
    time::Timer,
};

/// Watches something that others do until it has really finished, and notices when it does not move.
///
/// Each observation answers [`Progress`], or `Result<Progress<T, E>, E>` so that `?` works. An error of the observation is not
/// one of the operation: it is tolerated, for [`tolerate_errors_for`](Settle::tolerate_errors_for) if that is set, unless
/// [`when`](Settle::when) says that it is fatal.
///
/// Observed every second, if nothing is set. [`stall_after`](Settle::stall_after) is judged when an observation has ended.
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
    Fut: Future<Output: Observation>,
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
// Apart from `Observation`, as `VerbTypes` says.
#[diagnostic::on_unimplemented(
    message = "an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`",
    note = "without anything to say of its progress, use `poll`"
)]
pub trait ObservationTypes {
    /// The value of what has finished.
    type Value;
    /// The error of operation and observation.
    type Error;
}

impl<T, E> ObservationTypes for Progress<T, E> {
    type Value = T;
    type Error = E;
}

impl<T, F, E> ObservationTypes for Result<Progress<T, F>, E> {
    type Value = T;
    type Error = E;
}

/// What an observation may answer: [`Progress`] or `Result<Progress, E>`. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "an observation of `settle` must answer `Progress<T, E>` or `Result<Progress<T, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "say how far it is: `Progress::Done(value)`, `Moving(text)`, `Waiting(text)` or `Failed(error)`",
    note = "without anything to say of its progress, use `poll`"
)]
pub trait Observation: ObservationTypes {
    #[doc(hidden)]
    fn progress(self) -> Result<Progress<Self::Value, Self::Error>, Self::Error>;
}

impl<T, E> Observation for Progress<T, E> {
    fn progress(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<T, E> Observation for Result<Progress<T, E>, E> {
    fn progress(self) -> Self {
        self
    }
}

/// The error of what is watched.
pub(crate) type WatchErrorOf<O> = <<O as Operation>::Output as ObservationTypes>::Error;
/// The value of what is watched.
pub(crate) type WatchedOf<O> = <<O as Operation>::Output as ObservationTypes>::Value;

#[derive(Clone, Copy, Debug)]
struct Watched<O> {
    observe: O,
    rules: Rules,
}

/// A settle to be: made by [`settle`], run by `.await`. [`Retry`](crate::builder::Retry) tells which words can stand in an `if`.
#[derive(Clone, Debug)]
#[must_use = "a settle does nothing unless you `.await` it"]
pub struct Settle<O, W = RetryAll, L = (), G = ()> {
    operation: Watched<O>,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Operation<Output: Observation>> Settle<O> {
    /// [`settle`] for an observation that is a type, so that its future can be named: see [`Operation`].
    pub fn new(observe: O) -> Self {
        let operation = Watched { observe, rules: Rules { stable_for: 1, ..Rules::default() } };
        Self { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Settle, Operation<Output: ObservationTypes>, WatchErrorOf<O>);

impl<O, W, L, G> Settle<O, W, L, G> {
    /// Ends the run when nothing has moved for so long: since it began, since the text last changed, since it was first seen
    /// done and then no longer.
    pub fn stall_after(mut self, limit: Duration) -> Self {
        self.operation.rules.stall_after = nanos(limit);
        self
    }

    /// It has finished when so many observations in a row say so. 0 is 1, the default.
    pub fn stable_for(mut self, observations: u32) -> Self {
        self.operation.rules.stable_for = observations;
        self
    }

    /// Ends the run with [`Stop::Unobservable`](crate::Stop::Unobservable) when observations have failed or been cut for so
    /// long without one between that did not. Default: only the bounds do.
    pub fn tolerate_errors_for(mut self, span: Duration) -> Self {
        self.operation.rules.tolerate = nanos(span);
        self
    }
}

impl<O, W, L, G> IntoFuture for Settle<O, W, L, G>
where
    O: Operation<Output: Observation>,
    W: Classify<WatchErrorOf<O>>,
    L: Listener<WatchErrorOf<O>>,
    G: Ties,
{
    type Output = Result<WatchedOf<O>, GaveUp<WatchErrorOf<O>>>;
    type IntoFuture = SettleFuture<O, W, L, G>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { operation: Watched { observe, rules }, when, listener, policy, shared } = self;
        let policy = policy.or_every(Duration::from_secs(1));
        let settling = Watching { rules, began: None, movement: Movement::default(), text: String::new() };
        SettleFuture { run: Run::new(settling, observe, when, listener, policy, shared) }
    }
}

/// The future of [`settle`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct SettleFuture<O, W = RetryAll, L = (), G = ()>
where
    O: Operation<Output: ObservationTypes>,
    G: Ties,
{
    #[pin]
    run: Run<Watching, O, W, L, G, Timer>,
}

impl<O, W, L, G> Reports for SettleFuture<O, W, L, G>
where
    O: Operation<Output: Observation>,
    G: Ties,
{
    fn report(&self) -> (u32, u64) {
        self.run.report()
    }
}

impl<O, W, L, G> Future for SettleFuture<O, W, L, G>
where
    O: Operation<Output: Observation>,
    W: Classify<WatchErrorOf<O>>,
    L: Listener<WatchErrorOf<O>>,
    G: Ties,
{
    type Output = Result<WatchedOf<O>, GaveUp<WatchErrorOf<O>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.run.poll(cx)
    }
}

/// How `settle` reads an observation.
#[derive(Debug)]
pub(crate) struct Watching {
    rules: Rules,
    /// When the first observation started, nanoseconds since the run began.
    began: Option<u64>,
    movement: Movement,
    /// What was last seen.
    text: String,
}

impl Watching {
    /// Nanoseconds since watching began.
    fn since(&self, now: u64) -> u64 {
        now.saturating_sub(self.began.unwrap_or(now))
    }

    /// What follows what was seen at `now`, since watching began.
    fn observe(&mut self, now: u64, observed: Observed) -> Option<Stop> {
        match self.movement.observe(&self.rules, now, observed) {
            Settling::Settled | Settling::GoOn => None,
            Settling::Stalled => Some(Stop::Stalled),
            Settling::Unobservable => Some(Stop::Unobservable),
        }
    }
}

impl<A: ObservationTypes> VerbTypes<A> for Watching {
    type Value = A::Value;
    type Error = A::Error;
    const NAME: &'static str = "SettleFuture";
    const OBSERVES: bool = true;
}

impl<A: Observation> Verb<A> for Watching {
    fn begin(&mut self, attempt: Attempt) {
        self.began.get_or_insert_with(|| nanos(attempt.elapsed()));
    }

    fn judge(&mut self, answer: A, now: impl FnOnce() -> u64) -> Judged<A::Value, A::Error> {
        let now = self.since(now());
        let (text, observed) = match answer.progress() {
            Ok(Progress::Done(value)) => {
                "done".clone_into(&mut self.text);
                return match self.movement.observe(&self.rules, now, Observed::Done) {
                    Settling::Settled => Judged::Value(value),
                    _ => Judged::NotYet,
                };
            }
            Ok(Progress::Moving(text)) => {
                let observed = if text == self.text { Observed::Same } else { Observed::Moved };
                (text, observed)
            }
            Ok(Progress::Waiting(text)) => (text, Observed::Waiting),
            Ok(Progress::Failed(error)) => return Judged::Fatal(error),
            Err(error) => {
                return match self.observe(now, Observed::Failed) {
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
        self.observe(now, Observed::Failed)
    }

    fn detail(&mut self, now: impl FnOnce() -> u64) -> Option<Detail> {
        let on = if self.text.is_empty() { "nothing yet".to_owned() } else { self.text.clone() };
        let unchanged_for = duration(self.movement.unchanged_for(self.since(now())));
        Some(Detail::Settle { on, unchanged_for })
    }
}
