//! Stops and last attempts as runs make them: their sentences, and the ways into other errors.

use std::{error::Error, future::pending, io, iter::successors, time::Duration};

use futures_util::TryFutureExt;
use relent::{
    Backoff, Budget, Check, Decision, GaveUp, Last, Limiter, Policy, Progress, Rate, Ratio, Stop, ensure,
    error::Chained, poll, retry, settle,
};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy::new().every(50 * MS)
}

async fn lost() -> Result<(), io::Error> {
    Err(io::Error::other("no route to host"))
}

/// Fails once, then hangs.
async fn fails_then_hangs(number: u32) -> Result<(), io::Error> {
    if number > 1 { pending().await } else { lost().await }
}

fn says(gave_up: &GaveUp<io::Error>, sentence: &str) {
    assert_eq!(gave_up.to_string(), sentence);
    assert!(gave_up.source().is_none(), "all causes are told");
    assert_eq!(gave_up.sentence().to_string(), sentence);
    if let Some(error) = gave_up.last_error() {
        assert!(sentence.ends_with(&error.to_string()));
        assert!(!gave_up.summary().to_string().contains(&error.to_string()), "the summary leaves the cause out");
    } else {
        assert_eq!(gave_up.summary().to_string(), sentence);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure() {
    let end = |policy: Policy| async move { retry(|_| lost()).policy(&policy).await.unwrap_err() };
    let fatal = retry(|_| lost()).when(|_| false).await.unwrap_err();
    says(&fatal, "gave up after 1 attempt: repeating cannot mend this; last attempt: no route to host");
    says(
        &end(policy().max_attempts(3)).await,
        "gave up after 3 attempts in 100ms: at most 3 attempts were allowed; last attempt: no route to host",
    );
    says(
        &end(policy().max_attempts(1)).await,
        "gave up after 1 attempt: at most 1 attempt was allowed; last attempt: no route to host",
    );
    says(
        &end(Policy::new().backoff(Backoff::steps([MS]))).await,
        "gave up after 2 attempts in 1ms: the backoff has no further delay; last attempt: no route to host",
    );
    says(
        &end(policy().start_within(350 * MS)).await,
        "gave up after 8 attempts in 350ms: no attempt may start after 350ms; last attempt: no route to host",
    );
    says(
        &end(policy().finish_within(350 * MS)).await,
        "gave up after 7 attempts in 300ms: everything must be finished within 350ms; last attempt: no route to host",
    );
    let token = CancellationToken::new();
    let cancelled = retry(|_| {
        token.cancel();
        lost()
    })
    .cancel_on(token.clone())
    .await
    .unwrap_err();
    says(&cancelled, "gave up after 1 attempt: cancelled; last attempt: no route to host");
    let budget = Budget::ratio(Ratio::ZERO).reserve(1);
    let refused = retry(|_| lost()).policy(&policy()).budget(&budget).await.unwrap_err();
    says(&refused, "gave up after 2 attempts in 50ms: the retry budget is spent; last attempt: no route to host");
    let limiter = Limiter::new(Rate::per_second(1), 1);
    let late = retry(|_| lost()).policy(&policy().start_within(350 * MS)).throttle(&limiter).await.unwrap_err();
    says(
        &late,
        "gave up after 1 attempt in 50ms: the limiter's permit would take 950ms and only 300ms could be waited; last attempt: no \
         route to host",
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_cut() {
    let end =
        |policy: Policy| async move { retry(|a| fails_then_hangs(a.number())).policy(&policy).await.unwrap_err() };
    let own = policy().attempt_timeout(20 * MS);
    says(
        &end(own.clone().max_attempts(2)).await,
        "gave up after 2 attempts in 70ms: at most 2 attempts were allowed; last attempt: cut after 20ms by its own deadline, \
         outcome unknown; last error: no route to host",
    );
    says(
        &end(own.clone().on_cut(Decision::Fatal)).await,
        "gave up after 2 attempts in 70ms: a call without an answer must not be repeated; last attempt: cut after 20ms by its own deadline, outcome \
         unknown; last error: no route to host",
    );
    says(
        &end(own.start_within(60 * MS)).await,
        "gave up after 2 attempts in 70ms: no attempt may start after 60ms; last attempt: cut after 20ms by its own deadline, \
         outcome unknown; last error: no route to host",
    );
    says(
        &end(policy().finish_within(80 * MS)).await,
        "gave up after 2 attempts in 80ms: everything must be finished within 80ms; last attempt: cut after 30ms by the overall \
         deadline, outcome unknown; last error: no route to host",
    );
    let never = retry(|_| pending::<Result<(), io::Error>>()).finish_within(80 * MS).await.unwrap_err();
    says(
        &never,
        "gave up after 1 attempt in 80ms: everything must be finished within 80ms; last attempt: cut after 80ms by the overall \
         deadline, outcome unknown",
    );
    assert!(matches!(never.last(), Last::Cut { after, .. } if after == 80 * MS));
    let token = CancellationToken::new();
    let cancelled = {
        let later = token.clone();
        tokio::spawn(async move {
            tokio::time::sleep(30 * MS).await;
            later.cancel();
        });
        retry(|_| pending::<Result<(), io::Error>>()).cancel_on(token).await.unwrap_err()
    };
    says(&cancelled, "gave up after 1 attempt in 30ms: cancelled; last attempt: cancelled after 30ms, outcome unknown");
}

#[tokio::test(start_paused = true)]
async fn before_the_first_attempt() {
    let none = retry(|_| lost()).max_attempts(0).await.unwrap_err();
    says(&none, "gave up before the first attempt: at most 0 attempts were allowed; nothing was attempted");
    let token = CancellationToken::new();
    token.cancel();
    let cancelled = retry(|_| lost()).cancel_on(token).await.unwrap_err();
    says(&cancelled, "gave up before the first attempt: cancelled; nothing was attempted");
    let limiter = Limiter::new(Rate::ZERO, 1);
    limiter.try_acquire(1).unwrap();
    let refused = retry(|_| lost()).start_within(350 * MS).throttle(&limiter).await.unwrap_err();
    says(&refused, "gave up before the first attempt: the limiter will never have a permit; nothing was attempted");
    assert!(matches!(refused.stop(), Stop::Limiter { allowed, .. } if *allowed == 350 * MS));
    let delayed = retry(|_| lost()).every(MS).delay_first().start_within(Duration::ZERO).await.unwrap_err();
    says(&delayed, "gave up before the first attempt: no attempt may start after 0ns; nothing was attempted");
}

#[tokio::test(start_paused = true)]
async fn not_ready() {
    let plain =
        poll(|_| async { Ok::<Option<()>, io::Error>(None) }).policy(&policy().max_attempts(2)).await.unwrap_err();
    says(&plain, "gave up after 2 attempts in 50ms: at most 2 attempts were allowed; last attempt: not ready");
    let because = poll(|_| async { Check::<(), _>::NotYetBecause(io::Error::other("1 of 3 ready")) })
        .policy(&policy().max_attempts(2))
        .await
        .unwrap_err();
    says(
        &because,
        "gave up after 2 attempts in 50ms: at most 2 attempts were allowed; last attempt: not ready: 1 of 3 ready",
    );
    assert!(matches!(because.last(), Last::NotReadyBecause(error) if error.to_string() == "1 of 3 ready"));
    let before = poll(|attempt| async move {
        if attempt.number() == 1 {
            lost().await?;
        }
        Ok::<Option<()>, io::Error>(None)
    })
    .policy(&policy().max_attempts(2))
    .await
    .unwrap_err();
    says(
        &before,
        "gave up after 2 attempts in 50ms: at most 2 attempts were allowed; last attempt: not ready; last error: no route to host",
    );
}

#[derive(Debug, thiserror::Error)]
enum Caller {
    #[error("not fetched: {0}")]
    Fetch(#[from] GaveUp<io::Error>),
}

#[tokio::test(start_paused = true)]
async fn it_goes_into_other_errors_and_comes_out_again() {
    async fn anyhow() -> anyhow::Result<()> {
        Ok(retry(|_| lost()).max_attempts(1).await?)
    }
    async fn boxed() -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(retry(|_| lost()).max_attempts(1).await?)
    }
    async fn own() -> Result<(), Caller> {
        Ok(retry(|_| lost()).max_attempts(1).await?)
    }
    async fn of_text() -> Result<(), Box<dyn Error + Send + Sync>> {
        retry(|_| async { Err("out of luck") }).max_attempts(1).await.map_err(GaveUp::boxed)?;
        Ok(())
    }
    async fn of_anyhow() -> anyhow::Result<()> {
        retry(|_| async { Err(anyhow::anyhow!("deep").context("shallow")) })
            .max_attempts(1)
            .await
            .map_err(GaveUp::boxed)?;
        Ok(())
    }

    let error = anyhow().await.unwrap_err();
    assert_eq!(*error.downcast_ref::<GaveUp<io::Error>>().unwrap().stop(), Stop::Attempts);
    assert_eq!(error.chain().count(), 1, "nothing is told twice");
    let error = boxed().await.unwrap_err();
    let gave_up = error.downcast::<GaveUp<io::Error>>().unwrap();
    assert_eq!(gave_up.into_error().unwrap().to_string(), "no route to host");
    let Caller::Fetch(gave_up) = own().await.unwrap_err();
    assert!(gave_up.is_exhausted());
    let error = of_text().await.unwrap_err();
    assert!(error.to_string().ends_with("last attempt: out of luck"));
    let error = of_anyhow().await.unwrap_err();
    assert!(error.to_string().ends_with("last attempt: shallow: deep"));
}

#[tokio::test(start_paused = true)]
async fn the_chain_itself_for_whoever_looks_for_an_error_in_it() {
    let gave_up = retry(|_| lost()).max_attempts(1).await.unwrap_err();
    let error = anyhow::Error::from(gave_up.chained());
    assert_eq!(error.root_cause().downcast_ref::<io::Error>().unwrap().to_string(), "no route to host");
    let chained = error.downcast::<Chained<io::Error>>().unwrap();
    assert!(chained.get_ref().is_exhausted());
    assert_eq!(chained.into_inner().into_error().unwrap().to_string(), "no route to host");

    let anyhow = || async { Err::<(), _>(anyhow::Error::from(lost().await.unwrap_err()).context("dialing")) };
    let gave_up = retry(|_| anyhow()).max_attempts(1).await.unwrap_err();
    let chained = gave_up.boxed().chained();
    let levels: Vec<_> = successors(chained.source(), |&level| level.source()).map(ToString::to_string).collect();
    assert_eq!(levels, ["dialing", "no route to host"], "the box is no level of its own");

    let cut = retry(|_| pending::<Result<(), io::Error>>()).finish_within(MS).await.unwrap_err();
    let text = cut.to_string();
    let chained = cut.chained();
    assert!(chained.source().is_none());
    assert_eq!(chained.to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn an_error_or_else_why_there_is_none() {
    let why = |gave_up: GaveUp<std::convert::Infallible>| {
        assert_eq!(gave_up.attempts(), 1);
        assert!(matches!(gave_up.last(), Last::Cut { .. }));
        io::Error::new(io::ErrorKind::TimedOut, gave_up)
    };
    let cut = retry(|_| pending::<io::Result<()>>()).finish_within(MS).await.unwrap_err();
    let sentence = cut.to_string();
    let error = cut.error_or_else(why);
    assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::TimedOut, sentence));
    let failed = retry(|_| lost()).max_attempts(1).await.unwrap_err();
    assert_eq!(failed.error_or_else(|_| unreachable!()).to_string(), "no route to host");
}

#[tokio::test(start_paused = true)]
async fn debug_says_no_more_than_is_known() {
    let gave_up = retry(|_| async { Err::<(), _>("no") }).max_attempts(1).await.unwrap_err();
    assert_eq!(
        format!("{gave_up:?}"),
        "GaveUp { stop: Attempts, last: Failed(\"no\"), attempts: 1, elapsed: 0ns, detail: None }"
    );
    let cut = retry(|_| pending::<Result<(), &str>>()).finish_within(80 * MS).await.unwrap_err();
    assert_eq!(
        format!("{cut:?}"),
        "GaveUp { stop: Deadline, last: Cut { after: 80ms, by: Deadline }, last_error: None, bound: 80ms, attempts: 1, \
         elapsed: 80ms, detail: None }"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_a_builder() {
    async fn anyhow() -> anyhow::Result<()> {
        Err(anyhow::Error::from(lost().await.unwrap_err()).context("dialing"))
    }
    async fn question_mark() -> anyhow::Result<()> {
        retry(async |_| anyhow().await).max_attempts(1).boxed().await?;
        Ok(())
    }
    // Spawned, for the errors that made it hard.
    let told = tokio::spawn(async { question_mark().await.unwrap_err().to_string() }).await.unwrap();
    assert!(told.ends_with("last attempt: dialing: no route to host"), "{told}");
    let of_text = tokio::spawn(async {
        poll(async |_| Err::<Option<()>, _>("out of luck")).when(|_| false).boxed().await.unwrap_err().to_string()
    });
    assert!(of_text.await.unwrap().ends_with("last attempt: out of luck"));

    let chained = retry(|_| lost()).max_attempts(1).chained().await.unwrap_err();
    assert!(chained.source().unwrap().is::<io::Error>());
    let chained = retry(async |_| anyhow().await).max_attempts(1).boxed().chained().await.unwrap_err();
    assert_eq!(chained.source().unwrap().to_string(), "dialing");
    assert!(chained.get_ref().is_exhausted());
}

#[tokio::test(start_paused = true)]
async fn an_ensure_that_may_not_act_contradicts_itself_nowhere() {
    let differs = || async { Ok::<Option<()>, io::Error>(None) };
    let gave_up = ensure(|_| differs(), |()| lost()).max_attempts(0).await.unwrap_err();
    says(&gave_up, "gave up after 1 attempt: at most 0 acts were allowed (never acted); last attempt: not ready");
    let gave_up =
        ensure(|_| lost().map_ok(|()| None::<()>), |()| lost()).max_attempts(0).when(|_| false).await.unwrap_err();
    says(&gave_up, "gave up after 1 attempt: repeating cannot mend this (never acted); last attempt: no route to host");
}

/// Why is never absent, even where an error says nothing and where nothing was seen.
#[tokio::test(start_paused = true)]
async fn errors_without_words() {
    let end = "; last attempt: an error without a text";
    let gave_up = retry(async |_| Err::<(), _>(io::Error::other(""))).max_attempts(1).await.unwrap_err();
    assert!(gave_up.to_string().ends_with(end), "{gave_up}");
    let gave_up = retry(async |_| Err::<(), _>("")).max_attempts(1).await.unwrap_err();
    assert!(gave_up.sentence().to_string().ends_with(end), "{}", gave_up.sentence());
    assert_eq!(gave_up.last().sentence().to_string(), "an error without a text");
    assert!(gave_up.boxed().to_string().ends_with(end));

    let settled =
        settle(async |_| Err::<Progress<(), _>, _>(io::Error::other("refused"))).every(Duration::from_secs(1));
    let unseen = settled.clone().tolerate_errors_for(Duration::from_secs(3)).await.unwrap_err();
    let said = "gave up after 4 attempts in 3s: observing has failed for longer than is tolerated \
                (no progress was seen); last attempt: refused";
    assert_eq!(unseen.to_string(), said);
    let none = settled.max_attempts(0).await.unwrap_err();
    let said = "gave up before the first attempt: at most 0 attempts were allowed; nothing was attempted";
    assert_eq!(none.to_string(), said);
}
