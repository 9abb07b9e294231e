//! `get`: an object that is probably there, fetched with a short retry.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Resource};
use pin_project_lite::pin_project;
use serde::de::DeserializeOwned;

use super::{
    call::{Calls, Target},
    error::Error,
};
use crate::{
    error::{Detail, GaveUp},
    events::Listener,
    operation::{Classify, Operation, Verb, VerbTypes, Verdict},
    policy::schedule::{
        Policy,
        attempts::{Attempt, Decision},
    },
    run::RunFuture,
    run::controls::Control,
    run::settings::settings,
    time::Timer,
};

const EVERY: Duration = Duration::from_millis(50);
const START_WITHIN: Duration = Duration::from_millis(350);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the window moves along with what servers ask for.
const ASKED: Duration = Duration::from_secs(10);

/// Gets an object by its name, again and again if need be, and otherwise says why it gave up.
///
/// Unless set otherwise, calls start every 50 ms until 350 ms have passed, and each may take 10 s. So a call that hangs gets no
/// second try: an [`attempt_timeout`](Get::attempt_timeout) below [`start_within`](Get::start_within) gives it one. What
/// a server asks for (`Retry-After`) does not count against these 350 ms, up to 10 s in all; and they give way to any
/// bound that is set: with `finish_within(d)`, `start_within(d)` or `max_attempts(n)` that one holds alone.
///
/// [`Error::decision`] says what is tried again, and heeds `Retry-After`. That the object is not there, that the request is not
/// valid: these are answers, and end the run at once. That the caller may not read it or is not known, or that there is no
/// such kind of object, a server may say that has just started: it is final once it has been said for 2 s (7 calls
/// without another answer between, for which the default window waits), or when a bound ends the run before.
/// With [`wait_for_creation`](Get::wait_for_creation) an absent object is waited for.
///
/// There is always a deadline per call, because a `kube::Client` has none: where a [`policy`](Get::policy) sets none, it is 10 s.
/// Use a client without retries of its own: [`client`](super::client()).
///
/// # Errors
/// [`GaveUp`] of an [`Error`]: why the run stopped, what the last call did, and what to do about it.
///
/// # Cancel safety, panics
/// As [`retry`](crate::retry()).
///
/// ```
/// use k8s_openapi::api::core::v1::Secret;
/// use kube::Api;
/// use relent::k8s;
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let client = relent::testing::kube::ApiServer::new().client();
///
/// let secrets: Api<Secret> = Api::namespaced(client, "kube-system");
/// let gave_up = k8s::get(&secrets, "bootstrap-token").await.unwrap_err();
/// assert!(gave_up.is_fatal());
/// assert!(gave_up.last_error().is_some_and(k8s::Error::is_not_found));
/// # }
/// # #[cfg(not(feature = "test-util"))] fn main() {}
/// ```
pub fn get<K>(api: &Api<K>, name: impl Into<String>) -> Get<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let policy = Policy::new().every(EVERY).default_window(START_WITHIN, ASKED).attempt_timeout(ATTEMPT_TIMEOUT);
    let operation = Fetch { api: api.clone(), calls: Calls::new(Target::named(api, &name.into())), waits: false };
    Get { operation, when: ByClass, listener: (), policy, shared: () }
}

/// [`get`]s a `ConfigMap`.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # let client = relent::testing::kube::ApiServer::new().client();
/// use relent::k8s;
///
/// match k8s::get_config_map(&client, "kube-system", "kube-proxy").await {
///     Ok(map) => println!("{:?}", map.data),
///     // It can be done without the map where it is not there, or not for us.
///     Err(gave_up) if gave_up.last_error().is_some_and(|error| error.is_not_found() || error.is_forbidden()) => {}
///     Err(gave_up) => panic!("{gave_up}"),
/// }
/// # }
/// # #[cfg(not(feature = "test-util"))] fn main() {}
/// ```
pub fn get_config_map(client: &Client, namespace: &str, name: impl Into<String>) -> Get<ConfigMap> {
    get(&Api::namespaced(client.clone(), namespace), name)
}

/// An object to be fetched: made by [`get`], run by `.await`.
#[derive(Clone, Debug)]
#[must_use = "a get does nothing unless you `.await` it"]
pub struct Get<K, W = ByClass, L = (), G = ()> {
    operation: Fetch<K>,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

settings!(Get, Sized, Error);

impl<K, W, L, G> Get<K, W, L, G> {
    /// Waits for an object that is not there yet: a 404 that names it means "not yet" and is remembered for the error.
    ///
    /// Set [`start_within`](Self::start_within) or [`finish_within`](Self::finish_within) to how long it is worth waiting for;
    /// with no bound set it is 350 ms.
    ///
    /// ```
    /// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let map = relent::k8s::get_config_map(&client, "kube-public", "cluster-info")
    ///     .wait_for_creation()
    ///     .every(Duration::from_secs(1))
    ///     .start_within(Duration::from_secs(300))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_creation(mut self) -> Self {
        self.operation.waits = true;
        self
    }
}

impl<K, W, L, G> IntoFuture for Get<K, W, L, G>
where
    K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    W: Classify<Error>,
    L: Listener<Error>,
    G: Control,
{
    type Output = Result<K, GaveUp<Error>>;
    type IntoFuture = GetFuture<K, W, L, G>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { operation, when, listener, policy, shared } = self;
        let policy = policy.or_every(EVERY);
        let verb = Getting { target: Arc::clone(&operation.calls.target), waits: operation.waits, named: false };
        GetFuture { run: RunFuture::new(verb, operation, when, listener, policy, shared) }
    }
}

pin_project! {
    /// The future of [`get`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct GetFuture<K, W = ByClass, L = (), G = ()>
    where
        K: Clone,
        K: DeserializeOwned,
        K: fmt::Debug,
        K: Send,
        K: 'static,
        G: Control,
    {
        #[pin]
        run: RunFuture<Getting, Fetch<K>, W, L, G, Timer>,
    }
}

impl<K, W, L, G> Future for GetFuture<K, W, L, G>
where
    K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    W: Classify<Error>,
    L: Listener<Error>,
    G: Control,
{
    type Output = Result<K, GaveUp<Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

/// What [`get`] makes of errors unless `.when(..)` says otherwise: [`classify`](super::classify).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByClass;

impl Classify<Error> for ByClass {
    fn classify(&mut self, error: &Error) -> Decision {
        error.decision()
    }
}

/// One call.
#[derive(Clone, Debug)]
struct Fetch<K> {
    api: Api<K>,
    calls: Calls,
    waits: bool,
}

impl<K> Operation for Fetch<K>
where
    K: Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    type Output = Result<K, Error>;
    type Future = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        if attempt.number() == 1 {
            self.calls = self.calls.anew();
        }
        let Self { api, calls, .. } = self.clone();
        Box::pin(async move { calls.call("get", api.get(&calls.target.name)).await })
    }
}

/// How `get` reads an answer.
#[derive(Debug)]
struct Getting {
    target: Arc<Target>,
    waits: bool,
    /// Whether there is an error, whose text says what it is about.
    named: bool,
}

impl<K> VerbTypes<Result<K, Error>> for Getting {
    type Value = K;
    type Error = Error;
    const NAME: &'static str = "GetFuture";
    const OBSERVES: bool = true;
}

impl<K> Verb<Result<K, Error>> for Getting {
    fn judge(&mut self, output: Result<K, Error>, _: impl FnOnce() -> u64) -> Verdict<K, Error> {
        match output {
            Ok(object) => Verdict::Value(object),
            Err(error) => {
                self.named = true;
                if self.waits && error.is_not_found() { Verdict::NotYetBecause(error) } else { Verdict::Failed(error) }
            }
        }
    }

    fn detail(&mut self, _: impl FnOnce() -> u64) -> Option<Detail> {
        (!self.named).then(|| Detail::Read { of: self.target.to_string() })
    }
}
