//! Prints what a policy would do: `cargo run --example plan -- "every 50ms, start_within 350ms, attempt_timeout 10s"`.
//! With `--svg FILE` before the policy it is drawn too.

mod svg;

use std::process::ExitCode;

use relent::{ConfigError, Policy};

/// Policies from which something can be learned.
const INSTRUCTIVE: [&str; 5] = [
    "every 50ms, start_within 350ms, attempt_timeout 10s",
    "every 50ms, start_within 350ms, attempt_timeout 100ms",
    "backoff exponential 100ms..10s, attempt_timeout 2s, finish_within 30s",
    "backoff steps 1s 2s 5s, attempt_timeout 10s, on_cut fatal",
    "default",
];

fn main() -> ExitCode {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    let file = (given.len() > 1 && given[0] == "--svg").then(|| given.drain(..2).nth(1)).flatten();
    let given = given.join(" ");
    let (text, code) = answer(&given);
    if let Some(file) = file
        && let Ok(policy) = given.parse::<Policy>()
        && let Err(error) = std::fs::write(&file, svg::plan(&policy.plan()))
    {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    if code == 0 {
        print!("{text}");
    } else {
        eprint!("{text}");
    }
    ExitCode::from(code)
}

/// What is printed, and the exit code: 0 with a plan, 2 with what is wrong about the policy.
pub(crate) fn answer(given: &str) -> (String, u8) {
    let plans = if given.trim().is_empty() { tour() } else { plan(given) };
    match plans {
        Ok(text) => (text, 0),
        Err(wrong) => (format!("{wrong}\n"), 2),
    }
}

fn plan(policy: &str) -> Result<String, ConfigError> {
    Ok(policy.parse::<Policy>()?.plan().to_string())
}

fn tour() -> Result<String, ConfigError> {
    let usage = "usage: cargo run --example plan -- \"SETTING, SETTING, ..\", as at the head of each plan\n\
                 | start  # several  = running  x cut  . pause  > goes on\n";
    INSTRUCTIVE.iter().try_fold(usage.to_owned(), |text, policy| {
        let rule = "-".repeat(78);
        Ok(format!("{text}\n{rule}\n{}", plan(policy)?))
    })
}
