//! What is written is read back, and what cannot be is refused with its reason.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    time::Duration,
};

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
        ("max_retry_after 1m, share_retry_after", Policy::new().share_retry_after().max_retry_after(60 * SECOND)),
        ("every 10s, random_phase", Policy::new().random_phase().every(10 * SECOND)),
        ("every forever, max_attempts 0", Policy::new().every(Duration::MAX).max_attempts(0)),
    ];
    for (text, policy) in written {
        assert_eq!(policy.to_string(), text);
        assert_eq!(text.parse::<Policy>().unwrap(), policy);
    }
    let read = [
        (" default ", Policy::new()),
        ("on_cut  retry", Policy::new().on_cut(true)),
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
fn a_schedule_in_a_policy_needs_no_name() {
    for shape in [
        "fixed 1s",
        "exponential 1s..9s take 2",
        "linear 1s..9s",
        "fibonacci 1s..9s",
        "decorrelated 1s..9s",
        "steps 1s 2s",
    ] {
        let named: Policy = format!("backoff {shape}, max_attempts 3").parse().unwrap();
        assert_eq!(format!("max_attempts 3, {shape}").parse::<Policy>().unwrap(), named);
        assert!(named.to_string().starts_with("backoff "));
        let twice = format!("backoff {shape}, {shape}").parse::<Policy>().unwrap_err();
        assert!(twice.to_string().contains("give a setting once"), "{twice}");
    }
}

#[test]
fn refusals_say_what_and_why() {
    let policies = [
        (
            "frobnicate 3",
            "policy `frobnicate 3`: the settings are every, random_phase, backoff, attempt_timeout, start_within, finish_within, max_attempts, final_try, delay_first, on_cut, max_retry_after, share_retry_after",
        ),
        ("", "policy ``: write `default` for the default, which never gives up"),
        (" \t ", "policy ``: write `default` for the default, which never gives up"),
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
        (&"fixed 1s then ".repeat(100_000), format!("backoff `then`: {shapes}")),
        (
            "exponential 1s..10s factor 1.+5",
            "factor 1.+5: write it as `3/2`, `1.5`, `60%` or `2`, each part below 2^32".into(),
        ),
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
        "random_phase",
        "share_retry_after",
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
        "1\u{3bc}s",
        "1.5",
        "1.",
        "+1",
        "2.5/s",
        "unlimited",
        "\u{661}s",
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
        ("2.5/s", Rate::new(5, 2 * SECOND).unwrap()),
        ("0.1/s", Rate::every(10 * SECOND).unwrap()),
        ("1.50 / 1m", Rate::new(3, 120 * SECOND).unwrap()),
        ("5.0/s", Rate::per_second(5)),
        ("0.0/s", Rate::ZERO),
        ("2.5/forever", Rate::ZERO),
        ("1/1\u{b5}s", Rate::new(1, Duration::from_micros(1)).unwrap()),
        ("1/\u{3bc}s", Rate::new(1, Duration::from_micros(1)).unwrap()),
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
    let shape = "write it as `5/s`, `2.5/s`, `1/250ms`, `0` or `unlimited`, permits below 2^32";
    let refused = [
        ("", shape),
        ("5", shape),
        ("+5/s", shape),
        ("4294967296/s", shape),
        ("1./s", shape),
        (".5/s", shape),
        ("1. 5/s", shape),
        ("1.+5/s", shape),
        ("1.5.0/s", shape),
        ("-1/s", shape),
        ("1.000000000000000000001/s", shape),
        ("0.03/90000d", shape),
        ("4294967295.5/s", shape),
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

fn hash(value: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

#[test]
fn rates_of_which_as_much_flows_are_equal() {
    let five = Rate::per_second(5);
    for text in ["5/s", "10/2s", "300/m", "1/200ms", "18000/h", "5.0/s"] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!((rate, hash(rate)), (five, hash(five)), "{text}");
    }
    for text in ["0", "unlimited", "5/1001ms", "4/s", "4.9/s"] {
        assert_ne!(text.parse::<Rate>().unwrap(), five, "{text}");
    }
    assert_ne!(Rate::ZERO, Rate::UNLIMITED);
    assert_eq!(Rate::per_minute(90).to_string(), "90/1m", "it is written as it was given");
}

/// Longer than any stack could hold, if one schedule held the next.
#[test]
fn a_chain_of_any_length() {
    const LINKS: usize = 100_000;
    let link = |n: usize| Backoff::fixed(Duration::from_nanos(n as u64)).take(1);
    let from_the_front = (1..LINKS).fold(link(0), |chain, n| chain.then(link(n)));
    let from_the_back = (0..LINKS - 1).rfold(link(LINKS - 1), |chain, n| link(n).then(chain));
    assert_eq!(from_the_front, from_the_back);
    assert_eq!(hash(&from_the_front), hash(&from_the_back));
    let text = from_the_front.to_string();
    assert_eq!(text.parse::<Backoff>().unwrap(), from_the_front);
    assert!(format!("{from_the_front:?}").len() > LINKS);
    assert!((0..LINKS as u128).eq(from_the_front.iter().map(|delay| delay.as_nanos())));
    let policy = Policy::new().backoff(from_the_front.clone()).attempt_timeout(SECOND);
    assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
    assert_eq!(policy.plan().best().attempts(), 1000);
    assert_eq!(policy.plan().warnings(), []);
    // No less than all pauses, and every call cut after 1 s; beyond what a plan looks at, each pause counts as the
    // longest.
    let pauses = Duration::from_nanos((0..LINKS as u64).sum());
    assert!(policy.plan().worst_total().unwrap() >= pauses + Duration::from_secs(LINKS as u64 + 1));
    let halves = from_the_front.clone().then(from_the_back);
    assert_eq!(halves.to_string(), format!("{text} then {text}"));
}

#[test]
fn a_pause_is_as_long_as_it_was_asked_for() {
    for seconds in [0, 1, 600 * 366 * 86_400, u64::MAX] {
        let asked = Decision::RetryAfter(Duration::from_secs(seconds));
        assert_eq!(asked.to_string().parse::<Decision>().unwrap(), asked);
    }
    assert_eq!("retry after forever".parse::<Decision>().unwrap(), Decision::RetryAfter(Duration::MAX));
    assert!("on_cut retry after 600000d".parse::<Policy>().is_err(), "no setting is that long");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rates_are_equal_as_fractions_are(one: (u32, u64), factor in 1_u32..1000, other: (u32, u64)) {
        let rate = |(permits, per): (u32, u64)| Rate::new(permits, Duration::from_nanos(per.max(1))).unwrap();
        let (one, other) = ((one.0 / 1000, (one.1 / 1000).max(1)), (other.0, other.1.max(1)));
        let times = (one.0 * factor, one.1 * u64::from(factor));
        prop_assert_eq!((rate(one), hash(rate(one))), (rate(times), hash(rate(times))));
        let product = |a: u32, b: u64| u128::from(a) * u128::from(b);
        let is_equal = product(one.0, other.1) == product(other.0, one.1);
        prop_assert_eq!(rate(one) == rate(other), is_equal);
    }

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
        prop_assert_eq!(decision.to_string().parse::<Decision>().unwrap(), decision);
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
        if let Ok(jitter) = text.parse::<Jitter>() {
            prop_assert_eq!(jitter.to_string().parse::<Jitter>().unwrap(), jitter);
        }
        if let Ok(decision) = text.parse::<Decision>() {
            prop_assert_eq!(decision.to_string().parse::<Decision>().unwrap(), decision);
        }
        if let Ok(ratio) = text.parse::<Ratio>() {
            prop_assert_eq!(ratio.to_string().parse::<Ratio>().unwrap(), ratio);
        }
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
    }
}
