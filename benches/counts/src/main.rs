//! What the attempts and limiters of relent cost, in instructions and clock reads. `run` beside it builds and starts
//! it.

mod callgrind;
mod limits;
mod rows;

use std::{env, fs, hint::black_box, process::ExitCode};

use rows::{Row, SIZES};

/// The most that a count may grow, in percent.
const TOLERANCE: f64 = 2.0;

fn all() -> Vec<Row> {
    rows::all().into_iter().chain(limits::all()).collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // For callgrind.
        ["all"] => {
            // What is done once in a process is done before.
            all().iter().for_each(|row| (row.run)(1));
            for row in all() {
                for times in [callgrind::FEW, callgrind::MANY] {
                    mark();
                    (row.run)(times);
                }
            }
            mark();
            ExitCode::SUCCESS
        }
        ["once", name] => match all().into_iter().find(|row| row.name == *name) {
            Some(row) => {
                (row.run)(1);
                mark();
                (row.run)(callgrind::MANY);
                mark();
                println!("{}", callgrind::MANY * row.scale);
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("no row is called {name:?}");
                ExitCode::FAILURE
            }
        },
        ["table", file, flags @ ..] => table(file, flags),
        _ => {
            eprintln!("see `run`");
            ExitCode::FAILURE
        }
    }
}

/// Callgrind writes down here what it has counted since the last time.
#[inline(never)]
fn mark() {
    black_box(());
}

/// A line of the table.
struct Line {
    name: String,
    counts: Vec<f64>,
}

fn table(file: &str, flags: &[&str]) -> ExitCode {
    let rows = all();
    let counts = callgrind::count("all", rows.len());
    let line = |name: &str, counts: Vec<f64>| Line { name: name.to_owned(), counts };
    let mut lines: Vec<Line> = rows
        .iter()
        .zip(counts)
        .map(|(Row { name, scale, .. }, (count, reads))| line(name, vec![count / *scale as f64, reads / *scale as f64]))
        .collect();
    lines.extend(SIZES.iter().map(|(name, size)| line(name, vec![size() as f64])));
    let before = fs::read_to_string(file).unwrap_or_default();
    let mut worse = Vec::new();
    let mut text = String::from("# written by benches/counts/run --renew: row, instructions, clock reads (or bytes)\n");
    for Line { name, counts } in &lines {
        let known = numbers(&before, name);
        let mut shown = format!("{name:45}");
        for (n, &count) in counts.iter().enumerate() {
            let count = (count * 10.0).round() / 10.0;
            shown += &if count.fract() == 0.0 || count >= 100.0 {
                format!(" {count:>8.0}")
            } else {
                format!(" {count:>8.1}")
            };
            // Half a read is one, nothing rounds away; an instruction of a bare loop is the compiler's layout of it.
            let slack = if n == 0 { 1.0 } else { 0.5 };
            if known.get(n).is_some_and(|known| count > known * (1.0 + TOLERANCE / 100.0) + slack) {
                worse.push(name.clone());
            }
        }
        text += shown.trim_end();
        text.push('\n');
        let changed = known.first().is_some_and(|known| (known - counts[0]).abs() > 0.6);
        let was = if changed { format!("  * was {}", known[0]) } else { String::new() };
        println!("{shown}{was}");
    }
    if flags.contains(&"--renew") {
        fs::write(file, text).expect("the table");
        return ExitCode::SUCCESS;
    }
    if flags.contains(&"--check") && !worse.is_empty() {
        worse.dedup();
        println!("worse by more than {TOLERANCE} %: {}", worse.join(", "));
        println!("(`benches/counts/run --renew` writes the table anew, where that is meant)");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What a table says of a row.
fn numbers(table: &str, name: &str) -> Vec<f64> {
    let rest = table.lines().find_map(|line| {
        line.strip_prefix(name)
            .filter(|rest| rest.starts_with("  ") || rest.trim_start().starts_with(|c: char| c.is_ascii_digit()))
    });
    rest.unwrap_or_default().split_whitespace().map_while(|number| number.parse().ok()).collect()
}
