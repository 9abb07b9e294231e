//! What is measured, and of which crates.

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
    pub rows: &'static [Row],
}

/// One line of the table: a quantity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Instructions,
    /// Of what hashes with random seeds: they differ a little from run to run.
    SeededInstructions,
    Nanoseconds,
    Allocations,
}

impl Row {
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Instructions | Self::SeededInstructions)
    }

    /// Whether every run gives the same.
    pub fn is_steady(self) -> bool {
        matches!(self, Self::Instructions | Self::Allocations)
    }
}

/// One line of the table that is measured in a way of its own.
pub struct Figure {
    pub name: &'static str,
    pub unit: Unit,
    pub relent: Value,
    pub hand: Option<Value>,
    pub peers: Vec<(&'static str, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// By callgrind.
    Instructions,
    Count,
    Bytes,
    /// The same two where they depend on when timers ring, or on random seeds.
    VaryingCount,
    VaryingBytes,
    Nanoseconds,
}

impl Unit {
    /// Whether every run gives the same.
    pub fn is_steady(self) -> bool {
        !matches!(self, Self::VaryingCount | Self::VaryingBytes | Self::Nanoseconds)
    }
}

/// It refills by a timer, so what it does depends on how fast the machine is.
pub const LEAKY: &str = "leaky-bucket";

pub const BARE: &str = "bare";
pub const RELENT: &str = "relent";
pub const HAND: &str = "by hand";

impl Work {
    /// All that do it.
    pub fn all(&self) -> Vec<(&'static str, Run)> {
        let mut all = vec![(RELENT, self.relent)];
        all.extend(self.bare.map(|run| (BARE, run)));
        all.extend(self.hand.map(|run| (HAND, run)));
        all.extend(&self.peers);
        all
    }

    /// The crates for which every run counts the same, or all of them.
    pub fn counted(&self, steady: bool) -> Vec<(&'static str, Run)> {
        self.all().into_iter().filter(|(who, _)| !steady || *who != LEAKY).collect()
    }

    pub fn asks_for(&self, row: impl Fn(Row) -> bool) -> bool {
        self.rows.iter().any(|it| row(*it))
    }

    /// Heap allocations of one time.
    pub fn allocations(&self, run: Run) -> f64 {
        let runtime = runtime();
        let count = |times| allocation_counter::measure(|| run(&runtime, times)).count_total as f64;
        count(1);
        (count(20) - count(10)) / 10.0
    }
}

/// One thread and its timers.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
