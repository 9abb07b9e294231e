//! What stands between a client and the API server, and other answers that have not the last word.

use tokio::time::timeout;

use super::{
    cluster::{at_once, outcomes},
    *,
};

/// What a proxy calls malformed is tried again; what the API server does is handed back. In one line, and never without
/// a word.
#[tokio::test(start_paused = true)]
async fn what_stands_between_has_not_the_last_word() {
    let server = ApiServer::new();
    let client = server.client();
    let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
    for (answer, decision, says) in [
        (Fault::text(400, "<html>\n<p>Bad.</p>\n"), relent::Decision::Retry, ": <html> <p>Bad.</p> (400)"),
        (Fault::text(422, ""), relent::Decision::Retry, ": the server answered 422 without a word"),
        (Fault::text(500, ""), relent::Decision::Retry, ": the server answered 500 without a word"),
        (Fault::text(503, "{\"error\":\"down\"}"), relent::Decision::Retry, ": {\"error\":\"down\"} (503)"),
        (Fault::status(400), relent::Decision::Fatal, ": planned fault: Bad Request (400)"),
        (Fault::status(422), relent::Decision::Fatal, ": planned fault: Unprocessable Entity (422)"),
    ] {
        server.inject(answer.path(EVICTIONS).times(1));
        let error = evict(&client, &web, None).await.unwrap_err();
        assert_eq!(error.decision(), decision, "{error}");
        assert_eq!(error.to_string(), format!("could not evict {web}{says}"));
    }
    // An object that is none does not say that the pod is another one.
    server.inject(Fault::text(200, "{\"ok\":true}").path("**/pods/web").verb(Verb::Get).times(1));
    assert_eq!(evict(&client, &web, None).await.unwrap(), Evicted::Accepted);
    assert!(!exists(&client, "web").await);
}

/// What a server or something before it may say that has not the last word.
fn answers() -> Vec<(String, Fault)> {
    let mut all = vec![
        ("refused".to_owned(), Fault::refuse()),
        ("answer lost".to_owned(), Fault::lose_answer()),
        ("hangs".to_owned(), Fault::hang()),
        ("overloaded 0".to_owned(), Fault::overloaded(0)),
        ("overloaded for ever".to_owned(), Fault::overloaded(u64::MAX)),
        ("a page".to_owned(), Fault::text(200, "<html>\nSign in\n</html>")),
    ];
    for code in [401, 403, 404, 405, 408, 409, 410, 429, 500, 502, 503, 504] {
        all.push((format!("{code}"), Fault::status(code)));
        all.push((format!("{code} page"), Fault::text(code, "<html>\nno\n</html>")));
        all.push((format!("{code} json"), Fault::text(code, "{\"error\":\"no\"}")));
    }
    all
}

/// Whatever goes wrong once, at whichever call: the pod is evicted, once, and the event is written at most once.
#[tokio::test(start_paused = true)]
async fn what_goes_wrong_once_keeps_no_pod() {
    let calls =
        [("look", Verb::Get, "**/pods/web"), ("evict", Verb::Create, EVICTIONS), ("event", Verb::Create, "**/events")];
    for (what, fault) in answers() {
        for (told, verb, path) in calls {
            let server = ApiServer::new();
            let client = server.client();
            let web = pod(&client, "web", json!([])).await;
            server.inject(fault.clone().verb(verb).path(path).times(1));
            let Running { evictions, told: said, done, .. } = start(&client, &policy());
            at_once(&evictions, &web);
            assert_eq!(timeout(400 * S, evictions.drain()).await, Ok(0), "{told}, {what}: {:?}", said.lock().unwrap());
            let ended = outcomes(&done);
            let fine = ended.len() == 1 && matches!(ended[0].1, Some(Evicted::Accepted | Evicted::Gone));
            assert!(fine && !exists(&client, "web").await, "{told}, {what}: {ended:?}");
            assert!(events(&client).await.len() <= 1, "{told}, {what}");
        }
    }
}

/// What goes wrong for good is told in one line, with the pod.
#[tokio::test(start_paused = true)]
async fn what_goes_wrong_for_good_is_told_in_a_line() {
    for (what, fault) in answers().into_iter().filter(|(what, _)| what != "hangs" && what != "answer lost") {
        for (verb, path) in [(Verb::Get, "**/pods/web"), (Verb::Create, EVICTIONS)] {
            let server = ApiServer::new();
            let client = server.client();
            let web = PodKey::of(&pod(&client, "web", json!([])).await).unwrap();
            let broken = server.inject(fault.clone().verb(verb).path(path));
            // Without the right to look it is evicted all the same; no success is told that is none.
            let ended = evict(&client, &web, None).await;
            broken.lift();
            let Err(error) = ended else {
                assert!(verb == Verb::Get && !exists(&client, "web").await, "{verb}, {what}");
                continue;
            };
            let text = error.to_string();
            assert!(text.contains("pod default/web (uid "), "{what}: {text}");
            let dump =
                ["\n", "Status {", ": :", ":  (", "answered 0", "Some("].iter().find(|dump| text.contains(**dump));
            assert_eq!(dump, None, "{verb}, {what}: {text:?}");
        }
    }
}
