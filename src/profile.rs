//! What the calls of one client have in common, written once.

use std::{fmt, marker::PhantomData};

use crate::{
    budget::Budget,
    events::{Event, Listener},
    limiter::Limiter,
    operation::{Classify, RetryAll, Unclassified},
    policy::schedule::{Policy, attempts::Decision},
    run::controls::Controls,
};

/// What all calls of one client have in common: policy, limiter, budget, classification and listener, written once and
/// used at each call by `.profile(&profile)`, on every verb and on its blocking form. [`begin`](Self::begin) is for a
/// loop of your own, and the worker of a [queue](crate::queue::RunWorker::profile) takes one as well. `E` is the error
/// that the calls have.
///
/// Each call may go on from there: `.finish_within(..)`, another limiter, a listener of its own. A clone shares the
/// limiter and the budget; classification and listener are cloned for each run, so what runs are to count together is
/// shared by them, as an `Arc` or an atomic.
///
/// It stands in a field as `Profile<E, fn(&E) -> Decision>` where classification is a function, and always as
/// [`ErasedProfile<E>`](ErasedProfile), which [`erased`](Self::erased) makes.
///
/// ```
/// use std::time::Duration;
/// use relent::{Budget, Decision, GaveUp, Limiter, Policy, Profile, Ratio, retry, builder::ErasedProfile};
///
/// #[derive(Clone, Debug, thiserror::Error)]
/// enum ApiError {
///     #[error("busy")]
///     Busy,
///     #[error("denied")]
///     Denied,
///     #[error("malformed answer")]
///     Malformed(#[from] std::num::ParseIntError),
/// }
///
/// #[derive(Clone)]
/// struct Client {
///     calls: ErasedProfile<ApiError>,
/// }
///
/// impl Client {
///     fn new(policy: Policy) -> Self {
///         let calls = Profile::new(policy)
///             .throttle(&Limiter::per_second(10))
///             .budget(&Budget::ratio(Ratio::percent(20)).reserve(10))
///             .when(|error: &ApiError| matches!(error, ApiError::Busy))
///             .erased();
///         Self { calls }
///     }
///
///     async fn count(&self) -> Result<u32, GaveUp<ApiError>> {
///         retry(async |attempt| Ok(ask(attempt.number()).await?.parse()?))
///             .profile(&self.calls)
///             .finish_within(Duration::from_secs(5))
///             .await
///     }
/// }
/// # async fn ask(n: u32) -> Result<String, ApiError> { if n < 3 { Err(ApiError::Busy) } else { Ok("7".into()) } }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let client = Client::new(Policy::new().max_attempts(5));
/// assert_eq!(client.count().await.unwrap(), 7);
/// # }
/// ```
#[must_use]
pub struct Profile<E, W = RetryAll, L = ()> {
    pub(crate) policy: Policy,
    pub(crate) when: W,
    pub(crate) listener: L,
    pub(crate) shared: Controls,
    error: PhantomData<fn(&E)>,
}

/// A [`Profile`] whose type names the error alone: for fields, arguments and constants of a trait.
pub type ErasedProfile<E> = Profile<E, BoxClassify<E>, BoxListener<E>>;

impl<E> Profile<E> {
    /// A policy, and nothing else.
    pub fn new(policy: Policy) -> Self {
        Self { policy, when: RetryAll, listener: (), shared: Controls::default(), error: PhantomData }
    }
}

impl<E, W, L> Profile<E, W, L> {
    /// What follows an error: `bool` (true is retry) or a [`Decision`]. Default: retry them all. Said
    /// twice, it does not compile. A call that says `.when` after `.profile` has that rule alone, instead of this one.
    pub fn when<F, D>(self, when: F) -> Profile<E, F, L>
    where
        W: Unclassified,
        F: FnMut(&E) -> D,
        D: Into<Decision>,
    {
        self.classify(when)
    }

    /// [`when`](Self::when) for a rule that is a type.
    pub fn classify<C>(self, when: C) -> Profile<E, C, L>
    where
        W: Unclassified,
        C: Classify<E>,
    {
        let Self { policy, listener, shared, error, .. } = self;
        Profile { policy, when, listener, shared, error }
    }

    /// Another policy: for a client whose configuration is read again.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Takes a permit of this limiter before each attempt of each run. A second one is asked as well.
    pub fn throttle(self, limiter: &Limiter) -> Self {
        Self { shared: self.shared.throttle(limiter.clone()), ..self }
    }

    /// Asks this budget before each retry of each run. A second one must allow it as well.
    pub fn budget(self, budget: &Budget) -> Self {
        Self { shared: self.shared.budget(budget.clone()), ..self }
    }

    /// Stops the runs when the token is cancelled: the end of the client.
    pub fn cancel_on(self, token: tokio_util::sync::CancellationToken) -> Self {
        Self { shared: self.shared.cancel_on(token), ..self }
    }

    /// A closure that hears of attempts, waits and the end. Each run has a clone of it. A second one hears after the
    /// first.
    pub fn notify<N>(self, listener: N) -> Profile<E, W, (L, N)>
    where
        N: FnMut(&Event<'_, E>),
    {
        self.listen(listener)
    }

    /// [`notify`](Self::notify) for a listener that is a type.
    pub fn listen<N: Listener<E>>(self, listener: N) -> Profile<E, W, (L, N)> {
        let Self { policy, when, listener: before, shared, error } = self;
        Profile { policy, when, listener: (before, listener), shared, error }
    }

    /// The same, heard by no listener: for what has events of another kind, as a
    /// [queue](crate::queue::RunWorker::profile).
    pub fn without_listener(self) -> Profile<E, W> {
        let Self { policy, when, shared, error, .. } = self;
        Profile { policy, when, listener: (), shared, error }
    }

    /// The same with a type that names the error alone. Each run then allocates for a classification and a listener
    /// that capture anything, and calls them through a pointer.
    pub fn erased(self) -> ErasedProfile<E>
    where
        W: Classify<E> + Clone + Send + Sync + 'static,
        L: Listener<E> + Clone + Send + Sync + 'static,
    {
        let Self { policy, when, listener, shared, error } = self;
        let (when, listener) = (BoxClassify(Box::new(when)), BoxListener(Box::new(listener)));
        Profile { policy, when, listener, shared, error }
    }
}

impl<E, W: Clone, L: Clone> Clone for Profile<E, W, L> {
    fn clone(&self) -> Self {
        let Self { policy, when, listener, shared, error } = self;
        let (policy, when, listener, shared) = (policy.clone(), when.clone(), listener.clone(), shared.clone());
        Self { policy, when, listener, shared, error: *error }
    }
}

impl<E, W, L> fmt::Debug for Profile<E, W, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("policy", &self.policy).field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Any classification of errors `E` that can be shared and cloned.
pub struct BoxClassify<E>(Box<dyn AnyClassify<E>>);

/// Any listener to runs with errors `E` that can be shared and cloned.
pub struct BoxListener<E>(Box<dyn AnyListener<E>>);

trait AnyClassify<E>: Classify<E> + Send + Sync {
    fn boxed_clone(&self) -> Box<dyn AnyClassify<E>>;
}

impl<E, W: Classify<E> + Clone + Send + Sync + 'static> AnyClassify<E> for W {
    fn boxed_clone(&self) -> Box<dyn AnyClassify<E>> {
        Box::new(self.clone())
    }
}

trait AnyListener<E>: Send + Sync {
    fn on_event(&mut self, event: &Event<'_, E>);
    fn boxed_clone(&self) -> Box<dyn AnyListener<E>>;
}

impl<E, L: Listener<E> + Clone + Send + Sync + 'static> AnyListener<E> for L {
    fn on_event(&mut self, event: &Event<'_, E>) {
        Listener::on_event(self, event);
    }
    fn boxed_clone(&self) -> Box<dyn AnyListener<E>> {
        Box::new(self.clone())
    }
}

impl<E> Classify<E> for BoxClassify<E> {
    fn classify(&mut self, error: &E) -> Decision {
        self.0.classify(error)
    }
}

impl<E> Listener<E> for BoxListener<E> {
    fn on_event(&mut self, event: &Event<'_, E>) {
        self.0.on_event(event);
    }
}

impl<E> Clone for BoxClassify<E> {
    fn clone(&self) -> Self {
        Self(self.0.boxed_clone())
    }
}

impl<E> Clone for BoxListener<E> {
    fn clone(&self) -> Self {
        Self(self.0.boxed_clone())
    }
}

impl<E> fmt::Debug for BoxClassify<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxClassify(..)")
    }
}

impl<E> fmt::Debug for BoxListener<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxListener(..)")
    }
}
