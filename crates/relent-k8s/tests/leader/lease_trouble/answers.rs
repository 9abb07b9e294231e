//! A write of a Lease that was done, and answered as if it were not: by a client that repeats writes on its own and is
//! told of a conflict then, by a proxy, by a server that stumbles. And reads that are no Lease.

use relent::leader::Loss;

use super::*;

/// Everything that may be answered in place of a success.
fn answers() -> Vec<(String, Fault)> {
    let mut all: Vec<_> = refusals().into_iter().map(|(what, fault)| (format!("{what} {fault:?}"), fault)).collect();
    for text in ["{}", "[]", "null", OTHER, EMPTY, r#"{"kind":"Status","status":"Success"}"#] {
        all.push((text.to_owned(), Fault::text(200, text)));
    }
    all.push(("lost".to_owned(), Fault::lose_answer()));
    all.push(("hangs".to_owned(), Fault::hang()));
    all
}

/// Another Lease, later than all.
const OTHER: &str = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"other","namespace":"default","uid":"u","resourceVersion":"99999999"},"spec":{"holderIdentity":"b","leaseDurationSeconds":15,"leaseTransitions":7,"renewTime":"2020-01-01T00:00:00.000000Z"}}"#;
const EMPTY: &str =
    r#"{"apiVersion":"coordination.k8s.io/v1","kind":"LeaseList","metadata":{"resourceVersion":"7"},"items":[]}"#;

type Lost = Arc<Mutex<Vec<Loss>>>;

/// A candidate for as long as its task is not dropped; its losses.
fn runs(server: &ApiServer, terms: &Terms, stop: &CancellationToken) -> (Lost, JoinHandle<Result<Ended<()>, String>>) {
    let (lost, terms) = (Lost::default(), terms.clone());
    let told = Arc::clone(&lost);
    let elect = elect(lock(server), "a").cancel_on(stop.clone()).on_event(move |event| {
        if let ElectionEvent::Lost(loss) = event {
            told.lock().unwrap().push(loss.clone());
        }
    });
    let run = elect.again().run(move |term: Term| {
        let terms = terms.clone();
        let is_over = term.clone();
        async move {
            tokio::select! {
                () = terms.work(0, term) => {}
                () = is_over.lost() => {}
            }
        }
    });
    (lost, tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }))
}

/// A renewal that was done and answered otherwise costs no term, and is no other process.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_done_is_its_own() {
    for (what, fault) in answers() {
        let server = ApiServer::new();
        let (terms, stop) = (Terms::default(), CancellationToken::new());
        let (lost, run) = runs(&server, &terms, &stop);
        sleep(S(40)).await;
        assert_eq!(terms.leads_now(), Some(0), "{what}");
        for _ in 0..3 {
            server.inject(fault.clone().after_applying().verb(Verb::Update).times(1));
            sleep(S(20)).await;
        }
        assert!(lost.lock().unwrap().is_empty() && terms.check() == [0], "{what}: {:?}", lost.lock().unwrap());
        run.abort();
    }
}

/// A Lease that was created or taken, and answered otherwise: it is taken in the end, and nothing ends.
#[tokio::test(start_paused = true)]
async fn a_take_that_was_done_ends_nothing() {
    for (what, fault) in answers() {
        for verb in [Verb::Create, Verb::Update] {
            let server = ApiServer::new();
            if verb == Verb::Update {
                released(&server).await;
            }
            let (terms, stop) = (Terms::default(), CancellationToken::new());
            server.inject(fault.clone().after_applying().verb(verb).times(1));
            let (lost, run) = runs(&server, &terms, &stop);
            sleep(S(60)).await;
            assert!(!run.is_finished() && terms.leads_now() == Some(0), "{what}, {verb}");
            assert!(lost.lock().unwrap().is_empty(), "{what}, {verb}: {:?}", lost.lock().unwrap());
            run.abort();
        }
    }
}

/// A release that was done and answered otherwise is a release.
#[tokio::test(start_paused = true)]
async fn a_release_that_was_done_is_one() {
    for (what, fault) in answers() {
        let server = ApiServer::new();
        let (terms, stop) = (Terms::default(), CancellationToken::new());
        let (_, run) = runs(&server, &terms, &stop);
        sleep(S(40)).await;
        assert_eq!(terms.leads_now(), Some(0));
        server.inject(fault.after_applying().verb(Verb::Update).times(1));
        stop.cancel();
        let ended = run.await.unwrap().unwrap();
        assert!(matches!(ended, Ended::Cancelled { .. }), "{what}: {ended:?}");
        let holder = leases(&server).get("demo").await.unwrap().spec.unwrap().holder_identity;
        assert_eq!(holder.as_deref(), Some(""), "{what}");
    }
}

/// What is no Lease, or another one, is none: the leader leads on, a candidate begins no term by it and ends none.
#[tokio::test(start_paused = true)]
async fn what_is_read_and_no_lease_is_none() {
    for text in ["{}", "[]", "null", OTHER, EMPTY, r#"{"kind":"Status","status":"Success"}"#] {
        let server = ApiServer::new();
        released(&server).await;
        let (terms, said) = (Terms::default(), Said::default());
        let all: Vec<_> = (0..2).map(|at| stands(lock(&server), ["a", "b"][at], at, &terms, &said)).collect();
        sleep(S(10)).await;
        let leads = terms.leads_now();
        assert!(leads.is_some());
        let odd = server.inject(Fault::text(200, text).verb(Verb::Get));
        sleep(S(120)).await;
        odd.lift();
        sleep(S(60)).await;
        assert_eq!((terms.leads_now(), terms.check().len()), (leads, 1), "{text}: {:?}", said.lock().unwrap());
        assert!(all.iter().all(|task| !task.is_finished()), "{text}");
        let said = said.lock().unwrap();
        assert!(said.iter().all(|said| said.contains("default/demo") || said.contains("\"demo\"")), "{text}: {said:?}");
        all.iter().for_each(JoinHandle::abort);
    }
}

/// From the start on: it is told each time, and once the server is well the candidate leads.
#[tokio::test(start_paused = true)]
async fn what_is_no_lease_from_the_start_ends_no_campaign() {
    for text in ["{}", OTHER, EMPTY] {
        let server = ApiServer::new();
        released(&server).await;
        let (terms, said) = (Terms::default(), Said::default());
        // A watch would tell it of the Lease as it is.
        let odd = [Verb::Get, Verb::Watch].map(|verb| server.inject(Fault::text(200, text).verb(verb)));
        let candidate = stands(lock(&server), "a", 0, &terms, &said);
        sleep(S(120)).await;
        assert!(!candidate.is_finished() && terms.leads_now().is_none(), "{text}: {:?}", said.lock().unwrap());
        assert!(said.lock().unwrap().len() > 10, "{text}");
        for odd in odd {
            odd.lift();
        }
        sleep(S(60)).await;
        assert_eq!(terms.leads_now(), Some(0), "{text}");
        candidate.abort();
    }
}
