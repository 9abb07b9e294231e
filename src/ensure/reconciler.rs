//! What `ensure` drives: observations, what they may say, and acts.

use std::{fmt, marker::PhantomData};

use crate::{
    operation::{Operation, Outcome},
    policy::schedule::attempts::Attempt,
};

/// What an observation sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these five are what an observation can say")]
pub enum Seen<T, S, E> {
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
// Apart from `Look`, as `VerbTypes` says.
#[diagnostic::on_unimplemented(
    message = "an observation of `ensure` must answer `Result<Option<T>, E>`, `Seen<T, S, E>` or `Result<Seen<T, S, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "`Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows",
    note = "for a `bool`: `Ok(is_so.then_some(()))`"
)]
pub trait LookTypes {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;
}

impl<T, S, E> LookTypes for Seen<T, S, E> {
    type Value = T;
    type State = S;
    type Error = E;
}

impl<T, S, F, E> LookTypes for Result<Seen<T, S, F>, E> {
    type Value = T;
    type State = S;
    type Error = E;
}

impl<T, E> LookTypes for Result<Option<T>, E> {
    type Value = T;
    type State = ();
    type Error = E;
}

/// What an observation may answer: [`Seen`], `Result<Seen, E>`, `Result<Option<T>, E>`. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "an observation of `ensure` must answer `Result<Option<T>, E>`, `Seen<T, S, E>` or `Result<Seen<T, S, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "`Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows",
    note = "for a `bool`: `Ok(is_so.then_some(()))`"
)]
pub trait Look: LookTypes {
    #[doc(hidden)]
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    fn read(self) -> Result<Seen<Self::Value, Self::State, Self::Error>, Self::Error>;
}

impl<T, S, E> Look for Seen<T, S, E> {
    fn read(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<T, S, E> Look for Result<Seen<T, S, E>, E> {
    fn read(self) -> Self {
        self
    }
}

impl<T, E> Look for Result<Option<T>, E> {
    fn read(self) -> Result<Seen<T, (), E>, E> {
        self.map(|found| found.map_or(Seen::Differs(()), Seen::AsWanted))
    }
}

/// An observation and the act that goes with it: what [`ensure`](crate::ensure()) makes of two closures. `F` is an act's future.
pub struct Both<V, A, F> {
    observe: V,
    act: A,
    acted: PhantomData<fn() -> F>,
}

impl<V, A, F> Both<V, A, F> {
    pub(crate) fn new(observe: V, act: A) -> Self {
        Self { observe, act, acted: PhantomData }
    }
}

impl<V: Clone, A: Clone, F> Clone for Both<V, A, F> {
    fn clone(&self) -> Self {
        Self::new(self.observe.clone(), self.act.clone())
    }
}

impl<V: Copy, A: Copy, F> Copy for Both<V, A, F> {}

impl<V: fmt::Debug, A: fmt::Debug, F> fmt::Debug for Both<V, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Both").field("observe", &self.observe).field("act", &self.act).finish()
    }
}

/// The types of an [`Endeavour`].
// Apart from it, as `VerbTypes` says.
pub trait EndeavourTypes {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;
    /// The future of an observation.
    type Look;
    /// The future of an act.
    type Act;
}

/// What [`Ensure`](crate::builder::Ensure) drives: two closures, or a type that implements this, given to
/// [`Ensure::new`](crate::builder::Ensure::new). Its types stand in [`EndeavourTypes`].
///
/// ```
/// use std::future::{Ready, ready};
/// use relent::{Attempt, Change, builder::{Ensure, EnsureFuture}, operation::{Endeavour, EndeavourTypes}};
///
/// /// A file that has to be there.
/// struct Present { is_there: bool }
///
/// impl EndeavourTypes for Present {
///     type Value = &'static str;
///     type State = ();
///     type Error = std::io::Error;
///     type Look = Ready<Result<Option<&'static str>, std::io::Error>>;
///     type Act = Ready<Result<(), std::io::Error>>;
/// }
///
/// impl Endeavour for Present {
///     fn look(&mut self, _: Attempt) -> Self::Look {
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
pub trait Endeavour:
    EndeavourTypes<
        Look: Future<
            Output: Look<
                Value = <Self as EndeavourTypes>::Value,
                State = <Self as EndeavourTypes>::State,
                Error = <Self as EndeavourTypes>::Error,
            >,
        >,
        Act: Future<Output: Outcome<Error = <Self as EndeavourTypes>::Error>>,
    >
{
    /// Begins an observation.
    fn look(&mut self, attempt: Attempt) -> Self::Look;
    /// Begins an act.
    fn act(&mut self, state: Self::State) -> Self::Act;
}

impl<V, A, F> EndeavourTypes for Both<V, A, F>
where
    V: Operation<Output: LookTypes>,
{
    type Value = <V::Output as LookTypes>::Value;
    type State = <V::Output as LookTypes>::State;
    type Error = <V::Output as LookTypes>::Error;
    type Look = V::Future;
    type Act = F;
}

impl<V, A, F> Endeavour for Both<V, A, F>
where
    V: Operation<Output: Look>,
    A: FnMut(<V::Output as LookTypes>::State) -> F,
    F: Future<Output: Outcome<Error = <V::Output as LookTypes>::Error>>,
{
    fn look(&mut self, attempt: Attempt) -> V::Future {
        self.observe.call(attempt)
    }

    fn act(&mut self, state: Self::State) -> F {
        (self.act)(state)
    }
}
