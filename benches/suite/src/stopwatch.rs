//! Time, by criterion, in a process of its own.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use criterion::Criterion;

use crate::measure::{Row, Work, runtime};

/// Lets criterion time every work that asks for it, and leaves its estimates in `directory`.
pub fn time(works: &[Work], directory: &Path) {
    let mut criterion = Criterion::default()
        .output_directory(directory)
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(600));
    let runtime = runtime();
    for work in works.iter().filter(|work| work.asks_for(|row| row == Row::Nanoseconds)) {
        let mut group = criterion.benchmark_group(work.name);
        for (who, run) in work.all() {
            group.bench_function(who, |bencher| {
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    run(&runtime, times);
                    start.elapsed()
                });
            });
        }
    }
}

/// Starts this program again to do so.
pub fn start(directory: &Path) {
    let program = env::current_exe().expect("the name of this program");
    let status = Command::new(program).arg("time").arg(directory).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("this program").success(), "criterion failed");
}

/// The median that criterion found, in nanoseconds.
pub fn median(directory: &Path, work: &str, who: &str) -> f64 {
    let file = directory.join(work).join(who).join("new/estimates.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("estimates");
    estimates["median"]["point_estimate"].as_f64().expect("a number")
}
