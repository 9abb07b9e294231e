//! Leases in clusters as they are: servers that restart, identities used twice, records edited by hand.

mod answers;
mod edits;
mod hangs;
mod identity;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use relent::leader::{ElectionEvent, Ended, Manager, Term, elect, watch};
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{LeaseError, LeaseLock};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{random_numbers, schedules};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn lock(server: &ApiServer) -> LeaseLock {
    LeaseLock::new(server.client(), "default", "demo").unwrap()
}

fn leases(server: &ApiServer) -> Api<Lease> {
    Api::namespaced(server.client(), "default")
}

async fn create(server: &ApiServer, spec: serde_json::Value) {
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "demo"}, "spec": spec});
    leases(server).create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
}

/// A Lease that was released.
async fn released(server: &ApiServer) {
    let stamp = "2020-01-01T00:00:00.000000Z";
    create(server, json!({"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3, "renewTime": stamp}))
        .await;
}

async fn patch(server: &ApiServer, patch: serde_json::Value) {
    leases(server).patch("demo", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Which candidate works, from when to when, by which fence; the work never heeds that its term is lost.
#[derive(Clone, Default)]
struct Terms(Arc<Mutex<Vec<Span>>>);

struct Span {
    number: usize,
    fence: u128,
    from: Instant,
    to: Option<Instant>,
}

impl Terms {
    async fn work(self, number: usize, term: Term) {
        struct Ends(Terms, usize);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.0.lock().unwrap()[self.1].to = Some(Instant::now());
            }
        }
        let at = {
            let mut spans = self.0.lock().unwrap();
            spans.push(Span { number, fence: term.fence(), from: Instant::now(), to: None });
            spans.len() - 1
        };
        let _ends = Ends(self, at);
        std::future::pending::<()>().await;
    }

    /// One after the other, each by a greater fence; which candidates led them.
    fn check(&self) -> Vec<usize> {
        let spans = self.0.lock().unwrap();
        for pair in spans.windows(2) {
            let to = pair[0].to.expect("the term before has ended");
            assert!(to <= pair[1].from, "{} and {} overlap by {:?}", pair[0].number, pair[1].number, to - pair[1].from);
            assert!(pair[1].fence > pair[0].fence);
        }
        spans.iter().map(|span| span.number).collect()
    }

    fn leads_now(&self) -> Option<usize> {
        self.0.lock().unwrap().last().filter(|span| span.to.is_none()).map(|span| span.number)
    }

    fn began(&self, term: usize) -> Instant {
        self.0.lock().unwrap()[term].from
    }
}

type Said = Arc<Mutex<Vec<String>>>;

fn stands(lock: LeaseLock, identity: &str, number: usize, terms: &Terms, said: &Said) -> JoinHandle<()> {
    let (terms, said) = (terms.clone(), Arc::clone(said));
    let elect = elect(lock, identity).on_event(move |change| {
        if let ElectionEvent::Trouble(error) = change {
            said.lock().unwrap().push(error.to_string());
        }
    });
    tokio::spawn(async move {
        let ended = elect.again().run(move |term| terms.clone().work(number, term)).await;
        panic!("candidate {number} has ended: {ended:?}");
    })
}

/// What a server says that has just started, and what proxies say meanwhile.
fn refusals() -> Vec<(&'static str, Fault)> {
    let mut all: Vec<_> = [400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 418, 422, 429, 500, 502, 503, 504]
        .into_iter()
        .map(|code| ("status", Fault::status(code)))
        .collect();
    all.push(("plain", Fault::text(404, "404 page not found")));
    all.push(("plain", Fault::text(403, "<html>Forbidden</html>")));
    all.push(("json", Fault::text(403, "{\"error\":\"no route\"}")));
    all.push(("a page", Fault::text(200, "<html>Sign in</html>")));
    all.push(("cut off", Fault::text(200, "{\"kind\":\"Lease\",\"metadata\":{\"na")));
    all.push(("overload", Fault::overloaded(5)));
    all.push(("overload for ever", Fault::overloaded(u64::MAX)));
    all
}

/// Whatever one answer says, to whichever call: every candidate goes on, and the leader leads on.
#[tokio::test(start_paused = true)]
async fn one_bad_answer_ends_nothing() {
    for verb in [Verb::Get, Verb::Create, Verb::Update, Verb::Watch] {
        for (_, fault) in refusals() {
            let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
            let path = if matches!(verb, Verb::Get | Verb::Update) { "**/leases/*" } else { "**/leases" };
            let hit = server.inject(fault.clone().verb(verb).path(path).times(2));
            let all = [0, 1].map(|number| stands(lock(&server), &format!("c{number}"), number, &terms, &said));
            sleep(S(40)).await;
            // And once more, when one leads.
            let again = server.inject(fault.verb(verb).path(path).times(2));
            sleep(S(60)).await;
            assert!(all.iter().all(|run| !run.is_finished()), "{verb}: {:?}", said.lock().unwrap());
            assert!(hit.hits() > 0, "{verb} was not hit");
            assert!(
                again.hits() > 0 || matches!(verb, Verb::Get | Verb::Create | Verb::Watch),
                "{verb} was not hit again"
            );
            assert_eq!(terms.check().len(), 1, "{verb}: {:?}", said.lock().unwrap());
            all.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Restarts of the API server under six candidates: no connection for a while, then refusals for up to half a second.
#[tokio::test(start_paused = true)]
async fn restarts_of_the_server_end_no_campaign() {
    for seed in 0..schedules(20) {
        let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
        let mut random = random_numbers(seed);
        let all: Vec<_> =
            (0..6).map(|number| stands(lock(&server), &format!("c{number}"), number, &terms, &said)).collect();
        sleep(S(20)).await;
        for _ in 0..10 {
            let down = server.inject(Fault::refuse());
            sleep(MS(random() % 14_000)).await;
            down.lift();
            let (_, fault) = refusals().swap_remove((random() % 18) as usize);
            let starting = server.inject(fault);
            sleep(MS(30 + random() % 470)).await;
            starting.lift();
            sleep(MS(random() % 20_000)).await;
        }
        sleep(S(40)).await;
        assert!(all.iter().all(|run| !run.is_finished()), "{:?}", said.lock().unwrap().last());
        terms.check();
        assert!(terms.leads_now().is_some(), "seed {seed}: no candidate leads");
        all.iter().for_each(JoinHandle::abort);
    }
}

/// The right to update is taken away and given back: the term is lost, the former leader goes on, and leads again.
#[tokio::test(start_paused = true)]
async fn rights_that_come_back_are_used() {
    let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
    let run = stands(lock(&server), "a", 0, &terms, &said);
    sleep(S(20)).await;
    let refused = server.inject(Fault::status(403).verb(Verb::Update).path("**/leases/*"));
    sleep(S(3_600)).await;
    refused.lift();
    sleep(S(60)).await;
    assert!(!run.is_finished());
    assert_eq!(terms.check(), [0, 0]);
    assert_eq!(terms.leads_now(), Some(0));
}

/// The namespace is created minutes after the campaign began.
#[tokio::test(start_paused = true)]
async fn a_namespace_may_come_later() {
    let (server, heard) = (ApiServer::new(), Said::default());
    let (later, said) = (LeaseLock::new(server.client(), "later", "demo").unwrap(), Arc::clone(&heard));
    let run = elect(later, "a").on_event(move |change| {
        if let ElectionEvent::Trouble(error) = change {
            let lease = error.cause().downcast_ref::<LeaseError>().unwrap();
            assert!(lease.get_ref().is_not_found());
            said.lock().unwrap().push(error.to_string());
        }
    });
    let began = Instant::now();
    let (ended, ()) = tokio::join!(run.run(|_| async { Instant::now() }), async {
        sleep(S(300)).await;
        let metadata = ObjectMeta { name: Some("later".to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(server.client()).create(&PostParams::default(), &namespace).await.unwrap();
    });
    let took = ended.unwrap().into_finished().unwrap() - began;
    assert!(took >= S(315) && took < S(325), "{took:?}");
    assert_eq!(
        heard.lock().unwrap()[0],
        "leases \"demo\" in the namespace \"later\": namespaces \"later\" not found: create the namespace first, or check its name"
    );
}

/// What an operator reads: the object, the server's words, what to do; and never a dump of `Status`.
#[tokio::test(start_paused = true)]
async fn trouble_is_told_in_words() {
    for (fault, words) in [
        (
            Fault::status(401),
            "leases \"demo\" in the namespace \"default\": Unauthorized: renew the token or the client certificate",
        ),
        (Fault::text(404, "404 page not found"), "leases \"demo\" in the namespace \"default\": 404 page not found"),
        (Fault::refuse(), "leases \"demo\" in the namespace \"default\": no "),
    ] {
        let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
        server.inject(fault.path("**/leases/*"));
        let run = stands(lock(&server), "a", 0, &terms, &said);
        sleep(S(10)).await;
        let heard = said.lock().unwrap();
        assert!(!heard.is_empty() && heard.iter().all(|text| text.starts_with(words)), "{heard:?}");
        assert!(heard.iter().all(|text| !text.contains("Status {")), "{heard:?}");
        run.abort();
    }
    let server = ApiServer::new();
    server.inject(Fault::status(403).verb(Verb::Get).path("**/leases/*"));
    let manager = Manager::new();
    manager.elect(elect(lock(&server), "a")).unwrap();
    let error = manager.run(CancellationToken::new()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("election failed: cannot read lock default/demo: ") && !error.contains("Status {"),
        "{error}"
    );
    assert!(error.contains("grant this right"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_manager_outlives_a_refusal_at_its_start() {
    let server = ApiServer::new();
    let hit = server.inject(Fault::status(403).verb(Verb::Get).path("**/leases/*").times(1));
    let (manager, stop, led) = (Manager::new(), CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let leads = Arc::clone(&led);
    manager
        .add_leader("controller", |term: Term| async move {
            leads.store(true, Ordering::SeqCst);
            term.lost().await;
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    manager.elect(elect(lock(&server), "a")).unwrap();
    let (run, ()) = tokio::join!(manager.run(stop.clone()), async {
        sleep(S(60)).await;
        stop.cancel();
    });
    run.unwrap();
    assert!(hit.hits() == 1 && led.load(Ordering::SeqCst));
}

/// With the watch open hardly anything is asked: the leader's renewals are heard.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_told_does_not_look() {
    let server = ApiServer::new();
    let count = |verb| server.journal().iter().filter(|entry| entry.verb == verb).count();
    let leader = elect(lock(&server), "a").lead_on_create().run(|term| async move { term.lost().await });
    let leader = tokio::spawn(leader);
    sleep(S(1)).await;
    server.clear_journal();
    let follows = lock(&server);
    let follower = tokio::spawn(async move {
        let mut watch = watch(follows);
        loop {
            watch.next().await.unwrap();
        }
    });
    sleep(S(600)).await;
    let (gets, watches) = (count(Verb::Get), count(Verb::Watch));
    assert!(gets <= 11 && watches <= 4, "a follower: {gets} GETs, {watches} watches in ten minutes");
    follower.abort();
    server.clear_journal();
    let candidate = tokio::spawn(elect(lock(&server), "b").run(|term| async move { term.lost().await }));
    sleep(S(600)).await;
    let (gets, watches) = (count(Verb::Get), count(Verb::Watch));
    assert!(gets <= 5 && watches <= 5, "a candidate: {gets} GETs, {watches} watches in ten minutes");
    candidate.abort();
    // A watch that is dead without a word: it looks.
    server.inject(Fault::silence_stream(3).verb(Verb::Watch));
    server.clear_journal();
    let candidate = tokio::spawn(elect(lock(&server), "c").run(|term| async move { term.lost().await }));
    sleep(S(60)).await;
    assert!(count(Verb::Get) >= 12, "{}", count(Verb::Get));
    leader.abort();
    candidate.abort();
}

/// The API server is away for eight seconds: the term goes on.
#[tokio::test(start_paused = true)]
async fn an_outage_of_eight_seconds_ends_no_term() {
    for begins in [20_000, 20_500, 20_900] {
        let (server, terms, said) = (ApiServer::new(), Terms::default(), Said::default());
        let run = stands(lock(&server), "a", 0, &terms, &said);
        // Renewed at 15, 17, 19, 21 s.
        sleep(MS(begins)).await;
        let down = server.inject(Fault::refuse().path("**/leases/*"));
        sleep(S(8)).await;
        down.lift();
        sleep(S(30)).await;
        assert_eq!(terms.check(), [0], "from {begins} ms on: {:?}", said.lock().unwrap());
        run.abort();
    }
}

/// Told to stop, with the defaults: ten seconds to drain.
#[tokio::test(start_paused = true)]
async fn a_graceful_stop_has_ten_seconds() {
    let (server, stop) = (ApiServer::new(), CancellationToken::new());
    let run = elect(lock(&server), "a").cancel_on(stop.clone()).run(|term| async move {
        term.lost().await;
        sleep(S(10)).await;
        "drained"
    });
    let (ended, ()) = tokio::join!(run, async {
        sleep(S(30)).await;
        stop.cancel();
    });
    assert!(matches!(ended.unwrap(), Ended::Cancelled { finished: Some("drained") }));
    assert_eq!(leases(&server).get("demo").await.unwrap().spec.unwrap().holder_identity.as_deref(), Some(""));
}
