//! What one client's calls have in common, errors that say themselves what follows, and successes with their report.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use relent::{
    Attempt, Backoff, Budget, Check, Decision, Failure, GaveUp, Last, Limiter, Policy, Profile, Progress, Ratio, Stop,
    blocking,
    builder::{BoxClassify, BoxListener, Controls, ErasedProfile, Retry},
    ensure,
    events::Event,
    poll, retry, settle,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
enum ApiError {
    #[error("busy")]
    Busy,
    #[error("denied")]
    Denied,
    #[error("not a number")]
    Malformed(#[from] std::num::ParseIntError),
}

fn classify(error: &ApiError) -> Decision {
    (*error == ApiError::Busy).into()
}

/// Named without a helper: in a field.
#[derive(Clone, Debug)]
struct Client {
    calls: Profile<ApiError, fn(&ApiError) -> Decision>,
    erased: ErasedProfile<ApiError>,
    limiter: Limiter,
    heard: Arc<AtomicU32>,
}

impl Client {
    fn new() -> Self {
        let limiter = Limiter::per_second(1);
        let heard = Arc::new(AtomicU32::new(0));
        let policy = Policy::new().backoff(Backoff::fixed(Duration::ZERO)).max_attempts(5);
        let calls = Profile::new(policy)
            .throttle(&limiter)
            .budget(&Budget::ratio(Ratio::percent(0)).reserve(3))
            .when(classify as fn(&ApiError) -> Decision);
        let count = heard.clone();
        let erased = calls
            .clone()
            .notify(move |event: &Event<'_, ApiError>| {
                if let Event::Started(_) = event {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .erased();
        Self { calls, erased, limiter, heard }
    }

    /// A builder that can be named, and narrowed by the caller.
    fn call<O, Fut, T>(&self, operation: O) -> Retry<O, BoxClassify<ApiError>, ((), BoxListener<ApiError>), Controls>
    where
        O: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, ApiError>>,
    {
        retry(operation).profile(&self.erased)
    }
}

async fn text(attempt: Attempt) -> Result<&'static str, ApiError> {
    if attempt.number() < 3 { Err(ApiError::Busy) } else { Ok("7") }
}

fn require_shareable<T: Clone + Send + Sync + 'static>(_: &T) {}

#[tokio::test(start_paused = true)]
async fn a_profile_is_written_once_and_its_limiter_and_budget_are_shared_by_tasks() {
    let client = Client::new();
    require_shareable(&client);
    let began = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(async |_| Err::<(), _>(ApiError::Busy)).await.unwrap_err() })
        })
        .collect();
    let mut stops = vec![];
    for task in tasks {
        stops.push(task.await.unwrap());
    }
    // Four first attempts and the three retries of the common reserve: one a second, whichever caller makes them.
    assert_eq!(stops.iter().map(GaveUp::attempts).sum::<u32>(), 7);
    assert!(stops.iter().all(|gave_up| *gave_up.stop() == Stop::Budget));
    assert_eq!(client.heard.load(Ordering::Relaxed), 7);
    assert_eq!(began.elapsed(), 6 * SECOND);
    assert_eq!(client.limiter.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_call_narrows_for_itself_and_the_question_mark_converts_into_the_errors_of_the_profile() {
    let client = Client::new();
    let value: Result<u32, _> = retry(async |attempt| Ok(text(attempt).await?.parse()?)).profile(&client.calls).await;
    assert_eq!(value.unwrap(), 7);
    let block = retry(|attempt| async move { Ok(text(attempt).await?.parse::<u32>()?) }).profile(&client.erased);
    // Two are out of the reserve: one is left, and the third attempt is refused.
    assert_eq!(*block.clone().await.unwrap_err().stop(), Stop::Budget);
    let narrowed = client.call(text).max_attempts(1).await.unwrap_err();
    assert_eq!(*narrowed.stop(), Stop::Attempts);
    let late = client.call(text).finish_within(SECOND / 2).await.unwrap_err();
    assert!(matches!(late.stop(), Stop::Limiter { ready_in, .. } if *ready_in == SECOND), "{:?}", late.stop());
    // What one call said is not said for the next.
    assert_eq!(*client.call(async |_| Err::<(), _>(ApiError::Denied)).await.unwrap_err().stop(), Stop::Fatal);
    let malformed = retry(async |_| Ok("seven".parse::<u32>()?)).profile(&client.erased).await.unwrap_err();
    assert!(matches!(malformed.last_error(), Some(ApiError::Malformed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_profile_serves_every_verb_and_adds_to_what_is_shared_already() {
    let token = CancellationToken::new();
    let profile = Profile::new("every 1s, max_attempts 3".parse().unwrap())
        .when(|error: &&str| *error != "no")
        .cancel_on(token.clone())
        .erased();
    let run = poll(async |_| Err::<Option<()>, _>("busy")).profile(&profile);
    assert_eq!(tokio::spawn(async move { run.await.unwrap_err().attempts() }).await.unwrap(), 3);
    let run = settle(async |_| Err::<Progress<(), &str>, _>("no")).profile(&profile);
    assert_eq!(run.await.unwrap_err().attempts(), 1);
    let run = ensure(async |_| Ok::<Option<()>, &str>(None), async |()| Err::<(), _>("no")).profile(&profile);
    assert_eq!(*run.await.unwrap_err().stop(), Stop::Fatal);
    let slow = Limiter::per_second(1);
    assert!(slow.try_acquire(1).is_ok());
    let both =
        retry(async |_| Ok::<_, &str>(7)).throttle(&slow).profile(&profile.clone().throttle(&Limiter::per_second(9)));
    let began = Instant::now();
    assert_eq!(both.await.unwrap(), 7);
    assert_eq!(began.elapsed(), SECOND);
    let run = blocking::retry(|_| Err::<(), _>("no")).profile(&profile);
    assert_eq!(run.call().unwrap_err().attempts(), 1);
    token.cancel();
    assert!(
        retry(async |_| Ok::<_, &str>(7))
            .cancel_on(CancellationToken::new())
            .profile(&profile)
            .await
            .unwrap_err()
            .is_cancelled()
    );
}

#[tokio::test(start_paused = true)]
async fn a_profile_serves_a_loop_of_ones_own() {
    let (limiter, token) = (Limiter::per_second(1), CancellationToken::new());
    let heard = Arc::new(AtomicU32::new(0));
    let count = heard.clone();
    let calls = Profile::new(Policy::new().backoff(Backoff::fixed(Duration::from_millis(1))).max_attempts(3))
        .throttle(&limiter)
        .when(|error: &&str| *error == "busy")
        .cancel_on(token.clone())
        .notify(move |event| _ = count.fetch_add(u32::from(matches!(event, Event::Ended { .. })), Ordering::Relaxed))
        .erased();
    let began = Instant::now();
    let mut run = calls.begin();
    let gave_up = loop {
        match run.next().await {
            Ok(turn) => assert_eq!(turn.run(async { Err::<(), _>("busy") }).await, None),
            Err(gave_up) => break gave_up,
        }
    };
    assert_eq!((gave_up.stop(), gave_up.attempts(), began.elapsed()), (&Stop::Attempts, 3, 2 * SECOND));
    assert_eq!(heard.load(Ordering::Relaxed), 3);
    // Another run counts for itself.
    let mut run = calls.begin();
    assert_eq!(run.next().await.unwrap().run(async { Err::<(), _>("denied") }).await, None);
    assert_eq!(run.next().await.unwrap_err().stop(), &Stop::Fatal);
    token.cancel();
    assert!(calls.begin().next().await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn an_error_says_itself_what_follows_and_the_run_holds_the_plain_one() {
    fn denied() -> io::Result<u32> {
        Err(io::Error::other("permanent"))
    }
    async fn steps(number: u32) -> Result<u32, Failure<io::Error>> {
        match number {
            1 => Err(io::Error::other("transient"))?,
            2 => Err(Failure::retry_after(io::Error::other("busy"), 30 * SECOND)),
            3 => denied().map_err(Failure::permanent),
            _ => Ok(number),
        }
    }
    let mut heard = vec![];
    let gave_up = retry(async |attempt| steps(attempt.number()).await)
        .by_failure()
        .backoff(Backoff::fixed(SECOND))
        .notify(|event| {
            if let Event::Ended { last: Last::Failed(error), again, .. } = event {
                let error: &io::Error = error;
                heard.push((error.to_string(), *again));
            }
        })
        .await
        .unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Fatal);
    assert_eq!(gave_up.elapsed(), 31 * SECOND);
    assert_eq!(gave_up.into_error().unwrap().to_string(), "permanent");
    let heard: Vec<_> = heard.iter().map(|(error, again)| (error.as_str(), *again)).collect();
    assert_eq!(heard, [("transient", Some(SECOND)), ("busy", Some(30 * SECOND)), ("permanent", None)]);
}

#[tokio::test(start_paused = true)]
async fn such_runs_are_capped_bounded_spawned_and_blocking_like_any_other() {
    let run = retry(async |_| Err::<(), _>(Failure::retry_after("busy", 30 * SECOND)))
        .by_failure()
        .backoff(Backoff::fixed(SECOND))
        .max_retry_after(2 * SECOND)
        .max_attempts(3);
    let gave_up = tokio::spawn(async move { run.await.unwrap_err() }).await.unwrap();
    assert_eq!((gave_up.attempts(), gave_up.elapsed(), gave_up.into_error()), (3, 4 * SECOND, Some("busy")));

    let profile = Profile::new("every 1s, max_attempts 3".parse().unwrap()).when(|_: &&str| false).erased();
    let gave_up =
        retry(async |_| Err::<(), _>(Failure::transient("busy"))).by_failure().profile(&profile).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (3, 2 * SECOND));

    let gave_up = blocking::retry(|_| Err::<(), _>(Failure::permanent("gone"))).by_failure().call().unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.into_error()), (1, Some("gone")));
    assert_eq!(Failure::from(3).map(|number| number + 1), Failure::transient(4));
}

#[tokio::test(start_paused = true)]
async fn a_success_tells_what_it_took_on_every_verb() {
    let took = |number: u32| async move { if number < 3 { Err("busy") } else { Ok(7) } };
    let run = retry(move |attempt| took(attempt.number())).every(SECOND).with_report();
    let reported = tokio::spawn(async move { run.await.unwrap() }).await.unwrap();
    assert_eq!((reported.value, reported.attempts, reported.elapsed), (7, 3, 2 * SECOND));

    let boxed = retry(move |attempt| took(attempt.number())).every(SECOND).with_report().boxed().await.unwrap();
    assert_eq!(boxed, reported);
    let boxed_first = retry(move |attempt| took(attempt.number())).every(SECOND).boxed().with_report().await.unwrap();
    assert_eq!(boxed_first, reported);
    let gave_up = retry(async |_| Err::<(), _>("busy")).max_attempts(1).with_report().await.unwrap_err();
    assert_eq!(gave_up.attempts(), 1);

    let mut polls = 0;
    let polled = poll(|_| {
        polls += 1;
        let ready = polls == 4;
        async move { Check::<_, io::Error>::from_ready(ready) }
    });
    let polled = polled.with_report().await.unwrap();
    assert_eq!((polled.attempts, polled.elapsed), (4, 3 * SECOND));

    let settled = settle(async |_| Ok::<_, io::Error>(Progress::Done(7)))
        .stable_for(2)
        .every(SECOND)
        .with_report()
        .await
        .unwrap();
    assert_eq!((settled.value, settled.attempts, settled.elapsed), (7, 2, SECOND));

    let done = std::sync::atomic::AtomicBool::new(false);
    let ensured = ensure(
        async |_| Ok::<_, io::Error>(done.load(Ordering::Relaxed).then_some(7)),
        async |()| {
            tokio::time::sleep(SECOND).await;
            done.store(true, Ordering::Relaxed);
            Ok::<(), _>(())
        },
    );
    let ensured = ensured.with_report().await.unwrap();
    assert_eq!((ensured.value.value, ensured.attempts, ensured.elapsed), (7, 1, SECOND));
}

/// On a thread the last words are the same, in either order.
#[test]
fn last_words_on_a_thread() {
    fn fails(_: Attempt) -> anyhow::Result<u8> {
        Err(anyhow::anyhow!("refused").context("not dialed"))
    }
    let policy: Policy = "backoff fixed 0s, max_attempts 2".parse().unwrap();
    let end = "last attempt: not dialed: refused";
    let ends = |gave_up: &dyn std::error::Error| assert!(gave_up.to_string().ends_with(end), "{gave_up}");
    ends(&blocking::retry(fails).policy(&policy).boxed().call().unwrap_err());
    ends(&blocking::retry(fails).policy(&policy).boxed().with_report().call().unwrap_err());
    ends(&blocking::retry(fails).policy(&policy).with_report().boxed().call().unwrap_err());
    ends(&blocking::poll(|attempt| fails(attempt).map(Some)).policy(&policy).boxed().call().unwrap_err());

    let chained = blocking::retry(|_| Err::<(), _>(ApiError::Busy)).policy(&policy).with_report().chained().call();
    let chained = chained.unwrap_err();
    assert_eq!(chained.get_ref().attempts(), 2);
    assert_eq!(std::error::Error::source(&chained).unwrap().downcast_ref(), Some(&ApiError::Busy));

    let third = |attempt: Attempt| (attempt.number() == 3).then_some(7);
    let polled = blocking::poll(third).every(Duration::ZERO).with_report().call().unwrap();
    assert_eq!((polled.value, polled.attempts), (7, 3));
}

/// A check without a type to be spelled out.
trait FromReady {
    fn from_ready(ready: bool) -> Self;
}

impl FromReady for Check<(), io::Error> {
    fn from_ready(ready: bool) -> Self {
        if ready { Self::Ready(()) } else { Self::NotYet }
    }
}

/// `by` runs on one limiter; the first call of all is told to come back in 30 s.
async fn storm(policy: &Policy, runs: u32) -> (Vec<Duration>, Vec<u32>) {
    let limiter = Limiter::per_second(50).burst(10);
    let (calls, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let tasks: Vec<_> = (0..runs)
        .map(|_| {
            let (calls, limiter, policy) = (calls.clone(), limiter.clone(), policy.clone());
            tokio::spawn(async move {
                let starts = std::sync::Mutex::new(vec![]);
                let result = retry(async |_| {
                    starts.lock().unwrap().push(began.elapsed());
                    if calls.fetch_add(1, Ordering::Relaxed) == 0 { Err("429") } else { Ok(()) }
                })
                .policy(&policy)
                .throttle(&limiter)
                .when(|_| Decision::RetryAfter(30 * SECOND))
                .await;
                (starts.into_inner().unwrap(), result.is_ok())
            })
        })
        .collect();
    let (mut starts, mut failed) = (vec![], vec![]);
    for (number, task) in (0..).zip(tasks) {
        let (of_one, ok) = task.await.unwrap();
        starts.extend(of_one);
        if !ok {
            failed.push(number);
        }
    }
    starts.sort();
    (starts, failed)
}

#[tokio::test(start_paused = true)]
async fn what_one_run_is_asked_to_wait_holds_for_a_hundred_on_the_same_limiter() {
    let (starts, failed) = storm(&"share_retry_after".parse().unwrap(), 100).await;
    assert_eq!((starts.len(), failed.len()), (101, 0));
    // The first call is answered before any other starts, and then there is no call for 30 s.
    assert_eq!(starts[0], Duration::ZERO);
    assert!(starts[1..].iter().all(|&start| start >= 30 * SECOND), "{starts:?}");

    // Unless set, only the one that was asked waits.
    let (starts, _) = storm(&Policy::new(), 100).await;
    assert!(starts.iter().filter(|&&start| start < 30 * SECOND).count() >= 100, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_capped_and_holds_also_where_the_run_ends() {
    let (starts, failed) = storm(&"share_retry_after, max_retry_after 3s, max_attempts 1".parse().unwrap(), 20).await;
    assert_eq!((starts.len(), failed.as_slice()), (20, &[0][..]));
    assert!(starts[1..].iter().all(|&start| start >= 3 * SECOND) && starts[19] < 4 * SECOND, "{starts:?}");
}

#[test]
fn an_attempt_can_be_made_for_a_unit_test() {
    let policy: Policy = "attempt_timeout 10s, finish_within 30s".parse().unwrap();
    let attempt = Attempt::new(3).with_elapsed(28 * SECOND).with_policy(&policy);
    assert_eq!((attempt.number(), attempt.elapsed()), (3, 28 * SECOND));
    assert_eq!((attempt.timeout(), attempt.remaining()), (Some(2 * SECOND), Some(2 * SECOND)));
    assert_eq!(Attempt::new(0), Attempt::new(1));
    assert_eq!(blocking::retry(Ok::<_, ()>).call().unwrap(), Attempt::new(1));
}
