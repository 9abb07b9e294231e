//! A call that never answers, at each call of an election: it holds up no candidate for longer than its deadline.

use std::sync::{Arc, Mutex};

use relent::leader::{Ended, Term, elect, watch};
use relent_apiserver::{ApiServer, Fault, Verb};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{S, lock, released};

/// Two candidates, each told to stop once it has led for 20 s; the `nth` call of this verb hangs. When either began, and
/// when all was over.
async fn two_terms(verb: Verb, nth: u64, was_there: bool) -> (Vec<Instant>, Instant) {
    let (server, began) = (ApiServer::new(), Arc::<Mutex<Vec<Instant>>>::default());
    if was_there {
        released(&server).await;
    }
    let hung = server.inject(Fault::hang().verb(verb).skip(nth).times(1));
    let runs: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|identity| {
            let (stop, began) = (CancellationToken::new(), Arc::clone(&began));
            let run = elect(lock(&server), identity).cancel_on(stop.clone()).again();
            tokio::spawn(run.run(move |term: Term| {
                began.lock().unwrap().push(Instant::now());
                let stop = stop.clone();
                async move {
                    if timeout(S(20), term.lost()).await.is_err() {
                        stop.cancel();
                    }
                    term.lost().await;
                }
            }))
        })
        .collect();
    for run in runs {
        let ended = timeout(S(3_600), run).await.unwrap_or_else(|_| panic!("{verb:?} {nth}: a campaign hangs"));
        assert!(matches!(ended.unwrap().unwrap(), Ended::Cancelled { .. }));
    }
    assert_eq!(hung.hits(), 1, "{verb:?} {nth} was never called");
    let began = began.lock().unwrap().clone();
    (began, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn no_call_hangs_a_campaign() {
    let mut longest = (S(0), String::new());
    for was_there in [false, true] {
        for (verb, calls) in [(Verb::Get, 3), (Verb::Create, 1), (Verb::Update, 22), (Verb::Watch, 2)] {
            if verb == Verb::Create && was_there {
                continue;
            }
            for nth in 0..calls {
                let start = Instant::now();
                let (began, over) = two_terms(verb, nth, was_there).await;
                let mut took = over - start;
                if took > longest.0 {
                    longest = (took, format!("{verb:?} {nth}, was there: {was_there}"));
                }
                // Nothing is waited for longer than a lease: not the first term, nor the next after the one before.
                took = began[0] - start;
                assert!(took <= S(20), "{verb:?} {nth}: the first term begins after {took:?}");
            }
        }
    }
    println!("two terms of 20 s, one call hung; the longest: {:?}: {}", longest.0, longest.1);
    assert!(longest.0 <= S(80), "{longest:?}");
}

/// Following an election: a look that hangs is told, and the next one is made.
#[tokio::test(start_paused = true)]
async fn no_call_hangs_a_watch() {
    for (verb, nth) in [(Verb::Get, 0), (Verb::Get, 1), (Verb::Watch, 0)] {
        let server = ApiServer::new();
        released(&server).await;
        let hung = server.inject(Fault::hang().verb(verb).skip(nth).times(1));
        let mut followed = watch(lock(&server));
        let follower = tokio::spawn(async move {
            loop {
                if let Ok(leader) = followed.next().await
                    && leader.holder.as_deref() == Some("b")
                {
                    return Instant::now();
                }
            }
        });
        sleep(S(65)).await;
        let at = Instant::now();
        super::patch(&server, serde_json::json!({"spec": {"holderIdentity": "b"}})).await;
        let heard = timeout(S(3_600), follower).await.unwrap_or_else(|_| panic!("{verb:?} {nth}: it hangs")).unwrap();
        assert!(heard - at <= S(70), "{verb:?} {nth}: heard after {:?}", heard - at);
        assert_eq!(hung.hits(), 1, "{verb:?} {nth} was never called");
    }
}
