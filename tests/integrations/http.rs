//! What follows an answer, and when.

use std::{
    error::Error,
    io::{self, ErrorKind},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, Method, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use relent::{
    Decision, Stop,
    http::{
        Idempotency::{self, Idempotent, NotIdempotent},
        StatusError, check, classify, retry_after,
    },
    retry,
};
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

fn headers(fields: &[(http::HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.clone(), value.parse().unwrap());
    }
    headers
}

fn asks(value: &str) -> Option<Duration> {
    retry_after(&headers(&[(RETRY_AFTER, value)]))
}

fn status(code: u16, retry_after: Option<&str>) -> Result<(), StatusError> {
    let fields = retry_after.map(|value| headers(&[(RETRY_AFTER, value)]));
    check(StatusCode::from_u16(code).unwrap(), &fields.unwrap_or_default())
}

#[test]
fn every_status_is_decided_for_either_kind_of_call() {
    for code in 100..1000 {
        let Err(refused) = status(code, None) else {
            assert!(!(400..600).contains(&code), "{code}");
            continue;
        };
        assert_eq!(refused.status().as_u16(), code);
        let always = matches!(code, 408 | 425 | 429);
        let idempotent = always || matches!(code, 500 | 502 | 503 | 504);
        assert_eq!(refused.decision(Idempotent), Decision::from(idempotent), "{code}");
        assert_eq!(refused.decision(NotIdempotent), Decision::from(always), "{code}");
        // A server that says when to come back wants it to come back.
        let asked = status(code, Some("3")).unwrap_err();
        assert_eq!(asked.decision(Idempotent), Decision::RetryAfter(3 * SECOND), "{code}");
        let refused_before_it_was_done = code < 500;
        let then = if refused_before_it_was_done { Decision::RetryAfter(3 * SECOND) } else { Decision::Fatal };
        assert_eq!(asked.decision(NotIdempotent), then, "{code}");
    }
}

#[test]
fn the_text_says_what_the_server_said() {
    let text = |code, after| status(code, after).unwrap_err().to_string();
    assert_eq!(text(503, Some("120")), "the server answered 503 Service Unavailable, Retry-After 2m");
    assert_eq!(text(404, None), "the server answered 404 Not Found");
    assert_eq!(text(599, None), "the server answered 599");
}

#[test]
fn seconds_are_read_strictly_and_to_the_end() {
    assert_eq!(asks("120"), Some(120 * SECOND));
    assert_eq!(asks(" 0007 "), Some(7 * SECOND));
    assert_eq!(asks("0"), Some(Duration::ZERO));
    assert_eq!(asks("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
    for none in ["", " ", "-1", "+1", "1.5", "1e3", "1 s", "soon", "0x10", "1,2", "\u{661}"] {
        let mut bytes = HeaderMap::new();
        bytes.insert(RETRY_AFTER, http::HeaderValue::from_bytes(none.as_bytes()).unwrap());
        assert_eq!(retry_after(&bytes), None, "{none:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new()), None);
    // Of several, one of which is none, the longest.
    let several = headers(&[(RETRY_AFTER, "3"), (RETRY_AFTER, "soon"), (RETRY_AFTER, "7"), (RETRY_AFTER, "5")]);
    assert_eq!(retry_after(&several), Some(7 * SECOND));
}

/// The three forms of RFC 9110, 5.6.7.
#[test]
fn a_date_is_counted_from_the_answers_own() {
    for then in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        let asked = headers(&[(DATE, "Sun, 06 Nov 1994 08:48:07 GMT"), (RETRY_AFTER, then)]);
        assert_eq!(retry_after(&asked), Some(90 * SECOND), "{then}");
        let past = headers(&[(DATE, "Sun, 06 Nov 1994 08:49:38 GMT"), (RETRY_AFTER, then)]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO), "{then}");
        // By the wall clock it is long past.
        assert_eq!(asks(then), Some(Duration::ZERO), "{then}");
        let unreadable = headers(&[(DATE, "yesterday"), (RETRY_AFTER, then)]);
        assert_eq!(retry_after(&unreadable), Some(Duration::ZERO), "{then}");
    }
    assert_eq!(asks("Sun, 06 Nov 1994 08:49:61 GMT"), None);
    assert_eq!(asks("1994-11-06T08:49:37Z"), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_date_of_its_own_it_is_counted_from_the_wall_clock_which_goes_with_the_paused_one() {
    let in_a_year = httpdate::fmt_http_date(SystemTime::now() + 365 * 86_400 * SECOND);
    // The header has whole seconds, and the test takes its time.
    let days = |wait: Option<Duration>| (wait.unwrap() + 3_600 * SECOND).as_secs() / 86_400;
    assert_eq!(days(asks(&in_a_year)), 365);
    advance(300 * 86_400 * SECOND).await;
    assert_eq!(days(asks(&in_a_year)), 65);
    advance(300 * 86_400 * SECOND).await;
    assert_eq!(asks(&in_a_year), Some(Duration::ZERO));
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer")]
    NoAnswer(#[from] io::Error),
    #[error("refused")]
    Refused(#[from] StatusError),
    #[error("malformed")]
    Malformed,
}

#[test]
fn errors_are_classified_by_what_is_below_them() {
    let io = |kind: ErrorKind| FetchError::from(io::Error::from(kind));
    for (error, idempotent, not) in [
        (io(ErrorKind::ConnectionRefused), Decision::Retry, Decision::Retry),
        (io(ErrorKind::ConnectionReset), Decision::Retry, Decision::Fatal),
        (io(ErrorKind::TimedOut), Decision::Retry, Decision::Fatal),
        (io(ErrorKind::InvalidData), Decision::Fatal, Decision::Fatal),
        (FetchError::Malformed, Decision::Retry, Decision::Fatal),
        (
            status(429, Some("4")).unwrap_err().into(),
            Decision::RetryAfter(4 * SECOND),
            Decision::RetryAfter(4 * SECOND),
        ),
        (status(502, None).unwrap_err().into(), Decision::Retry, Decision::Fatal),
        (status(404, None).unwrap_err().into(), Decision::Fatal, Decision::Fatal),
    ] {
        assert_eq!(classify(&error, Idempotent), idempotent, "{error:?}");
        assert_eq!(classify(&error, NotIdempotent), not, "{error:?}");
        let deep = io::Error::other(io::Error::other(error));
        assert_eq!(classify(&deep, Idempotent), idempotent, "{deep:?}");
        assert_eq!(classify(&deep, NotIdempotent), not, "{deep:?}");
        let boxed: Box<dyn Error + Send + Sync> = deep.into();
        assert_eq!(classify(&*boxed, Idempotent), idempotent);
    }
}

#[test]
fn the_method_tells_where_nothing_else_does() {
    for (method, idempotency) in [
        (Method::GET, Idempotent),
        (Method::HEAD, Idempotent),
        (Method::OPTIONS, Idempotent),
        (Method::PUT, Idempotent),
        (Method::DELETE, Idempotent),
        (Method::POST, NotIdempotent),
        (Method::PATCH, NotIdempotent),
        (Method::CONNECT, NotIdempotent),
        ("PURGE".parse().unwrap(), NotIdempotent),
    ] {
        assert_eq!(Idempotency::of(&method), idempotency, "{method}");
    }
}

/// Answers one after the other; how often it was asked.
async fn ask(asked: &AtomicU32, answers: &[(u16, Option<&str>)]) -> Result<u16, FetchError> {
    let number = usize::try_from(asked.fetch_add(1, Relaxed)).unwrap();
    match answers.get(number) {
        Some(&(0, _)) => std::future::pending().await,
        Some(&(code, after)) => Ok(status(code, after).map(|()| code)?),
        None => Ok(200),
    }
}

async fn run(answers: &[(u16, Option<&str>)], idempotency: Idempotency) -> (Result<u16, Stop>, Duration) {
    let (asked, began) = (AtomicU32::new(0), Instant::now());
    let answer = retry(async |_| ask(&asked, answers).await)
        .every(Duration::ZERO)
        .classify(idempotency)
        .on_cut(idempotency)
        .attempt_timeout(SECOND)
        .max_retry_after(10 * SECOND)
        .max_attempts(5)
        .await;
    (answer.map_err(|gave_up| gave_up.stop().clone()), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_as_long_as_the_server_asks_and_no_longer_than_is_allowed() {
    assert_eq!(run(&[(503, Some("7")), (429, Some("86400"))], Idempotent).await, (Ok(200), 17 * SECOND));
    assert_eq!(run(&[(500, None), (0, None)], Idempotent).await, (Ok(200), SECOND));
    assert_eq!(run(&[(501, None)], Idempotent).await, (Err(Stop::Fatal), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_must_not_be_made_twice_is_repeated_only_where_it_was_not_carried_out() {
    assert_eq!(run(&[(429, Some("2")), (408, None), (425, None)], NotIdempotent).await, (Ok(200), 2 * SECOND));
    assert_eq!(run(&[(429, None), (503, Some("2"))], NotIdempotent).await, (Err(Stop::Fatal), Duration::ZERO));
    assert_eq!(run(&[(0, None)], NotIdempotent).await, (Err(Stop::Fatal), SECOND));
}
