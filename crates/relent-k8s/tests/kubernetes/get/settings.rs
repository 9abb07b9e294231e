//! What `get` does unless told otherwise, and what it does when told.

use std::time::Duration;

use kube::api::PostParams;
use relent::{Decision, Last, Limiter, Policy, Stop};
use relent_apiserver::Fault;
use relent_k8s::{self as k8s, ErrorClass};
use tokio::time::Instant;

use super::{NAME, SPACE, client, gets, map, maps, on_get, server};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test(start_paused = true)]
async fn eight_attempts_in_350_ms() {
    let server = server().await;
    server.inject(on_get(Fault::status(503)));
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed(), gave_up.stop()), (8, MS(350), &Stop::StartWindow));
    assert_eq!(
        gave_up.to_string(),
        "gave up after 8 attempts in 350ms: no attempt may start after 350ms; last attempt: configmaps \"kube-proxy\" in the \
         namespace \"kube-system\": the server is currently unable to handle the request",
    );
    assert_eq!(gets(&server), 8);
}

#[tokio::test(start_paused = true)]
async fn an_absent_map_is_an_answer() {
    let server = server().await;
    let gave_up = k8s::get_config_map(&client(&server), SPACE, "kubelet-config").await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.last_error().unwrap().is_not_found());
    assert_eq!((gave_up.attempts(), gave_up.elapsed(), gets(&server)), (1, MS(0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_map_that_is_created_later() {
    let server = server().await;
    let maps = maps(&server);
    let got = k8s::get_when_created(&maps, "later").start_within(Duration::from_secs(10));
    let start = Instant::now();
    let created = async {
        tokio::time::sleep(MS(1_020)).await;
        maps.create(&PostParams::default(), &map("later", "x")).await.unwrap();
    };
    let (got, ()) = tokio::join!(got.into_future(), created);
    assert_eq!(got.unwrap().metadata.name.as_deref(), Some("later"));
    assert_eq!(start.elapsed(), MS(1_050));

    let gave_up = k8s::get_when_created(&maps, "never").await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.stop()), (8, &Stop::StartWindow));
    assert!(matches!(gave_up.last(), Last::NotReadyBecause(error) if error.is_not_found()));
    assert!(gave_up.to_string().contains("not ready: configmaps \"never\" not found"), "{gave_up}");
    // Waiting is for what is not there, not for what one may not see.
    server.inject(on_get(Fault::status(403)));
    assert!(k8s::get_when_created(&maps, "never").await.unwrap_err().is_fatal());
}

/// The window that `get` comes with gives way to any bound.
#[tokio::test(start_paused = true)]
async fn a_bound_of_ones_own_holds_alone() {
    let hour = Duration::from_secs(3_600);
    let server = server().await;
    let maps = maps(&server);
    let created = async {
        tokio::time::sleep(3 * hour).await;
        maps.create(&PostParams::default(), &map("later", "x")).await.unwrap();
    };
    let got = k8s::get_when_created(&maps, "later").every(Duration::from_secs(1)).finish_within(4 * hour);
    let (got, ()) = tokio::join!(got.into_future(), created);
    assert!(got.is_ok(), "{got:?}");
    server.inject(on_get(Fault::status(503)));
    let get = || k8s::get(&maps, NAME);
    let gave_up = get().max_attempts(20).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (20, MS(950)));
    let gave_up = get().start_within(MS(100)).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (3, MS(100)));
    let gave_up = get().finish_within(MS(100)).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (2, MS(50)));
}

/// What an overloaded server asks for does not count against that window, up to ten seconds; against one's own it does.
#[tokio::test(start_paused = true)]
async fn what_a_server_asks_for_moves_the_window() {
    let server = server().await;
    let get = || k8s::get_config_map(&client(&server), SPACE, NAME);
    for (asked, times) in [(1, 1), (1, 10), (3, 3), (10, 1)] {
        let fault = server.inject(on_get(Fault::overloaded(asked).times(times)));
        let start = Instant::now();
        get().await.unwrap_or_else(|gave_up| panic!("{asked} s, {times} times: {gave_up}"));
        assert_eq!(start.elapsed(), Duration::from_secs(asked * times));
        fault.lift();
    }
    server.inject(on_get(Fault::overloaded(1)));
    let gave_up = get().await.unwrap_err();
    assert_eq!(
        (gave_up.attempts(), gave_up.elapsed(), gave_up.stop()),
        (11, Duration::from_secs(10), &Stop::StartWindow)
    );
    let own = get().start_within(MS(350)).await.unwrap_err();
    assert_eq!((own.attempts(), own.elapsed()), (1, MS(0)));
    server.lift_faults();
    server.inject(on_get(Fault::overloaded(60)));
    let gave_up = get().await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (1, MS(0)), "{gave_up}");
    assert!(gave_up.to_string().contains("(come back in 60 s)"), "{gave_up}");
}

#[tokio::test(start_paused = true)]
async fn there_is_a_deadline_for_each_call_whatever_the_policy_says() {
    let server = server().await;
    server.inject(on_get(Fault::hang()));
    let policy = Policy::new().max_attempts(2);
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (2, Duration::from_secs(20)));
    assert!(matches!(gave_up.last(), Last::Cut { .. }), "{gave_up}");
}

#[tokio::test(start_paused = true)]
async fn the_words_of_every_builder() {
    let server = server().await;
    server.inject(on_get(Fault::status(503).times(2)));
    let limiter = Limiter::per_second(5).burst(1);
    let mut heard = 0;
    let start = Instant::now();
    let got = k8s::get_config_map(&client(&server), SPACE, NAME)
        .throttle(&limiter)
        .finish_within(Duration::from_secs(5))
        .start_within(Duration::from_secs(1))
        .when(
            |error: &k8s::ApiError| {
                if error.class() == ErrorClass::Transient { Decision::Retry } else { Decision::Fatal }
            },
        )
        .notify(|_: &relent::events::Event<'_, k8s::ApiError>| heard += 1)
        .await;
    assert!(got.is_ok());
    assert_eq!(start.elapsed(), MS(400));
    assert!(heard > 5, "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_drained_limiter_does_not_hide_the_error() {
    let server = server().await;
    server.inject(on_get(Fault::status(503)));
    let limiter = Limiter::per_second(5).burst(10);
    limiter.try_acquire(9).unwrap();
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).throttle(&limiter).await.unwrap_err();
    assert!(matches!(gave_up.stop(), Stop::Limiter { .. }), "{gave_up}");
    assert!(gave_up.to_string().ends_with("the server is currently unable to handle the request"), "{gave_up}");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "`PollingFuture` polled after completion")]
async fn polled_after_completion_it_panics_by_its_own_name() {
    let server = server().await;
    let client = client(&server);
    let mut future = Box::pin(k8s::get_config_map(&client, SPACE, NAME).into_future());
    future.as_mut().await.unwrap();
    let _ = future.as_mut().await;
}

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned() {
    let server = server().await;
    let client = client(&server);
    let task = tokio::spawn(k8s::get_config_map(&client, SPACE, NAME).into_future());
    assert!(task.await.unwrap().is_ok());
}

/// No answer at all: the sentence names the object, and a read has no outcome that could be unknown.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_told_with_its_object() {
    let server = server().await;
    server.inject(on_get(Fault::hang()));
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).await.unwrap_err();
    assert_eq!(
        gave_up.to_string(),
        "gave up after 1 attempt in 10s: no attempt may start after 350ms (reading configmaps \"kube-proxy\" in the \
         namespace \"kube-system\"); last attempt: cut after 10s by its own deadline"
    );
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).finish_within(MS(300)).await.unwrap_err();
    assert!(gave_up.to_string().contains("configmaps \"kube-proxy\""), "{gave_up}");
    assert!(gave_up.to_string().ends_with("cut after 300ms by the overall deadline"), "{gave_up}");
    // An error that came before names the object itself, and it is named once.
    server.lift_faults();
    server.inject(on_get(Fault::status(500).times(1)));
    server.inject(on_get(Fault::hang()));
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).await.unwrap_err().to_string();
    assert!(gave_up.contains("no leader") && !gave_up.contains("outcome unknown"), "{gave_up}");
    assert_eq!(gave_up.matches("kube-proxy").count(), 1, "{gave_up}");
    // Without a call, too, one knows what it was for.
    let none = k8s::get_config_map(&client(&server), SPACE, NAME).max_attempts(0).await.unwrap_err().to_string();
    assert!(none.contains("configmaps \"kube-proxy\""), "{none}");
}

/// The last words of other builders are those of this one.
#[tokio::test(start_paused = true)]
async fn with_its_error_as_the_source() {
    use std::error::Error as _;

    let server = server().await;
    server.inject(on_get(Fault::status(422)));
    let get = || k8s::get_config_map(&client(&server), SPACE, NAME);
    let chained = get().chained().await.unwrap_err();
    let source = chained.source().expect("the error").downcast_ref::<k8s::ApiError>().expect("of a call");
    assert!(!chained.to_string().contains(&source.to_string()), "{chained}");
    let boxed: relent::GaveUp<relent::error::BoxedError> = get().boxed().await.unwrap_err();
    assert_eq!(boxed.to_string(), get().await.unwrap_err().to_string());
    assert!(get().boxed().chained().await.unwrap_err().source().is_some());
}
