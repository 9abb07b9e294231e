//! The table.

use std::{env, path::PathBuf};

use crate::{
    counts,
    measure::{BARE, Figure, HAND, RELENT, Row, Unit, Work},
    standing::{self, Standing},
    stopwatch,
};

/// What one took.
#[derive(Clone, Copy)]
struct Value {
    amount: f64,
    /// How often it read the clock, where instructions are counted.
    reads: f64,
}

impl From<f64> for Value {
    fn from(amount: f64) -> Self {
        Self { amount, reads: 0.0 }
    }
}

/// One line of the table.
struct Line {
    measure: String,
    unit: Unit,
    relent: Value,
    hand: Option<Value>,
    /// The best comes first.
    peers: Vec<(&'static str, Value)>,
    /// Of relent to the best peer, where it is not that of the numbers shown: the median of paired rounds. The table
    /// marks it, and its head (`benches/compare`) says what that means.
    ratio: Option<f64>,
}

impl Line {
    fn best(&self) -> Option<(&'static str, Value)> {
        self.peers.first().copied()
    }

    fn ratio_to(&self, other: Value) -> Option<f64> {
        standing::ratio(self.relent.amount, other.amount)
    }

    fn standing(&self, other: Value, ratio: Option<f64>) -> Standing {
        Standing::of(self.relent.amount, ratio.or(self.ratio_to(other)), self.unit == Unit::Nanoseconds)
    }

    fn beside_peers(&self) -> Option<Standing> {
        self.best().map(|(_, best)| self.standing(best, self.ratio))
    }

    fn beside_hand(&self) -> Option<Standing> {
        self.hand.map(|hand| self.standing(hand, None))
    }

    fn show(&self, value: Value) -> String {
        let Value { amount, reads } = value;
        match self.unit {
            Unit::Instructions if reads >= 0.5 => format!("{amount:.0} [{reads:.0}]"),
            Unit::Instructions => format!("{amount:.0}"),
            Unit::Count | Unit::VaryingCount if amount.fract().abs() < 0.05 || amount >= 100.0 => {
                format!("{amount:.0}")
            }
            Unit::Count | Unit::VaryingCount => format!("{amount:.1}"),
            Unit::Bytes | Unit::VaryingBytes => format!("{amount:.0} B"),
            Unit::Nanoseconds if amount >= 1e6 => format!("{:.2} ms", amount / 1e6),
            Unit::Nanoseconds if amount >= 1e4 => format!("{:.1} us", amount / 1e3),
            Unit::Nanoseconds => format!("{amount:.0} ns"),
        }
    }
}

/// Measures and prints everything, or what is the same on every run.
pub fn print(works: &[Work], figures: &[Figure], quick: bool) {
    let mut lines = worked(works, quick);
    for figure in figures.iter().filter(|figure| !quick || figure.unit.is_steady()) {
        if env::var_os("VERBOSE").is_some() {
            eprintln!("{}", figure.name);
        }
        lines.push(measured(figure));
    }
    write(&lines);
    println!();
    sum_up(&lines, "a peer", Line::beside_peers);
    println!();
    sum_up(&lines, "a loop by hand", Line::beside_hand);
}

fn worked(works: &[Work], quick: bool) -> Vec<Line> {
    let directory = directory();
    let counts = if works.is_empty() { counts::Counts::new() } else { counts::of(works, quick) };
    if !quick && !works.is_empty() {
        stopwatch::start(&directory);
    }
    let mut lines = Vec::new();
    for work in works {
        for &row in work.rows.iter().filter(|row| !quick || row.is_steady()) {
            let (what, unit) = match row {
                Row::Instructions | Row::SeededInstructions => ("instructions", Unit::Instructions),
                Row::Allocations => ("allocations", Unit::Count),
                Row::Nanoseconds => ("time", Unit::Nanoseconds),
            };
            let all = work.counted(quick && row.is_counted()).into_iter().map(|(who, run)| {
                let value = match row {
                    Row::Instructions | Row::SeededInstructions => {
                        let (amount, reads) = counts[&(work.name, who)];
                        Value { amount, reads }
                    }
                    Row::Allocations => work.allocations(run).into(),
                    Row::Nanoseconds => stopwatch::median(&directory, work.name, who).into(),
                };
                (who, value)
            });
            let mut all: Vec<(&str, Value)> = all.collect();
            let mut take = |name| {
                let index = all.iter().position(|(who, _)| *who == name)?;
                Some(all.remove(index).1)
            };
            let bare = take(BARE).map_or(0.0, |bare| bare.amount);
            let beyond = |value: Value| Value { amount: (value.amount - bare).max(0.0), ..value };
            let (relent, hand) = (take(RELENT).expect("relent does everything"), take(HAND).map(beyond));
            let peers = all.into_iter().map(|(who, value)| (who, beyond(value))).collect();
            let measure = format!("{}: {what}", work.name);
            lines.push(Line { measure, unit, relent: beyond(relent), hand, peers: sorted(peers), ratio: None });
        }
    }
    lines
}

fn sorted(mut peers: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    peers.sort_by(|a, b| a.1.amount.total_cmp(&b.1.amount));
    peers
}

/// So often all take turns at what depends on time.
const ROUNDS: usize = 5;

/// What hardly changes: once. Times, and counts that depend on them: by turns, with the median of the ratios of
/// neighbours, since what else the machine does comes and goes.
fn measured(figure: &Figure) -> Line {
    let rounds = if matches!(figure.unit, Unit::Nanoseconds | Unit::VaryingCount) { ROUNDS } else { 1 };
    let rounds: Vec<(f64, Vec<f64>)> =
        (0..rounds).map(|_| ((figure.relent)(), figure.peers.iter().map(|(_, value)| value()).collect())).collect();
    let column = |index: usize| rounds.iter().map(move |(_, peers)| peers[index]);
    let best = (0..figure.peers.len()).min_by(|a, b| median(column(*a)).total_cmp(&median(column(*b))));
    let ratio = best.filter(|_| rounds.len() > 1);
    let peers = figure.peers.iter().enumerate().map(|(index, (who, _))| (*who, median(column(index)).into()));
    Line {
        measure: figure.name.to_owned(),
        unit: figure.unit,
        relent: median(rounds.iter().map(|(relent, _)| *relent)).into(),
        hand: figure.hand.map(|value| value().into()),
        peers: sorted(peers.collect()),
        ratio: ratio.map(|index| median(rounds.iter().map(|(relent, peers)| relent / peers[index]))),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Where criterion writes: beside this program.
fn directory() -> PathBuf {
    env::current_exe().expect("the name of this program").with_file_name("criterion")
}

fn write(lines: &[Line]) {
    let mut cells =
        vec![["", "relent", "by hand", "best peer", "ratio", "relent is", "other peers"].map(str::to_owned)];
    for line in lines {
        let named = |(who, value): (&str, Value)| format!("{} {who}", line.show(value));
        let ratio = match line.ratio {
            Some(paired) => format!("{}*", standing::shown(Some(paired))),
            None => standing::shown(line.best().and_then(|(_, best)| line.ratio_to(best))),
        };
        let others: Vec<_> = line.peers.iter().skip(1).map(|peer| named(*peer)).collect();
        cells.push([
            line.measure.clone(),
            line.show(line.relent),
            line.hand.map_or("-".to_owned(), |hand| line.show(hand)),
            line.best().map_or("-".to_owned(), named),
            ratio,
            match (line.beside_peers(), line.beside_hand()) {
                (Some(standing), _) => standing.word().to_owned(),
                (None, Some(standing)) => format!("{}, by hand", standing.word()),
                (None, None) => "alone".to_owned(),
            },
            others.join(", "),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| cells.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for (index, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            1 | 2 | 4 => format!("{cell:>width$}"),
            6 => cell.clone(),
            _ => format!("{cell:<width$}"),
        });
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            println!(
                "|{}-------------|",
                widths.iter().take(6).map(|width| "-".repeat(width + 2) + "|").collect::<String>()
            );
        }
    }
}

/// Where relent loses is said once more.
fn sum_up(lines: &[Line], others: &str, beside: fn(&Line) -> Option<Standing>) {
    let standings: Vec<_> = lines.iter().filter_map(beside).collect();
    let behind = lines.iter().filter(|line| beside(line) == Some(Standing::Behind));
    let names: Vec<_> = behind.map(|line| line.measure.as_str()).collect();
    println!("{}. Behind: {}.", standing::sum_up(&standings, others), names.join("; "));
}
