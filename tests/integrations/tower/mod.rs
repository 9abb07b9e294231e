//! The layer that retries, around a service that does as a script says.

mod client;

use std::{
    collections::VecDeque,
    error::Error,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use relent::{
    Backoff, CancellationToken, GaveUp, Last, Policy, Profile, Stop,
    error::{BoxedError, Chained},
    tower::RetryLayer,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
struct Failed(&'static str);

/// What the service does with one call.
#[derive(Clone, Debug)]
enum Answer {
    Ok,
    /// A response that stands for this status.
    Status(u16),
    Fails(&'static str),
    Hangs,
}
use Answer::{Fails, Hangs, Status};

/// What it does when it is asked to get ready.
#[derive(Clone, Copy, Debug)]
enum Readiness {
    Ready,
    After(Duration),
    Fails,
}

/// How many of its responses and calls are alive.
#[derive(Clone, Debug, Default)]
struct Alive(Arc<()>);

impl Alive {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

#[derive(Debug)]
struct Response {
    status: u16,
    _alive: Alive,
}

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    readiness: VecDeque<Readiness>,
    calls: Vec<(Duration, String)>,
}

/// A service by a script, which its clones share.
#[derive(Debug)]
struct Server {
    script: Arc<Mutex<Script>>,
    began: Instant,
    alive: Alive,
    ready: bool,
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Clone for Server {
    fn clone(&self) -> Self {
        let Self { script, began, alive, .. } = self;
        Self { script: script.clone(), began: *began, alive: alive.clone(), ready: false, waits: None }
    }
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Script { answers: answers.into_iter().collect(), ..Script::default() };
        let alive = Alive::default();
        Self { script: Arc::new(Mutex::new(script)), began: Instant::now(), alive, ready: false, waits: None }
    }

    fn readiness(self, readiness: impl IntoIterator<Item = Readiness>) -> Self {
        self.script.lock().unwrap().readiness.extend(readiness);
        self
    }

    /// The seconds at which it was called.
    fn seconds(&self) -> Vec<u64> {
        self.script.lock().unwrap().calls.iter().map(|(at, _)| at.as_secs()).collect()
    }

    /// Calls and responses that are alive; the server and its clones in services aside.
    fn held(&self, clones: usize) -> usize {
        self.alive.count() - clones
    }
}

impl Service<String> for Server {
    type Response = Response;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Failed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        if self.waits.is_none() {
            let next = self.script.lock().unwrap().readiness.pop_front();
            match next.unwrap_or(Readiness::Ready) {
                Readiness::Ready => self.waits = Some(Box::pin(sleep(Duration::ZERO))),
                Readiness::After(pause) => self.waits = Some(Box::pin(sleep(pause))),
                Readiness::Fails => return Poll::Ready(Err(Failed("worker is gone"))),
            }
        }
        let waits = self.waits.as_mut().unwrap();
        if waits.deadline() > Instant::now() && waits.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        (self.ready, self.waits) = (true, None);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: String) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        let mut script = self.script.lock().unwrap();
        script.calls.push((self.began.elapsed(), request));
        let answer = script.answers.pop_front().unwrap_or(Answer::Ok);
        let alive = self.alive.clone();
        Box::pin(async move {
            match answer {
                Answer::Ok => Ok(Response { status: 200, _alive: alive }),
                Status(status) => Ok(Response { status, _alive: alive }),
                Fails(text) => Err(Failed(text)),
                Hangs => {
                    let never = pending().await;
                    drop(alive);
                    never
                }
            }
        })
    }
}

fn every_second() -> Policy {
    Policy::new().backoff(Backoff::fixed(SECOND)).max_attempts(4)
}

fn check(response: &Response) -> Result<(), Failed> {
    match response.status {
        200 => Ok(()),
        429 => Err(Failed("too many")),
        _ => Err(Failed("unavailable")),
    }
}

fn is(error: &Chained<BoxedError>, stop: &Stop, text: &str) {
    assert_eq!(error.get_ref().stop(), stop, "{error}");
    let Some(Failed(found)) = error.source().and_then(|source| source.downcast_ref()) else {
        panic!("no source: {error}")
    };
    assert_eq!(*found, text, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_again_until_it_works() {
    let server = Server::new([Fails("a"), Fails("b")]);
    let mut service = RetryLayer::new(Profile::new(every_second())).layer(server.clone());
    for request in ["first", "second"] {
        assert_eq!(service.ready().await.unwrap().call(request.to_owned()).await.unwrap().status, 200);
    }
    let calls = server.script.lock().unwrap().calls.clone();
    let calls: Vec<_> = calls.iter().map(|(at, request)| (at.as_secs(), request.as_str())).collect();
    assert_eq!(calls, [(0, "first"), (1, "first"), (2, "first"), (2, "second")]);
}

#[tokio::test(start_paused = true)]
async fn what_stands_above_finds_its_own_error() {
    let server = Server::new([Fails("a"), Fails("b"), Fails("c"), Fails("down")]);
    let service = RetryLayer::new(Profile::new(every_second())).layer(server.clone());
    let error = service.oneshot("x".to_owned()).await.unwrap_err();
    is(&error, &Stop::Attempts, "down");
    assert_eq!(
        error.to_string(),
        "gave up after 4 attempts in 3s: at most 4 attempts were allowed; last attempt failed"
    );
    let boxed: Box<dyn Error + Send + Sync> = error.into();
    assert_eq!(relent::error::chain(&*boxed).to_string(), format!("{boxed}: down"));
    let fatal = Profile::new(every_second()).when(|error: &BoxedError| !error.get_ref().is::<Failed>());
    let server = Server::new([Fails("a")]);
    let error = RetryLayer::new(fatal).layer(server.clone()).oneshot("x".to_owned()).await.unwrap_err();
    is(&error, &Stop::Fatal, "a");
    assert_eq!(server.seconds(), [0]);
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_deadline_and_all_have_theirs() {
    let server = Server::new([Hangs, Hangs, Hangs]);
    let policy: Policy = "backoff fixed 1s, attempt_timeout 2s, finish_within 7s".parse().unwrap();
    let service = RetryLayer::new(Profile::new(policy)).layer(server.clone());
    let mut call = tokio_test::task::spawn(service.oneshot("x".to_owned()));
    assert!(call.poll().is_pending());
    let error = call.await.unwrap_err();
    assert_eq!(*error.get_ref().stop(), Stop::Deadline);
    assert!(matches!(error.get_ref().last(), Last::Cut { after, .. } if after == SECOND), "{error}");
    assert!(error.source().is_none());
    assert_eq!(server.seconds(), [0, 3, 6]);
    assert_eq!(server.held(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_can_be_a_failure_and_the_last_one_comes_back_as_it_is() {
    let layer = RetryLayer::new(Profile::new(every_second())).check(check);
    let server = Server::new([Status(503), Status(503)]);
    assert_eq!(layer.layer(server.clone()).oneshot("x".to_owned()).await.unwrap().status, 200);
    assert_eq!(server.seconds(), [0, 1, 2]);
    let server = Server::new([Fails("a"), Status(503), Fails("b"), Status(429)]);
    assert_eq!(layer.layer(server.clone()).oneshot("x".to_owned()).await.unwrap().status, 429);
    assert_eq!(server.seconds(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_response_is_held_while_the_run_pauses_and_its_error_is_kept() {
    let server = Server::new([Status(503), Hangs]);
    let policy: Policy = "backoff fixed 3s, attempt_timeout 2s, max_attempts 2".parse().unwrap();
    let layer = RetryLayer::new(Profile::new(policy)).check(check);
    let mut service = layer.layer(server.clone());
    let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call("x".to_owned()));
    assert!(call.poll().is_pending());
    // In the pause. The service holds one clone, the call another.
    assert_eq!(server.held(2), 0);
    let error = call.await.unwrap_err();
    is(&error, &Stop::Attempts, "unavailable");
    let text = "gave up after 2 attempts in 5s: at most 2 attempts were allowed; last attempt: cut after 2s by its own deadline, \
                outcome unknown; an earlier attempt failed";
    assert_eq!(error.to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_made_anew_is_sent_once() {
    let made = Arc::new(AtomicUsize::new(0));
    let counting = made.clone();
    let layer =
        RetryLayer::new(Profile::new(every_second().attempt_timeout(SECOND))).repeat_with(move |request: &String| {
            counting.fetch_add(1, Relaxed);
            (!request.starts_with("stream")).then(|| format!("{request}+"))
        });
    let server = Server::new([Fails("a"), Fails("b")]);
    layer.layer(server.clone()).oneshot("x".to_owned()).await.unwrap();
    let requests: Vec<_> = server.script.lock().unwrap().calls.iter().map(|(_, request)| request.clone()).collect();
    assert_eq!((requests, made.load(Relaxed)), (vec!["x".to_owned(), "x+".to_owned(), "x++".to_owned()], 3));
    let server = Server::new([Fails("a")]);
    let error = layer.layer(server.clone()).oneshot("stream".to_owned()).await.unwrap_err();
    is(&error, &Stop::Attempts, "a");
    assert_eq!(error.get_ref().attempts(), 1);
    let server = Server::new([Hangs]);
    let error = layer.layer(server.clone()).oneshot("stream".to_owned()).await.unwrap_err();
    assert_eq!((server.seconds(), error.get_ref().stop()), (vec![0], &Stop::Attempts));
    let server = Server::new([Status(503)]);
    let response = layer.clone().check(check).layer(server).oneshot("stream".to_owned()).await.unwrap();
    assert_eq!(response.status, 503);
}

#[tokio::test(start_paused = true)]
async fn getting_ready_is_part_of_an_attempt_and_what_fails_in_it_is_tried_again() {
    use Readiness::{After, Fails as Gone, Ready};
    let server = Server::new([Fails("a")]).readiness([After(5 * SECOND), After(3 * SECOND), Gone, Ready]);
    let policy = every_second().attempt_timeout(2 * SECOND);
    let mut service = RetryLayer::new(Profile::new(policy)).layer(server.clone());
    // Backpressure goes through, and is no attempt.
    let call = service.ready().await.unwrap().call("x".to_owned());
    assert_eq!(server.began.elapsed(), 5 * SECOND);
    call.await.unwrap();
    // 5: fails; 6 to 8: does not get ready; 9: is ready since, as it waited before, and answers.
    assert_eq!(server.seconds(), [5, 9]);
    // A service that is gone before the first attempt.
    let server = Server::new([]).readiness([Gone, Gone]);
    let service = RetryLayer::new(Profile::new(every_second())).layer(server.clone());
    service.oneshot("x".to_owned()).await.unwrap();
    assert_eq!(server.seconds(), [2]);
    let server = Server::new([]).readiness([Gone; 9]);
    let service = RetryLayer::new(Profile::new(every_second())).layer(server.clone());
    is(&service.oneshot("x".to_owned()).await.unwrap_err(), &Stop::Attempts, "worker is gone");
    assert_eq!(server.seconds(), [0; 0]);
}

/// The timers of a runtime that stalled are late: what is ready meanwhile must not be called any more.
#[tokio::test(start_paused = true)]
async fn nothing_is_called_at_the_hard_bound_or_later_nor_once_it_is_cancelled() {
    for cancelled in [false, true] {
        let token = CancellationToken::new();
        let server = Server::new([Fails("a")]).readiness([Readiness::Ready, Readiness::After(2 * SECOND)]);
        let policy = every_second().finish_within(5 * SECOND);
        let mut service = RetryLayer::new(Profile::new(policy).cancel_on(token.clone())).layer(server.clone());
        let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call("x".to_owned()));
        assert!(call.poll().is_pending());
        tokio::time::advance(SECOND).await;
        // Begins its second attempt, and gets ready.
        assert!(call.poll().is_pending());
        if cancelled {
            token.cancel();
            tokio::time::advance(2 * SECOND).await;
        } else {
            tokio::time::advance(4 * SECOND).await;
        }
        let Poll::Ready(Err(error)) = call.poll() else { panic!("{call:?}") };
        let gave_up = error.into_inner();
        assert_eq!((gave_up.is_deadline(), gave_up.is_cancelled()), (!cancelled, cancelled), "{gave_up}");
        assert_eq!((gave_up.attempts(), server.seconds()), (2, vec![0]));
    }
}

#[tokio::test(start_paused = true)]
async fn polled_after_its_end_or_after_a_panic_it_calls_nothing_of_others() {
    fn poll(call: &mut Pin<Box<impl Future>>) -> String {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let panic = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut cx).is_ready())).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
    }
    let server = Server::new([]);
    let layer = RetryLayer::new(Profile::new(every_second()));
    let mut call = Box::pin(layer.layer(server.clone()).ready().await.unwrap().call("x".to_owned()));
    call.as_mut().await.unwrap();
    assert_eq!(poll(&mut call), "`ResponseFuture` polled after completion");
    let panics = layer.check(|_: &Response| -> Result<(), Failed> { panic!("in check") });
    let mut call = Box::pin(panics.layer(server.clone()).ready().await.unwrap().call("x".to_owned()));
    assert_eq!(poll(&mut call), "in check");
    assert_eq!(poll(&mut call), "`ResponseFuture` polled after completion");
    let panics = RetryLayer::new(Profile::new(every_second()).when(|_: &BoxedError| -> bool { panic!("in when") }));
    let mut call = Box::pin(panics.layer(Server::new([Fails("a")])).ready().await.unwrap().call("x".to_owned()));
    assert_eq!(poll(&mut call), "in when");
    assert_eq!(poll(&mut call), "`ResponseFuture` polled after completion");
    assert_eq!(server.seconds(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_attempted_where_nothing_is_allowed() {
    let server = Server::new([]);
    let service = RetryLayer::new(Profile::new(Policy::new().max_attempts(0))).layer(server.clone());
    let gave_up: GaveUp<BoxedError> = service.oneshot("x".to_owned()).await.unwrap_err().into_inner();
    assert_eq!((gave_up.attempts(), gave_up.stop()), (0, &Stop::Attempts));
    assert_eq!(server.seconds(), [0; 0]);
}
