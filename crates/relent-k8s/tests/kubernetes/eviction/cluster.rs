//! What clusters answer: refusals, 404s that say nothing, pods made anew, events that cannot be written.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use relent_apiserver::AccessRule;
use tokio::time::timeout;

use super::*;

pub(super) fn outcomes(done: &Done) -> Vec<(String, Option<Evicted>)> {
    done.lock().unwrap().iter().map(|(name, value)| (name.clone(), value.outcome())).collect()
}

async fn allowed(client: &Client) -> i32 {
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    budgets.get("web").await.unwrap().status.unwrap().disruptions_allowed.unwrap()
}

pub(super) fn at_once(evictions: &Evictions, pod: &Pod) {
    let key = PodKey::of(pod).unwrap();
    assert!(matches!(evictions.evict(key, Eviction::new("bye"), Duration::ZERO), Ok(Scheduled::New)));
}

/// What was done for one pod says nothing of another, nor of the next pod of that name.
#[tokio::test(start_paused = true)]
async fn one_value_serves_all_pods() {
    let server = ApiServer::new();
    let client = server.client();
    let Running { evictions, done, .. } = start(&client, &policy());
    let why = Eviction::new("the node is going away");
    for number in 0..5 {
        let key = PodKey::of(&pod(&client, &format!("web-{number}"), json!([])).await).unwrap();
        let _ = evictions.evict(key, why.clone(), number * 10 * S).unwrap();
    }
    sleep(60 * S).await;
    for number in 0..5 {
        assert!(!exists(&client, &format!("web-{number}")).await, "{number}");
    }
    assert_eq!((asked(&server, "/eviction").len(), events(&client).await.len()), (5, 5));
    assert!(outcomes(&done).iter().all(|(_, outcome)| *outcome == Some(Evicted::Accepted)));
    // The value that was handed back serves the next one, too.
    let used = done.lock().unwrap()[0].1.clone();
    let again = PodKey::of(&pod(&client, "web-0", json!([])).await).unwrap();
    let _ = evictions.evict(again, used, Duration::ZERO).unwrap();
    evictions.idle().await;
    assert!(!exists(&client, "web-0").await);
}

/// Behind a budget that says no, the pod is made anew under its name: it is not evicted, not waited for, and costs no disruption.
#[tokio::test(start_paused = true)]
async fn made_anew_behind_a_budget() {
    let server = ApiServer::new();
    let client = server.client();
    let old = pod(&client, "web", json!([])).await;
    budget(&client, 0).await;
    let Running { evictions, done, .. } = start(&client, &policy());
    at_once(&evictions, &old);
    sleep(5 * S + S / 2).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.delete("web", &DeleteParams::default().grace_period(0)).await.unwrap();
    pod(&client, "web", json!([])).await;
    budget(&client, 1).await;
    sleep(2 * S).await;
    assert!(evictions.is_empty());
    assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Replaced))]);
    assert!(exists(&client, "web").await && events(&client).await.is_empty());
    assert_eq!(allowed(&client).await, 1, "no disruption was spent on the new one");
    // Nor by the first call for a key that is old already.
    assert_eq!(evict(&client, &PodKey::of(&old).unwrap(), None).await.unwrap(), Evicted::Replaced);
    assert_eq!(allowed(&client).await, 1);
}

#[tokio::test(start_paused = true)]
async fn only_the_api_itself_says_that_it_has_no_evictions() {
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    budget(&client, 0).await;
    let no_evictions = || Fault::text(200, without_evictions()).path("/api/v1");
    for (answer, discovery, what) in [
        (Fault::text(404, "404 page not found"), None, "a load balancer"),
        (Fault::text(404, "404 page not found"), Some(no_evictions()), "a load balancer before it"),
        (Fault::text(404, "{}"), Some(no_evictions()), "JSON that is no status"),
        (Fault::text(405, "method not allowed"), Some(no_evictions()), "a proxy"),
        (Fault::status(404), None, "the API, which lists the subresource"),
        (Fault::status(404), Some(Fault::status(503).path("/api/v1")), "no discovery"),
        (Fault::status(404), Some(Fault::text(200, "{}").path("/api/v1")), "no list"),
    ] {
        server.inject(answer.path(EVICTIONS).times(1));
        let discovery = discovery.map(|fault| server.inject(fault));
        let error = evict(&client, &web, None).await.expect_err(what);
        assert!(matches!(error, EvictError::Evict { .. }), "{what}: {error}");
        assert_eq!(error.decision(), relent::Decision::Retry, "{what}");
        assert!(exists(&client, "web").await, "{what}");
        if let Some(discovery) = discovery {
            discovery.lift();
        }
    }
    // A 404 that is not about the pod does not say that it is gone, either.
    server.inject(Fault::text(404, "404 page not found").path("**/pods/web").times(1));
    assert!(matches!(evict(&client, &web, None).await, Err(EvictError::Evict { .. })));
}

/// Without the right to evict, the pod comes back with the server's words and what to do, after two seconds.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_lasts_is_handed_back() {
    let server = ApiServer::new();
    let client = server.client();
    server.rule(AccessRule::deny().verb(Verb::Create).resource("pods/eviction"));
    let web = pod(&client, "web", json!([])).await;
    let Running { evictions, told, .. } = start(&client, &Policy::new());
    at_once(&evictions, &web);
    assert_eq!(timeout(60 * S, evictions.drain()).await.unwrap(), 0);
    let last = told.lock().unwrap().last().unwrap().clone();
    assert!(last.contains("gave up: ") && last.contains("not allowed to evict pod default/web (uid "), "{last}");
    assert!(last.contains("is forbidden: ") && last.contains("grant this right with a Role"), "{last}");
    let asked = asked(&server, "/eviction");
    assert!(asked.len() < 50, "{}", asked.len());
    assert!(asked.last().unwrap().0 - asked[0].0 >= 1, "not at once: {asked:?}");
}

/// For a moment after its start an API server refuses every user whose rights come from RBAC.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_half_a_second_is_waited_out() {
    for refusal in [Fault::status(403), Fault::status(401), Fault::text(404, "404 page not found")] {
        let server = ApiServer::new();
        let client = server.client();
        let web = pod(&client, "web", json!([])).await;
        let injected = server.inject(refusal.path("**"));
        let Running { evictions, done, .. } = start(&client, &Policy::new());
        at_once(&evictions, &web);
        sleep(S / 2).await;
        assert!(injected.hits() > 0);
        injected.lift();
        assert_eq!(timeout(60 * S, evictions.drain()).await.unwrap(), 0);
        assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Accepted))]);
    }
}

/// Refusals hours apart are not one that lasts.
#[tokio::test(start_paused = true)]
async fn two_short_refusals_are_not_a_long_one() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    budget(&client, 0).await;
    server.inject(Fault::status(403).path(EVICTIONS).times(1));
    server.inject(Fault::status(403).path(EVICTIONS).skip(5).times(1));
    let Running { evictions, told, done, .. } = start(&client, &policy());
    at_once(&evictions, &web);
    sleep(10 * S).await;
    budget(&client, 1).await;
    evictions.drain().await;
    assert_eq!(outcomes(&done).len(), 1, "{:?}", told.lock().unwrap());
}

/// The pod is evicted; that its event cannot be written costs two seconds at most, and is told.
#[tokio::test(start_paused = true)]
async fn events_are_best_effort() {
    let events_fail = [
        ("refused", Fault::status(403), 1),
        ("malformed", Fault::status(422), 1),
        ("overloaded", Fault::overloaded(60), 2),
        ("down", Fault::status(503), 6),
        ("hanging", Fault::hang(), 2),
    ];
    for (what, fault, most) in events_fail {
        let server = ApiServer::new();
        let client = server.client();
        server.inject(fault.path("**/events"));
        let web = pod(&client, "web", json!([])).await;
        let begin = Instant::now();
        // The second: cut in the middle of its event.
        for attempt_timeout in [10 * S, S / 2] {
            let web = if attempt_timeout == S / 2 { pod(&client, "web", json!([])).await } else { web.clone() };
            server.clear_journal();
            let Running { evictions, done, .. } = start(&client, &policy().attempt_timeout(attempt_timeout));
            at_once(&evictions, &web);
            assert_eq!(timeout(60 * S, evictions.drain()).await.expect(what), 0);
            assert!(!exists(&client, "web").await);
            let posts = asked(&server, "/events").len();
            assert!((1..=most).contains(&posts), "{what}: {posts}");
            let (_, value) = done.lock().unwrap().pop().unwrap();
            assert_eq!(value.outcome(), Some(Evicted::Accepted), "{what}");
            assert!(attempt_timeout < S || value.event_error().is_some(), "{what}");
        }
        assert!(begin.elapsed() < 4 * S, "{what}: {:?}", begin.elapsed());
    }
}

/// Evictions do not wait two seconds each for events that hang.
#[tokio::test(start_paused = true)]
async fn events_that_hang_do_not_hold_up_a_drain() {
    let server = ApiServer::new();
    let client = server.client();
    let injected = server.inject(Fault::hang().path("**/events"));
    let Running { evictions, done, .. } = start_as(&client, &policy(), |evictor| evictor.concurrency(1).unwrap());
    let begin = Instant::now();
    for number in 0..20 {
        at_once(&evictions, &pod(&client, &format!("web-{number}"), json!([])).await);
    }
    evictions.idle().await;
    assert!(begin.elapsed() <= 2 * S + 19 * S / 4, "{:?}", begin.elapsed());
    injected.lift();
    for number in 20..22 {
        at_once(&evictions, &pod(&client, &format!("web-{number}"), json!([])).await);
    }
    evictions.drain().await;
    let written = events(&client).await.len();
    assert_eq!((done.lock().unwrap().len(), written), (22, 2));
}

/// The answer was lost, and the pod is ending when it is looked at again: it was this eviction, and has its event.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let keep = json!({ "metadata": { "finalizers": ["example.com/keep"] } });
    pods.patch("web", &PatchParams::default(), &Patch::Merge(keep)).await.unwrap();
    server.inject(Fault::lose_answer().path(EVICTIONS).times(1));
    let Running { evictions, done, .. } = start(&client, &policy());
    at_once(&evictions, &web);
    evictions.drain().await;
    assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Accepted))]);
    assert_eq!((asked(&server, "/eviction").len(), events(&client).await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_pod_with_a_long_name() {
    let server = ApiServer::new();
    let client = server.client();
    let Running { evictions, done, .. } = start(&client, &policy());
    for length in [1, 216, 217, 253] {
        at_once(&evictions, &pod(&client, &"a".repeat(length), json!([])).await);
        evictions.idle().await;
        let (_, value) = done.lock().unwrap().pop().unwrap();
        assert_eq!((value.outcome(), value.event_error()), (Some(Evicted::Accepted), None), "{length}");
    }
    assert_eq!(events(&client).await.len(), 4);
}

/// The pod's status changes while it ends: that is not another eviction.
#[tokio::test(start_paused = true)]
async fn a_terminating_pod_is_not_evicted_again() {
    let server = ApiServer::new();
    let client = server.client();
    let Running { evictions, done, .. } = start(&client, &policy());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let spec = json!({
        "metadata": { "name": "web" },
        "spec": { "nodeName": "n1", "containers": [{ "name": "main", "image": "i" }], "terminationGracePeriodSeconds": 30 },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(spec).unwrap()).await.unwrap();
    let status = |message: &str| json!({ "status": { "phase": "Running", "message": message } });
    let change = async |message: &str| {
        pods.patch_status("web", &PatchParams::default(), &Patch::Merge(status(message))).await.unwrap()
    };
    assert!(matches!(evictions.observe(&change("0").await, &[taint()]), ObservedPod::Planned(_)));
    evictions.idle().await;
    for number in 1..10 {
        assert!(matches!(evictions.observe(&change(&number.to_string()).await, &[taint()]), ObservedPod::Terminating));
        sleep(S).await;
        evictions.idle().await;
    }
    // Nor by one that was not told that it ends.
    let mut stale = change("stale").await;
    stale.metadata.deletion_timestamp = None;
    assert!(matches!(evictions.observe(&stale, &[taint()]), ObservedPod::Planned(_)));
    evictions.idle().await;
    assert_eq!((asked(&server, "/eviction").len(), asked(&server, "/events").len()), (1, 1));
    assert_eq!(outcomes(&done)[1], ("web".to_owned(), Some(Evicted::Terminating)));
    // With a shorter time it is sent.
    let key = PodKey::of(&stale).unwrap();
    assert_eq!(evict(&client, &key, None).await.unwrap(), Evicted::Terminating);
    assert_eq!(evict(&client, &key, Some(1)).await.unwrap(), Evicted::Accepted);
    assert_eq!(asked(&server, "/eviction").len(), 2);

    // What was planned for a pod that another deletes is cancelled; what was asked for by hand is not.
    let mut later = pod(&client, "later", tolerates(60)).await;
    assert!(matches!(evictions.observe(&later, &[taint()]), ObservedPod::Planned(_)));
    let mut by_hand = pod(&client, "by-hand", json!([])).await;
    let _ = evictions.evict(PodKey::of(&by_hand).unwrap(), Eviction::new("bye"), 60 * S).unwrap();
    for pod in [&mut later, &mut by_hand] {
        pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
        assert!(matches!(evictions.observe(pod, &[taint()]), ObservedPod::Terminating));
    }
    assert_eq!(evictions.len(), 1);
}

/// Each call hangs in its turn, with a policy that says nothing of a deadline and without one.
#[tokio::test(start_paused = true)]
async fn no_call_hangs_for_ever() {
    let mut longest = (Duration::ZERO, String::new());
    for policy in
        [None, Some(Policy::new()), Some(Policy::new().backoff(Backoff::fixed(S))), Some(Policy::new().max_attempts(9))]
    {
        for (path, verb) in [
            ("**/pods/web", Verb::Get),
            (EVICTIONS, Verb::Create),
            ("/api/v1", Verb::Get),
            ("**/pods/web", Verb::Delete),
            ("**/events", Verb::Create),
        ] {
            let server = ApiServer::new();
            let client = server.client();
            let web = pod(&client, "web", json!([])).await;
            if matches!((path, verb), ("/api/v1", _) | (_, Verb::Delete)) {
                server.inject(Fault::status(404).path(EVICTIONS).times(2));
                server.inject(Fault::text(200, without_evictions()).path("/api/v1").skip(u64::from(path == "/api/v1")));
            }
            let mut fault = Fault::hang().path(path).times(1);
            if path != "/api/v1" {
                fault = fault.verb(verb);
            }
            let injected = server.inject(fault);
            let mut evictor = Evictor::new(client.clone(), "drainer").until_gone();
            if let Some(policy) = &policy {
                evictor = evictor.policy(policy);
            }
            let evictions = evictor.handle();
            at_once(&evictions, &web);
            let begin = Instant::now();
            let drained =
                tokio::join!(timeout(3600 * S, evictions.drain()), evictor.run(CancellationToken::new(), |_| {})).0;
            let what = format!("{verb:?} {path} with {policy:?}");
            assert!(drained.is_ok() && injected.hits() == 1, "{what}: {drained:?}");
            assert!(!exists(&client, "web").await, "{what}");
            longest = longest.max((begin.elapsed(), what));
        }
    }
    println!("the longest: {longest:?}");
    assert!(longest.0 <= 12 * S, "{longest:?}");
}

/// Refused, no answer for ten seconds, refused: that is not one refusal.
#[tokio::test(start_paused = true)]
async fn refusals_with_no_answer_between_are_not_one() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    for fault in [Fault::status(403), Fault::hang(), Fault::status(403)] {
        server.inject(fault.path(EVICTIONS).times(1));
    }
    let Running { evictions, told, done, .. } = start(&client, &policy());
    at_once(&evictions, &web);
    assert_eq!(evictions.drain().await, 0);
    assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Accepted))], "{:?}", told.lock().unwrap());
}
