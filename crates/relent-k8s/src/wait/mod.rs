//! `wait`: until a condition holds for an object, or for all that a label selector matches.

mod error;
mod look;

use std::{fmt, time::Duration};

use kube::{Api, Resource};
use relent::{Attempt, Backoff, Check, Decision, Jitter, Operation, Policy, builder::Polling, poll};
use serde::de::DeserializeOwned;

pub use self::error::{Sighting, WaitError};
use self::look::{Looked, Looks, READ_AGAIN};
use super::{
    Boxed,
    call::LONGEST_ASKED,
    condition::{Awaited, Verdict},
    target::Target,
};

/// How long before the hard bound there is a last look.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Waits until `condition` holds for the object of this name, or for its absence: the conditions are those of
/// kube-runtime, `|object: Option<&K>| bool` among them, and [`unless`](super::unless()), which can say "never any
/// more". Those of [`conditions`](super::conditions) heed of which generation a status speaks.
///
/// The object is read, then watched from there. A watch that breaks, is closed, says nothing any more or is told that
/// its version is gone (410) costs nothing but a new read: at once after a 410, else after a pause from 100 ms to 10 s.
/// However quiet the watch is, the object is read every 30 s. Only a 404 that names the object says that it is absent.
/// Each read and watch is one attempt of a [`Polling`], and all its words can be used; nothing bounds the whole unless
/// [`finish_within`](Polling::finish_within) does, and then the last look begins 1 s before that bound (at half of it,
/// if it is less than 2 s).
///
/// Each call inside has 10 s, and a look ends just before the attempt is cut: so the error says what was last seen,
/// however short the bounds. A refusal (401, 403, a kind that the server does not know) ends it once it has lasted 2 s,
/// and so does what a proxy answers in the server's place. What a server asks for (`Retry-After`) is heeded up to five
/// minutes, unless [`max_retry_after`](Polling::max_retry_after) says otherwise.
///
/// It needs the verbs `get` and `watch`, and `list` where there is no object yet; all may be limited to its name.
///
/// # Errors
/// [`GaveUp`](relent::GaveUp) with a [`WaitError`] that says what was last seen; at once for those that
/// [`decision`](WaitError::decision) calls fatal.
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
/// let pod = relent_k8s::wait(pods, "web-0", conditions::is_pod_running())
///     .finish_within(Duration::from_secs(60))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[expect(clippy::type_complexity, reason = "the types of what is polled")]
pub fn wait<'c, K, C, A>(
    api: Api<K>,
    name: &str,
    condition: C,
) -> Polling<impl Operation<Output = One<K>, Future = Boxed<'c, One<K>>> + use<'c, K, C, A>, fn(&WaitError) -> Decision>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    C: Awaited<K, A> + Send + Sync + 'c,
{
    let target = Target::named(&api, name);
    let mut looks = Looks::new(api, target, move |objects: &[K]| condition.judge(objects.first()));
    polling(move |attempt: Attempt| {
        let looks = looks.at(&attempt);
        Box::pin(async move {
            Ok(match looks.look(attempt).await? {
                Check::Ready(objects) => Check::Ready(objects.into_iter().next()),
                Check::NotYet => Check::NotYet,
                Check::NotYetBecause(error) => Check::NotYetBecause(error),
                Check::Fatal(error) => Check::Fatal(error),
            })
        }) as Boxed<'c, One<K>>
    })
}

/// Waits until `condition` holds for all objects together that a label selector matches: `app=web`, `tier in (a, b)`.
///
/// The condition gets them in no particular order, none of them too, and answers `bool` or a [`Verdict`]. Otherwise it
/// is as [`wait()`]; it needs the verbs `list` and `watch`.
///
/// # Errors
/// As [`wait()`].
///
/// # Cancel safety
/// As [`wait()`].
///
/// ```no_run
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use k8s_openapi::api::core::v1::Pod;
/// use kube::{Api, runtime::wait::{Condition, conditions::is_pod_running}};
///
/// let pods: Api<Pod> = Api::default_namespaced(client);
/// let running = |pods: &[Pod]| pods.len() == 3 && pods.iter().all(|pod| is_pod_running().matches_object(Some(pod)));
/// let pods = relent_k8s::wait_labelled(pods, "app=web", running).finish_within(Duration::from_secs(60)).await?;
/// # Ok(())
/// # }
/// ```
#[expect(clippy::type_complexity, reason = "the types of what is polled")]
pub fn wait_labelled<'c, K, C, V>(
    api: Api<K>,
    selector: &str,
    condition: C,
) -> Polling<
    impl Operation<Output = Looked<K>, Future = Boxed<'c, Looked<K>>> + use<'c, K, C, V>,
    fn(&WaitError) -> Decision,
>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    C: Fn(&[K]) -> V + Send + Sync + 'c,
    V: Into<Verdict>,
{
    let target = Target::labelled(&api, selector);
    let mut looks = Looks::new(api, target, move |objects: &[K]| condition(objects).into());
    polling(move |attempt: Attempt| Box::pin(looks.at(&attempt).look(attempt)) as Boxed<'c, Looked<K>>)
}

/// What a look at one object gives.
type One<K> = Result<Check<Option<K>, WaitError>, WaitError>;

fn polling<'c, T: 'c, F>(look: F) -> Polling<F, fn(&WaitError) -> Decision>
where
    F: FnMut(Attempt) -> Boxed<'c, Result<Check<T, WaitError>, WaitError>>,
{
    let policy = Policy::new().default_final_try(LAST_LOOK).max_retry_after(LONGEST_ASKED);
    poll(look)
        .policy(&policy)
        .backoff(
            // No pause is shorter than what a look ends before its bound: where it has ended by that, none begins any
            // more.
            Backoff::exponential(Duration::from_millis(200), Duration::from_secs(10))
                .jitter(Jitter::Equal)
                .reset_after(Duration::from_secs(5)),
        )
        .attempt_timeout(READ_AGAIN.saturating_mul(2))
        .when(WaitError::decision as fn(&WaitError) -> Decision)
}
