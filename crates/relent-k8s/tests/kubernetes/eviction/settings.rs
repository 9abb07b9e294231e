//! What can be set, and what cannot be.

use relent::Decision;
use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_that_no_pod_has() {
    let server = ApiServer::new();
    let client = server.client();
    pod(&client, "web", json!([])).await;
    let Running { evictions, .. } = start(&client, &policy());
    for (key, setting, rule) in [
        (PodKey::new("default", "web", ""), "pod uid", "it must not be empty"),
        (PodKey::new("", "web", "u"), "pod namespace", "it must not be empty"),
        (PodKey::new("default", "", "u"), "pod name", "it must not be empty"),
        (PodKey::new("default", "web/eviction", "u"), "pod name", "it must consist of a-z, 0-9, hyphens and dots"),
        (
            PodKey::new("default?dryRun=All", "web", "u"),
            "pod namespace",
            "it must consist of a-z, 0-9, hyphens and dots",
        ),
    ] {
        let error = evictions.evict(key.clone(), Eviction::new("drain"), Duration::ZERO).unwrap_err();
        assert_eq!((error.setting(), error.rule()), (setting, rule));
        let error = evict(&client, &key, None).await.unwrap_err();
        assert!(matches!(&error, EvictError::Invalid(error) if error.setting() == setting), "{error}");
        assert_eq!(error.decision(), Decision::Fatal);
    }
    let nameless = Pod::default();
    assert!(matches!(evictions.observe(&nameless, &[taint()]), ObservedPod::Nameless));
    assert!(evictions.is_empty() && exists(&client, "web").await);
    assert!(asked(&server, "/eviction").is_empty());
}

#[tokio::test(start_paused = true)]
async fn once_and_when_and_the_reason_of_events() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    budget(&client, 0).await;
    // Once, in whatever order it is set.
    for first in [true, false] {
        let Running { evictions, told, .. } = start_as(&client, &policy(), |evictor| {
            if first { evictor.once().policy(&policy()) } else { evictor.policy(&policy().max_attempts(9)).once() }
        });
        assert!(matches!(evictions.observe(&web, &[taint()]), ObservedPod::Planned(_)));
        assert_eq!(timeout(S / 2, evictions.drain()).await.unwrap(), 0);
        assert!(told.lock().unwrap()[1].contains("at most 1 attempt was allowed"), "{told:?}");
    }
    // What the caller finds final is.
    let Running { evictions, told, .. } =
        start_as(&client, &policy(), |evictor| evictor.when(|error| !matches!(error, EvictError::Wait { .. })));
    assert!(matches!(evictions.observe(&web, &[taint()]), ObservedPod::Planned(_)));
    assert_eq!(timeout(S / 2, evictions.drain()).await.unwrap(), 0);
    assert!(told.lock().unwrap()[1].contains("gave up"), "{told:?}");

    budget(&client, 1).await;
    let Running { evictions, .. } = start_as(&client, &policy(), |evictor| evictor.event_reason("Drained").unwrap());
    assert!(matches!(evictions.observe(&web, &[taint()]), ObservedPod::Planned(_)));
    evictions.drain().await;
    assert_eq!(events(&client).await[0].reason.as_deref(), Some("Drained"));
    for wrong in ["", "two words", &"x".repeat(129)] {
        let error = Evictor::new(client.clone(), "drainer").event_reason(wrong).unwrap_err();
        assert_eq!(error.setting(), "event reason");
    }
}

/// A finalizer keeps the pod: it is evicted, and still there.
#[tokio::test(start_paused = true)]
async fn a_drain_can_wait_until_the_pods_are_gone() {
    let server = ApiServer::new();
    let client = server.client();
    let (kept, free) = (pod(&client, "kept", json!([])).await, pod(&client, "free", json!([])).await);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    pods.patch("kept", &PatchParams::default(), &finalizers(json!(["example.com/keep"]))).await.unwrap();
    let Running { evictions, done, task, .. } = start_as(&client, &policy(), Evictor::until_gone);
    for pod in [&kept, &free] {
        assert!(matches!(evictions.observe(pod, &[taint()]), ObservedPod::Planned(_)));
    }
    let drain = evictions.drain();
    tokio::pin!(drain);
    assert!(timeout(300 * S, &mut drain).await.is_err());
    assert_eq!(done.lock().unwrap().len(), 2, "both are evicted");
    let leaving = evictions.leaving();
    assert_eq!(leaving.iter().map(PodKey::name).collect::<Vec<_>>(), ["kept"]);
    assert!(evictions.get(&leaving[0]).is_none() && !task.is_finished());
    // That it cannot be seen is not that it is gone.
    let broken = server.inject(Fault::text(404, "404 page not found").path("**/pods/kept").verb(Verb::Get));
    assert!(timeout(10 * S, &mut drain).await.is_err());
    assert!(broken.hits() > 0);
    broken.lift();
    pods.patch("kept", &PatchParams::default(), &finalizers(Value::Null)).await.unwrap();
    assert!(!exists(&client, "kept").await);
    assert_eq!(timeout(2 * S, drain).await.unwrap(), 0);
    let _ = task.await.unwrap();

    // Told to stop, it does not wait; a drain says how many are left when there is no evictor any more.
    let kept = pod(&client, "kept", json!([])).await;
    pods.patch("kept", &PatchParams::default(), &finalizers(json!(["example.com/keep"]))).await.unwrap();
    let Running { evictions, stop, task, .. } = start_as(&client, &policy(), Evictor::until_gone);
    assert!(matches!(evictions.observe(&kept, &[taint()]), ObservedPod::Planned(_)));
    sleep(5 * S).await;
    stop.cancel();
    let _ = timeout(S, task).await.unwrap().unwrap();
    assert_eq!(timeout(S, evictions.drain()).await.unwrap(), 1);
}
