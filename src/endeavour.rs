//! What `ensure` drives: observations, what they may say, and acts.

use crate::{operation::Operation, policy::attempts::Attempt};

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

/// What an observation may answer: [`Seen`], `Result<Seen, E>`, `Result<Option<T>, E>`.
#[diagnostic::on_unimplemented(
    message = "an observation of `ensure` must answer `Result<Option<T>, E>`, `Seen<T, S, E>` or `Result<Seen<T, S, E>, E>`",
    label = "an observation answers `{Self}`",
    note = "`Ok(Some(value))`: it is as wanted; `Ok(None)`: it is not, and the act follows",
    note = "for a `bool`: `Ok(is_so.then_some(()))`"
)]
pub trait Look {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;

    #[doc(hidden)]
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    fn read(self) -> Result<Seen<Self::Value, Self::State, Self::Error>, Self::Error>;
}

impl<T, S, E> Look for Seen<T, S, E> {
    type Value = T;
    type State = S;
    type Error = E;

    fn read(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<T, S, E> Look for Result<Seen<T, S, E>, E> {
    type Value = T;
    type State = S;
    type Error = E;

    fn read(self) -> Self {
        self
    }
}

impl<T, E> Look for Result<Option<T>, E> {
    type Value = T;
    type State = ();
    type Error = E;

    fn read(self) -> Result<Seen<T, (), E>, E> {
        self.map(|found| found.map_or(Seen::Differs(()), Seen::AsWanted))
    }
}

/// An act: every `FnMut(S) -> impl Future<Output = Result<_, E>>`.
pub trait Act<S> {
    /// What it fails with.
    type Error;
    /// What it answers; not looked at.
    type Done;
    /// One act.
    type Future: Future<Output = Result<Self::Done, Self::Error>>;

    /// Begins an act.
    fn begin(&mut self, state: S) -> Self::Future;
}

impl<S, F, Fut, D, E> Act<S> for F
where
    F: FnMut(S) -> Fut,
    Fut: Future<Output = Result<D, E>>,
{
    type Error = E;
    type Done = D;
    type Future = Fut;

    fn begin(&mut self, state: S) -> Fut {
        self(state)
    }
}

/// An observation and the act that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Both<V, A> {
    pub(crate) observe: V,
    pub(crate) act: A,
}

/// What [`Ensure`](crate::Ensure) drives: [`Both`].
pub trait Endeavour {
    /// What is wanted.
    type Value;
    /// What the act is given.
    type State;
    /// The error of observations and acts.
    type Error;
    /// What an act answers.
    type Done;
    /// What an observation answers.
    type Looked: Look<Value = Self::Value, State = Self::State, Error = Self::Error>;
    /// One observation.
    type Look: Future<Output = Self::Looked>;
    /// One act.
    type Act: Future<Output = Result<Self::Done, Self::Error>>;

    /// Begins an observation.
    fn look(&mut self, attempt: Attempt) -> Self::Look;
    /// Begins an act.
    fn act(&mut self, state: Self::State) -> Self::Act;
}

impl<V, A, L> Endeavour for Both<V, A>
where
    V: Operation<Output = L>,
    L: Look,
    A: Act<L::State, Error = L::Error>,
{
    type Value = L::Value;
    type State = L::State;
    type Error = L::Error;
    type Done = A::Done;
    type Looked = L;
    type Look = V::Future;
    type Act = A::Future;

    fn look(&mut self, attempt: Attempt) -> V::Future {
        self.observe.call(attempt)
    }

    fn act(&mut self, state: L::State) -> A::Future {
        self.act.begin(state)
    }
}
