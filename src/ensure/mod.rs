//! `ensure`: observe, act, and observe again.

mod future;
pub(crate) mod reconciler;

pub use self::future::EnsureFuture;
use crate::{
    ensure::reconciler::{Closures, ObserveOutput, Reconciler, ReconcilerTypes},
    error::GaveUp,
    events::Listener,
    operation::{Classify, RetryAll},
    policy::{
        schedule::{Policy, attempts::Attempt},
        verb::ensure::Change,
    },
    run::controls::Control,
    run::settings::settings,
};

/// Brings something about that may have been brought about already: observes, acts only if it is not so, and observes
/// again whatever the act answered.
///
/// `observe` answers `Result<Option<T>, E>`, where `Some` is "it is as wanted", or [`Observed`](crate::Observed), which
/// can say more. `act` is given what the observation says is to be done. Success comes only from an observation. An act
/// that failed, or was cut, is followed by an observation before it is repeated: it may have been applied all the same.
///
/// **Repeating is safe only for acts that are conditional or uniquely keyed**: create with a name, write with the
/// version that was read, add what may exist only once. A request that was lost on its way may still arrive after an
/// observation that has missed it.
///
/// A round is: observe, act, observe. The words of the builder hold for rounds, with these differences:
/// - `max_attempts` counts acts. With 0 it never acts: it ends at the first observation that says an act is due.
/// - `attempt_timeout` is the deadline of each call, observation or act.
/// - With `attempt_timeout(a)` and `finish_within(d)` an act is cut at `d - a`, and none starts later, so that the
///   observation that closes the run has its time. Where `a` is more than half of `d`, half of `d` is kept.
/// - `on_cut` is about acts. An observation that was cut is always repeated.
/// - Once it is cancelled, or `finish_within` is over by the clock, it neither acts nor observes: where it has acted by
///   then, the error says that the outcome is unknown. What is cancelled at the very instant of an observation comes
///   before the act.
///
/// With nothing set it goes on for ever, as `retry` does.
///
/// # Errors
/// [`GaveUp`], with a [`Detail::Ensure`](crate::error::Detail): how often it acted, and whether an act may have been
/// applied without an observation to tell. Its `attempts` are rounds.
///
/// # Cancel safety
/// Dropping the future leaves no timer, permit or task behind. An act in flight may be applied or not, as always.
///
/// # Panics
/// As [`retry`](crate::retry()): if it has to wait outside a tokio runtime with time enabled.
///
/// ```
/// use std::{cell::Cell, time::Duration};
/// use relent::{Change, ensure};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let exists = Cell::new(false);
/// let ensured = ensure(
///     async |_| Ok::<_, std::io::Error>(exists.get().then_some("it")),
///     async |()| {
///         exists.set(true); // applied, but the answer is lost
///         Err::<(), _>(std::io::Error::other("connection reset"))
///     },
/// )
/// .attempt_timeout(Duration::from_secs(1))
/// .finish_within(Duration::from_secs(10))
/// .await
/// .unwrap();
/// assert_eq!(ensured.value, "it");
/// assert_eq!(ensured.change, Change::AppliedDespiteError);
/// # }
/// ```
pub fn ensure<V, Observing, A, Acted, S, D, E>(observe: V, act: A) -> Ensure<Closures<V, A, Acted>>
where
    V: FnMut(Attempt) -> Observing,
    Observing: Future<Output: ObserveOutput<State = S, Error = E>>,
    A: FnMut(S) -> Acted,
    Acted: Future<Output = Result<D, E>>,
{
    Ensure::new(Closures::new(observe, act))
}

/// It is as it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Ensured<T> {
    /// What was last observed.
    pub value: T,
    /// How it came to be so.
    pub change: Change,
}

/// An ensure to be: made by [`ensure`], run by `.await`. [`Retry`](crate::builder::Retry) tells which words can stand
/// in an `if`.
#[derive(Clone, Debug)]
#[must_use = "an ensure does nothing unless you `.await` it"]
pub struct Ensure<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Reconciler> Ensure<O> {
    /// [`ensure`] for observations and acts of one type, so that the future can be named: see [`Reconciler`].
    pub fn new(operation: O) -> Self {
        Self { operation, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Ensure, ReconcilerTypes, O::Error);

impl<O, W, L, G> IntoFuture for Ensure<O, W, L, G>
where
    O: Reconciler,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Control,
{
    type Output = Result<Ensured<O::Value>, GaveUp<O::Error>>;
    type IntoFuture = EnsureFuture<O, W, L, G>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { operation, when, listener, policy, shared } = self;
        EnsureFuture::new(operation, when, listener, policy, shared)
    }
}
