//! Makes the pictures of the documents anew, from the policies that they show: `cargo run --example pictures`. With
//! `--check` it only says whether they are what they would be.

#[path = "../plan/svg.rs"]
mod svg;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use relent::{Policy, leader::Timing};
use svg::{Scale, Svg};

const SECOND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let checks = std::env::args().any(|argument| argument == "--check");
    let policy = "backoff exponential 50ms..5s, attempt_timeout 2s, start_within 30s";
    let plan = policy.parse::<Policy>().map(|policy| svg::plan(&policy.plan()));
    let pictures = [("four-times", Ok(four_times())), ("election", Ok(election())), ("plan", plan)];
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, picture) in pictures {
        let file = docs.join(name).with_extension("svg");
        let done = match picture {
            Ok(picture) if checks => match fs::read_to_string(&file) {
                Ok(kept) if kept == picture => Ok(()),
                _ => Err("is not what it would be".to_owned()),
            },
            Ok(picture) => fs::write(&file, picture).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(wrong) = done {
            eprintln!("docs/{name}.svg {wrong}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A span with its ends, and its name below.
fn span(svg: &mut Svg, from: f64, to: f64, y: f64, name: &str) {
    svg.line("span", (from, y), (to, y));
    for x in [from, to] {
        svg.line("span", (x, y - 4.0), (x, y + 4.0));
    }
    svg.text("words", "middle", f64::midpoint(from, to), y + 16.0, name);
}

/// The four times of a run, on the line of one whose calls hang.
fn four_times() -> String {
    let (pause, timeout, window, bound) = (SECOND / 2, 3 * SECOND / 2, 9 * SECOND / 2, 5 * SECOND);
    let policy = Policy::new()
        .backoff(relent::Backoff::fixed(pause))
        .attempt_timeout(timeout)
        .start_within(window)
        .finish_within(bound);
    let plan = policy.plan();
    let scale = Scale::to(11 * bound / 10);
    let x = |at| scale.x(at);
    let mut svg = Svg::new();
    svg.text("title", "start", 24.0, 26.0, "four times, none of which stands in for another");
    svg.line("thin", (x(Duration::ZERO), 70.0), (x(11 * bound / 10), 70.0));
    let attempts: Vec<_> = plan.worst().starts().zip(plan.worst().ends()).collect();
    for (number, &(start, end)) in attempts.iter().enumerate() {
        svg.bar("runs", x(start), x(end), 56.0, 28.0);
        svg.text("words", "middle", x(start) + 34.0, 48.0, &format!("attempt {}", number + 1));
        let by = if end == bound { "cut by finish_within" } else { "cut" };
        svg.text("words", "end", x(end), 100.0, by);
    }
    let (first, second) = (attempts[0], attempts[1]);
    span(&mut svg, x(first.0), x(first.1), 124.0, "attempt_timeout: each call");
    span(&mut svg, x(first.1), x(second.0), 124.0, "backoff");
    span(&mut svg, x(Duration::ZERO), x(window), 166.0, "start_within: until when attempts may start");
    span(&mut svg, x(Duration::ZERO), x(bound), 208.0, "finish_within: how long it may all take");
    svg.line("dashed", (x(window), 40.0), (x(window), 166.0));
    svg.line("hard", (x(bound), 40.0), (x(bound), 208.0));
    svg.finish("the four times of a run")
}

/// A leader whose lock does not answer any more, and the candidate that takes over.
fn election() -> String {
    let timing = Timing::default();
    let (lease, deadline, retry) = (timing.lease(), timing.renew_deadline(), timing.retry_period());
    // What is left of the lease when clocks are off by as much as is allowed for, in either direction.
    let valid = lease * 9 / 10;
    // The last renewal that reached the lock; then every one fails.
    let renewed = 3 * retry;
    let end = 30 * SECOND;
    let scale = Scale::to(end);
    let x = |at| scale.x(at);
    let mut svg = Svg::new();
    svg.text("title", "start", 24.0, 26.0, "an election: the lock cannot be reached by A after 6s");
    let lost = renewed + deadline;
    let free = renewed + lease;
    svg.text(
        "words",
        "start",
        24.0,
        56.0,
        "A leads, and renews every retry_period (2s): green was written, red was not",
    );
    svg.bar("runs", x(Duration::ZERO), x(lost), 64.0, 22.0);
    svg.bar("faint", x(lost), x(renewed + valid), 64.0, 22.0);
    svg.text("words", "middle", f64::midpoint(x(lost), x(renewed + valid)), 79.0, "stop_grace");
    for number in 0..8 {
        let at = number * retry;
        let class = if at <= renewed { "other" } else { "cut" };
        svg.bar(class, x(at), x(at) + 4.0, 90.0, 8.0);
    }
    span(&mut svg, x(renewed), x(lost), 118.0, "renew_deadline (10s): A stops believing it");
    span(&mut svg, x(renewed), x(free), 158.0, "lease (15s): no other may lead");
    svg.text("words", "end", x(free) - 8.0, 212.0, "B has watched the record stand still for a whole lease, and leads");
    svg.bar("other", x(free), x(end), 198.0, 22.0);
    svg.line("dashed", (x(lost), 56.0), (x(lost), 118.0));
    svg.line("hard", (x(free), 56.0), (x(free), 220.0));
    svg.finish("lease, renew deadline, retry period and a takeover")
}
