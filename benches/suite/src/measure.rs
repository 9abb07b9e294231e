//! What is measured, of whom.

use std::{env, process::Command};

use tokio::runtime::{Builder, Runtime};

/// Does the thing so many times.
pub type Run = fn(&Runtime, u64);

/// Finds out one number.
pub type Value = fn() -> f64;

/// One thing that several can do.
pub struct Work {
    pub name: &'static str,
    /// The same without what is measured: taken off every number.
    pub bare: Option<Run>,
    pub relent: Run,
    pub hand: Option<Run>,
    pub peers: Vec<(&'static str, Run)>,
    pub rows: Vec<Row>,
    /// How often callgrind sees it.
    pub times: u64,
}

/// One line of the table: a quantity, and the most that relent may take of it.
#[derive(Clone, Copy)]
pub enum Row {
    Instructions(Option<u64>),
    Nanoseconds(Option<u64>),
    Allocations(Option<u64>),
}

/// One line of the table that is measured in a way of its own.
pub struct Figure {
    pub name: &'static str,
    pub unit: Unit,
    pub relent: Value,
    pub hand: Option<Value>,
    pub peers: Vec<(&'static str, Value)>,
    pub target: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    /// Never the same twice: no gate.
    Nanoseconds,
}

pub const BARE: &str = "bare";
pub const RELENT: &str = "relent";
pub const HAND: &str = "hand-written";

impl Work {
    /// Everyone who does it.
    pub fn all(&self) -> Vec<(&'static str, Run)> {
        let mut all = vec![(RELENT, self.relent)];
        all.extend(self.bare.map(|run| (BARE, run)));
        all.extend(self.hand.map(|run| (HAND, run)));
        all.extend(&self.peers);
        all
    }

    /// The one of that name.
    pub fn by(&self, who: &str) -> Option<Run> {
        self.all().into_iter().find(|(name, _)| *name == who).map(|(_, run)| run)
    }

    /// Instructions of one time, by callgrind, as the difference of a short and a long run.
    pub fn instructions(&self, who: &str) -> f64 {
        let count = |times: u64| {
            let program = env::current_exe().expect("the name of this program");
            let output = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(program)
                .args(["run", self.name, who, &times.to_string()])
                .output()
                .expect("valgrind");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} by {who}: {text}", self.name);
            let counted = text.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
            counted.trim().parse::<f64>().expect("a number")
        };
        (count(self.times * 6) - count(self.times)) / (self.times * 5) as f64
    }

    /// Heap allocations of one time.
    pub fn allocations(&self, who: &str) -> f64 {
        let (run, runtime) = (self.by(who).expect("who does it"), runtime());
        let count = |times| allocation_counter::measure(|| run(&runtime, times)).count_total as f64;
        count(1);
        (count(20) - count(10)) / 10.0
    }
}

/// One thread and its timers.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
