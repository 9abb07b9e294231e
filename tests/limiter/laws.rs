//! What holds for every history, against the naive model.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::{collection::vec, prelude::*};
use relent::{
    Rate,
    policy::limit::wait_list::{Admission, Polled, WaitList, WakeList},
};

use crate::model::{Case, FOREVER, check};

fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1),
        Just(1_000_000_000),
        Just(60_000_000_000),
        1_u64..50,
        1_u64..10_000_000_000,
        Just(0),
        Just(FOREVER - 1),
        any::<u64>(),
    ]
}

fn permits() -> impl Strategy<Value = u32> {
    prop_oneof![24 => 0_u32..6, 2 => 0_u32..1000, 1 => Just(1_000_000_007), 1 => any::<u32>()]
}

fn rates() -> impl Strategy<Value = (u32, u64)> {
    prop_oneof![4 => (permits(), spans()), 4 => (1_u32..10, Just(1_000_000_000)), 8 => (1_u32..4, 1_u64..20)]
}

fn steps() -> impl Strategy<Value = (u8, u32, u64)> {
    let long = prop_oneof![9 => 0_u64..30, 4 => 0_u64..3_000_000_000, 1 => spans()];
    prop_oneof![
        8 => (0_u8..3, permits(), Just(0)),
        2 => (8_u8..11, permits(), long.clone()),
        3 => (16_u8..19, permits(), Just(0)),
        4 => (prop_oneof![Just(3_u8), Just(11)], 0_u32..100, prop_oneof![8 => Just(0), 1 => 0_u64..3_000_000_000]),
        1 => rates().prop_map(|(permits, per)| (4, permits, per)),
        1 => (Just(5_u8), permits(), Just(0)),
        6 => (Just(6_u8), Just(0), long),
    ]
}

static SEEN: [AtomicUsize; 5] = [const { AtomicUsize::new(0) }; 5];

#[test]
fn same_grants_at_the_same_instants_as_the_model() {
    let bursts = prop_oneof![4 => 3_u32..10, 1 => permits()];
    let cases = (rates(), bursts, vec(steps(), 0..60));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&cases, |(rate, burst, steps)| {
        let seen = check(&Case { rate, burst, steps });
        for (sum, more) in SEEN.iter().zip([seen.grants, seen.waited, seen.refused, seen.left, seen.polls]) {
            sum.fetch_add(more, Relaxed);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let [grants, waited, refused, left, polls] = [0, 1, 2, 3, 4].map(|index| SEEN[index].load(Relaxed));
    println!(
        "10000 histories: {waited} waited, {grants} of them granted in turn, {left} left, {refused} refused, {polls} polls"
    );
    assert!(grants > 10_000 && left > 10_000 && refused > 10_000, "the histories are too dull");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Under steady demand the k-th permit comes at exactly the instant at which it is there, whenever it is looked at.
    #[test]
    fn a_saturated_line_grants_the_ideal_count(
        permits in 1_u32.., per in 1_u64..u64::MAX, burst in 1_u32..1000, looks in vec(any::<u64>(), 1..20),
    ) {
        let rate = Rate::new(permits, std::time::Duration::from_nanos(per)).unwrap();
        let mut list: WaitList<()> = WaitList::new(rate, burst, FOREVER);
        let mut taken = 0_u128;
        let mut looks = looks;
        looks.sort_unstable();
        for _ in 0..burst {
            prop_assert_eq!(list.enqueue(0, 1, 0), Admission::Granted);
        }
        for at in looks {
            let ideal = u128::from(at) * u128::from(permits) / u128::from(per);
            // As many as are due, at most 50, are in line already.
            let due = (ideal - taken).min(50);
            for _ in 0..due {
                prop_assert!(matches!(list.enqueue(0, 1, FOREVER), Admission::Waiting(_) | Admission::Granted));
            }
            while list.refill_and_grant(at, &mut WakeList::new()) {}
            prop_assert_eq!(list.waiting(), 0);
            taken += due;
            if due < ideal - taken + due {
                break;
            }
            prop_assert!(matches!(list.enqueue(at, 1, 0), Admission::TooFar(_)));
        }
    }
}

#[test]
fn three_per_second_is_exactly_that_over_thirty_years() {
    let mut list: WaitList<()> = WaitList::new(Rate::per_second(3), 1, FOREVER);
    assert_eq!(list.enqueue(0, 1, 0), Admission::Granted);
    let (mut asked, mut last) = (0_u64, None);
    // A billion seconds ahead, in bites as large as the burst allows.
    list.set_burst(1_000_000_000, &mut Vec::new());
    for _ in 0..3 {
        let Admission::Waiting(number) = list.enqueue(0, 1_000_000_000, FOREVER) else { panic!() };
        (asked, last) = (asked + 1_000_000_000, Some(number));
    }
    let last = last.unwrap();
    assert_eq!(list.ready_at(last), asked / 3 * 1_000_000_000);
    let turn = list.ready_at(last);
    assert_eq!(list.poll(turn - 1, last, 1_000_000_000, &mut WakeList::new()), Polled::ReadyAt(turn));
    assert_eq!(list.poll(turn, last, 1_000_000_000, &mut WakeList::new()), Polled::Granted(turn));
    assert_eq!(list.bucket().available(), 0);
}
