//! Policies in configuration files.

use std::time::Duration;

use proptest::prelude::*;
use relent::{Backoff, Decision, Jitter, Policy, Rate, Ratio};

use crate::{bytes, cases, source};

#[test]
fn a_policy_is_a_map_of_its_settings() {
    let policy = Policy::new()
        .every(Duration::from_millis(50))
        .backoff(Backoff::fixed(Duration::from_secs(1)).take(3))
        .start_within(Duration::from_millis(350))
        .max_attempts(8)
        .final_try()
        .on_cut(Decision::Fatal);
    let json = r#"{"every":"50ms","backoff":"fixed 1s take 3","start_within":"350ms","max_attempts":8,"final_try":true,"on_cut":"fatal"}"#;
    assert_eq!(serde_json::to_string(&policy).unwrap(), json);
    assert_eq!(serde_json::from_str::<Policy>(json).unwrap(), policy);
    assert_eq!(serde_json::to_string(&Policy::new()).unwrap(), "{}");
    let off = r#"{"final_try":false,"delay_first":false,"finish_within":"forever"}"#;
    assert_eq!(serde_json::from_str::<Policy>(off).unwrap(), Policy::new());
}

#[test]
fn refusals_say_what_and_where() {
    let refused = [
        (
            r#"{"evry": "50ms"}"#,
            "unknown field `evry`, expected one of `every`, `random_phase`, `backoff`, `attempt_timeout`, `start_within`, `finish_within`, \
             `max_attempts`, `final_try`, `delay_first`, `on_cut`, `max_retry_after`, `share_retry_after`",
        ),
        (r#"{"every": "50ms", "every": "60ms"}"#, "duplicate field `every`"),
        (r#"{"every": "50"}"#, "every 50: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
        (r#"{"every": ""}"#, "every ``: a value must follow"),
        (r#"{"every": 50}"#, "invalid type: integer `50`, expected a duration such as `350ms`"),
        (r#"{"max_attempts": -1}"#, "invalid value: integer `-1`, expected u32"),
        (r#"{"max_attempts": "8"}"#, "invalid type: string \"8\", expected u32"),
        (r#"{"final_try": ""}"#, "invalid type: string \"\", expected a boolean"),
        (r#"{"on_cut": "give up"}"#, "on_cut give up: write `retry`, `retry after 5s` or `fatal`"),
        (r#""every 50""#, "every 50: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`"),
        (
            "[]",
            "invalid type: sequence, expected a map of settings such as `every: 50ms`, or their text such as `every 50ms, \
             start_within 350ms`",
        ),
    ];
    for (json, message) in refused {
        let said = serde_json::from_str::<Policy>(json).unwrap_err().to_string();
        // And where: which column is serde_json's business.
        assert_eq!(said.split_once(" at line 1 column ").unwrap().0, message, "{json}");
    }
    let refused = serde_json::from_str::<Jitter>("1").unwrap_err().to_string();
    assert!(refused.starts_with("invalid type: integer `1`, expected a jitter such as `full`"));
    let refused = serde_json::from_str::<Ratio>(r#""1/0""#).unwrap_err().to_string();
    assert!(refused.starts_with("ratio 1/0: the denominator must not be zero"));
}

fn again<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    // As text, and as a tree whose keys have no order of their own.
    let tree = serde_json::to_value(value).unwrap();
    let _: T = serde_json::from_value(tree).unwrap();
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_written_is_read_back(bytes in bytes()) {
        let mut source = source(&bytes);
        let policy = source.settings().policy();
        prop_assert_eq!(again(&policy), policy);
        let backoff = source.schedule().build();
        prop_assert_eq!(again(&backoff), backoff);
        let (jitter, ratio) = (source.jitter(), source.ratio());
        prop_assert_eq!(again(&jitter), jitter);
        prop_assert_eq!(again(&ratio), ratio);
        let decision = Decision::from(source.says());
        prop_assert_eq!(again(&decision), decision);
    }

    #[test]
    fn rates_are_written_and_read_back(permits: u32, nanos in 1_u64..) {
        let rate = Rate::new(permits, Duration::from_nanos(nanos)).unwrap();
        prop_assert_eq!(again(&rate), rate);
        prop_assert_eq!(again(&Rate::UNLIMITED), Rate::UNLIMITED);
    }

    #[test]
    fn junk_is_refused(name in "[a-z_]{0,16}", value in any::<String>()) {
        let tree = serde_json::json!({ name: value.as_str() });
        if let Ok(policy) = serde_json::from_value::<Policy>(tree) {
            prop_assert_eq!(again(&policy), policy);
        }
    }
}
