//! The table.

use std::{collections::HashMap, env, path::PathBuf, sync::Mutex, thread};

use crate::{
    measure::{BARE, Figure, HAND, RELENT, Row, Unit, Work},
    stopwatch,
};

/// One line of it.
struct Line {
    measure: String,
    relent: f64,
    hand: Option<f64>,
    peer: Option<(&'static str, f64)>,
    target: Option<f64>,
    /// Where it is not that of the numbers shown.
    ratio: Option<f64>,
    unit: Unit,
}

impl Line {
    fn missed(&self) -> bool {
        self.target.is_some_and(|target| self.relent > target)
    }
}

/// Measures and prints everything; whether something that is the same on every run missed its target.
pub fn print(works: &[Work], figures: &[Figure], quick: bool) -> bool {
    let instructions = count_instructions(works);
    let directory = directory();
    if !quick && !works.is_empty() {
        stopwatch::start(&directory);
    }
    let mut lines = Vec::new();
    for work in works {
        for &row in &work.rows {
            let (what, unit, target) = match row {
                Row::Instructions(target) => ("instructions", Unit::Count, target),
                Row::Allocations(target) => ("allocations", Unit::Count, target),
                Row::Nanoseconds(_) if quick => continue,
                Row::Nanoseconds(target) => ("time", Unit::Nanoseconds, target),
            };
            let mut values: HashMap<_, _> = work
                .all()
                .into_iter()
                .map(|(who, _)| {
                    let value = match row {
                        Row::Instructions(_) => instructions[&(work.name, who)],
                        Row::Allocations(_) => work.allocations(who),
                        Row::Nanoseconds(_) => stopwatch::median(&directory, work.name, who),
                    };
                    (who, value)
                })
                .collect();
            let bare = values.remove(BARE).unwrap_or(0.0);
            values.values_mut().for_each(|value| *value = (*value - bare).max(0.0));
            let peers = work.peers.iter().map(|(who, _)| (*who, values[who]));
            lines.push(Line {
                measure: format!("{}: {what}", work.name),
                relent: values[RELENT],
                hand: values.get(HAND).copied(),
                peer: peers.min_by(|a, b| a.1.total_cmp(&b.1)),
                target: target.map(|target| target as f64),
                ratio: None,
                unit,
            });
        }
    }
    for figure in figures.iter().filter(|figure| !quick || figure.unit != Unit::Nanoseconds) {
        if env::var_os("VERBOSE").is_some() {
            eprintln!("{}", figure.name);
        }
        lines.extend(measured(figure));
    }
    write(&lines);
    lines.iter().any(|line| line.unit != Unit::Nanoseconds && line.missed())
}

/// So often everyone takes turns at what is timed.
const ROUNDS: usize = 7;

/// What never changes: once, beside the best peer. Times: by turns, beside each peer, with the median of the ratios of
/// neighbours, since what else the machine does comes and goes.
fn measured(figure: &Figure) -> Vec<Line> {
    let line = |relent, peer, ratio, hand| Line {
        measure: figure.name.to_owned(),
        relent,
        hand,
        peer,
        ratio,
        target: figure.target,
        unit: figure.unit,
    };
    if figure.unit != Unit::Nanoseconds {
        let peers = figure.peers.iter().map(|(who, value)| (*who, value()));
        let peer = peers.min_by(|a, b| a.1.total_cmp(&b.1));
        return vec![line((figure.relent)(), peer, None, figure.hand.map(|value| value()))];
    }
    let rounds: Vec<(f64, Vec<f64>)> =
        (0..ROUNDS).map(|_| ((figure.relent)(), figure.peers.iter().map(|(_, value)| value()).collect())).collect();
    let relent = median(rounds.iter().map(|(relent, _)| *relent));
    let peers = figure.peers.iter().enumerate().map(|(index, (who, _))| {
        let peer = median(rounds.iter().map(|(_, peers)| peers[index]));
        let ratio = median(rounds.iter().map(|(relent, peers)| relent / peers[index]));
        line(relent, Some((*who, peer)), Some(ratio), None)
    });
    peers.collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Counts on all processors; the counts do not depend on what else runs.
fn count_instructions(works: &[Work]) -> HashMap<(&'static str, &'static str), f64> {
    let counted = works.iter().filter(|work| work.rows.iter().any(|row| matches!(row, Row::Instructions(_))));
    let tasks: Vec<_> = counted.flat_map(|work| work.all().into_iter().map(move |(who, _)| (work, who))).collect();
    let (tasks, counts) = (Mutex::new(tasks.into_iter()), Mutex::new(HashMap::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((work, who)) = tasks.lock().expect("tasks").next() else { break };
                    let count = work.instructions(who);
                    counts.lock().expect("counts").insert((work.name, who), count);
                }
            });
        }
    });
    counts.into_inner().expect("counts")
}

/// Where criterion writes: beside this program.
fn directory() -> PathBuf {
    env::current_exe().expect("the name of this program").with_file_name("criterion")
}

fn write(lines: &[Line]) {
    let mut cells = vec![["measure", "relent", "hand-written", "best peer", "ratio", "target", ""].map(str::to_owned)];
    for line in lines {
        let number = |value: f64| match line.unit {
            Unit::Count if value.fract().abs() < 0.05 || value >= 100.0 => format!("{value:.0}"),
            Unit::Count => format!("{value:.1}"),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Nanoseconds if value >= 1e6 => format!("{:.2} ms", value / 1e6),
            Unit::Nanoseconds if value >= 1e4 => format!("{:.1} us", value / 1e3),
            Unit::Nanoseconds => format!("{value:.0} ns"),
        };
        let ratio = line.peer.filter(|(_, value)| *value > 0.0).map(|(_, value)| line.relent / value);
        let ratio = line.ratio.or(ratio);
        cells.push([
            line.measure.clone(),
            number(line.relent),
            line.hand.map_or("-".to_owned(), number),
            line.peer.map_or("-".to_owned(), |(who, value)| format!("{} ({who})", number(value))),
            ratio.map_or(
                "-".to_owned(),
                |ratio| if ratio < 0.01 { format!("{ratio:.4}") } else { format!("{ratio:.2}") },
            ),
            line.target.map_or("-".to_owned(), |target| format!("<= {}", number(target))),
            match line.target {
                None => String::new(),
                Some(_) if line.missed() => "MISSED".to_owned(),
                Some(_) => "ok".to_owned(),
            },
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| cells.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for (index, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 | 6 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", padded.collect::<Vec<_>>().join(" | ").trim_end());
        if index == 0 {
            println!("{}", widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>().join("-|-"));
        }
    }
}
