//! A layer that retries.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{AnyResponse, CheckResponse, CloneRequest, Profiles, RepeatRequest};
use crate::{
    builder::{BoxClassify, BoxListener, ErasedProfile},
    error::{BoxedError, Chained, Ending, GaveUp, Stop},
    events::Listener,
    operation::Classify,
    policy::schedule::{attempts::Decision, bounds::CutBy},
    profile::Profile,
    run::{Core, alarm::Alarm, controls::Controls},
    time::Timer,
};

/// Retries the calls of the service inside, each by a [`Profile`]: policy, limiters, budgets, classification and
/// listeners.
///
/// - A call that fails is made again with the same request: cloned, or made anew by [`repeat_with`](Self::repeat_with).
///   Where that answers `None` (a body that is streamed) there is no further attempt.
/// - A response can be a failure, too: [`check`](Self::check) says which, and the profile's classification decides
///   about the error that it gives.
/// - Whether a call may be made twice is a matter of the request: [`choose`](Self::choose) gives each its own profile.
///
/// # Errors
/// [`Chained`]: what stands above finds an error of its own (`tonic::Status`, `hyper::Error`, ..) among the sources, as tonic and
/// tower look for them; its text says why there is no further attempt. If the last attempt was answered by a response
/// that is a failure, it is that response which is returned, `Ok` as it came: what is above reads it as without this
/// layer. Why there was no further attempt, the profile's listeners hear. A response is not kept while the run pauses.
///
/// # Readiness
/// Backpressure of the service is passed on. For each further attempt it has to be ready anew, within the attempt's own
/// deadline. An error in getting ready counts as one of the attempt.
///
/// # Cancel safety
/// A call that is dropped leaves no timer, permit or place in a wait list behind.
///
/// ```
/// # #[cfg(feature = "http")] {
/// use http::{Request, Response};
/// use relent::{Limiter, Policy, Profile, http::Idempotency, tower::{CheckStatus, RetryLayer}};
///
/// // For hyper, tonic, kube: what may not be done twice is repeated only if it was certainly not done.
/// let policy: Policy = "attempt_timeout 5s, finish_within 1m, max_retry_after 20s, share_retry_after".parse().unwrap();
/// let limiter = Limiter::per_second(50);
/// let layer = RetryLayer::choose(move |request: &Request<String>| {
///     let idempotency = Idempotency::of(request.method());
///     Profile::new(policy.clone().on_cut(idempotency)).throttle(&limiter).classify(idempotency).erased()
/// })
/// .check(CheckStatus);
/// # let _ = layer; }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing unless it is put around a service"]
pub struct RetryLayer<P = ErasedProfile<BoxedError>, A = CloneRequest, C = AnyResponse> {
    profiles: P,
    repeat: A,
    check: C,
}

/// The service of [`RetryLayer`].
#[must_use = "a service does nothing unless it is called"]
pub struct RetryService<S, P = ErasedProfile<BoxedError>, A = CloneRequest, C = AnyResponse> {
    inner: S,
    /// What the service said when it was to get ready.
    failed: Option<BoxedError>,
    layer: RetryLayer<P, A, C>,
}

// ===== impl RetryLayer =====

impl RetryLayer {
    /// Retries all calls by this profile.
    pub fn new<W, L>(profile: Profile<BoxedError, W, L>) -> Self
    where
        W: Classify<BoxedError> + Clone + Send + Sync + 'static,
        L: Listener<BoxedError> + Clone + Send + Sync + 'static,
    {
        Self { profiles: profile.erased(), repeat: CloneRequest, check: AnyResponse }
    }
}

impl<P> RetryLayer<P> {
    /// Retries each call by the profile that this closure gives for its request.
    pub fn choose<Q>(profiles: P) -> Self
    where
        P: Fn(&Q) -> ErasedProfile<BoxedError>,
    {
        Self { profiles, repeat: CloneRequest, check: AnyResponse }
    }
}

impl<P, A, C> RetryLayer<P, A, C> {
    /// Makes the request of the next attempt with this closure, unless it answers `None`, rather than by `Clone`. It is
    /// called before each attempt, as the attempt consumes its request.
    pub fn repeat_with<Q, F: Fn(&Q) -> Option<Q>>(self, repeat: F) -> RetryLayer<P, F, C> {
        let Self { profiles, check, .. } = self;
        RetryLayer { profiles, repeat, check }
    }

    /// Which responses are failures: `CheckStatus` (feature `http`), or a closure that answers `Err` for those.
    pub fn check<D>(self, check: D) -> RetryLayer<P, A, D> {
        let Self { profiles, repeat, .. } = self;
        RetryLayer { profiles, repeat, check }
    }
}

impl<S, P: Clone, A: Clone, C: Clone> Layer<S> for RetryLayer<P, A, C> {
    type Service = RetryService<S, P, A, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService { inner, failed: None, layer: self.clone() }
    }
}

// ===== impl RetryService =====

impl<S, Q, P, A, C> Service<Q> for RetryService<S, P, A, C>
where
    S: Service<Q> + Clone,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    P: Profiles<Q>,
    A: RepeatRequest<Q> + Clone,
    C: CheckResponse<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = Chained<BoxedError>;
    type Future = ResponseFuture<S, Q, A, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.failed.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.failed = Some(BoxedError::new(error));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let Profile { policy, when, listener, shared, .. } = self.layer.profiles.profile(&request);
        // The one that is ready makes the call. One that failed is not asked again.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        ResponseFuture {
            core: Core::new(policy, shared),
            timer: Alarm::default(),
            state: State::Waiting,
            is_ready: self.failed.is_none(),
            failed: self.failed.take(),
            service,
            request: Some(request),
            repeat: self.layer.repeat.clone(),
            check: self.layer.check.clone(),
            when,
            listener,
            error: None,
        }
    }
}

impl<S: Clone, P: Clone, A: Clone, C: Clone> Clone for RetryService<S, P, A, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), failed: None, layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, P: fmt::Debug, A, C> fmt::Debug for RetryService<S, P, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .field("profiles", &self.layer.profiles)
            .finish_non_exhaustive()
    }
}

// ===== impl ResponseFuture =====

pin_project! {
    /// A call of [`RetryService`], with all its attempts.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<S, Q, A = CloneRequest, C = AnyResponse>
    where
        S: Service<Q>,
    {
        core: Core<Controls>,
        #[pin]
        timer: Alarm<Timer, Controls>,
        #[pin]
        state: State<S::Future>,
        service: S,
        // Whether the service is ready: it was, before the first attempt.
        is_ready: bool,
        // What came of getting it ready before the first attempt.
        failed: Option<BoxedError>,
        // For the next attempt; `None`: the one that runs is the last.
        request: Option<Q>,
        repeat: A,
        check: C,
        when: BoxClassify<BoxedError>,
        listener: BoxListener<BoxedError>,
        // What the latest attempt that failed failed with.
        error: Option<BoxedError>,
    }
}

pin_project! {
    // In the order of the life of an attempt.
    #[project = StateProj]
    enum State<F> {
        /// For the next attempt.
        Waiting,
        /// The attempt has begun, and the service gets ready.
        GettingReady,
        Calling {
            #[pin]
            call: F,
        },
        Done,
    }
}

/// What came of an attempt.
enum Answer<R> {
    Response(R),
    /// A response that is a failure, and the error it stands for.
    Rejected(R, BoxedError),
    Failed(BoxedError),
    Cut(CutBy),
    /// The run has ended before the service was called.
    NotCalled(Stop),
}

impl<S, Q, A, C> Future for ResponseFuture<S, Q, A, C>
where
    S: Service<Q>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: RepeatRequest<Q>,
    C: CheckResponse<S::Response>,
{
    type Output = Result<S::Response, Chained<BoxedError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = ready!(self.as_mut().poll_answer(cx))?;
            let mut this = self.as_mut().project();
            this.state.set(State::Done);
            let (response, ending, decision) = match answer {
                Answer::Response(response) => {
                    this.core.disarm(this.timer.as_mut());
                    this.core.succeed(this.listener);
                    return Poll::Ready(Ok(response));
                }
                Answer::Rejected(response, error) => {
                    // The classification may take any time.
                    this.core.start_clock();
                    (Some(response), Ending::Failed, this.when.classify(this.error.insert(error)))
                }
                Answer::Failed(error) => {
                    this.core.start_clock();
                    (None, Ending::Failed, this.when.classify(this.error.insert(error)))
                }
                Answer::Cut(by) => (None, Ending::Cut(by), this.core.policy.after_cut()),
                Answer::NotCalled(stop) => {
                    let error = this.error.as_ref();
                    let stop = this.core.end_attempt_by_rule(this.listener, error, Ending::NotCalled, stop, None);
                    return Poll::Ready(Err(self.give_up(stop).chained()));
                }
            };
            let error = this.error.as_ref();
            let would_repeat =
                decision != Decision::Fatal && matches!(ending, Ending::Failed | Ending::Cut(CutBy::AttemptTimeout));
            let stop = if would_repeat && this.request.is_none() {
                Some(this.core.end_attempt_by_rule(this.listener, error, ending, Stop::Attempts, None))
            } else {
                this.core.end_attempt(this.listener, error, ending, decision, None).err()
            };
            match (stop, response) {
                // A response that is not returned is dropped here: a connection is not held while the run pauses.
                (None, _) => this.state.set(State::Waiting),
                (Some(stop), response) => {
                    let gave_up = self.give_up(stop);
                    return Poll::Ready(response.ok_or_else(|| gave_up.chained()));
                }
            }
        }
    }
}

impl<S, Q, A, C> ResponseFuture<S, Q, A, C>
where
    S: Service<Q>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    A: RepeatRequest<Q>,
    C: CheckResponse<S::Response>,
{
    /// The end without a response.
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> GaveUp<BoxedError> {
        let mut this = self.project();
        this.state.set(State::Done);
        this.core.disarm(this.timer.as_mut());
        this.core.give_up(this.listener, this.error.take(), stop, None, None)
    }

    /// Waits for the next attempt, and for what comes of it.
    fn poll_answer(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer<S::Response>, Chained<BoxedError>>> {
        let mut this = self.as_mut().project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Waiting => match ready!(this.core.poll_attempt(cx, this.timer.as_mut(), this.listener)) {
                    Ok(_) => this.state.set(State::GettingReady),
                    Err(stop) => return Poll::Ready(Err(self.give_up(stop).chained())),
                },
                StateProj::GettingReady => {
                    if let Some(error) = this.failed.take() {
                        return Poll::Ready(Ok(Answer::Failed(error)));
                    }
                    // The listener may have taken its time, or cancelled the run: nothing is asked of the service then.
                    if let Err(stop) = this.core.may_call() {
                        return Poll::Ready(Ok(Answer::NotCalled(stop)));
                    }
                    // A panic from here on ends it all.
                    this.state.set(State::Done);
                    if !mem::take(this.is_ready) {
                        match this.service.poll_ready(cx) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(error)) => return Poll::Ready(Ok(Answer::Failed(BoxedError::new(error)))),
                            Poll::Pending => {
                                this.state.set(State::GettingReady);
                                break;
                            }
                        }
                    }
                    let Some(request) = this.request.take() else {
                        unreachable!("an attempt without a request is the last")
                    };
                    *this.request = this.repeat.repeat(&request);
                    // Both may have taken any time, or cancelled the run.
                    if let Err(stop) = this.core.may_call() {
                        return Poll::Ready(Ok(Answer::NotCalled(stop)));
                    }
                    this.state.set(State::Calling { call: this.service.call(request) });
                }
                StateProj::Calling { call } => {
                    let Poll::Ready(result) = call.poll(cx) else { break };
                    // What the call holds is let go before anything else happens. A panic from here on ends it all.
                    this.state.set(State::Done);
                    return Poll::Ready(Ok(match result.map(|response| (this.check.check(&response), response)) {
                        Ok((Ok(()), response)) => Answer::Response(response),
                        Ok((Err(error), response)) => Answer::Rejected(response, BoxedError::new(error)),
                        Err(error) => Answer::Failed(BoxedError::new(error)),
                    }));
                }
                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            }
        }
        this.core.poll_cut(cx, this.timer.as_mut()).map(|by| Ok(Answer::Cut(by)))
    }
}

impl<S: Service<Q>, Q, A, C> fmt::Debug for ResponseFuture<S, Q, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Waiting => "between attempts",
            State::GettingReady => "getting ready",
            State::Calling { .. } => "in an attempt",
            State::Done => "done",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("attempts", &self.core.attempts())
            .field("policy", &self.core.policy)
            .finish_non_exhaustive()
    }
}
