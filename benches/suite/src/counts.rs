//! Instructions and clock reads, by callgrind, in one process for all.

use std::{collections::HashMap, hint::black_box};

use crate::{
    callgrind::{FEW, MANY, count},
    measure::{Run, Work, runtime},
};

/// Instructions and clock reads of one time.
pub type Counts = HashMap<(&'static str, &'static str), (f64, f64)>;

/// What is counted, in the order in which it is.
fn counted(works: &[Work], quick: bool) -> Vec<((&'static str, &'static str), Run)> {
    works
        .iter()
        .filter(|work| work.asks_for(|row| row.is_counted() && (!quick || row.is_steady())))
        .flat_map(|work| work.counted(quick).into_iter().map(|(who, run)| ((work.name, who), run)))
        .collect()
}

/// Starts this program again under callgrind.
pub fn of(works: &[Work], quick: bool) -> Counts {
    let counted = counted(works, quick);
    let mode = if quick { "all-quick" } else { "all" };
    counted.iter().map(|(name, _)| *name).zip(count(mode, counted.len())).collect()
}

/// What callgrind sees.
pub fn run(works: &[Work], quick: bool) {
    let counted = counted(works, quick);
    // What is done once in a process, such as the calibration of a clock, is done before.
    for (_, run) in &counted {
        run(&runtime(), 1);
    }
    for (_, run) in counted {
        for times in [FEW, MANY] {
            let runtime = runtime();
            mark();
            run(&runtime, times);
        }
    }
    mark();
}

/// Callgrind writes down here what it has counted since the last time.
#[inline(never)]
fn mark() {
    black_box(());
}
