//! What the calls of one client have in common, and what each request chooses.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_util::FutureExt;
use relent::{
    Budget, CancellationToken, Limiter, Policy, Profile, Ratio, Stop,
    builder::ErasedProfile,
    error::BoxedError,
    events::Event,
    http::Idempotency,
    tower::{CheckStatus, ResponseFuture, RetryLayer, RetryService},
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};

use super::{
    Answer::{Fails, Hangs, Status},
    Failed, SECOND, Server, check, every_second, is,
};

#[tokio::test(start_paused = true)]
async fn all_calls_share_the_limiter_and_the_budget_and_a_dropped_one_leaves_nothing() {
    let limiter = Limiter::per_second(1);
    let budget = Budget::ratio(Ratio::percent(0)).reserve(2);
    let profile = Profile::new(every_second()).throttle(&limiter).budget(&budget);
    let server = Server::new(vec![Fails("a"); 9]);
    let service = RetryLayer::new(profile).layer(server.clone());
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(service.clone().oneshot("x".to_owned()))).collect();
    for call in calls {
        is(&call.await.unwrap().unwrap_err(), &Stop::Budget, "a");
    }
    assert_eq!(server.seconds(), [0, 1, 2, 3, 4]);
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot("x".to_owned()));
    assert!(waiting.poll().is_pending());
    assert_eq!(limiter.waiters(), 1);
    drop(waiting);
    assert_eq!(limiter.waiters(), 0);
    let narrow = Profile::new(every_second().finish_within(SECOND / 2)).throttle(&limiter);
    let error = RetryLayer::new(narrow).layer(server).oneshot("x".to_owned()).await.unwrap_err();
    assert!(matches!(error.get_ref().stop(), Stop::Limiter { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_client_stops_in_a_call_and_in_a_pause() {
    for (answer, at) in [(Hangs, 0), (Fails("a"), 0), (Status(503), 0)] {
        let token = CancellationToken::new();
        let server = Server::new([answer.clone(), Hangs]);
        let layer = RetryLayer::new(Profile::new(every_second()).cancel_on(token.clone())).check(check);
        let call = tokio::spawn(layer.layer(server.clone()).oneshot("x".to_owned()));
        sleep(SECOND / 2).await;
        token.cancel();
        let error = call.await.unwrap().unwrap_err();
        assert!(error.get_ref().is_cancelled(), "{answer:?}: {error}");
        assert_eq!((server.seconds(), server.held(0)), (vec![at], 0));
        assert_eq!(error.source().is_some(), !matches!(answer, Hangs));
    }
}

/// What hears of the start of an attempt, and what makes its request, may cancel the call, or take until the hard bound
/// is over: the service is not called then.
#[tokio::test(start_paused = true)]
async fn what_a_listener_or_the_making_of_a_request_ends_is_not_called() {
    let stall = || assert!(tokio::time::advance(9 * SECOND).now_or_never().is_none());
    for (cancels, listens, attempt) in
        [(true, true, 1), (true, true, 2), (false, true, 1), (false, true, 2), (true, false, 1), (false, false, 2)]
    {
        let (token, server) = (CancellationToken::new(), Server::new(vec![Fails("a"); 9]));
        let (ends, made) = (token.clone(), Arc::new(AtomicUsize::new(0)));
        let end = move || if cancels { ends.cancel() } else { stall() };
        let profile = Profile::new(every_second().finish_within(5 * SECOND)).cancel_on(token).notify({
            let end = end.clone();
            move |event: &Event<'_, BoxedError>| match event {
                Event::Started(started) if listens && started.number() == attempt => end(),
                _ => {}
            }
        });
        let layer = RetryLayer::new(profile).repeat_with(move |request: &String| {
            let number = made.fetch_add(1, Relaxed) + 1;
            if !listens && number == attempt as usize {
                end();
            }
            Some(request.clone())
        });
        let error = layer.layer(server.clone()).oneshot("x".to_owned()).await.unwrap_err();
        let stop = if cancels { Stop::Cancelled } else { Stop::Deadline };
        assert_eq!(error.get_ref().stop(), &stop, "{error}");
        assert_eq!(server.seconds().len() + 1, attempt as usize, "{error}");
        assert_eq!(error.source().is_some(), attempt == 2, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_profile_can_be_chosen_by_the_request() {
    let layer = RetryLayer::choose(|request: &String| {
        let may_repeat = !request.starts_with("pay");
        Profile::new(every_second().attempt_timeout(SECOND).on_cut(may_repeat))
            .when(move |_: &BoxedError| may_repeat)
            .erased()
    });
    let server = Server::new([Hangs]);
    layer.layer(server.clone()).oneshot("read".to_owned()).await.unwrap();
    assert_eq!(server.seconds(), [0, 2]);
    for answer in [Hangs, Fails("reset")] {
        let server = Server::new([answer]);
        let error = layer.layer(server.clone()).oneshot("pay".to_owned()).await.unwrap_err();
        assert!(error.get_ref().is_fatal());
        assert_eq!(server.seconds(), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn http_is_retried_by_method_status_and_retry_after() {
    let began = Instant::now();
    let (asked, starts) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
    let (counting, noting) = (asked.clone(), starts.clone());
    let server = tower::service_fn(move |request: http::Request<String>| {
        noting.lock().unwrap().push(began.elapsed().as_secs());
        let status = if counting.fetch_add(1, Relaxed) == 0 { 503 } else { 200 };
        let response = http::Response::builder().status(status).header("retry-after", "5").body(request.into_body());
        std::future::ready(Ok::<_, Failed>(response.unwrap()))
    });
    let layer = RetryLayer::choose(|request: &http::Request<String>| {
        let idempotency = Idempotency::of(request.method());
        Profile::new(every_second().on_cut(idempotency)).classify(idempotency).erased()
    })
    .check(CheckStatus);
    let get = http::Request::get("http://x/").body("hello".to_owned()).unwrap();
    let response = layer.layer(server.clone()).oneshot(get).await.unwrap();
    assert_eq!((response.status().as_u16(), response.body().as_str()), (200, "hello"));
    assert_eq!(*starts.lock().unwrap(), [0, 5]);
    asked.store(0, Relaxed);
    let post = http::Request::post("http://x/").body("once".to_owned()).unwrap();
    let response = layer.layer(server).oneshot(post).await.unwrap();
    assert_eq!((response.status().as_u16(), asked.load(Relaxed)), (503, 1));
}

/// What one call is told holds for all that share its limiter, also where its answer is returned as it is.
#[tokio::test(start_paused = true)]
async fn what_a_server_asks_of_one_call_holds_for_all() {
    let limiter = Limiter::per_second(100);
    let policy = Policy::new().max_attempts(1).share_retry_after().max_retry_after(20 * SECOND);
    let layer = RetryLayer::new(Profile::new(policy).throttle(&limiter).classify(Idempotency::NotIdempotent))
        .check(CheckStatus);
    let server = tower::service_fn(|(): ()| {
        std::future::ready(
            http::Response::builder().status(429).header("retry-after", "3600").body(()).map_err(|_| Failed("x")),
        )
    });
    assert_eq!(layer.layer(server).oneshot(()).await.unwrap().status().as_u16(), 429);
    assert_eq!(limiter.try_acquire(1).unwrap_err().ready_in(), Some(20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_why_also_where_a_response_is_returned() {
    let heard = Arc::new(Mutex::new(vec![]));
    let hearing = heard.clone();
    let profile = Profile::new(every_second().max_attempts(2)).notify(move |event: &Event<'_, BoxedError>| {
        hearing.lock().unwrap().push(match event {
            Event::Started(attempt) => format!("{} starts", attempt.number()),
            Event::Ended { last, again, .. } => format!("{last}, again in {again:?}"),
            Event::Waiting(wait) => format!("{wait:?}"),
            Event::GaveUp(gave_up) => gave_up.to_string(),
            Event::Succeeded { .. } => "done".to_owned(),
            other => panic!("{other:?}"),
        });
    });
    let service = RetryLayer::new(profile).check(check).layer(Server::new([Status(503), Status(429)]));
    assert_eq!(service.oneshot("x".to_owned()).await.unwrap().status, 429);
    let expected = [
        "1 starts",
        "unavailable, again in Some(1s)",
        "Pause(1s)",
        "2 starts",
        "too many, again in None",
        "gave up after 2 attempts in 1s: at most 2 attempts were allowed; last attempt: too many",
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

/// Every type has a name, and can be sent.
struct Client {
    service: RetryService<Server, ErasedProfile<BoxedError>>,
    calls: Vec<Pin<Box<ResponseFuture<Server, String>>>>,
}

#[tokio::test(start_paused = true)]
async fn a_client_can_name_its_service_and_its_calls() {
    fn require_send<T: Send + 'static>(_: &T) {}
    fn require_sync<T: Sync>(_: &RetryLayer<T>) {}
    let layer = RetryLayer::new(Profile::new(every_second()));
    require_sync(&layer);
    let mut client = Client { service: layer.layer(Server::new([Fails("a")])), calls: vec![] };
    for _ in 0..2 {
        let call = client.service.ready().await.unwrap().call("x".to_owned());
        require_send(&call);
        assert!(format!("{call:?}").starts_with("ResponseFuture { state: \"between attempts\", attempts: 0"));
        client.calls.push(Box::pin(call));
    }
    for call in client.calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
}
