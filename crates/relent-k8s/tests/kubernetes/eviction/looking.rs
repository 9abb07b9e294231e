//! Pods that are evicted, and whose end cannot be looked at; and answers that are no word of the API's.

use relent_apiserver::AccessRule;
use tokio::time::timeout;

use super::{
    cluster::{at_once, outcomes},
    *,
};

/// `kept` by its finalizer, evicted and waited for; the drain has begun.
async fn kept(server: &ApiServer) -> (Pod, Running, JoinHandle<usize>) {
    let client = server.client();
    let kept = pod(&client, "kept", json!([])).await;
    finalizers(&client, json!(["example.com/keep"])).await;
    let running = start_as(&client, &policy(), Evictor::until_gone);
    at_once(&running.evictions, &kept);
    // The first looks are well.
    sleep(5 * S / 2).await;
    let drain = tokio::spawn(running.evictions.drain());
    (kept, running, drain)
}

async fn finalizers(client: &Client, list: Value) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    pods.patch("kept", &PatchParams::default(), &patch).await.unwrap();
}

/// Without the right to look nothing is waited for: the drain says that one is left, and the handle says why.
#[tokio::test(start_paused = true)]
async fn without_the_right_to_look_nothing_waits() {
    for (fault, says) in [
        (Fault::status(403), "grant this right with a Role"),
        (Fault::status(401), "renew the token"),
        (Fault::text(403, "<html>\nno\n</html>"), "pods \"kept\" in the namespace \"default\": <html> no </html>"),
    ] {
        let server = ApiServer::new();
        let (kept, Running { evictions, task, .. }, drain) = kept(&server).await;
        let key = PodKey::of(&kept).unwrap();
        assert!(!drain.is_finished() && evictions.unseen(&key).is_none());
        let begin = Instant::now();
        server.inject(fault.verb(Verb::Get).path("**/pods/kept"));
        assert_eq!(timeout(60 * S, drain).await.unwrap().unwrap(), 1);
        assert!(begin.elapsed() >= 2 * S && begin.elapsed() <= 4 * S, "{:?}", begin.elapsed());
        // The run ends as well.
        let _ = timeout(S, task).await.expect("it does not wait").unwrap();
        assert_eq!(evictions.leaving(), std::slice::from_ref(&key));
        let unseen = evictions.unseen(&key).unwrap();
        let text = unseen.to_string();
        assert!(matches!(unseen, EvictError::Unseen { lasted, .. } if lasted >= 2 * S), "{text}");
        assert!(text.starts_with(&format!("{key} was evicted, and for ")) && text.contains(says), "{text}");
        assert_eq!(format!("{unseen:?}"), text);
        assert!(!text.contains("Status {") && !text.contains('\n'), "{text}");
    }
}

/// By its rights alone: the real way to be without them.
#[tokio::test(start_paused = true)]
async fn a_role_without_get() {
    let server = ApiServer::new();
    let web = pod(&server.client(), "web", json!([])).await;
    server.user("drainer", "drainer");
    server.user("admin", "admin");
    let admin = server.client_with_token("admin");
    server.rule(AccessRule::deny().user("drainer").verb(Verb::Get).resource("pods"));
    let client = server.client_with_token("drainer");
    let Running { evictions, done, task, .. } = start_as(&client, &policy(), Evictor::until_gone);
    at_once(&evictions, &web);
    assert_eq!(timeout(60 * S, evictions.drain()).await.unwrap(), 1);
    let _ = timeout(S, task).await.unwrap().unwrap();
    assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Accepted))]);
    assert!(!exists(&admin, "web").await);
    let text = evictions.unseen(&PodKey::of(&web).unwrap()).unwrap().to_string();
    assert!(text.contains("User \"drainer\" cannot get resource \"pods\""), "{text}");
}

/// What time can mend is waited for, and said; a refusal of less than two seconds too.
#[tokio::test(start_paused = true)]
async fn what_can_pass_is_waited_for_and_told() {
    for (fault, says, lasts) in [
        (Fault::status(403), "grant this right", S),
        (Fault::status(500), "etcdserver: no leader", 600 * S),
        (Fault::status(503), "", 600 * S),
        (Fault::status(504), "", 600 * S),
        (Fault::status(429), "", 600 * S),
        (Fault::refuse(), "no connection to the server", 600 * S),
        (Fault::hang(), "no answer from the server within 10s", 600 * S),
        (Fault::text(404, "404 page not found"), "404 page not found", 600 * S),
        (Fault::text(200, "<html>Sign in</html>"), "the server's answer is no JSON", 600 * S),
    ] {
        let what = format!("{fault:?}");
        let server = ApiServer::new();
        let (kept, Running { evictions, .. }, mut drain) = kept(&server).await;
        let key = PodKey::of(&kept).unwrap();
        let broken = server.inject(fault.verb(Verb::Get).path("**/pods/kept"));
        sleep(lasts).await;
        assert!(broken.hits() > 0);
        let text = evictions.unseen(&key).unwrap_or_else(|| panic!("{what}: no reason")).to_string();
        assert!(text.contains(says) && text.contains("\"kept\"") | says.contains("no answer"), "{what}: {text}");
        assert!(!drain.is_finished(), "{what}");
        broken.lift();
        // Seen again, there is nothing to say.
        sleep(12 * S).await;
        assert!(evictions.unseen(&key).is_none() && !drain.is_finished(), "{what}");
        finalizers(&server.client(), Value::Null).await;
        assert_eq!(timeout(3 * S, &mut drain).await.unwrap().unwrap(), 0, "{what}");
        assert!(evictions.leaving().is_empty());
    }
}

/// Refused, no answer, refused: that is not one refusal.
#[tokio::test(start_paused = true)]
async fn another_answer_begins_anew() {
    let server = ApiServer::new();
    let (_, _running, drain) = kept(&server).await;
    for _ in 0..20 {
        server.inject(Fault::status(403).verb(Verb::Get).path("**/pods/kept").times(2));
        server.inject(Fault::status(500).verb(Verb::Get).path("**/pods/kept").times(1));
    }
    sleep(50 * S).await;
    assert!(!drain.is_finished());
    server.inject(Fault::status(403).verb(Verb::Get).path("**/pods/kept"));
    assert_eq!(timeout(20 * S, drain).await.unwrap().unwrap(), 1);
}

/// One may be looked at, and the other not: the one is waited for. Rights that come back are used.
#[tokio::test(start_paused = true)]
async fn rights_to_look_that_come_back_are_used() {
    let server = ApiServer::new();
    let client = server.client();
    let other = pod(&client, "other", json!([])).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let patch = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    pods.patch("other", &PatchParams::default(), &patch(json!(["example.com/keep"]))).await.unwrap();
    let kept = pod(&client, "kept", json!([])).await;
    finalizers(&client, json!(["example.com/keep"])).await;
    let Running { evictions, .. } = start_as(&client, &policy(), Evictor::until_gone);
    for pod in [&kept, &other] {
        at_once(&evictions, pod);
    }
    let drain = tokio::spawn(evictions.drain());
    let refused = server.inject(Fault::status(403).verb(Verb::Get).path("**/pods/kept"));
    sleep(60 * S).await;
    assert!(!drain.is_finished(), "the other one is waited for");
    refused.lift();
    finalizers(&client, Value::Null).await;
    sleep(3 * S).await;
    assert_eq!(evictions.leaving().iter().map(PodKey::name).collect::<Vec<_>>(), ["other"]);
    pods.patch("other", &PatchParams::default(), &patch(Value::Null)).await.unwrap();
    assert_eq!(timeout(3 * S, drain).await.unwrap().unwrap(), 0);
}

/// A server without evictions deletes; an answer that is not its word is no proof that it did.
#[tokio::test(start_paused = true)]
async fn only_the_apis_word_says_that_a_pod_is_deleted() {
    let another = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default","uid":"another"}}"#;
    for (answer, applied) in [
        ("{}", false),
        ("{}", true),
        ("[]", false),
        ("null", false),
        ("<html>Sign in</html>", true),
        (r#"{"ok":true}"#, false),
        (another, false),
        (r#"{"kind":"Status","status":"Failure","message":"no"}"#, false),
    ] {
        let server = ApiServer::new();
        let client = server.client();
        let web = pod(&client, "web", json!([])).await;
        let key = PodKey::of(&web).unwrap();
        server.inject(Fault::status(404).path(EVICTIONS));
        server.inject(Fault::text(200, without_evictions()).path("/api/v1"));
        let fault = Fault::text(200, answer).verb(Verb::Delete).path("**/pods/web").times(1);
        server.inject(if applied { fault.after_applying() } else { fault });
        let error = evict(&client, &key, None).await.expect_err(answer);
        assert_eq!(error.decision(), relent::Decision::Retry, "{answer}: {error}");
        assert!(error.to_string().starts_with(&format!("could not evict {key}: ")), "{error}");
        assert_eq!(exists(&client, "web").await, !applied, "{answer}");
        let after = evict(&client, &key, None).await.unwrap();
        assert_eq!(after, if applied { Evicted::Gone } else { Evicted::Deleted }, "{answer}");
        assert!(!exists(&client, "web").await, "{answer}");
    }
    // What servers say: the pod, or a `Status`.
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    server.inject(Fault::status(404).path(EVICTIONS));
    server.inject(Fault::text(200, without_evictions()).path("/api/v1"));
    let said = r#"{"apiVersion":"v1","kind":"Status","status":"Success"}"#;
    server.inject(Fault::text(200, said).verb(Verb::Delete).path("**/pods/web").times(1).after_applying());
    assert_eq!(evict(&client, &web, None).await.unwrap(), Evicted::Deleted);
}

/// The same of the Eviction API's own answer.
#[tokio::test(start_paused = true)]
async fn only_the_apis_word_says_that_an_eviction_was_taken() {
    for (code, answer) in [
        (200, "{}"),
        (201, "{}"),
        (200, "[]"),
        (200, r#"{"apiVersion":"v1","kind":"PodList","items":[]}"#),
        (200, r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"no"}"#),
        (200, "<html>Sign in</html>"),
        (204, ""),
    ] {
        let server = ApiServer::new();
        let client = server.client();
        let web = pod(&client, "web", json!([])).await;
        server.inject(Fault::text(code, answer).path(EVICTIONS).times(1));
        let Running { evictions, done, told, .. } = start(&client, &policy());
        at_once(&evictions, &web);
        assert_eq!(timeout(60 * S, evictions.drain()).await, Ok(0), "{answer}");
        assert_eq!(outcomes(&done), [("web".to_owned(), Some(Evicted::Accepted))], "{answer}");
        assert!(!exists(&client, "web").await, "{answer}: {:?}", told.lock().unwrap());
        assert_eq!(asked(&server, "/eviction").len(), 2, "{answer}");
    }
}

/// Tried once, and cut while the eviction was being carried out: what became of it is not known, and is said.
#[tokio::test(start_paused = true)]
async fn an_eviction_that_was_cut_is_in_doubt() {
    let server = ApiServer::new();
    let client = server.client();
    let web = pod(&client, "web", json!([])).await;
    server.inject(Fault::hang().after_applying().path(EVICTIONS).times(1));
    let Running { evictions, told, .. } = start_as(&client, &policy(), Evictor::once);
    at_once(&evictions, &web);
    assert_eq!(timeout(60 * S, evictions.drain()).await, Ok(0));
    assert!(!exists(&client, "web").await);
    let told = told.lock().unwrap();
    assert!(
        told.last().unwrap().contains("cut after 5s") && told.last().unwrap().contains("outcome unknown"),
        "{told:?}"
    );
}

/// Told to stop, or dropped, while an eviction is being carried out: it is seen to its end, or looked at by the next
/// run.
#[tokio::test(start_paused = true)]
async fn stopped_or_dropped_in_the_middle_it_evicts_once() {
    for dropped in [false, true] {
        for at in (0..=20).map(|step| step * S / 10) {
            let server = ApiServer::new();
            let client = server.client();
            let web = pod(&client, "web", json!([])).await;
            // Slower than its caller may be, and carried out without it.
            server.inject(Fault::delay(S / 2).detached());
            let mut evictor = Evictor::new(client.clone(), "drainer").policy(&policy());
            at_once(&evictor.handle(), &web);
            let stop = CancellationToken::new();
            let done = Done::default();
            let note = |outcome: ItemEvent<'_, PodKey, Eviction, EvictError>| {
                if let ItemEvent::Done { key, value, .. } = outcome {
                    done.lock().unwrap().push((key.name().to_owned(), value.clone()));
                }
            };
            let later = async {
                sleep(at).await;
                stop.cancel();
            };
            let finished = if dropped {
                let _ = timeout(at, evictor.run(CancellationToken::new(), note)).await;
                None
            } else {
                Some(tokio::join!(evictor.run(stop.clone(), note), later).0)
            };
            // What waits is handed back; else the next run goes on.
            let back = finished.map_or(0, |finished| finished.waiting.len());
            assert!(back == 0 || at < S / 2, "{at:?}");
            let handle = evictor.handle();
            let again = async { if back == 0 { handle.drain().await } else { 0 } };
            let stop = CancellationToken::new();
            let running = async {
                tokio::select! {
                    _ = evictor.run(stop, note) => {}
                    () = sleep(60 * S) => {}
                }
            };
            let _ = tokio::join!(again, running);
            let asked = asked(&server, "/eviction").len();
            assert!(asked == 1 || back == 1, "dropped {dropped} at {at:?}: {asked}");
            let done = done.lock().unwrap().len();
            assert_eq!((done, exists(&client, "web").await), (1 - back, back == 1), "{at:?}");
            assert!(events(&client).await.len() <= 1, "{at:?}");
        }
    }
}
