//! A fleet on a simulated network, without a runtime: every call, clock, pause and loss comes from one seed.
//!
//! Two to six members, each on a clock of its own rate and with a ttl of its own, keep one record. Requests and answers
//! are delayed, lost and doubled; reads are stale; a write that was done is answered with a conflict; processes freeze,
//! crash, leave and come back; the network parts; the store is out; the record is deleted; members state other limits,
//! and an operator writes one into the record. Each member takes all that its bucket holds again and again. At every
//! instant the sum of the rates in use is at most R, and that of the bursts B; in every window `w` at most `B + R * w`
//! permits come out. Where R or B was lowered the one before may be in use until all shares of it have lapsed.
//!
//! ```sh
//! RELENT_FLEET_RUNS=1000000 cargo test --release --test fleet -- --nocapture sim::no_run
//! ```
//! The seed of a run that fails is printed; `RELENT_FLEET_SEED=n` replays it, with a trace.
//! `RELENT_FLEET_FAULT=NoMargin` (or another name of [`Fault`]) leaves a rule out, to see what that looks like.

mod calm;
mod network;
mod node;
mod plan;
mod world;

use std::{env, num::NonZero, ops::RangeInclusive, thread};

use self::world::Sim;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// How long a run goes on, in true time.
const SPAN: u64 = 120 * S;

/// For how long a share may be used after its write has landed: the longest ttl, less twice the drift, on the slowest
/// clock.
const LONGEST_USE: u64 = 12 * S * 900 / 950;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A share is valid from when the answer came in, and calls have no deadline of their own.
    ValidFromAnswer,
    /// A share is valid for all of its ttl.
    NoMargin,
    /// An increase counts when it is sent.
    IncreaseFirst,
    /// A decrease counts when it is confirmed.
    DecreaseLast,
    /// After a conflict the former share is used.
    ConflictIsNotApplied,
    /// A share lapses when a timer fires.
    TimerOnly,
    /// A record that is laid down anew is settled.
    NoLearning,
    /// A lost record is learned for the member's own ttl.
    OwnTtlOnly,
    /// Stamps of the members' wall clocks, off by 2 s, say which of them are gone.
    WallClocks,
    /// The reader's ttl is taken for the others'.
    ReadersTtl,
    /// The version is not compared.
    BlindWrites,
    /// An entry that bears this id is taken for this member's own.
    IdIsEnough,
    /// Tokens above the new burst stay at a decrease.
    TokensKept,
    /// A newcomer begins with a full bucket.
    FullStart,
    /// Each goes by the limit that it states itself.
    OwnLimit,
}

/// What a run showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Report {
    violation: Option<String>,
    /// The highest sum of rates, in thousandths of R.
    worst: u64,
    refreshes: u64,
    conflicts: u64,
    unknown: u64,
    raised: u64,
    lowered: u64,
    removed: u64,
    lapsed: u64,
    deleted: u64,
    settled: u64,
    left: u64,
    /// How often there was another limit.
    limits: u64,
    /// Thousandths of permits that were taken.
    permits: u64,
}

impl Report {
    fn add(mut self, other: Self) -> Self {
        self.worst = self.worst.max(other.worst);
        self.refreshes += other.refreshes;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.raised += other.raised;
        self.lowered += other.lowered;
        self.removed += other.removed;
        self.lapsed += other.lapsed;
        self.deleted += other.deleted;
        self.settled += other.settled;
        self.left += other.left;
        self.limits += other.limits;
        self.permits += other.permits;
        self
    }
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::None,
        Self::ValidFromAnswer,
        Self::NoMargin,
        Self::IncreaseFirst,
        Self::DecreaseLast,
        Self::ConflictIsNotApplied,
        Self::TimerOnly,
        Self::NoLearning,
        Self::OwnTtlOnly,
        Self::WallClocks,
        Self::ReadersTtl,
        Self::BlindWrites,
        Self::IdIsEnough,
        Self::TokensKept,
        Self::FullStart,
        Self::OwnLimit,
    ];

    /// The one that was asked for.
    fn asked() -> Self {
        let Ok(name) = env::var("RELENT_FLEET_FAULT") else { return Self::None };
        let known = Self::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        known.unwrap_or_else(|| panic!("RELENT_FLEET_FAULT={name}: one of {:?}", Self::ALL))
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn run(seed: u64, fault: Fault) -> Report {
    Sim::new(seed, fault, false).run()
}

/// Runs these seeds on all processors.
fn run_all(seeds: RangeInclusive<u64>) -> Report {
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let part = |part: usize| {
        let checked = |seed| {
            let report = run(seed, Fault::None);
            assert_eq!(report.violation, None, "replay with RELENT_FLEET_SEED={seed}");
            report
        };
        seeds.clone().skip(part).step_by(threads).map(checked).fold(Report::default(), Report::add)
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|number| scope.spawn(move || part(number))).collect();
        parts.into_iter().map(|part| part.join().expect("no violation")).fold(Report::default(), Report::add)
    })
}

#[test]
fn no_run_breaks_the_law() {
    if let Some(seed) = number("RELENT_FLEET_SEED") {
        let report = Sim::new(seed, Fault::asked(), true).run();
        assert_eq!(report.violation, None, "seed {seed}: {report:?}");
        return;
    }
    let count = number("RELENT_FLEET_RUNS").unwrap_or(2_000);
    let first = number("RELENT_FLEET_FIRST").unwrap_or(1);
    let seeds = first..=first + count - 1;
    let sum = run_all(seeds.clone());
    println!("fleet simulator: {count} runs, seeds {seeds:?}, no violation: {sum:?}");
    // The runs must do what they are there for.
    assert!(sum.refreshes > 100 * count && sum.raised > 5 * count && sum.lowered > 5 * count);
    assert!(sum.removed > count / 4 && sum.lapsed > count / 2 && sum.deleted > count / 10);
    assert!(sum.settled > count / 2 && sum.left > count / 10);
    assert!(sum.conflicts > count && sum.unknown > count && sum.limits > count);
}

/// Without the rule the simulator finds a violation, and the seed that it names brings the same run back.
fn finds(fault: Fault) {
    let most = 6_000;
    let caught = (1..=most).map(|seed| (seed, run(seed, fault))).find(|(_, report)| report.violation.is_some());
    let (seed, report) = caught.unwrap_or_else(|| panic!("{fault:?} was not found in {most} runs"));
    println!("{fault:?}: seed {seed}: {}", report.violation.as_deref().unwrap_or_default());
    assert_eq!(report, run(seed, fault));
    assert_eq!(run(seed, Fault::None).violation, None);
}

macro_rules! finds {
    ($($name:ident: $fault:ident;)*) => {$(
        #[test]
        fn $name() {
            finds(Fault::$fault);
        }
    )*};
}

finds! {
    finds_validity_from_the_answer: ValidFromAnswer;
    finds_that_there_is_no_margin: NoMargin;
    finds_an_increase_before_the_confirmation: IncreaseFirst;
    finds_a_decrease_after_the_write: DecreaseLast;
    finds_a_conflict_read_as_not_applied: ConflictIsNotApplied;
    finds_an_expiry_by_timer_only: TimerOnly;
    finds_that_nothing_is_learned_after_a_deletion: NoLearning;
    finds_that_it_is_learned_for_the_own_ttl_only: OwnTtlOnly;
    finds_wall_clocks: WallClocks;
    finds_the_readers_ttl: ReadersTtl;
    finds_blind_writes: BlindWrites;
    finds_that_an_id_is_not_enough: IdIsEnough;
    finds_tokens_kept_at_a_decrease: TokensKept;
    finds_a_full_start: FullStart;
    finds_that_each_goes_by_its_own_limit: OwnLimit;
}
