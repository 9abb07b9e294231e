//! Every placement of faults over the calls of a run.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    time::Duration,
};

use relent::{
    Change, GaveUp, Last, Stop, ensure,
    error::{CutBy, Detail},
};
use tokio::time::{Instant, advance, sleep};

const CALLS: usize = 6;
const PLACEMENTS: usize = 5_usize.pow(6);
const TIMEOUT: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fine,
    Refused,
    LostBefore,
    LostAfter,
    /// Carried out only 300 ms later, when the caller has long given up on it.
    Late,
}

const FAULTS: [Fault; 5] = [Fault::Fine, Fault::Refused, Fault::LostBefore, Fault::LostAfter, Fault::Late];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("refused")]
    Refused,
    #[error("version {given} is not {current}")]
    Conflict { given: u32, current: u32 },
}

/// A register that is set from one version to the next, and the calls of its one client.
#[derive(Default)]
struct Register {
    version: Cell<u32>,
    set: Cell<bool>,
    applied: Cell<u32>,
    late: RefCell<Vec<(Instant, u32)>>,
    calls: Cell<usize>,
    acts: Cell<u32>,
    last_look_saw_acts: Cell<u32>,
    last_look_saw_it_set: Cell<bool>,
    last_look_failed: Cell<bool>,
}

impl Register {
    /// What was on its way arrives.
    fn settle(&self) {
        let now = Instant::now();
        self.late.borrow_mut().retain(|&(at, given)| {
            if at <= now {
                let _ = self.apply(given);
            }
            at > now
        });
    }

    fn apply(&self, given: u32) -> Result<(), Failure> {
        let current = self.version.get();
        if given != current {
            return Err(Failure::Conflict { given, current });
        }
        self.version.set(current + 1);
        self.set.set(true);
        self.applied.set(self.applied.get() + 1);
        Ok(())
    }

    fn fault(&self, faults: &[Fault]) -> Fault {
        let call = self.calls.get();
        self.calls.set(call + 1);
        faults.get(call).copied().unwrap_or(Fault::Fine)
    }

    async fn look(&self, faults: &[Fault]) -> Result<relent::Observed<u32, u32, Failure>, Failure> {
        let fault = self.fault(faults);
        sleep(Duration::from_millis(1)).await;
        self.settle();
        let (set, version) = (self.set.get(), self.version.get());
        self.last_look_failed.set(true);
        match fault {
            Fault::Refused => Err(Failure::Refused),
            Fault::LostBefore | Fault::LostAfter => pending().await,
            Fault::Fine | Fault::Late => {
                if fault == Fault::Late {
                    // The answer is old by the time it arrives.
                    sleep(TIMEOUT / 2).await;
                }
                self.last_look_saw_acts.set(self.acts.get());
                self.last_look_saw_it_set.set(set);
                self.last_look_failed.set(false);
                Ok(if set { relent::Observed::AsWanted(version) } else { relent::Observed::Differs(version) })
            }
        }
    }

    async fn act(&self, faults: &[Fault], given: u32) -> Result<(), Failure> {
        let fault = self.fault(faults);
        self.acts.set(self.acts.get() + 1);
        sleep(Duration::from_millis(1)).await;
        self.settle();
        match fault {
            Fault::Fine => self.apply(given),
            Fault::Refused => Err(Failure::Refused),
            Fault::LostBefore => pending().await,
            Fault::LostAfter => {
                let _ = self.apply(given);
                pending().await
            }
            Fault::Late => {
                self.late.borrow_mut().push((Instant::now() + Duration::from_millis(300), given));
                pending().await
            }
        }
    }
}

async fn run(
    faults: &[Fault],
    max_acts: u32,
    bound: Option<Duration>,
) -> (Register, Result<relent::Ensured<u32>, GaveUp<Failure>>) {
    let register = Register::default();
    let run = ensure(|_| register.look(faults), |version| register.act(faults, version))
        .every(PERIOD)
        .attempt_timeout(TIMEOUT)
        .max_attempts(max_acts);
    let ended = match bound {
        Some(bound) => run.finish_within(bound).await,
        None => run.await,
    };
    (register, ended)
}

fn placement(mut number: usize) -> [Fault; CALLS] {
    std::array::from_fn(|_| {
        let fault = FAULTS[number % FAULTS.len()];
        number /= FAULTS.len();
        fault
    })
}

/// Without a bound it always ends as wanted; the act, which is conditional, was applied exactly once.
#[tokio::test(start_paused = true)]
async fn every_placement_ends_as_wanted() {
    let all = PLACEMENTS;
    let (mut despite, mut most_acts) = (0, 0);
    for number in 0..all {
        let faults = placement(number);
        let (register, ended) = run(&faults, u32::MAX, None).await;
        let ensured = ended.unwrap_or_else(|gave_up| panic!("{faults:?}: {gave_up}"));
        assert_eq!(ensured.value, 1, "{faults:?}");
        assert_eq!(register.applied.get(), 1, "{faults:?}");
        assert_ne!(ensured.change, Change::AlreadySo, "{faults:?}");
        assert_eq!(register.last_look_saw_acts.get(), register.acts.get(), "{faults:?}: the last call was no look");
        despite += u32::from(ensured.change == Change::AppliedDespiteError);
        most_acts = most_acts.max(register.acts.get());
        advance(Duration::from_secs(1)).await;
        register.settle();
        assert_eq!(register.applied.get(), 1, "{faults:?}: something landed late");
    }
    assert!(despite > 0 && most_acts > 1);
    println!("{all} placements of {} faults over {CALLS} calls, {despite} applied despite an error", FAULTS.len());
}

/// With bounds: a value, or an error that is true.
#[tokio::test(start_paused = true)]
async fn every_placement_tells_the_truth_within_bounds() {
    let all = PLACEMENTS;
    let (mut values, mut unknown) = (0, 0);
    for (max_acts, bound) in [(1, None), (2, None), (9, Some(320)), (9, Some(600)), (0, None), (9, Some(30))] {
        for number in 0..all {
            let faults = placement(number);
            let bound = bound.map(Duration::from_millis);
            let start = Instant::now();
            let (register, ended) = run(&faults, max_acts, bound).await;
            let told = format!("{faults:?} max {max_acts} bound {bound:?}: {ended:?}");
            assert!(register.acts.get() <= max_acts, "{told}");
            assert!(register.applied.get() <= 1, "{told}");
            if let Some(bound) = bound {
                assert!(start.elapsed() <= bound, "{told}");
            }
            match ended {
                Ok(ensured) => {
                    assert!(register.set.get() && ensured.value == 1, "{told}");
                    values += 1;
                }
                Err(gave_up) => {
                    let Some(&Detail::Ensure { acts, outcome_unknown, .. }) = gave_up.detail() else {
                        panic!("{told}")
                    };
                    assert_eq!(acts, register.acts.get(), "{told}");
                    let unseen =
                        acts > 0 && (register.last_look_saw_acts.get() < acts || register.last_look_failed.get());
                    assert_eq!(outcome_unknown, unseen, "{told}");
                    // It was not so when it was last looked at.
                    assert!(!register.last_look_saw_it_set.get(), "{told}");
                    // What has been applied all the same was applied later, or it could not be observed.
                    let late = faults.contains(&Fault::Late);
                    assert!(outcome_unknown || late || !register.set.get(), "{told}");
                    assert_eq!(
                        gave_up.to_string().contains("whether it was applied is unknown"),
                        outcome_unknown,
                        "{told}"
                    );
                    match gave_up.stop() {
                        Stop::Attempts => assert_eq!(acts, max_acts, "{told}"),
                        Stop::Deadline => assert!(bound.is_some(), "{told}"),
                        other => panic!("{other:?}: {told}"),
                    }
                    assert_ne!(gave_up.last(), Last::NotStarted, "{told}");
                    unknown += u32::from(outcome_unknown);
                }
            }
        }
    }
    assert!(values > 0 && unknown > 0);
    println!("{} runs: {values} values, {unknown} times unknown", 6 * all);
}

/// The act is cut early enough that the look which closes the run has its time.
#[tokio::test(start_paused = true)]
async fn the_closing_look_has_its_time() {
    let faults = [Fault::Fine, Fault::LostAfter, Fault::Late];
    let (register, ended) = run(&faults, 9, Some(Duration::from_millis(180))).await;
    assert_eq!(ended.unwrap().change, Change::AppliedDespiteError, "cut at 90 ms, and seen");
    assert_eq!(register.acts.get(), 1);

    let faults = [Fault::Fine, Fault::LostBefore, Fault::Fine, Fault::Refused];
    let (_, ended) = run(&faults, 9, Some(Duration::from_millis(180))).await;
    let gave_up = ended.unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Deadline);
    let Last::Cut { after, by, .. } = gave_up.last() else { panic!("{gave_up}") };
    assert_eq!((after, by), (Duration::from_millis(89), CutBy::Deadline));
}
