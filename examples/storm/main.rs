//! A storm: many clients, one server, an outage. What do their retries do to it?
//!
//! `cargo run --example storm --release` prints a table of policies and writes a chart, `storm.svg`, or what `--svg`
//! names. `--clients N` (10,000; up to 1,000,000) and `--seed N` choose another storm; the same seed is the same storm.
//! Of processor time 10,000 clients take about two seconds, 100,000 half a minute and 1,000,000 four minutes (252 s, in
//! 172 s by the clock on two cores that others used too, and 0.85 GB of memory), most of it for the policies that never
//! recover. `-- contention` plays another experiment: clients that write to one row, of which one succeeds at a time.
//!
//! Nothing waits here: the decisions are those of `relent`'s own backoff, budget and limiter, played on a clock of
//! events.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a laboratory, with numbers far from the ends of their types"
)]

mod chart;
mod contention;
mod events;
mod policies;
mod server;
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    fmt::{self, Write},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use policies::POLICIES;
use simulation::{Outcome, Storm};

const USAGE: &str = "usage: storm [--clients N] [--seed N] [--svg FILE] | storm contention [--seed N]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let (mut clients, mut seed, mut svg, mut contends) = (10_000, 1, "storm.svg".to_owned(), false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u32>().map_err(|_| format!("{text} is no number"));
        match argument.as_str() {
            "contention" => contends = true,
            "--clients" => clients = number(value()?)?.clamp(100, 1_000_000),
            "--seed" => seed = number(value()?)?.into(),
            "--svg" => svg = value()?,
            _ => return Err(format!("{argument} is unknown").into()),
        }
    }
    if contends {
        print!("{}", contention::table(seed)?);
        return Ok(());
    }
    let storm = Storm::of(clients, seed);
    println!("{}\n", storm.describe());
    let outcomes = play(&storm);
    print!("{}", table(&storm, &outcomes)?);
    std::fs::write(&svg, chart::draw(&storm, &outcomes)?).map_err(|error| format!("{svg}: {error}"))?;
    println!("\nthe chart: {svg}");
    Ok(())
}

/// Each policy, on all processors.
fn play(storm: &Storm) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let policies = std::iter::from_fn(|| POLICIES.get(next.fetch_add(1, Relaxed)));
        policies.map(|policy| storm.play(policy)).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(POLICIES.len());
    let mut outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no policy panics")).collect()
    });
    outcomes.sort_by_key(|outcome| POLICIES.iter().position(|policy| policy.name == outcome.policy.name));
    outcomes
}

/// What became of each policy.
fn table(storm: &Storm, outcomes: &[Outcome]) -> Result<String, fmt::Error> {
    let mut text = format!(
        "{:<34} {:>10} {:>10} {:>9} {:>9}  {}\n{:<34} {:>10} {:>10} {:>9} {:>9}\n",
        "policy",
        "calls a",
        "load at",
        "requests",
        "longest",
        "serving every client again",
        "",
        "request",
        "worst",
        "failed",
        "wait"
    );
    for outcome in outcomes {
        let back = match outcome.recovered(storm) {
            Some(0) => "at once".to_owned(),
            Some(seconds) => format!("{seconds} s after the outage"),
            None => "never: the retries keep it down".to_owned(),
        };
        writeln!(
            text,
            "{:<34} {:>10.2} {:>9.1}x {:>8.1}% {:>7} s  {back}",
            outcome.policy.name,
            outcome.calls as f64 / outcome.requests.max(1) as f64,
            outcome.load_factor(storm),
            100.0 * outcome.failed as f64 / outcome.requests.max(1) as f64,
            outcome.longest / simulation::SECOND,
        )?;
    }
    Ok(text)
}
