//! What is written is read back, and what cannot be is refused with its reason.

use std::time::Duration;

use proptest::prelude::*;
use relent::{Backoff, ConfigError, Decision, Jitter, Policy, Rate, Ratio};

use crate::{bytes, cases, source};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn policies_as_text() {
    let written = [
        ("default", Policy::new()),
        (
            "every 50ms, attempt_timeout 10s, start_within 350ms",
            Policy::new().every(50 * MILLI).start_within(350 * MILLI).attempt_timeout(10 * SECOND),
        ),
        ("max_attempts 8, final_try, delay_first", Policy::new().max_attempts(8).final_try().delay_first()),
        ("on_cut fatal", Policy::new().on_cut(Decision::Fatal)),
        (
            "finish_within 5s, on_cut retry after 5s, max_retry_after 1m",
            Policy::new()
                .on_cut(Decision::RetryAfter(5 * SECOND))
                .max_retry_after(60 * SECOND)
                .finish_within(5 * SECOND),
        ),
        ("backoff exponential 100ms..10s", Policy::new().backoff(Backoff::default())),
        ("every 0ns", Policy::new().every(Duration::ZERO)),
        ("every forever, max_attempts 0", Policy::new().every(Duration::MAX).max_attempts(0)),
    ];
    for (text, policy) in written {
        assert_eq!(policy.to_string(), text);
        assert_eq!(text.parse::<Policy>().unwrap(), policy);
    }
    let read = [
        ("", Policy::new()),
        ("  ", Policy::new()),
        (" default ", Policy::new()),
        ("on_cut retry", Policy::new()),
        ("attempt_timeout forever", Policy::new()),
        ("every  1s500ms ,max_attempts\t3", Policy::new().every(1500 * MILLI).max_attempts(3)),
        ("on_cut  retry  after  5s", Policy::new().on_cut(Decision::RetryAfter(5 * SECOND))),
    ];
    for (text, policy) in read {
        assert_eq!(text.parse::<Policy>().unwrap(), policy, "{text}");
    }
}

#[test]
fn backoffs_as_text() {
    let steps = Backoff::steps([SECOND, 2 * SECOND, Duration::MAX]);
    let written = [
        ("fixed 50ms", Backoff::fixed(50 * MILLI)),
        ("fixed 50ms factor 3 jitter full", Backoff::fixed(50 * MILLI).jitter(Jitter::Full).factor(3)),
        ("exponential 100ms..10s", Backoff::exponential(100 * MILLI, 10 * SECOND)),
        (
            "exponential 1.5s..forever factor 3/2 jitter plus_minus 1/10 take 3 reset_after 5m seed 7 then fixed 1s",
            Backoff::exponential(1500 * MILLI, Duration::MAX)
                .factor(Ratio::new(3, 2).unwrap())
                .jitter(Jitter::PlusMinus(Ratio::percent(10)))
                .take(3)
                .reset_after(300 * SECOND)
                .seed(7)
                .then(Backoff::fixed(SECOND)),
        ),
        ("linear 1s..10s jitter none", Backoff::linear(SECOND, 10 * SECOND).jitter(Jitter::None)),
        ("fibonacci 1s..1m", Backoff::fibonacci(SECOND, 60 * SECOND)),
        ("decorrelated 10ms..1s jitter equal", Backoff::decorrelated(10 * MILLI, SECOND).jitter(Jitter::Equal)),
        ("steps 1s 2s forever", steps.clone()),
        ("steps", Backoff::steps([])),
        (
            "steps 1s 2s forever take 2 then steps then fixed 0ns jitter plus 1/2",
            steps
                .take(2)
                .then(Backoff::steps([]))
                .then(Backoff::fixed(Duration::ZERO).jitter(Jitter::Plus(Ratio::new(1, 2).unwrap()))),
        ),
    ];
    for (text, backoff) in written {
        assert_eq!(backoff.to_string(), text);
        assert_eq!(text.parse::<Backoff>().unwrap(), backoff);
    }
    let any_order = "exponential 1s..9s seed 1 take 2 jitter none factor 150%".parse::<Backoff>().unwrap();
    assert_eq!(any_order.to_string(), "exponential 1s..9s factor 3/2 jitter none take 2 seed 1");
}

#[test]
fn refusals_say_what_and_why() {
    let policies = [
        (
            "frobnicate 3",
            "policy `frobnicate 3`: the settings are every, backoff, attempt_timeout, start_within, finish_within, max_attempts, final_try, delay_first, on_cut, max_retry_after",
        ),
        ("every 1s,, final_try", "policy ``: a setting must stand between two commas"),
        ("every 1s, default", "policy `default`: default stands alone"),
        ("every 1s, every 2s", "every 2s: give a setting once"),
        ("every", "every ``: a value must follow"),
        ("every 50", "every 50: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
        ("every 600000d", "every 600000d: at most 584 years, or write `forever`"),
        ("final_try yes", "final_try yes: a switch takes no value"),
        ("max_attempts -1", "max_attempts -1: write a whole number below 2^32"),
        ("max_attempts 4294967296", "max_attempts 4294967296: write a whole number below 2^32"),
        ("on_cut never", "on_cut never: write `retry`, `retry after 5s` or `fatal`"),
        ("on_cut retry after", "on_cut retry after: write `retry`, `retry after 5s` or `fatal`"),
        ("on_cut retry after x", "on_cut x: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
    ];
    for (text, message) in policies {
        assert_eq!(text.parse::<Policy>().unwrap_err().to_string(), message, "{text}");
    }
    let options = "after a schedule come `factor 3/2`, `jitter full`, `take 3`, `reset_after 5m`, `seed 7`, and at last `then` with another schedule";
    let shapes = "write `fixed 50ms`, `exponential 100ms..10s`, `linear 1s..10s`, `fibonacci 1s..10s`, `decorrelated 1s..10s` or `steps 1s 2s 5s`";
    let backoffs = [
        ("", format!("backoff ``: {shapes}")),
        ("constant 1s", format!("backoff `constant`: {shapes}")),
        ("fixed", "fixed ``: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`".into()),
        ("fixed 1s 2s", format!("backoff `2s`: {options}")),
        ("linear 1s", "linear 1s: write its first delay and its cap as `100ms..10s`".into()),
        ("linear 1s..2", "linear 2: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`".into()),
        ("fixed 1s take 1 take 2", "backoff `take`: give an option once".into()),
        ("fixed 1s take +1", "take +1: write a whole number below 2^32".into()),
        ("fixed 1s seed", "seed ``: write a whole number below 2^64".into()),
        ("fixed 1s then", format!("backoff `then`: {shapes}")),
        ("fixed 1s factor 1/0", "factor 1/0: the denominator must not be zero".into()),
        ("fixed 1s jitter wild", "jitter `wild`: write `none`, `full`, `equal`, `plus 1/2` or `plus_minus 10%`".into()),
        ("fixed 1s jitter plus", "jitter ``: write it as `3/2`, `1.5`, `60%` or `2`, each part below 2^32".into()),
        (&"fixed 1s then ".repeat(100_000), "backoff then: a chain has at most 1000 schedules".into()),
    ];
    for (text, message) in backoffs {
        assert_eq!(text.parse::<Backoff>().unwrap_err().to_string(), message, "{text:.80}");
    }
    let refused: ConfigError = "full tilt".parse::<Jitter>().unwrap_err();
    assert_eq!((refused.setting(), refused.value()), ("jitter", "full tilt"));
    assert!(!refused.rule().is_empty());
    assert_eq!("go".parse::<Decision>().unwrap_err().setting(), "decision");
}

/// Text of words that mean something, in any order.
fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "every",
        "backoff",
        "attempt_timeout",
        "max_attempts",
        "final_try",
        "on_cut",
        "retry",
        "after",
        "fatal",
        "default",
        "fixed",
        "exponential",
        "steps",
        "decorrelated",
        "then",
        "take",
        "factor",
        "jitter",
        "plus",
        "full",
        "seed",
        "50ms",
        "1s..2s",
        "forever",
        "..",
        "1/2",
        "10%",
        "3",
        "-1",
        ",",
        ",",
        "18446744073709551616",
        "é",
        "\u{2003}",
        "µs",
        "1µs",
    ]);
    proptest::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

#[test]
fn rates_as_text() {
    let read = [
        ("5/s", Rate::per_second(5)),
        (" 90 / m ", Rate::per_minute(90)),
        ("90/1m", Rate::per_minute(90)),
        ("7/h", Rate::per_hour(7)),
        ("1/250ms", Rate::every(250 * MILLI).unwrap()),
        ("3/1m30s", Rate::new(3, 90 * SECOND).unwrap()),
        ("4294967295/ns", Rate::new(u32::MAX, Duration::from_nanos(1)).unwrap()),
        ("0", Rate::ZERO),
        ("0/s", Rate::ZERO),
        ("5/forever", Rate::ZERO),
        ("unlimited", Rate::UNLIMITED),
    ];
    for (text, rate) in read {
        assert_eq!(text.parse::<Rate>().unwrap(), rate, "{text}");
        assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate, "{rate}");
    }
    let shape = "write it as `5/s`, `1/250ms`, `0` or `unlimited`, permits below 2^32";
    let refused = [
        ("", shape),
        ("5", shape),
        ("+5/s", shape),
        ("4294967296/s", shape),
        ("1.5/s", shape),
        ("5/", "write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
        ("5/week", "write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
        ("5/600000d", "at most 584 years, or write `forever`"),
        ("5/0s", "the span must not be zero"),
    ];
    for (text, rule) in refused {
        let error = text.parse::<Rate>().unwrap_err();
        assert_eq!((error.setting(), error.rule()), ("rate", rule), "{text}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_written_is_read_back(bytes in bytes()) {
        let mut source = source(&bytes);
        let policy = source.settings().policy();
        prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        let backoff = source.schedule().build();
        prop_assert_eq!(backoff.to_string().parse::<Backoff>().unwrap(), backoff);
        let jitter = source.jitter();
        prop_assert_eq!(jitter.to_string().parse::<Jitter>().unwrap(), jitter);
        let decision = Decision::from(source.says());
        let again = decision.to_string().parse::<Decision>().unwrap();
        prop_assert_eq!(Policy::new().on_cut(again), Policy::new().on_cut(decision));
    }

    #[test]
    fn junk_is_refused_or_has_one_meaning(text in prop_oneof![words(), any::<String>()]) {
        match text.parse::<Policy>() {
            Ok(policy) => prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy),
            Err(error) => prop_assert!(!error.setting().is_empty() && !error.rule().is_empty()),
        }
        match text.parse::<Backoff>() {
            Ok(backoff) => prop_assert_eq!(backoff.to_string().parse::<Backoff>().unwrap(), backoff),
            Err(error) => prop_assert!(!error.setting().is_empty() && !error.rule().is_empty()),
        }
        let _ = (text.parse::<Jitter>(), text.parse::<Decision>(), text.parse::<Ratio>());
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
    }
}
