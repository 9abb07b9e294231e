//! `wait`: until a condition holds for an object.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::wait::Condition,
};
use serde::de::DeserializeOwned;

use crate::{
    Attempt, Backoff, Check, Decision, Polling,
    k8s::{Boxed, Error, classify},
    operation::Operation,
    time::{self, Alarm, Timer},
};

/// How long one watch is relied upon before the object is read again.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// Waits until `condition` holds for the object of this name, or for its absence: the conditions are those of kube-runtime,
/// `|object: Option<&K>| bool` among them.
///
/// The object is read, then watched from there. A watch that breaks, is closed, says nothing any more or is told that its version
/// is gone (410) costs nothing but a new read: at once after a 410, else after a pause from 200 ms to 10 s. However quiet the watch is, the object is
/// read every 30 s. Each read and watch is one attempt of a [`Polling`], and all its words can be used; nothing bounds the whole unless
/// [`finish_within`](Polling::finish_within) does.
///
/// It needs the verbs `get` and `watch`, and `list` where there is no object yet; all may be limited to its name.
///
/// # Errors
/// [`GaveUp`](crate::GaveUp) with a [`WaitError`] that says what was last seen; at once for those that
/// [`decision`](WaitError::decision) calls fatal, such as a right that is missing.
///
/// # Cancel safety
/// Dropping the future ends the watch.
///
/// ```no_run
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use k8s_openapi::api::core::v1::Pod;
/// use kube::{Api, runtime::wait::conditions};
///
/// let pods: Api<Pod> = Api::default_namespaced(client);
/// let pod = relent::k8s::wait(pods, "web-0", conditions::is_pod_running())
///     .finish_within(Duration::from_secs(60))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[expect(clippy::type_complexity, reason = "the types of what is polled")]
pub fn wait<'c, K, C>(
    api: Api<K>,
    name: &str,
    condition: C,
) -> Polling<
    impl Operation<Output = Looked<K>, Future = Boxed<'c, Looked<K>>> + use<'c, K, C>,
    fn(&WaitError) -> Decision,
>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    C: Condition<K> + Send + Sync + 'c,
{
    let (name, condition) = (Arc::<str>::from(name), Arc::new(condition));
    let look = move |_: Attempt| {
        let (api, name, condition) = (api.clone(), Arc::clone(&name), Arc::clone(&condition));
        Box::pin(async move { look(&api, &name, &*condition).await }) as Boxed<'c, Looked<K>>
    };
    crate::poll(look)
        .backoff(
            Backoff::exponential(Duration::from_millis(200), Duration::from_secs(10))
                .reset_after(Duration::from_secs(5)),
        )
        .attempt_timeout(READ_AGAIN.saturating_mul(2))
        .classified(WaitError::decision)
}

/// What one read and watch give.
type Looked<K> = Result<Check<Option<K>, WaitError>, WaitError>;

/// Why the condition is not known to hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The API server could not be asked, or did not answer what it was asked.
    #[error("{call} {name}: {error}")]
    Api {
        /// `get`, `list` or `watch`.
        call: &'static str,
        /// The name of the object.
        name: String,
        /// What came of it, and what to do about it.
        #[source]
        error: Box<Error>,
    },
    /// It does not hold for what was last seen.
    #[error("the condition does not hold for {name}, last seen {}{}", seen.as_ref().map_or("absent".to_owned(), |version| format!("at resourceVersion {version}")), watch.as_ref().map_or(String::new(), |why| format!(" ({why})")))]
    #[non_exhaustive]
    NotYet {
        /// The name of the object.
        name: String,
        /// The version it was last seen at; `None`: there was none.
        seen: Option<String>,
        /// What ended the watch.
        watch: Option<String>,
    },
}

impl WaitError {
    /// Whether a later try may mend it: by [`classify`], save that what is absent (404) or was too old to begin with (410) is
    /// waited for.
    #[must_use]
    pub fn decision(&self) -> Decision {
        let Self::Api { error, .. } = self else { return Decision::Retry };
        match error.get_ref() {
            kube::Error::Api(status) if matches!(status.code, 404 | 410) => Decision::Retry,
            error => classify(error),
        }
    }
}

async fn look<K, C>(api: &Api<K>, name: &str, condition: &C) -> Result<Check<Option<K>, WaitError>, WaitError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    C: Condition<K>,
{
    let failed = |call| {
        move |error| {
            let error = Box::new(Error::in_namespace(error, api.namespace()));
            WaitError::Api { call, name: name.to_owned(), error }
        }
    };
    let mut again = 0_u32;
    loop {
        let mut seen = api.get_opt(name).await.map_err(failed("get"))?;
        if condition.matches_object(seen.as_ref()) {
            return Ok(Check::Ready(seen));
        }
        let by_name = format!("metadata.name={name}");
        let version = seen.as_ref().and_then(ResourceExt::resource_version);
        let from = if let Some(version) = &version {
            version.clone()
        } else {
            // Where there is no object only a list has a version to watch from. Version 0 would be what the server has in its
            // cache, which may be an object that is gone.
            let list = api.list(&ListParams::default().fields(&by_name)).await.map_err(failed("list"))?;
            if !list.items.is_empty() {
                continue;
            }
            list.metadata.resource_version.unwrap_or_default()
        };
        let params = WatchParams::default().fields(&by_name).timeout(290);
        let mut events = pin!(api.watch(&params, &from).await.map_err(failed("watch"))?);
        let until = time::now().checked_add(READ_AGAIN);
        let mut timer = pin!(Timer::default());
        let mut last = version;
        let ended = loop {
            let event = poll_fn(|cx| match events.poll_next_unpin(cx) {
                Poll::Ready(event) => Poll::Ready(Some(event)),
                Poll::Pending => timer.as_mut().poll_at(cx, until).map(|()| None),
            })
            .await;
            match event {
                None => break None,
                Some(None) => break Some("the watch was closed".to_owned()),
                Some(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    last = object.resource_version();
                    seen = Some(object);
                }
                Some(Some(Ok(WatchEvent::Deleted(_)))) => (seen, last) = (None, None),
                Some(Some(Ok(WatchEvent::Bookmark(_)))) => {}
                // What it watched from is too old: what there is now has to be read, and nothing else is wrong.
                Some(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 && again == 0 => {
                    again = 1;
                    break Some(String::new());
                }
                Some(Some(Ok(WatchEvent::Error(status)))) => break Some(format!("watch: {}", status.message)),
                Some(Some(Err(error))) => break Some(format!("watch: {error}")),
            }
            if condition.matches_object(seen.as_ref()) {
                return Ok(Check::Ready(seen));
            }
        };
        if ended.as_deref() != Some("") {
            return Ok(Check::NotYetBecause(WaitError::NotYet { name: name.to_owned(), seen: last, watch: ended }));
        }
    }
}
