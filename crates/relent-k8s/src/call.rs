//! One call: of what object, how long it may take, and since when it is refused.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{error::ApiError, refusal::Refusal, target::Target, time};

/// How long any call of `wait` and of an operation may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may ask to be left alone at most: one that is asked again after that is not in the way of a
/// server, and what a proxy has written wrongly ends no wait.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Why a call gave nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// It failed.
    Call(Box<ApiError>),
    /// There was no answer in this time.
    NoAnswer(Duration),
}

/// The calls of one run about one object.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) target: Arc<Target>,
    refusals: Arc<Mutex<Vec<Refused>>>,
}

/// A kind of call that is being refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    call: &'static str,
    refusal: Refusal,
}

impl Calls {
    pub(super) fn new(target: Target) -> Self {
        Self { target: Arc::new(target), refusals: Arc::default() }
    }

    /// The same calls, of another run.
    pub(super) fn anew(&self) -> Self {
        Self { target: Arc::clone(&self.target), refusals: Arc::default() }
    }

    /// One call. Dropped, or without an answer, it breaks a series of refusals.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        let refused = self.take(name);
        let answer = match self.target.cannot_be_asked_for() {
            Some(error) => Err(error),
            None => answer.await,
        };
        let cause = match answer {
            Ok(value) => return Ok(value),
            Err(cause) => cause,
        };
        let error = ApiError::about(cause, Arc::clone(&self.target));
        if !error.is_refusal() {
            // Something else is wrong: what was refused before may be another server's word. That there is no such
            // object is an answer.
            if !error.is_not_found() {
                self.lock().clear();
            }
            return Err(error);
        }
        let mut refused = refused.unwrap_or(Refused { call: name, refusal: Refusal::default() });
        let lasted = refused.refusal.refused(time::now());
        self.lock().push(refused);
        Err(error.refused_since(lasted))
    }

    /// One call that is cut after this time.
    pub(super) async fn within<T>(
        &self,
        name: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failed> {
        if let Some(answer) = time::within(limit, self.call(name, answer)).await {
            return answer.map_err(|error| Failed::Call(Box::new(error)));
        }
        self.lock().clear();
        Err(Failed::NoAnswer(limit))
    }

    fn take(&self, name: &'static str) -> Option<Refused> {
        let mut refusals = self.lock();
        let at = refusals.iter().position(|refused| refused.call == name)?;
        Some(refusals.swap_remove(at))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Refused>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
