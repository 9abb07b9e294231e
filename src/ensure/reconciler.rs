//! What `ensure` drives: observations, what they may say, and acts.

use std::{fmt, marker::PhantomData};

use crate::{
    operation::{Operation, RetryOutput},
    policy::schedule::attempts::Attempt,
};

/// What an observation sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these five are what an observation can say")]
pub enum Observed<T, S, E> {
    /// It is as wanted.
    AsWanted(T),
    /// It is not: this is to be done.
    Differs(S),
    /// It is not, and there is nothing to do but wait.
    NotYet,
    /// It is not, there is nothing to do but wait, and this is why: it is remembered for the error.
    NotYetBecause(E),
    /// It never will be.
    Fatal(E),
}

/// The types of what an observation may answer.
// Apart from `ObserveOutput`, as `VerbTypes` says.
#[diagnostic::on_unimplemented(
    message = "an observation of `ensure` must answer `Result<Option<T>, E>`, `Observed<T, S, E>` or `Result<Observed<T, S, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "`Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows",
    note = "for a `bool`: `Ok(is_so.then_some(()))`"
)]
pub trait ObserveOutputTypes {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;
}

impl<T, S, E> ObserveOutputTypes for Observed<T, S, E> {
    type Value = T;
    type State = S;
    type Error = E;
}

impl<T, S, F, E> ObserveOutputTypes for Result<Observed<T, S, F>, E> {
    type Value = T;
    type State = S;
    type Error = E;
}

impl<T, E> ObserveOutputTypes for Result<Option<T>, E> {
    type Value = T;
    type State = ();
    type Error = E;
}

/// What an observation may answer: [`Observed`], `Result<Observed, E>`, `Result<Option<T>, E>`. Not to be implemented
/// elsewhere.
#[diagnostic::on_unimplemented(
    message = "an observation of `ensure` must answer `Result<Option<T>, E>`, `Observed<T, S, E>` or `Result<Observed<T, S, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "`Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows",
    note = "for a `bool`: `Ok(is_so.then_some(()))`"
)]
pub trait ObserveOutput: ObserveOutputTypes {
    #[doc(hidden)]
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    fn read(self) -> Result<Observed<Self::Value, Self::State, Self::Error>, Self::Error>;
}

impl<T, S, E> ObserveOutput for Observed<T, S, E> {
    fn read(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<T, S, E> ObserveOutput for Result<Observed<T, S, E>, E> {
    fn read(self) -> Self {
        self
    }
}

impl<T, E> ObserveOutput for Result<Option<T>, E> {
    fn read(self) -> Result<Observed<T, (), E>, E> {
        self.map(|found| found.map_or(Observed::Differs(()), Observed::AsWanted))
    }
}

/// An observation and the act that goes with it: what [`ensure`](crate::ensure()) makes of two closures. `F` is an
/// act's future.
pub struct Closures<V, A, F> {
    observe: V,
    act: A,
    acted: PhantomData<fn() -> F>,
}

impl<V, A, F> Closures<V, A, F> {
    pub(crate) fn new(observe: V, act: A) -> Self {
        Self { observe, act, acted: PhantomData }
    }
}

impl<V: Clone, A: Clone, F> Clone for Closures<V, A, F> {
    fn clone(&self) -> Self {
        Self::new(self.observe.clone(), self.act.clone())
    }
}

impl<V: Copy, A: Copy, F> Copy for Closures<V, A, F> {}

impl<V: fmt::Debug, A: fmt::Debug, F> fmt::Debug for Closures<V, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closures").field("observe", &self.observe).field("act", &self.act).finish()
    }
}

/// The types of an [`Reconciler`].
// Apart from it, as `VerbTypes` says.
pub trait ReconcilerTypes {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;
    /// The future of an observation.
    type Observe;
    /// The future of an act.
    type Act;
}

/// What [`Ensure`](crate::builder::Ensure) drives: two closures, or a type that implements this, given to
/// [`Ensure::new`](crate::builder::Ensure::new). Its types stand in [`ReconcilerTypes`].
///
/// ```
/// use std::future::{Ready, ready};
/// use relent::{Attempt, Change, builder::{Ensure, EnsureFuture}, operation::{Reconciler, ReconcilerTypes}};
///
/// /// A file that has to be there.
/// struct Present { is_there: bool }
///
/// impl ReconcilerTypes for Present {
///     type Value = &'static str;
///     type State = ();
///     type Error = std::io::Error;
///     type Observe = Ready<Result<Option<&'static str>, std::io::Error>>;
///     type Act = Ready<Result<(), std::io::Error>>;
/// }
///
/// impl Reconciler for Present {
///     fn observe(&mut self, _: Attempt) -> Self::Observe {
///         ready(Ok(self.is_there.then_some("it")))
///     }
///
///     fn act(&mut self, (): ()) -> Self::Act {
///         self.is_there = true;
///         ready(Ok(()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let present: EnsureFuture<Present> = Ensure::new(Present { is_there: false }).max_attempts(3).into_future();
/// assert_eq!(present.await.unwrap().change, Change::Applied);
/// # }
/// ```
pub trait Reconciler:
    ReconcilerTypes<
        Observe: Future<
            Output: ObserveOutput<
                Value = <Self as ReconcilerTypes>::Value,
                State = <Self as ReconcilerTypes>::State,
                Error = <Self as ReconcilerTypes>::Error,
            >,
        >,
        Act: Future<Output: RetryOutput<Error = <Self as ReconcilerTypes>::Error>>,
    >
{
    /// Begins an observation.
    fn observe(&mut self, attempt: Attempt) -> Self::Observe;
    /// Begins an act.
    fn act(&mut self, state: Self::State) -> Self::Act;
}

impl<V, A, F> ReconcilerTypes for Closures<V, A, F>
where
    V: Operation<Output: ObserveOutputTypes>,
{
    type Value = <V::Output as ObserveOutputTypes>::Value;
    type State = <V::Output as ObserveOutputTypes>::State;
    type Error = <V::Output as ObserveOutputTypes>::Error;
    type Observe = V::Future;
    type Act = F;
}

impl<V, A, F> Reconciler for Closures<V, A, F>
where
    V: Operation<Output: ObserveOutput>,
    A: FnMut(<V::Output as ObserveOutputTypes>::State) -> F,
    F: Future<Output: RetryOutput<Error = <V::Output as ObserveOutputTypes>::Error>>,
{
    fn observe(&mut self, attempt: Attempt) -> V::Future {
        self.observe.call(attempt)
    }

    fn act(&mut self, state: Self::State) -> F {
        (self.act)(state)
    }
}
