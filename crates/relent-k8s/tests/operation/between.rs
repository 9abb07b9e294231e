//! Answers of whatever stands between a caller and an API server, and of servers that come and go: at each call of each
//! caller, once and for good.

use std::time::Duration;

use relent::Policy;
use relent_apiserver::Fault;
use tokio::time::Instant;

use super::hangs::runs;

const PAGE: &str = "<html>\r\n<head><title>Sorry</title></head>\n<body>\n\tcome back later.\n</body>\n</html>\n";

/// What is no object, nor the API's word that there is none, nor that the request is wrong.
fn answers() -> Vec<(String, Fault)> {
    let mut all = vec![
        ("refused".to_owned(), Fault::refuse()),
        ("answer lost".to_owned(), Fault::lose_answer()),
        ("overloaded 0".to_owned(), Fault::overloaded(0)),
        ("overloaded 1".to_owned(), Fault::overloaded(1)),
        ("overloaded for ever".to_owned(), Fault::overloaded(u64::MAX)),
        ("503, for ever".to_owned(), Fault::status(503).retry_after(u64::from(u32::MAX))),
    ];
    for code in [401, 403, 404, 408, 409, 410, 429, 500, 502, 503, 504, 507] {
        all.push((format!("{code}"), Fault::status(code)));
    }
    // Other answers than a `Status`: of proxies, gateways, sign-in pages; some cut off.
    for code in [400, 401, 403, 404, 405, 409, 410, 413, 421, 429, 500, 502, 503] {
        all.push((format!("{code} page"), Fault::text(code, PAGE)));
    }
    for code in [404, 503] {
        for text in ["", "{\"error\":\"no route\"}", "{\"kind\":\"ConfigMap\",\"metadata\":{\"na", "[]"] {
            all.push((format!("{code} {text:?}"), Fault::text(code, text)));
        }
    }
    for text in [
        PAGE,
        "",
        "no",
        "{\"error\":\"no route\"}",
        "{\"kind\":\"ConfigMap\",\"metadata\":{\"na",
        "{}",
        "[]",
        "null",
        "7",
    ] {
        all.push((format!("200 {text:?}"), Fault::text(200, text)));
    }
    all
}

/// Every answer at every call: what came of each, with whatever `check` has against it.
async fn all(policy: &str, times: u64, check: impl Fn(&str, &str, Duration, Result<(), String>) -> Result<(), String>) {
    let policy: Policy = policy.parse().unwrap();
    let mut wrong = Vec::new();
    for (what, fault) in answers() {
        for case in 0.. {
            let Some((told, run)) = runs(case, Some(&policy), &fault.clone().times(times)).await else { break };
            let start = Instant::now();
            let ended = run.await;
            if let Err(why) = check(told, &what, start.elapsed(), ended) {
                wrong.push(format!("{told}, {what}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// What time can mend ends nothing: one such answer at any call.
#[tokio::test(start_paused = true)]
async fn once_it_ends_nothing() {
    all("finish_within 1h", 1, |_, _, _, ended| ended).await;
}

/// For good, it is said in one sentence that names the object, and is no dump of anything.
#[tokio::test(start_paused = true)]
async fn for_good_it_is_told_in_a_sentence() {
    all("finish_within 20s", u64::MAX, |told, what, took, ended| {
        let Err(text) = ended else {
            // It is seen by other calls.
            let others = ["wait: watch", "wait_labelled: watch", "wait: list"].contains(&told);
            let goes = others || (told, what) == ("trigger: patch", "answer lost");
            return if goes { Ok(()) } else { Err("it went".to_owned()) };
        };
        let name = match told {
            "wait: list" => "absent",
            _ if told.starts_with("wait_labelled") => "a=b",
            _ if told.starts_with("get") || told.starts_with("wait") => "it",
            _ => "main",
        };
        let one_line = !text.contains(['\n', '\r', '\t']) && !text.ends_with('.') && text.len() < 700;
        let no_dump = !["Status {", "Some(", ": :", "answered 0", ": )"].iter().any(|dump| text.contains(dump));
        let good = text.contains(name) && one_line && no_dump && !text.ends_with(": ");
        if good && took <= Duration::from_secs(20) { Ok(()) } else { Err(format!("after {took:?}: {text:?}")) }
    })
    .await;
}
