//! Budgets against naive ones, and what has been seen to go wrong.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use relent::{Backoff, Budget, Rate, Ratio, budget::InFlight, retry};
use tokio::time::{advance, sleep};

#[test]
fn what_was_never_allowed_or_is_used_does_not_go_back() {
    for budget in [Budget::ratio(Ratio::ZERO).reserve(5), Budget::in_flight(Ratio::ZERO).reserve(5)] {
        let mut runs: Vec<_> = (0..5).map(|_| budget.begin()).collect();
        assert!(runs.iter_mut().all(InFlight::may_retry));
        let mut stranger = budget.begin();
        stranger.give_back();
        stranger.give_back();
        assert_eq!(budget.available(), 0, "retries out of nothing: {budget:?}");
        assert!(!stranger.may_retry());
        stranger.give_back();
        assert_eq!(budget.available(), 0);
        runs[0].give_back();
        runs[0].give_back();
        assert_eq!(budget.available(), 1, "only once");
        assert!(stranger.may_retry());
    }
    let budget = Budget::ratio(Ratio::ZERO).reserve(5);
    let mut run = budget.begin();
    (0..4).for_each(|_| assert!(run.may_retry()));
    (0..4).for_each(|_| run.give_back());
    assert_eq!(budget.available(), 2, "three are made");
}

#[test]
fn one_that_has_retried_retries_to_its_end() {
    let budget = Budget::in_flight(Ratio::ZERO).reserve(1);
    let (mut one, mut other) = (budget.begin(), budget.begin());
    assert!(one.may_retry());
    // That one is made. The next is not.
    assert!(one.may_retry());
    one.give_back();
    assert!(!other.may_retry());
    drop(one);
    assert!(other.may_retry());
}

/// One request a minute, and each fails once.
async fn succeed(budget: Budget) -> usize {
    let mut good = 0;
    for _ in 0..100 {
        let call = retry(async |attempt| if attempt.number() < 2 { Err("busy") } else { Ok(()) });
        good += usize::from(call.backoff(Backoff::fixed(Duration::ZERO)).budget(&budget).await.is_ok());
        sleep(Duration::from_secs(60)).await;
    }
    good
}

#[tokio::test(start_paused = true)]
async fn a_floor_by_time_is_for_callers_with_little_traffic() {
    let ratio = || Budget::ratio(Ratio::percent(20));
    assert_eq!(succeed(ratio()).await, 29);
    assert_eq!(succeed(ratio().min_retries(Rate::per_minute(1))).await, 100);
    assert_eq!(succeed(Budget::in_flight(Ratio::percent(20))).await, 100);
    let nothing = || Budget::in_flight(Ratio::ZERO).reserve(0);
    assert_eq!(succeed(nothing()).await, 0);
    assert_eq!(succeed(nothing().min_retries(Rate::per_hour(60))).await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_floor_shows_and_the_order_of_settings_is_no_matter() {
    let budget = Budget::ratio(Ratio::percent(20)).min_retries(Rate::per_minute(3)).reserve(2);
    assert_eq!(format!("{budget:?}"), "Budget { ratio: 1/5, reserve: 2, available: 5, min_retries: 3/1m }");
    let mut run = budget.begin();
    assert_eq!((0..9).filter(|_| run.may_retry()).count(), 5);
    // What the floor allowed goes back to the floor.
    run.give_back();
    assert!(!run.may_retry(), "it was refused, and before that it was made");
    advance(Duration::from_secs(20)).await;
    assert!(run.may_retry() && !run.may_retry());
    advance(Duration::from_secs(20)).await;
    assert!(run.may_retry());
    run.give_back();
    assert_eq!(budget.available(), 1);
    advance(Duration::from_secs(3600 * 24 * 365)).await;
    assert_eq!(budget.available(), 3);
}

#[derive(Debug)]
struct Run {
    real: InFlight,
    /// What is allowed and not made: by the floor, and whether it made the run a retrying one.
    allowed: Option<(bool, bool)>,
    retrying: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both kinds with a floor, against fractions of a retry and runs kept one by one.
    #[test]
    fn a_budget_is_its_rule_and_its_floor(
        share: bool, above in 0_u32..4, below in 1_u32..5, reserve in 0_u32..4, permits in 1_u32..4, per in 1_u64..50,
        steps in vec((0_u8..6, 0_usize..64, 0_u64..60), 0..100),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ratio = Ratio::new(above, below).unwrap();
            let budget = if share { Budget::in_flight(ratio) } else { Budget::ratio(ratio) };
            let floor = Rate::new(permits, Duration::from_millis(per)).unwrap();
            let budget = budget.reserve(reserve).min_retries(floor);
            let mut runs = Vec::<Run>::new();
            let (above, below, reserve) = (u64::from(above), u64::from(below), u64::from(reserve));
            let (mut balance, most) = (reserve * below, (reserve * below).max(above + below));
            let full = u64::from(permits) * per;
            let mut level = full;
            for (step, who, long) in steps {
                let many = runs.len();
                match (step, many) {
                    (0, _) => {
                        balance = (balance + above).min(most);
                        runs.push(Run { real: budget.begin(), allowed: None, retrying: false });
                    }
                    (5, _) => {
                        advance(Duration::from_millis(long)).await;
                        level = (level + long * u64::from(permits)).min(full);
                    }
                    (_, 0) => {}
                    (1, _) => drop(runs.swap_remove(who % many)),
                    (2, _) => {
                        let run = &mut runs[who % many];
                        run.real.give_back();
                        let Some((by_floor, newly)) = run.allowed.take() else { continue };
                        run.retrying &= !newly;
                        match (by_floor, share) {
                            (true, _) => level = (level + per).min(full),
                            (false, false) => balance = (balance + below).min(most),
                            (false, true) => {}
                        }
                    }
                    _ => {
                        let was = runs[who % many].retrying;
                        let others = runs.iter().filter(|run| run.retrying).count() as u64 - u64::from(was);
                        let most_share = (many as u64 * above / below).max(reserve);
                        let by_rule = if share { others < most_share } else { balance >= below };
                        let by_floor = !by_rule && level >= per;
                        let run = &mut runs[who % many];
                        assert_eq!(run.real.may_retry(), by_rule || by_floor);
                        if by_rule && !share {
                            balance -= below;
                        }
                        if by_floor {
                            level -= per;
                        }
                        run.allowed = (by_rule || by_floor).then_some((by_floor, !was));
                        run.retrying |= by_rule || by_floor;
                    }
                }
                let retrying = runs.iter().filter(|run| run.retrying).count() as u64;
                let most_share = (runs.len() as u64 * above / below).max(reserve);
                let by_rule = if share { most_share.saturating_sub(retrying) } else { balance / below };
                assert_eq!(budget.available(), by_rule + level / per);
            }
        });
    }
}
