//! `get`: an object that is probably there, fetched with a short retry.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Resource};
use relent::{
    Attempt, Check, Decision, Operation, Policy,
    builder::{Polling, PollingFuture},
    operation::Classify,
};
use serde::de::DeserializeOwned;

use super::{
    Boxed,
    call::{Calls, LONGEST_ASKED},
    error::ApiError,
    target::Target,
};

const EVERY: Duration = Duration::from_millis(50);
const START_WITHIN: Duration = Duration::from_millis(350);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the window moves along with what servers ask for.
const ASKED: Duration = Duration::from_secs(10);

/// Gets an object by its name, again and again if need be, and otherwise says why it gave up.
///
/// Unless set otherwise, calls start every 50 ms until 350 ms have passed, and each may take 10 s. So a call that hangs
/// gets no second try: an [`attempt_timeout`](Polling::attempt_timeout) below [`start_within`](Polling::start_within)
/// gives it one. What a server asks for (`Retry-After`) does not count against these 350 ms, up to 10 s in all; and
/// they give way to any bound that is set: with `finish_within(d)`, `start_within(d)` or `max_attempts(n)` that one
/// holds alone.
///
/// [`ApiError::decision`] says what is tried again, and heeds `Retry-After`, up to five minutes unless
/// [`max_retry_after`](Polling::max_retry_after) says otherwise. That the object is not there, that the request is not
/// valid: these are answers, and end the run at once. That the caller may not read it or is not known, or that there is
/// no such kind of object, a server may say that has just started, and a proxy before it anything: it is final once it
/// has been said for 2 s (7 calls without another answer between, for which the default window waits), or when a bound
/// ends the run before. [`get_when_created`] waits for an absent object.
///
/// There is always a deadline per call, because a `kube::Client` has none: where a [`policy`](Polling::policy) sets
/// none, it is 10 s. Use a client without retries of its own: [`client`](super::client()).
///
/// # Errors
/// [`GaveUp`](relent::GaveUp) of an [`ApiError`]: why the run stopped, what the last call did, and what to do about it.
///
/// # Cancel safety, panics
/// As [`retry`](relent::retry()).
///
/// ```
/// use k8s_openapi::api::core::v1::Secret;
/// use kube::Api;
/// use relent_k8s::{ApiError, get};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let client = relent_apiserver::ApiServer::new().client();
///
/// let secrets: Api<Secret> = Api::namespaced(client, "kube-system");
/// let gave_up = get(&secrets, "bootstrap-token").await.unwrap_err();
/// assert!(gave_up.is_fatal());
/// assert!(gave_up.last_error().is_some_and(ApiError::is_not_found));
/// # }
/// ```
pub fn get<K>(api: &Api<K>, name: impl Into<String>) -> Get<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    polling(Fetch::new(api, &name.into(), false))
}

/// [`get`]s a `ConfigMap`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let client = relent_apiserver::ApiServer::new().client();
/// use relent_k8s::get_config_map;
///
/// match get_config_map(&client, "kube-system", "kube-proxy").await {
///     Ok(map) => println!("{:?}", map.data),
///     // It can be done without the map where it is not there, or not for us.
///     Err(gave_up) if gave_up.last_error().is_some_and(|error| error.is_not_found() || error.is_forbidden()) => {}
///     Err(gave_up) => panic!("{gave_up}"),
/// }
/// # }
/// ```
pub fn get_config_map(client: &Client, namespace: &str, name: impl Into<String>) -> Get<ConfigMap> {
    get(&Api::namespaced(client.clone(), namespace), name)
}

/// [`get`]s an object that may not be there yet: a 404 that names it means "not yet", and is remembered for the error.
///
/// Set [`start_within`](Polling::start_within) or [`finish_within`](Polling::finish_within) to how long it is worth
/// waiting for; with no bound set it is 350 ms. [`wait`](super::wait()) for what is created hears of it by a watch.
///
/// ```
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::Api;
///
/// let maps: Api<ConfigMap> = Api::namespaced(client, "kube-public");
/// let map = relent_k8s::get_when_created(&maps, "cluster-info")
///     .every(Duration::from_secs(1))
///     .start_within(Duration::from_secs(300))
///     .await?;
/// # Ok(()) }
/// ```
pub fn get_when_created<K>(api: &Api<K>, name: impl Into<String>) -> Get<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    polling(Fetch::new(api, &name.into(), true))
}

/// The object by its name, polled until it is had: what [`get`] makes, run by `.await`.
pub type Get<K> = Polling<Fetch<K>, ByClass>;
/// The future of [`get`].
pub type GetFuture<K> = PollingFuture<Fetch<K>, ByClass>;

fn polling<K>(fetch: Fetch<K>) -> Get<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let policy = Policy::new().every(EVERY).default_start_within(START_WITHIN, ASKED).attempt_timeout(ATTEMPT_TIMEOUT);
    let policy = policy.max_retry_after(LONGEST_ASKED);
    Polling::new(fetch).classify(ByClass).policy(&policy)
}

/// What [`get`] makes of errors unless `.when(..)` says otherwise: [`ApiError::decision`], save that a conflict (409)
/// and what is expired (410) are no answers to a read, and it is repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByClass;

impl Classify<ApiError> for ByClass {
    fn classify(&mut self, error: &ApiError) -> Decision {
        error.decision_with_a_look()
    }
}

/// The call that [`get`] makes.
#[derive(Clone, Debug)]
pub struct Fetch<K> {
    api: Api<K>,
    calls: Calls,
    /// Whether it is worth waiting for an object that is not there.
    waits: bool,
}

impl<K: Resource + Clone> Fetch<K> {
    fn new(api: &Api<K>, name: &str, waits: bool) -> Self {
        Self { api: api.clone(), calls: Calls::new(Target::named(api, name)), waits }
    }
}

impl<K> Operation for Fetch<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    type Output = Result<Check<K, ApiError>, ApiError>;
    type Future = Boxed<'static, Self::Output>;

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        if attempt.number() == 1 {
            self.calls = self.calls.anew();
        }
        let Self { api, calls, waits } = self.clone();
        Box::pin(async move {
            let target = &calls.target;
            let got = async { api.get(&target.name).await.and_then(|object| target.checked(object)) };
            match calls.call("get", got).await {
                Ok(object) => Ok(Check::Ready(object)),
                Err(error) if waits && error.is_not_found() => Ok(Check::NotYetBecause(error)),
                Err(error) => Err(error),
            }
        })
    }

    /// An error says itself what it is about.
    fn reads(&self) -> Option<String> {
        Some(self.calls.target.to_string())
    }
}
