//! kube's runtime on this server under random faults: nothing is lost, and what it sees equals what is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::{core::v1::ConfigMap, events::v1::Event as Told};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt,
        controller::{Action, Controller},
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{Event as Finalizer, finalizer},
        reflector, watcher,
    },
};
use relent_apiserver::{ApiServer, Fault, ResourceKind, Verb};
use serde_json::json;
use tokio::time::sleep;

use crate::example::generators::{Generator, Spec, resource};

const FINALIZER: &str = "example.com/registered";
const NAMES: usize = 8;
const STEPS: usize = 400;

/// What the controller keeps outside of the cluster: which objects are registered, by uid.
#[derive(Default)]
struct Outside {
    registered: Mutex<BTreeSet<String>>,
    reconciled: AtomicU64,
    /// How often an event was to be told, and how often it was acknowledged.
    telling: AtomicU64,
    told: AtomicU64,
}

struct Context {
    client: Client,
    recorder: Recorder,
    outside: Arc<Outside>,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(error.to_string())
}

async fn apply(generator: &Generator, context: &Context) -> Result<Action, kube::Error> {
    context.outside.registered.lock().unwrap().insert(generator.uid().unwrap());
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(generator.name_any()),
            owner_references: Some(generator.controller_owner_ref(&resource()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("content".to_owned(), generator.spec.content.clone())])),
        ..ConfigMap::default()
    };
    maps.patch(&generator.name_any(), &PatchParams::apply("generators").force(), &Patch::Apply(&map)).await?;
    let told = Event {
        type_: EventType::Normal,
        reason: "Generated".to_owned(),
        note: Some(generator.spec.content.clone()),
        action: "Reconciling".to_owned(),
        secondary: None,
    };
    context.outside.telling.fetch_add(1, Ordering::Relaxed);
    context.recorder.publish(&told, &generator.object_ref(&resource())).await?;
    context.outside.told.fetch_add(1, Ordering::Relaxed);
    Ok(Action::requeue(Duration::from_secs(60)))
}

async fn reconcile(generator: Arc<Generator>, context: Arc<Context>) -> Result<Action, Failed> {
    context.outside.reconciled.fetch_add(1, Ordering::Relaxed);
    let generators: Api<Generator> = Api::namespaced_with(context.client.clone(), "default", &resource());
    let done = finalizer(&generators, FINALIZER, generator, async |event| match event {
        Finalizer::Apply(generator) => apply(&generator, &context).await,
        Finalizer::Cleanup(generator) => {
            context.outside.registered.lock().unwrap().remove(&generator.uid().unwrap());
            Ok(Action::await_change())
        }
    });
    done.await.map_err(failed)
}

/// What a raw watcher has been told, by name.
type Seen = Arc<Mutex<BTreeMap<String, (Option<String>, String)>>>;

fn entry(generator: &Generator) -> (String, (Option<String>, String)) {
    (generator.name_any(), (generator.resource_version(), generator.spec.content.clone()))
}

async fn watched(client: Client, config: watcher::Config, seen: Seen) {
    let generators: Api<Generator> = Api::namespaced_with(client, "default", &resource());
    let mut fresh = BTreeMap::new();
    let mut events = watcher(generators, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => fresh.clear(),
            Ok(watcher::Event::InitApply(generator)) => drop(fresh.insert(entry(&generator).0, entry(&generator).1)),
            Ok(watcher::Event::InitDone) => *seen.lock().unwrap() = std::mem::take(&mut fresh),
            Ok(watcher::Event::Apply(generator)) => {
                let (name, is) = entry(&generator);
                seen.lock().unwrap().insert(name, is);
            }
            Ok(watcher::Event::Delete(generator)) => drop(seen.lock().unwrap().remove(&generator.name_any())),
            Err(_) => {}
        }
    }
}

/// Something that goes wrong.
fn harm(server: &ApiServer, random: &mut fastrand::Rng) {
    let verbs = [Verb::Get, Verb::List, Verb::Watch, Verb::Create, Verb::Patch, Verb::Update, Verb::Delete];
    let verb = *random.choice(&verbs).unwrap();
    let times = random.u64(1..4);
    let fault = match random.u32(..16) {
        0 => Fault::status(500),
        1 => Fault::status(503),
        2 => Fault::status(504),
        3 => Fault::overloaded(1),
        4 => Fault::refuse(),
        5 => Fault::lose_answer(),
        6 => Fault::delay(Duration::from_millis(random.u64(1..3000))),
        7 => Fault::delay(Duration::from_millis(random.u64(1..3000))).after_applying(),
        8 => Fault::text(502, "bad gateway"),
        9 => return drop(server.inject(Fault::close_stream(random.u64(..3)).times(times))),
        10 => return drop(server.inject(Fault::break_stream(random.u64(..3)).times(times))),
        11 => return drop(server.inject(Fault::expire_stream(random.u64(..3)).times(times))),
        12 => return drop(server.inject(Fault::slow_stream(Duration::from_millis(random.u64(1..2000))).times(times))),
        13 => {
            let _ = server.cut_watches();
            return;
        }
        14 => return server.compact(),
        _ => {
            let (down, warming) = (random.u64(1..5000), random.u64(..2000));
            return server.restart(Duration::from_millis(down), Duration::from_millis(warming));
        }
    };
    server.inject(fault.verb(verb).times(times));
}

/// What people do meanwhile. They take a refusal for an answer.
async fn act(client: &Client, random: &mut fastrand::Rng, step: usize) -> Result<(), Error> {
    let generators: Api<Generator> = Api::namespaced_with(client.clone(), "default", &resource());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let name = format!("g{}", random.usize(..NAMES));
    match random.u32(..10) {
        0..4 => {
            let spec = Spec { content: format!("{step}"), force: true };
            generators.create(&PostParams::default(), &Generator::new(&name, &resource(), spec)).await?;
        }
        4..7 => {
            let change = Patch::Merge(json!({ "spec": { "content": format!("{step}") } }));
            generators.patch(&name, &PatchParams::default(), &change).await?;
        }
        7 => drop(generators.delete(&name, &DeleteParams::foreground()).await?),
        8 => drop(maps.delete(&name, &DeleteParams::default()).await?),
        _ => {
            let edit = Patch::Merge(json!({ "data": { "content": "edited" } }));
            maps.patch(&name, &PatchParams::default(), &edit).await?;
        }
    }
    Ok(())
}

async fn play(seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let server = ApiServer::new().with_garbage_collector();
    server.register(ResourceKind::new("example.com", "v1", "Generator", "generators"));
    let client = server.client();
    let outside = Arc::new(Outside::default());

    let generators: Api<Generator> = Api::namespaced_with(client.clone(), "default", &resource());
    let reporter = Reporter { controller: "generators".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let context = Arc::new(Context { client: client.clone(), recorder, outside: outside.clone() });
    let again = |_: Arc<Generator>, _: &Failed, _: Arc<Context>| Action::requeue(Duration::from_secs(1));
    let controller = Controller::new_with(generators.clone(), watcher::Config::default(), resource())
        .owns(Api::<ConfigMap>::namespaced(client.clone(), "default"), watcher::Config::default())
        .run(reconcile, again, context);
    let controller = tokio::spawn(controller.for_each(async |_| {}));

    let (listed, streamed) = (Seen::default(), Seen::default());
    let by_list = tokio::spawn(watched(client.clone(), watcher::Config::default().page_size(3), listed.clone()));
    let by_stream =
        tokio::spawn(watched(client.clone(), watcher::Config::default().streaming_lists(), streamed.clone()));
    let writer = reflector::store::Writer::new(resource());
    let store = writer.as_reader();
    let reflected = reflector(writer, watcher(generators.clone(), watcher::Config::default())).default_backoff();
    let reflected = tokio::spawn(async move { reflected.for_each(async |_| {}).await });

    for step in 0..STEPS {
        if random.u32(..3) == 0 {
            harm(&server, &mut random);
        }
        let _ = act(&client, &mut random, step).await;
        sleep(Duration::from_millis(random.u64(..2000))).await;
    }
    server.lift_faults();
    server.start(Duration::ZERO);
    // Watchers wait half a minute at most, until they try again; the controller looks again each minute.
    sleep(Duration::from_secs(300)).await;

    let stored = generators.list(&ListParams::default()).await.unwrap().items;
    let wanted: BTreeMap<_, _> = stored.iter().map(entry).collect();
    assert_eq!(*listed.lock().unwrap(), wanted, "seed {seed}: the watcher sees what is stored");
    assert_eq!(*streamed.lock().unwrap(), wanted, "seed {seed}: the watcher that streams its lists, too");
    let reflected_now: BTreeMap<_, _> = store.state().iter().map(|generator| entry(generator)).collect();
    assert_eq!(reflected_now, wanted, "seed {seed}: the reflector, too");

    assert!(
        stored.iter().all(|generator| generator.metadata.deletion_timestamp.is_none()),
        "seed {seed}: deletions end"
    );
    let uids: BTreeSet<_> = stored.iter().filter_map(ResourceExt::uid).collect();
    assert_eq!(*outside.registered.lock().unwrap(), uids, "seed {seed}: what is registered outside");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let children: BTreeMap<_, _> = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .map(|map| (map.name_any(), map.data.unwrap_or_default().remove("content").unwrap_or_default()))
        .collect();
    let contents: BTreeMap<_, _> = wanted.iter().map(|(name, (_, content))| (name.clone(), content.clone())).collect();
    assert_eq!(children, contents, "seed {seed}: each has its child, and no child is left over");
    let events: Api<Told> = Api::namespaced(client, "default");
    // A repeat counts up the series of the first.
    let count = |event: Told| event.series.map_or(1, |series| u64::try_from(series.count).unwrap());
    let counted: u64 = events.list(&ListParams::default()).await.unwrap().into_iter().map(count).sum();
    let (told, telling) = (outside.told.load(Ordering::Relaxed), outside.telling.load(Ordering::Relaxed));
    assert!((told..=telling).contains(&counted), "seed {seed}: {counted} told of {told} to {telling}");
    for task in [controller, by_list, by_stream, reflected] {
        assert!(!task.is_finished(), "seed {seed}: nothing has ended by itself");
        task.abort();
    }
    outside.reconciled.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_reconciles_with_random_faults() {
    let seeds =
        std::env::var("RELENT_SEED").ok().and_then(|seed| seed.parse().ok()).map_or(0..4, |seed: u64| seed..seed + 1);
    let alone = seeds.end - seeds.start == 1;
    let mut reconciled = 0;
    for seed in seeds {
        reconciled += play(seed).await;
    }
    // Not println!: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "controllers: {reconciled} reconciles under random faults");
    assert!(alone || reconciled >= 1000, "{reconciled} reconciles");
}
