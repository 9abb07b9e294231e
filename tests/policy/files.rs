//! The configuration file of an application, in TOML, YAML and JSON: read, written, and what is wrong reported where it
//! stands.

use std::time::Duration;

use proptest::prelude::*;
use relent::{Backoff, Decision, Policy, Rate};
use serde::{Deserialize, Serialize};

use crate::{bytes, cases, source};

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Config {
    limit: Option<Rate>,
    reconnect: Option<Backoff>,
    #[serde(default)]
    retry: Policy,
}

fn config() -> Config {
    let retry = Policy::new()
        .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)))
        .attempt_timeout(Duration::from_millis(1500))
        .max_attempts(5)
        .final_try()
        .on_cut(Decision::Fatal);
    let reconnect = Backoff::fixed(Duration::from_secs(1)).take(2);
    Config { limit: Some(Rate::new(5, Duration::from_secs(2)).unwrap()), reconnect: Some(reconnect), retry }
}

const TOML: &str = r#"limit = "2.5/s"
reconnect = "fixed 1s take 2"

[retry]
backoff = "exponential 100ms..10s"
attempt_timeout = "1.5s"
max_attempts = 5
final_try = true
on_cut = "fatal"
"#;

const YAML: &str = "limit: 2.5/s
reconnect: fixed 1s take 2
retry:
  backoff: exponential 100ms..10s
  attempt_timeout: 1.5s
  max_attempts: 5
  final_try: true
  on_cut: fatal
";

const JSON: &str = r#"{
  "limit": "2.5/s",
  "reconnect": "fixed 1s take 2",
  "retry": {
    "backoff": "exponential 100ms..10s",
    "attempt_timeout": "1.5s",
    "max_attempts": 5,
    "final_try": true,
    "on_cut": "fatal"
  }
}"#;

#[test]
fn three_formats() {
    assert_eq!(toml::from_str::<Config>(TOML).unwrap(), config());
    assert_eq!(serde_saphyr::from_str::<Config>(YAML).unwrap(), config());
    assert_eq!(serde_json::from_str::<Config>(JSON).unwrap(), config());
    // A rate is written as it was given.
    assert_eq!(toml::to_string(&config()).unwrap(), TOML.replace("2.5/s", "5/2s"));
    assert_eq!(serde_saphyr::to_string(&config()).unwrap(), YAML.replace("2.5/s", "5/2s"));
    assert_eq!(serde_json::to_string_pretty(&config()).unwrap(), JSON.replace("2.5/s", "5/2s"));
}

#[test]
fn one_line_where_a_map_could_stand() {
    let line = "every 50ms, start_within 350ms, final_try";
    let retry: Policy = line.parse().unwrap();
    assert_eq!(toml::from_str::<Config>(&format!("retry = \"{line}\"")).unwrap().retry, retry);
    assert_eq!(serde_saphyr::from_str::<Config>(&format!("retry: {line}")).unwrap().retry, retry);
    assert_eq!(serde_json::from_str::<Config>(&format!(r#"{{"retry": "{line}"}}"#)).unwrap().retry, retry);
}

/// Files, where they are wrong, and what is said of it.
const WRONG: &[(&str, (usize, usize), &str)] = &[
    ("[retry]\nattempt_timeout = 2", (2, 19), "invalid type: integer `2`, expected a duration such as `350ms`"),
    (
        "[retry]\nmax_attempts = 3\nattempt_timeout = \"2\"",
        (3, 19),
        "attempt_timeout 2: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`",
    ),
    ("[retry]\nevery = \"1s\"\nmax_retries = 4", (3, 1), "unknown field `max_retries`, expected one of `every`, "),
    (
        "[retry]\nbackoff = \"exponential 1s..9s factor 1.+5\"",
        (2, 11),
        "factor 1.+5: write it as `3/2`, `1.5`, `60%` or `2`, each part below 2^32",
    ),
    (
        "[retry]\nbackoff = { initial = \"1s\", max = \"10s\" }",
        (2, 11),
        "invalid type: map, expected a backoff such as `exponential 100ms..10s`",
    ),
    ("[retry]\nmax_attempts = -1", (2, 16), "invalid value: integer `-1`, expected u32"),
    ("[retry]\nfinal_try = \"yes\"", (2, 13), "invalid type: string \"yes\", expected a boolean"),
    ("[retry]\nevery = true", (2, 9), "invalid type: boolean `true`, expected a duration such as `350ms`"),
    ("[retry]\non_cut = \"never\"", (2, 10), "on_cut never: write `retry`, `retry after 5s` or `fatal`"),
    (
        "retry = \"every 50ms, start_within 350\"",
        (1, 9),
        "start_within 350: write a duration as `350ms`, `1.5s`, `1h30m` or `forever`",
    ),
    (
        "retry = 3",
        (1, 9),
        "invalid type: integer `3`, expected a map of settings such as `every: 50ms`, or their text such as `every 50ms, \
         start_within 350ms`",
    ),
    ("limit = 5", (1, 9), "invalid type: integer `5`, expected a rate such as `5/s`"),
];

#[test]
fn wrong_values_are_reported_where_they_stand() {
    for (text, (line, column), message) in WRONG {
        let error = toml::from_str::<Config>(text).unwrap_err();
        assert!(error.message().starts_with(message), "{text}\n{error}");
        let before = &text[..error.span().unwrap().start];
        let at = (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1);
        assert_eq!(at, (*line, *column), "{text}\n{error}");
    }
    let yaml = "retry:\n  every: 50ms\n  attempt_timeout: 2\n";
    let said = serde_saphyr::from_str::<Config>(yaml).unwrap_err().to_string();
    assert!(said.contains("line 3 column 20: attempt_timeout 2: write a duration as "), "{said}");
    let yaml = "retry:\n  every: 50ms\n  attemptTimeout: 2s\n";
    let said = serde_saphyr::from_str::<Config>(yaml).unwrap_err().to_string();
    assert!(said.contains("line 3 column 3: unknown field `attemptTimeout`"), "{said}");
    let json = "{\"retry\":\n{\"every\": \"50ms\",\n\"attempt_timeout\": \"2\"}}";
    let said = serde_json::from_str::<Config>(json).unwrap_err();
    // serde_json counts the column behind the value.
    assert_eq!((said.line(), said.column()), (3, 22), "{said}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_written_is_read_back(bytes in bytes()) {
        let mut source = source(&bytes);
        let (retry, reconnect) = (source.settings().policy(), Some(source.schedule().build()));
        let limit = Some(Rate::new(source.count(), source.time().max(Duration::from_nanos(1))).unwrap());
        let config = Config { limit, reconnect, retry };
        prop_assert_eq!(&toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), &config);
        prop_assert_eq!(&serde_saphyr::from_str::<Config>(&serde_saphyr::to_string(&config).unwrap()).unwrap(), &config);
        let line = format!("retry = \"{}\"", config.retry);
        prop_assert_eq!(&toml::from_str::<Config>(&line).unwrap().retry, &config.retry);
    }
}
