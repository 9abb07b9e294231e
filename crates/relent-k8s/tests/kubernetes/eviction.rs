//! Evictions against an API server: at their time, with disruption budgets, replaced pods, lost answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Event, Pod, Taint};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::KubeConfigOptions,
};
use relent::{
    Backoff, Jitter, Policy,
    queue::{Cancelled, Finished, ItemEvent, Scheduled},
};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::eviction::{
    EvictError, Evicted, Eviction, Evictions, Evictor, ObservedPod, PodKey, Tolerated, evict, tolerated,
};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::world::unique;

mod between;
mod cluster;
mod looking;
mod settings;
mod taints;

const S: Duration = Duration::from_secs(1);
const EVICTIONS: &str = "**/pods/*/eviction";

type Told = Arc<Mutex<Vec<String>>>;
/// Which pods are done, and the values that were handed back.
type Done = Arc<Mutex<Vec<(String, Eviction)>>>;

struct Running {
    evictions: Evictions,
    told: Told,
    done: Done,
    stop: CancellationToken,
    task: JoinHandle<Finished<PodKey, Eviction, EvictError>>,
}

fn policy() -> Policy {
    Policy::new().backoff(Backoff::fixed(S).jitter(Jitter::None)).attempt_timeout(5 * S)
}

fn start(client: &Client, policy: &Policy) -> Running {
    start_as(client, policy, |evictor| evictor)
}

fn start_as(client: &Client, policy: &Policy, how: impl FnOnce(Evictor) -> Evictor) -> Running {
    let mut evictor = how(Evictor::new(client.clone(), "taint-manager").policy(policy));
    let (evictions, told, done) = (evictor.handle(), Told::default(), Done::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (told, done, stop) = (told.clone(), done.clone(), stop.clone());
        async move {
            let notify = |outcome: ItemEvent<'_, PodKey, Eviction, EvictError>| {
                told.lock().unwrap().push(match outcome {
                    ItemEvent::Done { key, value, attempt, .. } => {
                        done.lock().unwrap().push((key.name().to_owned(), value.clone()));
                        format!("{} done {}", key.name(), attempt.number())
                    }
                    ItemEvent::Failed { key, last, .. } => format!("{} {last:?}", key.name()),
                    ItemEvent::GaveUp(back) => format!("{} gave up: {}", back.key.name(), back.error),
                    other => format!("{other:?}"),
                });
            };
            evictor.run(stop, notify).await
        }
    });
    Running { evictions, told, done, stop, task }
}

async fn pod(client: &Client, name: &str, tolerations: Value) -> Pod {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": {
            "containers": [{ "name": "main", "image": "example.com/app" }],
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": 0,
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let running = json!({ "status": { "phase": "Running" } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(running)).await.unwrap()
}

async fn budget(client: &Client, allowed: i64) {
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let budget = json!({
        "metadata": { "name": "web" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
    });
    if budgets.get_opt("web").await.unwrap().is_none() {
        budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    }
    let status = json!({ "status": {
        "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "observedGeneration": 1,
    } });
    budgets.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn exists(client: &Client, name: &str) -> bool {
    Api::<Pod>::default_namespaced(client.clone()).get_opt(name).await.unwrap().is_some()
}

async fn events(client: &Client) -> Vec<Event> {
    Api::<Event>::default_namespaced(client.clone()).list(&ListParams::default()).await.unwrap().items
}

fn asked(server: &ApiServer, suffix: &str) -> Vec<(u64, Option<u16>)> {
    let journal = server.journal();
    let fits = journal.iter().filter(|entry| entry.path.ends_with(suffix) && entry.verb == Verb::Create);
    fits.map(|entry| (entry.at.as_secs(), entry.code)).collect()
}

fn taint() -> Taint {
    Taint { key: "node.kubernetes.io/unreachable".into(), effect: "NoExecute".into(), ..Taint::default() }
}

fn tolerates(seconds: i64) -> Value {
    json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": seconds }])
}

#[tokio::test(start_paused = true)]
async fn evicted_when_its_toleration_ends_and_the_event_is_written() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", tolerates(300)).await;
    let Running { evictions, told, .. } = start(&client, &policy());
    let begin = Instant::now();
    let ObservedPod::Planned(due) = evictions.observe(&web, &[taint()]) else { panic!() };
    assert_eq!(due, begin + 300 * S);
    sleep(299 * S).await;
    assert!(exists(&client, "web").await);
    sleep(2 * S).await;
    evictions.idle().await;
    assert!(!exists(&client, "web").await);
    assert_eq!(*told.lock().unwrap(), ["web done 1"]);
    let events = events(&client).await;
    assert_eq!(events.len(), 1, "when it is done the event is there");
    assert_eq!(events[0].involved_object.uid, web.metadata.uid);
    assert_eq!(events[0].reason.as_deref(), Some("TaintManagerEviction"));
    assert_eq!(events[0].message.as_deref(), Some("Marking for deletion Pod default/web"));
    assert!(evictions.is_empty());
}

/// The toleration changes while it waits: the time counts from when the taint was first seen.
#[tokio::test(start_paused = true)]
async fn a_changed_toleration_moves_or_cancels_it() {
    let server = ApiServer::new();
    let client = server.client();
    let (long, short) = (pod(&client, "long", tolerates(300)).await, pod(&client, "short", tolerates(60)).await);
    let Running { evictions, .. } = start(&client, &policy());
    let begin = Instant::now();
    assert!(matches!(evictions.observe(&long, &[taint()]), ObservedPod::Planned(_)));
    sleep(50 * S).await;
    assert!(matches!(evictions.observe(&long, &[taint()]), ObservedPod::Unchanged));
    // The pod now tolerates less, then anything.
    let with = |pod: &Pod, other: &Pod| {
        let mut pod = pod.clone();
        pod.spec.as_mut().unwrap().tolerations = other.spec.as_ref().unwrap().tolerations.clone();
        pod
    };
    match evictions.observe(&with(&long, &short), &[taint()]) {
        ObservedPod::Planned(due) => assert_eq!(due, begin + 60 * S),
        other => panic!("{other:?}"),
    }
    assert!(matches!(evictions.observe(&long, &[]), ObservedPod::Stays));
    assert!(evictions.is_empty());
    sleep(500 * S).await;
    assert!(exists(&client, "long").await, "the taint went away in time");
    // Not tolerated at all: at once.
    let mut bare = long.clone();
    bare.spec.as_mut().unwrap().tolerations = None;
    assert_eq!(tolerated(&[taint()], &[]), Tolerated::For(Duration::ZERO));
    assert!(matches!(evictions.observe(&bare, &[taint()]), ObservedPod::Planned(_)));
    evictions.idle().await;
    assert!(!exists(&client, "long").await);
}

#[tokio::test(start_paused = true)]
async fn a_disruption_budget_that_says_wait() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    budget(&client, 0).await;
    // The first refusals say for how long.
    server.inject(Fault::overloaded(30).path(EVICTIONS).times(2));
    let Running { evictions, told, .. } = start(&client, &policy());
    assert!(matches!(evictions.observe(&web, &[taint()]), ObservedPod::Planned(_)));
    sleep(62 * S + S / 2).await;
    let begin = asked(&server, "/eviction")[0].0;
    let at: Vec<_> = asked(&server, "/eviction").into_iter().map(|(at, code)| (at - begin, code)).collect();
    let refused = Some(429);
    assert_eq!(at, [(0, refused), (30, refused), (60, refused), (61, refused), (62, refused)], "as told, else as set");
    assert!(matches!(evictions.observe(&web, &[taint()]), ObservedPod::Unchanged), "it goes on waiting");
    budget(&client, 1).await;
    evictions.idle().await;
    sleep(S).await;
    assert!(!exists(&client, "web").await);
    let told = told.lock().unwrap().clone();
    assert!(told[0].ends_with("(429) (come back in 30 s))"), "{}", told[0]);
    assert_eq!(told.last().unwrap(), "web done 6");
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_of_the_same_name_is_left_alone() {
    let server = ApiServer::new();
    let client = server.client();
    let old = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.delete("web", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(evict(&client, &old, None).await.unwrap(), Evicted::Gone);
    let new = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    assert_ne!(old, new);
    assert_eq!(evict(&client, &old, None).await.unwrap(), Evicted::Replaced);
    assert!(exists(&client, "web").await);

    let Running { evictions, told, .. } = start(&client, &policy());
    assert!(matches!(evictions.evict(old, Eviction::new("old"), Duration::ZERO), Ok(Scheduled::New)));
    evictions.idle().await;
    assert_eq!(*told.lock().unwrap(), ["web done 1"]);
    assert!(exists(&client, "web").await && events(&client).await.is_empty());
    assert_eq!(evict(&client, &new, None).await.unwrap(), Evicted::Accepted);
}

/// No Eviction API, in the server's answer and in its discovery: the pod is deleted, with the same precondition.
#[tokio::test(start_paused = true)]
async fn without_the_eviction_api_it_is_deleted() {
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    server.inject(Fault::status(404).path(EVICTIONS));
    server.inject(Fault::text(200, without_evictions()).path("/api/v1"));
    let other = PodKey::new("default", "web", "another");
    assert_eq!(evict(&client, &other, Some(0)).await.unwrap(), Evicted::Replaced);
    assert!(exists(&client, "web").await);
    assert_eq!(evict(&client, &web, Some(0)).await.unwrap(), Evicted::Deleted);
    assert!(!exists(&client, "web").await);
    assert_eq!(evict(&client, &web, Some(0)).await.unwrap(), Evicted::Gone);
}

/// The discovery of a server that has pods and no evictions.
fn without_evictions() -> String {
    let pods =
        json!({ "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "delete"] });
    json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [pods] }).to_string()
}

/// Calls that fail, hang, or whose answer is lost are repeated; the event comes once, and after the eviction.
#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_the_event_is_not_forgotten() {
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    server.inject(Fault::status(500).path(EVICTIONS).times(1));
    server.inject(Fault::hang().path(EVICTIONS).times(1));
    server.inject(Fault::status(503).path("**/events").times(2));
    server.inject(Fault::lose_answer().path("**/events").times(1));
    let Running { evictions, told, .. } = start(&client, &policy());
    let _ = evictions.evict(web, Eviction::new("bye"), Duration::ZERO).unwrap();
    evictions.idle().await;
    while !evictions.is_empty() {
        sleep(S).await;
    }
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("Failed(could not evict pod default/web") && told[1].contains("Cut { after: 5s"),
        "{told:?}"
    );
    assert_eq!(told[2], "web done 3");
    assert_eq!(events(&client).await.len(), 1);
    assert_eq!(asked(&server, "/events").len(), 4, "the last found it there");
    assert_eq!(asked(&server, "/eviction").len(), 3, "evicted once, not again for each event that failed");
}

/// After the last try the pod comes back with the reason.
#[tokio::test(start_paused = true)]
async fn given_up_with_the_reason() {
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    budget(&client, 0).await;
    let Running { evictions, told, .. } = start(&client, &policy().max_attempts(2));
    let _ = evictions.evict(web, Eviction::new("bye"), Duration::ZERO).unwrap();
    sleep(3 * S).await;
    let told = told.lock().unwrap().clone();
    assert!(
        told[2].starts_with(
            "web gave up: gave up after 2 attempts in 1s: at most 2 attempts were allowed; last attempt: pod default/web (uid "
        ),
        "{}",
        told[2]
    );
    let words = ") cannot be evicted yet: Cannot evict pod as it would violate the pod's disruption budget: \
                 The disruption budget web needs 1 healthy pods and has 1 currently (429)";
    assert!(told[2].ends_with(words), "{}", told[2]);
    assert!(exists(&client, "web").await);
}

/// What was given up or handed back is not taken for planned when its pod is seen again.
#[tokio::test(start_paused = true)]
async fn seen_again_after_it_was_given_up_or_handed_back() {
    let server = ApiServer::new();
    let client = server.client();
    let (now, later) = (pod(&client, "now", json!([])).await, pod(&client, "later", tolerates(60)).await);
    budget(&client, 0).await;
    let Running { evictions, told, stop, task, .. } = start(&client, &policy().max_attempts(2));
    let observe = |pod: &Pod| evictions.observe(pod, &[taint()]);
    assert!(matches!((observe(&now), observe(&later)), (ObservedPod::Planned(_), ObservedPod::Planned(_))));
    assert!(matches!((observe(&now), observe(&later)), (ObservedPod::Unchanged, ObservedPod::Unchanged)));
    sleep(3 * S).await;
    assert!(told.lock().unwrap()[2].contains("gave up"));
    assert!(matches!((observe(&now), observe(&later)), (ObservedPod::Planned(_), ObservedPod::Unchanged)));
    stop.cancel();
    assert_eq!(task.await.unwrap().waiting.len(), 2);
    // No call evicts any more, and it says so rather than that all is as planned.
    assert!(matches!((observe(&now), observe(&later)), (ObservedPod::Closed, ObservedPod::Closed)));
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_back_what_waits() {
    let server = ApiServer::new();
    let client = server.client();
    let Running { evictions, stop, task, .. } = start(&client, &policy());
    for n in 0..3 {
        let key = PodKey::new("default", &format!("web-{n}"), "uid");
        let _ = evictions.evict(key, Eviction::new("later"), 60 * S).unwrap();
    }
    let cancelled = evictions.cancel(&PodKey::new("default", "web-1", "uid"));
    assert!(matches!(cancelled, Cancelled::Removed { .. }));
    sleep(S).await;
    stop.cancel();
    let finished = task.await.unwrap();
    let names: Vec<_> = finished.waiting.iter().map(|(pod, ..)| pod.name()).collect();
    assert_eq!(names, ["web-0", "web-2"]);
    assert!(asked(&server, "/eviction").is_empty());
}

/// On a real API server, where there is one: no node takes the pod, so it is pending and goes at once.
#[tokio::test]
async fn on_a_real_api_server() {
    let Ok(config) = std::env::var("RELENT_KUBECONFIG") else {
        // The same steps on the server in this process.
        return real(ApiServer::new().client()).await;
    };
    let config = kube::config::Kubeconfig::read_from(config).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    real(Client::try_from(config).unwrap()).await;
}

async fn real(client: Client) {
    let name = unique("evicted");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let spec = json!({
        "metadata": { "name": name },
        "spec": {
            "containers": [{ "name": "main", "image": "example.com/app" }],
            "automountServiceAccountToken": false,
            "schedulerName": "nobody",
            "terminationGracePeriodSeconds": 0,
        },
    });
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(spec).unwrap()).await.unwrap();
    let key = PodKey::of(&pod).unwrap();
    let other = PodKey::new("default", &name, "00000000-0000-0000-0000-000000000000");
    assert_eq!(evict(&client, &other, Some(0)).await.unwrap(), Evicted::Replaced);
    let Running { evictions, told, .. } = start(&client, &policy());
    let bye = Eviction::new("bye").grace_period_seconds(0);
    let _ = evictions.evict(key.clone(), bye, Duration::from_millis(20)).unwrap();
    tokio::time::timeout(20 * S, evictions.drain()).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [format!("{name} done 1")]);
    assert!(pods.get_opt(&name).await.unwrap().is_none());
    let event = Api::<Event>::namespaced(client, "default").get(&format!("{name}.{}", key.uid())).await.unwrap();
    assert_eq!(event.message.as_deref(), Some("bye"));
}
