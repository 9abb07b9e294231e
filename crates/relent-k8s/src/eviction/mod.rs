//! Evicting pods at their time, as the taint manager does: [`Evictor`].
//!
//! Each pod is a key of a [`TimedQueue`] that holds its UID, so a new pod of an old name is another key. An eviction
//! reads the pod, asks the Eviction API with the UID as a precondition and deletes the pod where the server has no such
//! API; a disruption budget that says wait is waited for as told; a pod that is gone or replaced is what was wanted.
//! Whatever fails is tried again by the policy; a caller without the right to evict hears so after two seconds. Then
//! the event is written, as well as can be.

mod api;
mod error;
mod event;
mod handle;
mod leaving;
mod plan;
mod pod;
mod progress;
mod toleration;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use relent::{
    Backoff, ConfigError, Decision, Policy,
    queue::{Finished, ItemEvent, Job, TimedQueue},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::{
    api::evict,
    error::EvictError,
    handle::{Evictions, ObservedPod},
    pod::{Evicted, Eviction, PodKey},
    toleration::{Tolerated, tolerated},
};
use self::{leaving::Leaving, progress::Pods};
use crate::{call::LONGEST_ASKED, time};

/// Evicts pods at their time.
///
/// One attempt has 10 s; failed ones are tried again forever, 100 ms to 30 s apart, unless [`policy`](Self::policy)
/// says otherwise; a budget that says wait longer is waited for as told, up to five minutes. Four pods are evicted side
/// by side.
///
/// An event is tried for 2 s, and not again; while events fail, for a quarter of a second. Whether it was written says
/// [`Eviction::event_error`] of the value that is handed back.
///
/// ```no_run
/// use std::time::Duration;
/// use relent_k8s::eviction::{Eviction, Evictor, PodKey};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn run(client: kube::Client) -> Result<(), relent::ConfigError> {
/// let mut evictor = Evictor::new(client, "taint-manager");
/// let evictions = evictor.handle();
/// let pod = PodKey::new("default", "web-0", "6d0f1c6e");
/// let _ = evictions.evict(pod, Eviction::new("node is going away"), Duration::from_secs(300))?;
/// let finished = evictor.run(CancellationToken::new(), |outcome| eprintln!("{outcome:?}")).await;
/// # drop(finished); Ok(()) }
/// ```
pub struct Evictor {
    client: kube::Client,
    events: Events,
    queue: TimedQueue<PodKey, Eviction>,
    policy: Policy,
    when: Option<When>,
    once: bool,
    until_gone: bool,
    concurrency: usize,
    pods: Arc<Pods>,
    /// Evicted, and not gone yet.
    leaving: Arc<watch::Sender<Leaving>>,
}

/// How the events are signed.
#[derive(Clone, Debug)]
struct Events {
    component: Arc<str>,
    reason: Arc<str>,
    /// The last one was not written: evictions wait less for the next.
    fail: Arc<AtomicBool>,
}

type When = Box<dyn FnMut(&EvictError) -> Decision + Send>;

impl Evictor {
    /// An evictor whose events say that they come from `component`.
    #[must_use]
    pub fn new(client: kube::Client, component: &str) -> Self {
        let policy = Policy::new()
            .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(30)))
            .attempt_timeout(Duration::from_secs(10))
            .max_retry_after(LONGEST_ASKED);
        Self {
            client,
            events: Events { component: component.into(), reason: "TaintManagerEviction".into(), fail: Arc::default() },
            queue: TimedQueue::new().policy(&policy),
            policy,
            when: None,
            once: false,
            until_gone: false,
            concurrency: 4,
            pods: Arc::default(),
            leaving: Arc::new(watch::Sender::default()),
        }
    }

    /// What becomes of evictions that fail, per pod. Cadence, `attempt_timeout`, `on_cut` and `max_retry_after` stay as
    /// they are where this one sets none; the bounds are replaced as one set.
    #[must_use]
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = policy.clone().guarded_by(&self.policy);
        self.settle_policy()
    }

    /// Each pod is tried once: what fails is handed back at once, as given up. Whatever the policy allows.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self.settle_policy()
    }

    fn settle_policy(mut self) -> Self {
        let policy = if self.once { self.policy.clone().max_attempts(1) } else { self.policy.clone() };
        self.queue = self.queue.policy(&policy);
        self
    }

    /// Which errors to try again, and when. Default: [`EvictError::decision`]. Of two rules the later counts.
    #[must_use]
    pub fn when<D: Into<Decision>>(mut self, mut classify: impl FnMut(&EvictError) -> D + Send + 'static) -> Self {
        self.when = Some(Box::new(move |error| classify(error).into()));
        self
    }

    /// The reason that events give; `TaintManagerEviction` unless set.
    ///
    /// # Errors
    /// An event must have one, in one word of at most 128 bytes, as machines read it.
    pub fn event_reason(mut self, reason: &str) -> Result<Self, ConfigError> {
        if reason.is_empty() || reason.len() > 128 || reason.contains(char::is_whitespace) {
            return Err(ConfigError::new("event reason", format_args!("{reason:?}"), "one word of at most 128 bytes"));
        }
        self.events.reason = reason.into();
        Ok(self)
    }

    /// [`Evictions::drain`] and [`run`](Self::run) wait also until the pods that were evicted are gone: it is looked
    /// every second, which takes the right to `get` pods. A pod that a finalizer keeps, or that a server which is down
    /// does not tell of, is waited for without end: [`Evictions::leaving`] names it, and [`Evictions::unseen`] says why
    /// it could not be looked at. Where the looks have been refused for 2 s (401, 403), nothing waits for that pod any
    /// more: a drain counts it as left.
    #[must_use]
    pub fn until_gone(mut self) -> Self {
        self.until_gone = true;
        self
    }

    /// How many pods are evicted at once at most.
    ///
    /// # Errors
    /// 0 would never evict any.
    pub fn concurrency(mut self, most: usize) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("concurrency", most, "at least 1, or nothing would ever run"));
        }
        self.concurrency = most;
        Ok(self)
    }

    /// A handle, to plan and to cancel evictions.
    #[must_use]
    pub fn handle(&self) -> Evictions {
        Evictions { queue: self.queue.handle(), pods: self.pods.clone(), leaving: self.leaving.subscribe() }
    }

    /// Evicts until told to stop, or until nothing is left and nothing can come any more; what is being evicted then is
    /// seen to its end, and what waits is handed back. `notify` hears of every attempt and gets the pods back that are
    /// done or given up: [`Eviction::outcome`] of what it gets says what became of them.
    ///
    /// Cancel safe: dropped, it drops the attempts in flight; their pods go back by the policy.
    pub async fn run(
        &mut self,
        stop: CancellationToken,
        mut notify: impl FnMut(ItemEvent<'_, PodKey, Eviction, EvictError>) + Send,
    ) -> Finished<PodKey, Eviction, EvictError> {
        let Self { client, events, queue, when, until_gone, concurrency, pods, leaving, .. } = self;
        let (client, pods, leaving) = (&*client, &*pods, &*leaving);
        let worker = |job: Job<PodKey, Eviction>| {
            let (client, events, pods) = (client.clone(), events.clone(), pods.clone());
            let leaving = until_gone.then(|| leaving.clone());
            async move {
                let evicted = attempt(&client, &events, &pods, &job.key, &job.value).await?;
                let leaves = matches!(evicted, Evicted::Accepted | Evicted::Deleted | Evicted::Terminating);
                if let Some(leaving) = leaving.filter(|_| leaves) {
                    leaving.send_if_modified(|leaving| leaving.insert(job.key));
                }
                Ok(())
            }
        };
        let notify = |outcome: ItemEvent<'_, _, _, _>| {
            note_outcome(pods, outcome);
            notify(outcome);
        };
        let classify = |error: &EvictError| when.as_mut().map_or_else(|| error.decision(), |when| when(error));
        let work = queue.run(worker).when(classify).notify(notify).cancel_on(stop.clone());
        let Ok(work) = work.concurrency(*concurrency) else { unreachable!("it was checked when it was set") };
        let watching = pin!(leaving::watch(client, leaving));
        let (finished, watching) = match select(pin!(work.into_future()), watching).await {
            Either::Left(ended) => ended,
            Either::Right((never, _)) => match never {},
        };
        let mut left = leaving.subscribe();
        let gone = async { left.wait_for(Leaving::is_over).await.is_ok() };
        select(select(pin!(gone), pin!(stop.cancelled())), watching).await;
        for (pod, ..) in &finished.waiting {
            pods.forget(pod);
        }
        finished
    }
}

/// One attempt: evict, unless that is done, then write the event.
async fn attempt(
    client: &kube::Client,
    events: &Events,
    pods: &Pods,
    pod: &PodKey,
    eviction: &Eviction,
) -> Result<Evicted, EvictError> {
    let (progress, refused_since) = pods.begin(pod);
    let evicted = match progress.evicted {
        Some(evicted) => evicted,
        None => match evict(client, pod, eviction.grace).await {
            Ok(mut evicted) => {
                if evicted == Evicted::Terminating && progress.asked {
                    // By an attempt before this one.
                    evicted = Evicted::Accepted;
                }
                pods.note(pod, |progress| progress.evicted = Some(evicted));
                evicted
            }
            Err(error) => return Err(pods.failed(pod, error, refused_since, time::now())),
        },
    };
    if matches!(evicted, Evicted::Accepted | Evicted::Deleted) && !progress.event_tried {
        pods.note(pod, |progress| progress.event_tried = true);
        let within = if events.fail.load(Ordering::Relaxed) { event::WITHIN / 8 } else { event::WITHIN };
        let written = event::write(client, events, pod, eviction.note(), within).await;
        events.fail.store(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written {
            pods.note(pod, |progress| progress.event_error = Some(error.into()));
        }
    }
    Ok(evicted)
}

/// What is told of a pod says what became of it; what is over is forgotten.
fn note_outcome(pods: &Pods, outcome: ItemEvent<'_, PodKey, Eviction, EvictError>) {
    let (value, progress) = match outcome {
        ItemEvent::Done { key, value, .. } => (value, pods.forget(key).progress),
        ItemEvent::GaveUp(back) => (&back.value, pods.forget(&back.key).progress),
        // The newer one goes on from there.
        ItemEvent::Superseded(back) => (&back.value, pods.progress(&back.key)),
        _ => return,
    };
    value.tell(progress.evicted, progress.event_error);
}

impl fmt::Debug for Evictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evictor")
            .field("events", &self.events)
            .field("policy", &self.policy)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
