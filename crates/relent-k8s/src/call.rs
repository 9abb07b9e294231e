//! One call: of what object, how long it may take, and since when it is refused.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Api, Resource};

use super::{error::ApiError, refusal::Refusal, time};

/// How long any call of `wait` and of an operation may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// What calls are about, in words: `configmaps "kube-proxy" in the namespace "kube-system"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The resource's plural.
    pub(super) resource: String,
    /// The name, or the label selector.
    pub(super) name: String,
    pub(super) by_label: bool,
    pub(super) namespace: Option<String>,
}

impl Target {
    pub(super) fn of(resource: &str, name: &str, namespace: Option<&str>) -> Self {
        let (resource, name, namespace) = (resource.to_owned(), name.to_owned(), namespace.map(str::to_owned));
        Self { resource, name, by_label: false, namespace }
    }

    pub(super) fn named<K: Resource>(api: &Api<K>, name: &str) -> Self {
        Self::of(api.resource_url().rsplit('/').next().unwrap_or_default(), name, api.namespace())
    }

    pub(super) fn labelled<K: Resource>(api: &Api<K>, selector: &str) -> Self {
        Self { by_label: true, ..Self::named(api, selector) }
    }

    /// Where it is: `configmaps in the namespace "kube-system"`.
    pub(super) fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} in the namespace \"{namespace}\"", self.resource),
            None => self.resource.clone(),
        }
    }

    /// Whether a server's sentence says already what it is about.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        !self.by_label && text.contains(&format!("\"{}\"", self.name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.by_label { "with the labels " } else { "" };
        write!(f, "{} {with}\"{}\"", self.resource, self.name)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in the namespace \"{namespace}\""),
            None => Ok(()),
        }
    }
}

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
        let cause = match answer.await {
            Ok(value) => return Ok(value),
            Err(cause) => cause,
        };
        let error = ApiError::about(cause, Arc::clone(&self.target));
        if !error.is_refusal() {
            // Something else is wrong: what was refused before may be another server's word.
            self.lock().clear();
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
