//! A layer that limits.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::coop;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    limiter::{Limiter, QueuedPermit, Readiness},
    policy::nanos::FOREVER,
    time::{Sleeper, Timer},
};

/// Takes a permit of a [`Limiter`] before each call: as backpressure, in `poll_ready`. All clones of the service share
/// the limit, as does whatever else uses the limiter.
///
/// The permit is asked for once the service inside is ready, and a call is meant to follow it at once. `tower` lets no
/// service that was ready be otherwise before its call: one that is kept ready keeps its permit, and its call, however
/// late, comes on top of those that the limit allows by then. So get a service ready for a call, not to have it ready.
/// One that was ready and is dropped gives its permit back. `tower`'s `LoadShed` around it makes refusals of waits.
///
/// Outside of a [`RetryLayer`](super::RetryLayer) it counts calls; inside, attempts, as a limiter in the profile does,
/// which counts the wait towards the bounds and refuses one that cannot fit: prefer that.
///
/// ```
/// use std::time::Duration;
/// use relent::{Limiter, tower::LimitLayer};
/// use tower::{Service, ServiceExt, service_fn, Layer};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let mut service = LimitLayer::new(&Limiter::per_second(10)).layer(service_fn(async |n: u32| Ok::<_, std::io::Error>(n + 1)));
/// let began = tokio::time::Instant::now();
/// for n in 0..3 {
///     service.ready().await.unwrap().call(n).await.unwrap();
/// }
/// assert_eq!(began.elapsed(), Duration::from_millis(200));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing unless it is put around a service"]
pub struct LimitLayer {
    limiter: Limiter,
}

impl LimitLayer {
    /// Takes one permit of this limiter before each call.
    pub fn new(limiter: &Limiter) -> Self {
        Self { limiter: limiter.clone() }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = LimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitService { inner, limiter: self.limiter.clone(), permit: None, timer: None }
    }
}

/// The service of [`LimitLayer`].
///
/// # Panics
/// Called without having been ready, as other services of tower.
#[must_use = "a service does nothing unless it is called"]
pub struct LimitService<S> {
    inner: S,
    limiter: Limiter,
    /// A waiter in the wait list, or the permit it led to.
    permit: Option<QueuedPermit>,
    /// While it waits.
    timer: Option<Pin<Box<Timer>>>,
}

impl<S, Q> Service<Q> for LimitService<S>
where
    S: Service<Q>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.inner.poll_ready(cx))?;
        let permit = match &mut self.permit {
            Some(permit) => permit,
            none => match self.limiter.enqueue(1, FOREVER) {
                Ok(permit) => none.insert(permit),
                Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
            },
        };
        // A task that has used up its share still joins the list.
        let progress = ready!(coop::poll_proceed(cx));
        loop {
            let ready_at = match permit.poll_acquire(cx) {
                Readiness::Granted => break,
                Readiness::At(at) => Some(at),
                Readiness::Never => None,
            };
            // A new one each time: services live in statics, and the runtime of the former poll may be gone.
            let timer = self.timer.insert(Box::pin(Timer::default()));
            ready!(timer.as_mut().poll_at(cx, ready_at));
        }
        progress.made_progress();
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Q) -> Self::Future {
        match self.permit.take() {
            Some(mut permit) => permit.consume(),
            None => panic!("`LimitService` called before it was ready"),
        }
        self.inner.call(request)
    }
}

/// With a place of its own in the wait list, once it is polled.
impl<S: Clone> Clone for LimitService<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), limiter: self.limiter.clone(), permit: None, timer: None }
    }
}

impl<S: fmt::Debug> fmt::Debug for LimitService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitService")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .field("is_ready", &self.permit.as_ref().is_some_and(|permit| permit.ready_in() == 0))
            .finish_non_exhaustive()
    }
}
