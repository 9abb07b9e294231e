//! Relent beside a hand-written loop and its peers. `benches/compare` builds and starts it.
#![allow(clippy::disallowed_methods)]

#[path = "../../counts/src/callgrind.rs"]
mod callgrind;
mod counts;
#[macro_use]
mod drive;
mod election;
mod failures;
mod hand;
mod keyed;
mod limiter;
mod measure;
mod queue;
mod report;
mod retry;
mod sizes;
mod standing;
mod stopwatch;
mod tower;

use std::{env, process::ExitCode};

use measure::{Figure, Work};

/// One file per area.
fn works() -> Vec<Work> {
    [retry::works(), failures::works(), limiter::works(), keyed::works(), queue::works(), election::works()]
        .into_iter()
        .flatten()
        .collect()
}

fn figures() -> Vec<Figure> {
    [sizes::figures(), limiter::figures(), keyed::figures(), queue::figures(), election::figures()]
        .into_iter()
        .flatten()
        .collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // For callgrind.
        ["all"] => counts::run(&works(), false),
        ["all-quick"] => counts::run(&works(), true),
        ["time", directory] => stopwatch::time(&works(), directory.as_ref()),
        ["figures", name] => {
            let named = |figure: &Figure| figure.name.contains(name);
            report::print(&[], &figures().into_iter().filter(named).collect::<Vec<_>>(), false);
        }
        ["report"] => report::print(&works(), &figures(), false),
        ["report", "--quick"] => report::print(&works(), &figures(), true),
        _ => {
            eprintln!("usage: relent-suite report [--quick] | figures NAME");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
