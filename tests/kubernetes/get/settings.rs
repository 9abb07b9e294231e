//! What `get` does unless told otherwise, and what it does when told.

use std::time::Duration;

use kube::api::PostParams;
use relent::{
    Decision, Last, Limiter, Policy, Stop,
    k8s::{self, Class},
    testing::kube::Fault,
};
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
        "gave up after 8 attempts in 350ms: no attempt may start after 350ms; last attempt: the server is currently unable to \
         handle the request",
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
    let got = k8s::get(&maps, "later").wait_for_creation().start_within(Duration::from_secs(10));
    let start = Instant::now();
    let created = async {
        tokio::time::sleep(MS(1_020)).await;
        maps.create(&PostParams::default(), &map("later", "x")).await.unwrap();
    };
    let (got, ()) = tokio::join!(got.into_future(), created);
    assert_eq!(got.unwrap().metadata.name.as_deref(), Some("later"));
    assert_eq!(start.elapsed(), MS(1_050));

    let gave_up = k8s::get(&maps, "never").wait_for_creation().await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.stop()), (8, &Stop::StartWindow));
    assert!(matches!(gave_up.last(), Last::NotReadyBecause(error) if error.is_not_found()));
    assert!(gave_up.to_string().contains("not ready: configmaps \"never\" not found"), "{gave_up}");
    // Waiting is for what is not there, not for what one may not see.
    server.inject(on_get(Fault::status(403)));
    assert!(k8s::get(&maps, "never").wait_for_creation().await.unwrap_err().is_fatal());
}

#[tokio::test(start_paused = true)]
async fn there_is_a_deadline_for_each_call_whatever_the_policy_says() {
    let server = server().await;
    server.inject(on_get(Fault::hang()));
    let policy = Policy::new().max_attempts(2);
    let gave_up = k8s::get_config_map(&client(&server), SPACE, NAME).policy(&policy).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.elapsed()), (2, Duration::from_secs(20)));
    assert_eq!(std::error::Error::source(&gave_up).unwrap().to_string(), "the attempt was cut before it answered");
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
        .when(|error: &k8s::Error| if error.class() == Class::Transient { Decision::Retry } else { Decision::Fatal })
        .notify(|_: &relent::Event<'_, k8s::Error>| heard += 1)
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
#[should_panic(expected = "`GetFuture` polled after completion")]
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
