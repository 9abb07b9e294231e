//! Incident 4: the timed workers of the device taint eviction, and what they lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Event, Pod, Taint},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use relent::{
    Backoff, Jitter, Last, Policy, TimedQueue,
    queue::{Cancelled, ItemEvent, Job, Scheduled},
};
use relent_apiserver::ApiServer;
use relent_k8s::eviction::{Evictor, ObservedPod, PodKey};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    stage::{Failed, Stage, virtual_time},
};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn play(_: &Options, stage: &mut Stage) -> Result<(), Failed> {
    virtual_time(async {
        one_key(stage).await?;
        under_load(stage).await?;
        Box::pin(evictions(stage)).await
    })?
}

/// What happened, and when.
#[derive(Clone)]
struct Diary {
    start: Instant,
    lines: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Diary {
    fn new() -> Self {
        Self { start: Instant::now(), lines: Arc::default() }
    }

    fn note(&self, text: impl Into<String>) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((self.start.elapsed(), text.into()));
    }

    fn read(&self, stage: &Stage) {
        for (at, text) in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            stage.say(format_args!("{:>9} | {text}", format!("{} ms", at.as_millis())));
        }
    }
}

async fn one_key(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "update, cancel and re-add while the key runs",
        "an update that met a running worker was a nil pointer, later was dropped without a word; the end of the old run \
         deleted the newer entry, which then fired all the same",
    );
    let mut queue = TimedQueue::new();
    let (handle, diary) = (queue.handle(), Diary::new());
    let runs = Arc::new(Mutex::new(Vec::new()));
    let working = tokio::spawn({
        let (diary, runs) = (diary.clone(), runs.clone());
        async move {
            let worker = |job: Job<String, u32>| {
                let (diary, runs) = (diary.clone(), runs.clone());
                async move {
                    diary.note(format!("run of value {} starts", job.value));
                    runs.lock().unwrap_or_else(PoisonError::into_inner).push(job.value);
                    sleep(3 * SECOND).await;
                    diary.note(format!("run of value {} ends", job.value));
                    Ok::<_, String>(())
                }
            };
            drop(queue.run(worker).concurrency(8)?.await);
            Ok::<_, relent::ConfigError>(())
        }
    });
    let _ = handle.schedule("pod".to_owned(), 1, SECOND);
    sleep(2 * SECOND).await;
    let updated = handle.reschedule("pod".to_owned(), 2, 5 * SECOND);
    diary.note("update to value 2, due in 5 s: kept, applied after the run");
    stage.check("the update says so", updated, Scheduled::AfterCurrentRun { replaced: None });
    sleep(SECOND).await;
    let cancelled = handle.cancel(&"pod".to_owned());
    diary.note("cancel: the run goes on, value 2 comes back");
    let next = matches!(cancelled, Cancelled::Running { next: Some((_, 2)) });
    stage.check("the cancel gives value 2 back", next, true);
    let _ = handle.schedule("pod".to_owned(), 3, SECOND / 2);
    diary.note("added again with value 3, due in 500 ms: waits for the run to end");
    handle.drain().await;
    working.await??;
    diary.read(stage);
    let runs = runs.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stage.check("runs", runs, vec![1, 3]);
    Ok(())
}

async fn under_load(stage: &mut Stage) -> Result<(), Failed> {
    const KEYS: u32 = 1000;
    stage.part(
        "a thousand keys under load",
        "a goroutine for each item, without a limit, and an error was logged and forgotten",
    );
    let policy = Policy::new().backoff(Backoff::fixed(SECOND).jitter(Jitter::None)).max_attempts(3);
    let mut queue = TimedQueue::new().policy(&policy);
    let handle = queue.handle();
    for key in 0..KEYS {
        let _ = handle.schedule(key, (), Duration::from_millis(u64::from(key % 10)));
    }
    drop(handle);
    let (running, most) = (Arc::new(Mutex::new(0_u32)), Arc::new(Mutex::new(0_u32)));
    let (mut done, mut retried, mut back) = (0, 0, Vec::new());
    let start = Instant::now();
    let worker = |job: Job<u32, ()>| {
        let (running, most) = (running.clone(), most.clone());
        async move {
            let count = |change: fn(u32) -> u32| {
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                *running = change(*running);
                *running
            };
            let now = count(|running| running + 1);
            {
                let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
                *most = now.max(*most);
            }
            sleep(Duration::from_millis(10)).await;
            count(|running| running - 1);
            match job.key {
                7 => Err("the disk is gone"),
                key if key % 10 == 0 && job.attempt.number() == 1 => Err("try again"),
                _ => Ok(()),
            }
        }
    };
    let listen = |outcome: ItemEvent<'_, u32, (), &'static str>| match outcome {
        ItemEvent::Done { .. } => done += 1,
        ItemEvent::Failed { again: Some(_), .. } => retried += 1,
        ItemEvent::GaveUp(given_up) => back.push((given_up.key, given_up.error.sentence().to_string())),
        _ => {}
    };
    drop(queue.run(worker).concurrency(20)?.notify(listen).await);
    stage.say(format_args!("all of it took {} ms", start.elapsed().as_millis()));
    let most = *most.lock().unwrap_or_else(PoisonError::into_inner);
    stage.check("running at once at most", most, 20);
    stage.check("done", done, KEYS - 1);
    stage.check("tries repeated", retried, 102);
    for (key, why) in &back {
        stage.say(format_args!("key {key} comes back: {why}"));
    }
    stage.check("handed back with the reason", back.len(), 1);
    Ok(())
}

async fn pod(client: &Client, name: &str, seconds: i64) -> Result<Pod, Failed> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Value = json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": {
            "containers": [{ "name": "main", "image": "example.com/app" }],
            "tolerations": [{ "key": "device", "operator": "Exists", "tolerationSeconds": seconds }],
            "terminationGracePeriodSeconds": 0,
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let running = json!({ "status": { "phase": "Running" } });
    Ok(pods.patch_status(name, &PatchParams::default(), &Patch::Merge(running)).await?)
}

async fn allow(client: &Client, disruptions: u32) -> Result<(), Failed> {
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    if budgets.get_opt("web").await?.is_none() {
        let budget = json!({
            "metadata": { "name": "web" },
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
        });
        budgets.create(&PostParams::default(), &serde_json::from_value(budget)?).await?;
    }
    let status = json!({ "status": {
        "disruptionsAllowed": disruptions, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 2,
        "observedGeneration": 1,
    } });
    budgets.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

async fn evictions(stage: &mut Stage) -> Result<(), Failed> {
    stage.part(
        "evictions, and a disruption budget that says wait",
        "five tries 10 ms apart, then a line in the log; the pod stayed until something else happened",
    );
    let server = ApiServer::new();
    let client = server.client();
    let (first, second) = (pod(&client, "web-1", 60).await?, pod(&client, "web-2", 300).await?);
    allow(&client, 0).await?;
    let diary = Diary::new();
    let policy = Policy::new().backoff(Backoff::fixed(20 * SECOND).jitter(Jitter::None)).attempt_timeout(10 * SECOND);
    let mut evictor = Evictor::new(client.clone(), "device-taint-eviction").policy(&policy);
    let (evictions, stop) = (evictor.handle(), CancellationToken::new());
    let task = tokio::spawn({
        let (diary, stop) = (diary.clone(), stop.clone());
        async move {
            let notify = |outcome: ItemEvent<'_, PodKey, _, _>| match outcome {
                ItemEvent::Done { key, attempt, .. } => {
                    diary.note(format!("{}: evicted, event written, attempt {}", key.name(), attempt.number()));
                }
                ItemEvent::Failed { key, last: Last::Failed(error), .. } => {
                    diary.note(format!("{}: {error}", key.name()));
                }
                other => diary.note(format!("{other:?}")),
            };
            drop(evictor.run(stop, notify).await);
        }
    });
    let taint = Taint { key: "device".into(), effect: "NoExecute".into(), ..Taint::default() };
    for pod in [&first, &second] {
        match evictions.observe(pod, std::slice::from_ref(&taint)) {
            ObservedPod::Planned(due) => {
                let after = due.saturating_duration_since(diary.start);
                diary.note(format!("{}: tainted, to go after {} s", pod.name_any(), after.as_secs()));
            }
            other => diary.note(format!("{other:?}")),
        }
    }
    sleep(110 * SECOND).await;
    allow(&client, 1).await?;
    diary.note("the budget allows one disruption");
    sleep(20 * SECOND).await;
    let _ = evictions.observe(&second, &[]);
    diary.note("web-2: the taint is gone, so is its eviction");
    sleep(400 * SECOND).await;
    stop.cancel();
    task.await?;
    diary.read(stage);
    let left: Vec<_> = Api::<Pod>::default_namespaced(client.clone()).list(&ListParams::default()).await?.items;
    let left: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
    stage.check("pods left", left, vec!["web-2".to_owned()]);
    let events = Api::<Event>::default_namespaced(client).list(&ListParams::default()).await?.items;
    stage.check("events written", events.len(), 1);
    let asked = server.journal().into_iter().filter(|entry| entry.path.ends_with("/eviction"));
    let answers: Vec<_> = asked.filter_map(|entry| entry.code).collect();
    stage.check("what the Eviction API said", answers, vec![429, 429, 429, 201]);
    Ok(())
}
