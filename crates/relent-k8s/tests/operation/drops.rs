//! Each caller dropped at each of its awaits: nothing goes on, and another run finds what there is.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use relent::Policy;
use relent_apiserver::{ApiServer, Fault, Verb};
use relent_k8s::{self as k8s, Contract, LongOperation};
use tokio::time::sleep;

use super::{
    hangs::runs,
    place::{DO, Place},
};

/// Polls it so often, then drops it; whether it had ended by then.
async fn dropped_after<F: Future>(polls: usize, run: F) -> bool {
    let (mut run, mut left) = (pin!(run), polls);
    poll_fn(|cx| {
        if left > 0 && run.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        left = left.saturating_sub(1);
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn at_whichever_await_it_can_be_dropped() {
    let policy: Policy = "finish_within 1h".parse().unwrap();
    for case in 0.. {
        let mut longest = 0;
        for polls in 0.. {
            // Slow answers, so that there are awaits.
            let slow = Fault::delay(Duration::from_millis(70));
            let Some((told, run)) = runs(case, Some(&policy), &slow).await else { return };
            if dropped_after(polls, run).await {
                break;
            }
            longest = polls;
            assert!(polls < 1_000, "{told}: it does not end");
        }
        assert!(longest > 0, "{case}: no await");
    }
}

/// An operation that was dropped anywhere in its trigger can be triggered again, and is set off once.
#[tokio::test(start_paused = true)]
async fn a_trigger_that_was_dropped_is_set_off_once() {
    for polls in 0.. {
        let place = Place::ours().await;
        let server = place.server().unwrap();
        server.inject(Fault::delay(Duration::from_millis(70)));
        let operation = LongOperation::new(place.api.clone(), "main", Contract::new(DO, "it")).unwrap();
        let ended = dropped_after(polls, operation.trigger().into_future()).await;
        operation.trigger().await.unwrap_or_else(|gave_up| panic!("{polls}: {gave_up}"));
        let generation = place.get().await.metadata.resource_version;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(place.get().await.metadata.resource_version, generation, "{polls}: it is set off again");
        let patched =
            server.journal().iter().filter(|entry| entry.verb == Verb::Patch && entry.code == Some(200)).count();
        assert_eq!(patched, 1, "{polls}");
        if ended {
            return;
        }
    }
}

/// What was dropped asks for nothing any more.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_afterwards() {
    let server = ApiServer::new();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    server.inject(Fault::delay(Duration::from_millis(70)));
    for polls in 1..40 {
        let wait = k8s::wait(api.clone(), "it", |map: Option<&ConfigMap>| map.is_some());
        assert!(!dropped_after(polls, wait.into_future()).await);
        let asked = server.journal().len();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(server.journal().len(), asked, "{polls}");
    }
}
