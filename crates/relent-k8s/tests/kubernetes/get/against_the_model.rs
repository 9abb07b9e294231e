//! Faults, latencies and bounds at random, under the paused clock, against a model that says when each run ends and how.

use std::time::Duration;

use proptest::prelude::*;
use relent::{GaveUp, Last, error::CutBy};
use relent_apiserver::Fault;
use relent_k8s::{self as k8s, ApiError};
use tokio_util::sync::CancellationToken;

use super::{NAME, gets, on_get, server};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Value,
    Hang,
    Refuse,
    Lose,
    /// 429 in plain text.
    Overloaded(u64),
    /// 429 or 503 with a `Status` that names the seconds.
    Asked(u16, u64),
    Status(u16),
    Proxy(u16),
}

#[derive(Clone, Debug)]
struct Case {
    /// What the calls get, and after how many milliseconds. Later ones get the value at once.
    answers: Vec<(Answer, u64)>,
    every: u64,
    start_within: u64,
    attempt_timeout: u64,
    finish_within: Option<u64>,
    cancel: Option<u64>,
    waits: bool,
}

/// How a run must end.
#[derive(Clone, Debug, PartialEq)]
struct End {
    at: u64,
    attempts: u32,
    /// Why it stopped; nothing with a value.
    stop: Option<&'static str>,
    /// What cut the last attempt, and after how long.
    cut: Option<(CutBy, u64)>,
    /// A piece of the text of the latest real error.
    says: Option<&'static str>,
}

#[derive(PartialEq)]
enum Next {
    Fatal,
    After(u64),
    /// 401, 403, a 404 that names nothing.
    Refused,
}

impl Answer {
    fn fault(self) -> Fault {
        match self {
            Self::Value => Fault::delay(Duration::ZERO),
            Self::Hang => Fault::hang(),
            Self::Refuse => Fault::refuse(),
            Self::Lose => Fault::lose_answer(),
            Self::Overloaded(seconds) => Fault::overloaded(seconds),
            Self::Asked(code, seconds) => Fault::status(code).retry_after(seconds),
            Self::Status(code) => Fault::status(code),
            Self::Proxy(code) => Fault::text(code, "upstream sent too big header"),
        }
    }

    /// What must be said of it, and what must follow.
    fn means(self) -> (&'static str, Next) {
        match self {
            Self::Value | Self::Hang => unreachable!("no error"),
            Self::Refuse => ("Connection refused", Next::After(0)),
            Self::Lose => ("connection reset", Next::After(0)),
            Self::Overloaded(seconds) => ("Too many requests", Next::After(seconds)),
            Self::Asked(429, seconds) => ("too many requests", Next::After(seconds)),
            Self::Asked(_, seconds) => ("unable to handle the request", Next::After(seconds)),
            Self::Status(code) => match code {
                401 => ("Unauthorized", Next::Refused),
                403 => ("Forbidden", Next::Refused),
                404 => ("Not Found", Next::Refused),
                422 => ("Unprocessable Entity", Next::Fatal),
                500 => ("no leader", Next::After(0)),
                503 => ("unable to handle the request", Next::After(0)),
                _ => ("did not complete within", Next::After(0)),
            },
            Self::Proxy(_) => ("upstream sent too big header", Next::After(0)),
        }
    }
}

impl Case {
    fn end(&self) -> End {
        let finish = self.finish_within.unwrap_or(u64::MAX);
        let cancel = self.cancel.unwrap_or(u64::MAX);
        let (mut start, mut attempts, mut says, mut last_cut) = (0, 0, None, None);
        let mut refused_since = None;
        loop {
            if cancel <= start {
                return End { at: cancel, attempts, stop: Some("cancelled"), cut: last_cut, says };
            }
            let (answer, latency) = self.answers.get(attempts as usize).copied().unwrap_or((Answer::Value, 0));
            attempts += 1;
            let answered = if answer == Answer::Hang { u64::MAX } else { start + latency };
            let own = start + self.attempt_timeout;
            let cut = own.min(finish);
            let ended = answered.min(cut).min(cancel);
            let mut pause = 0;
            last_cut = None;
            if ended == answered {
                if answer == Answer::Value {
                    return End { at: ended, attempts, stop: None, cut: None, says: None };
                }
                let (text, next) = answer.means();
                says = Some(text);
                let since = *refused_since.get_or_insert(ended);
                if next != Next::Refused {
                    refused_since = None;
                }
                match next {
                    // As long again as it has lasted, until it has lasted 2 s.
                    Next::Refused if ended - since < 2_000 => {
                        pause = (ended - since).max(100).min(2_000 - (ended - since));
                    }
                    Next::Fatal | Next::Refused => {
                        return End { at: ended, attempts, stop: Some("fatal"), cut: None, says };
                    }
                    Next::After(seconds) => pause = seconds * 1000,
                }
            } else if ended == cancel {
                let cut = Some((CutBy::Cancelled, ended - start));
                return End { at: ended, attempts, stop: Some("cancelled"), cut, says };
            } else if own < finish {
                refused_since = None;
                last_cut = Some((CutBy::AttemptTimeout, self.attempt_timeout));
            } else {
                let cut = Some((CutBy::Deadline, ended - start));
                return End { at: ended, attempts, stop: Some("deadline"), cut, says };
            }
            // The next tick of the grid, which was laid at 0, and not before the server's wish.
            let tick = ended.max(start + 1).div_ceil(self.every) * self.every;
            start = tick.max(ended + pause);
            if start > self.start_within || start >= finish {
                let stop = if self.start_within < finish { "start_window" } else { "deadline" };
                return End { at: ended, attempts, stop: Some(stop), cut: last_cut, says };
            }
        }
    }
}

fn answers() -> impl Strategy<Value = (Answer, u64)> {
    let answer = prop_oneof![
        3 => Just(Answer::Value),
        2 => Just(Answer::Hang),
        2 => Just(Answer::Refuse),
        2 => Just(Answer::Lose),
        2 => (1..4u64).prop_map(Answer::Overloaded),
        2 => (prop_oneof![Just(429), Just(503)], 1..4u64).prop_map(|(code, seconds)| Answer::Asked(code, seconds)),
        6 => prop_oneof![Just(500), Just(503), Just(504)].prop_map(Answer::Status),
        3 => prop_oneof![Just(401), Just(403), Just(404)].prop_map(Answer::Status),
        1 => Just(Answer::Status(422)),
        2 => prop_oneof![Just(500), Just(502), Just(503)].prop_map(Answer::Proxy),
    ];
    // None of them, nor a sum of some, comes when a cancel comes.
    let latency = prop_oneof![
        4 => Just(0),
        4 => prop_oneof![Just(1), Just(40), Just(50), Just(51), Just(150)],
        3 => prop_oneof![Just(340), Just(350), Just(351)],
        1 => prop_oneof![Just(10_000), Just(60_000)],
    ];
    (answer, latency)
}

fn cases() -> impl Strategy<Value = Case> {
    let bounds = (
        prop_oneof![4 => Just(50), 1 => Just(100), 1 => Just(70)],
        prop_oneof![4 => Just(350), 1 => Just(0), 1 => Just(2_000), 1 => Just(60_000)],
        prop_oneof![3 => Just(10_000), 2 => Just(100), 1 => Just(40), 1 => Just(350)],
        prop_oneof![3 => Just(None), 1 => Just(Some(300)), 1 => Just(Some(350)), 1 => Just(Some(5_000))],
        prop_oneof![4 => Just(None), 1 => prop_oneof![Just(7), Just(127), Just(337), Just(5_007)].prop_map(Some)],
        any::<bool>(),
    );
    (prop::collection::vec(answers(), 0..12), bounds).prop_map(
        |(answers, (every, start_within, attempt_timeout, finish_within, cancel, waits))| Case {
            answers,
            every,
            start_within,
            attempt_timeout,
            finish_within,
            cancel,
            waits,
        },
    )
}

async fn run(case: &Case) -> (End, Option<GaveUp<ApiError>>, usize) {
    let server = server().await;
    for (answer, latency) in &case.answers {
        server.inject(on_get(answer.fault().after(Duration::from_millis(*latency)).times(1)));
    }
    let token = CancellationToken::new();
    let maps = super::maps(&server);
    let get = if case.waits { k8s::get_when_created(&maps, NAME) } else { k8s::get(&maps, NAME) };
    let mut get = get
        .every(Duration::from_millis(case.every))
        .start_within(Duration::from_millis(case.start_within))
        .attempt_timeout(Duration::from_millis(case.attempt_timeout));
    if let Some(bound) = case.finish_within {
        get = get.finish_within(Duration::from_millis(bound));
    }
    let start = tokio::time::Instant::now();
    let cancelling = case.cancel.map(|at| {
        let token = token.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            token.cancel();
        })
    });
    let got = get.cancel_on(token).await;
    let at = u64::try_from(start.elapsed().as_millis()).unwrap();
    if let Some(task) = cancelling {
        task.abort();
    }
    let calls = gets(&server);
    let end = match &got {
        Ok(map) => {
            assert_eq!(map.data.as_ref().unwrap()["key"], "value");
            End { at, attempts: u32::try_from(calls).unwrap(), stop: None, cut: None, says: None }
        }
        Err(gave_up) => {
            let cut = match gave_up.last() {
                Last::Cut { after, by, .. } => Some((by, u64::try_from(after.as_millis()).unwrap())),
                _ => None,
            };
            let says = case.end().says.filter(|says| gave_up.to_string().contains(says));
            End { at, attempts: gave_up.attempts(), stop: Some(gave_up.stop().as_str()), cut, says }
        }
    };
    (end, got.err(), calls)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_in_time_with_a_value_or_the_true_cause(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (end, gave_up, calls) = runtime.block_on(run(&case));
        let expected = case.end();
        prop_assert_eq!(&end, &expected, "{:?}", gave_up);
        prop_assert_eq!(u32::try_from(calls).unwrap(), expected.attempts);
        // The bounds, as the settings' documentation states them.
        let latest = case.start_within.saturating_add(case.attempt_timeout).min(case.finish_within.unwrap_or(u64::MAX));
        prop_assert!(end.at <= latest, "ended at {} ms, later than {latest} ms", end.at);
        if let Some(gave_up) = gave_up {
            let named = expected.says.is_some() || expected.cut.is_some() || expected.attempts == 0;
            prop_assert!(named, "no cause: {gave_up}");
            if expected.says.is_some() {
                prop_assert!(gave_up.last_error().is_some());
            }
        }
    }
}
