//! Relent beside a hand-written loop and its peers. `benches/compare` builds and starts it.
#![allow(clippy::disallowed_methods)]

mod election;
mod limiter;
mod measure;
mod queue;
mod report;
mod retry;
mod stopwatch;

use std::{env, process::ExitCode};

use measure::{Figure, Work, runtime};

/// One file per area.
fn works() -> Vec<Work> {
    [retry::works(), limiter::works(), queue::works(), election::works()].into_iter().flatten().collect()
}

fn figures() -> Vec<Figure> {
    [retry::figures(), limiter::figures(), queue::figures(), election::figures()].into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // For callgrind.
        ["run", work, who, times] => {
            let works = works();
            let run =
                works.iter().find(|it| it.name == *work).and_then(|it| it.by(who)).expect("a work and who does it");
            run(&runtime(), times.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["time", directory] => {
            stopwatch::time(&works(), directory.as_ref());
            ExitCode::SUCCESS
        }
        ["figures", name] => {
            let named = |figure: &Figure| figure.name.contains(name);
            report::print(&[], &figures().into_iter().filter(named).collect::<Vec<_>>(), false);
            ExitCode::SUCCESS
        }
        ["report", flags @ ..] => {
            let (quick, gate) = (flags.contains(&"--quick"), flags.contains(&"--gate"));
            let missed = report::print(&works(), &figures(), quick);
            if gate && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        _ => {
            eprintln!("usage: relent-suite report [--quick] [--gate] | figures NAME");
            ExitCode::FAILURE
        }
    }
}
