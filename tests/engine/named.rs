//! Operations, rules and listeners that are types: their futures have names, and what holds only sometimes needs no
//! type of its own.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use relent::{
    Attempt, Change, Check, Decision, GaveUp, Operation, Policy, Profile, Progress, TimedQueue,
    builder::{Ensure, EnsureFuture, Polling, PollingFuture, Retry, RetryFuture, Settle, SettleFuture},
    events::{Event, Listener},
    operation::{Classify, Reconciler, ReconcilerTypes, RetryAll},
    retry,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Fails, is not ready or moves until its third attempt.
#[derive(Clone)]
struct Third<A>(fn(u32) -> A);

impl<A> Operation for Third<A> {
    type Output = A;
    type Future = Ready<A>;

    fn call(&mut self, attempt: Attempt) -> Ready<A> {
        ready(self.0(attempt.number()))
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Refused(u32);

/// Only the refusals up to this number are worth another attempt.
#[derive(Clone, Copy)]
struct UpTo(u32);

impl Classify<Refused> for UpTo {
    fn classify(&mut self, error: &Refused) -> Decision {
        (error.0 <= self.0).into()
    }
}

/// Counts what it hears.
#[derive(Clone, Copy, Default)]
struct Heard(u32);

impl<E> Listener<E> for Heard {
    fn on_event(&mut self, _: &Event<'_, E>) {
        self.0 += 1;
    }
}

type Answer = Result<u32, Refused>;

fn answer(number: u32) -> Answer {
    if number < 3 { Err(Refused(number)) } else { Ok(number) }
}

pin_project! {
    /// As a service of tower holds it: pinned in a struct, by name.
    struct Pending {
        #[pin]
        run: RetryFuture<Third<Answer>, UpTo, ((), Heard)>,
    }
}

impl Future for Pending {
    type Output = Result<u32, GaveUp<Refused>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_in_a_struct() {
    let pending = |most| {
        let run = Retry::new(Third(answer)).every(Duration::from_millis(10)).classify(UpTo(most)).listen(Heard(0));
        Pending { run: run.into_future() }
    };
    assert_eq!(pending(2).await.unwrap(), 3);
    let gave_up = pending(1).await.unwrap_err();
    assert!(gave_up.is_fatal());
    assert_eq!((gave_up.attempts(), gave_up.into_error()), (2, Some(Refused(2))));
}

type Checked = Result<Check<u32, Refused>, Refused>;

#[tokio::test(start_paused = true)]
async fn each_verb_takes_a_type() {
    let polled: PollingFuture<Third<Option<u32>>> =
        Polling::new(Third(|number| (number == 3).then_some(number))).into_future();
    assert_eq!(polled.await.unwrap(), 3);
    let checked: PollingFuture<Third<Checked>, UpTo> =
        Polling::new(Third(|number| answer(number).map(Check::Ready))).classify(UpTo(2)).into_future();
    assert_eq!(checked.await.unwrap(), 3);
    let settled: SettleFuture<Third<Progress<u32>>> =
        Settle::new(Third(
            |number| if number < 3 { Progress::Moving(number.to_string()) } else { Progress::Done(number) },
        ))
        .into_future();
    let settled: Result<u32, GaveUp<Infallible>> = settled.await;
    assert_eq!(settled.unwrap(), 3);
}

/// There after the second act, whatever the first one said.
#[derive(Clone, Default)]
struct Twice {
    acts: u32,
}

impl ReconcilerTypes for Twice {
    type Value = u32;
    type State = &'static str;
    type Error = Refused;
    type Observe = Ready<Result<relent::Observed<u32, &'static str, Refused>, Refused>>;
    type Act = Ready<Result<(), Refused>>;
}

impl Reconciler for Twice {
    fn observe(&mut self, _: Attempt) -> Self::Observe {
        ready(Ok(if self.acts < 2 {
            relent::Observed::Differs("absent")
        } else {
            relent::Observed::AsWanted(self.acts)
        }))
    }

    fn act(&mut self, state: &'static str) -> Self::Act {
        assert_eq!(state, "absent");
        self.acts += 1;
        ready(Err(Refused(self.acts)))
    }
}

#[tokio::test(start_paused = true)]
async fn looks_and_acts_of_one_type() {
    let ensured: EnsureFuture<Twice, UpTo> = Ensure::new(Twice::default()).classify(UpTo(2)).into_future();
    let ensured = tokio::spawn(ensured).await.unwrap().unwrap();
    assert_eq!((ensured.value, ensured.change), (2, Change::AppliedDespiteError));
    let refused = Ensure::new(Twice::default()).classify(UpTo(0)).await.unwrap_err();
    assert_eq!(refused.into_error(), Some(Refused(1)));
}

/// `None` is the rule and the listener that a builder has before: what is set keeps its meaning.
#[tokio::test(start_paused = true)]
async fn a_rule_and_a_listener_that_are_there_only_sometimes() {
    for (rule, attempts) in [(None, 4), (Some(UpTo(1)), 2)] {
        let heard = Cell::new(0);
        for listens in [false, true] {
            let listener = listens.then_some(|_: &Event<'_, Refused>| heard.set(heard.get() + 1));
            let failing = Retry::new(Third(|number| Err::<(), _>(Refused(number)))).max_attempts(4);
            let gave_up = failing.classify(rule).listen(listener).await.unwrap_err();
            assert_eq!(gave_up.attempts(), attempts);
            // Each attempt started and ended, a pause between each two, and the end.
            assert_eq!(heard.get(), if listens { 3 * attempts } else { 0 });
        }
    }
    let all = retry(async |_| Err::<(), _>(Refused(1))).max_attempts(2).classify(RetryAll).await.unwrap_err();
    assert_eq!(all.attempts(), 2);
}

/// The loop of one's own, a run on a thread and a client's calls take the same types.
#[tokio::test(start_paused = true)]
async fn a_rule_and_a_listener_that_are_types_wherever_there_are_some() {
    let mut run = Policy::new().begin().classify(UpTo(2)).listen(Heard(0));
    let gave_up = loop {
        match run.next().await {
            Ok(next) => {
                let number = next.info().number();
                assert_eq!(next.run(async { Err::<(), _>(Refused(number)) }).await, None);
            }
            Err(gave_up) => break gave_up,
        }
    };
    assert_eq!((gave_up.attempts(), gave_up.into_error()), (3, Some(Refused(3))));

    let calls: Profile<Refused, UpTo> = Profile::new(Policy::new()).classify(UpTo(2));
    let failing = Retry::new(Third(|number| Err::<(), _>(Refused(number))));
    assert_eq!(failing.clone().profile(&calls).await.unwrap_err().attempts(), 3);
    // What one call says after it counts alone.
    assert_eq!(failing.profile(&calls).classify(UpTo(3)).await.unwrap_err().attempts(), 4);

    let mut queue = TimedQueue::new();
    let handle = queue.handle();
    let _ = handle.schedule("a", 1, Duration::ZERO);
    drop(handle);
    let worked = queue.run(async |job| Err::<(), _>(Refused(job.attempt.number()))).classify(UpTo(2)).await;
    assert_eq!(worked.given_up[0].error.attempts(), 3);
}

/// What is shared changes the type once; after that it stays, so that more can be added in an `if` or a loop.
#[tokio::test(start_paused = true)]
async fn shared_settings_in_a_loop() {
    let tokens: Vec<_> = (0..3).map(|_| CancellationToken::new()).collect();
    let mut run = retry(async |_| std::future::pending::<Answer>().await).cancel_on(CancellationToken::new());
    for token in &tokens {
        run = run.cancel_on(token.clone());
    }
    let limiter = relent::Limiter::unlimited();
    if tokens.len() == 3 {
        run = run.throttle(&limiter).max_attempts(1);
    }
    let start = Instant::now();
    let (answer, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_millis(7)).await;
        tokens[1].cancel();
    });
    assert!(answer.unwrap_err().is_cancelled());
    assert_eq!(start.elapsed(), Duration::from_millis(7));
}

/// What an operation of several calls shares out stays the same to the end of the run, when there is little left.
#[tokio::test(start_paused = true)]
async fn the_limit_of_an_attempt_does_not_shrink() {
    let limits = |run: Retry<Third<Answer>>| async {
        let mut seen = Vec::new();
        let run = run.every(Duration::from_millis(400)).notify(|event| {
            if let Event::Started(attempt) = event {
                seen.push((
                    attempt.limit().map(|limit| limit.as_millis()),
                    attempt.timeout().map(|left| left.as_millis()),
                ));
            }
        });
        run.await.unwrap();
        seen
    };
    let [own, all] = [Duration::from_millis(300), Duration::from_millis(1000)];
    let run = Retry::new(Third(answer));
    assert_eq!(limits(run.clone()).await, [(None, None); 3]);
    assert_eq!(limits(run.clone().attempt_timeout(own)).await, [(Some(300), Some(300)); 3]);
    let bounded = limits(run.clone().finish_within(all)).await;
    assert_eq!(bounded, [(Some(1000), Some(1000)), (Some(1000), Some(600)), (Some(1000), Some(200))]);
    let both = limits(run.attempt_timeout(own).finish_within(all)).await;
    assert_eq!(both, [(Some(300), Some(300)), (Some(300), Some(300)), (Some(300), Some(200))]);
}
