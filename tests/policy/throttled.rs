//! A plan with a limiter is what real runs with that limiter do, under the paused clock.
#![allow(clippy::disallowed_methods)]

use std::{cell::RefCell, time::Duration};

use proptest::prelude::*;
use relent::{
    Backoff, GaveUp, Limiter, Policy, Rate, Stop,
    plan::{Course, Finish, Plan, Warning},
    retry,
};
use tokio::time::{Instant, sleep, timeout};

use crate::cases;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

/// A run whose calls fail after these times; calls beyond them fail at once. `None`: it never ends.
async fn run(
    policy: &Policy,
    (rate, burst): (Rate, u32),
    takes: impl Fn(usize) -> Duration,
) -> (Vec<Duration>, Option<GaveUp<&'static str>>) {
    let starts = RefCell::new(Vec::new());
    let began = Instant::now();
    let run = retry(|_| {
        let takes = takes(starts.borrow().len());
        starts.borrow_mut().push(began.elapsed());
        async move {
            if takes > Duration::ZERO {
                sleep(takes).await;
            }
            Err::<(), _>("no")
        }
    })
    .policy(policy)
    .throttle(&Limiter::new(rate, burst));
    let gave_up = timeout(LONG, run.into_future()).await.ok().map(Result::unwrap_err);
    (starts.into_inner(), gave_up)
}

/// The course is the run, attempt by attempt, and ends for the same reason at the same time.
fn same(course: &Course, starts: &[Duration], gave_up: Option<&GaveUp<&'static str>>) {
    assert_eq!(course.starts().collect::<Vec<_>>(), starts);
    let Some(gave_up) = gave_up else {
        return assert!(matches!(course.finish(), Finish::Starves | Finish::Hangs), "{course:?}");
    };
    match (course.finish(), gave_up.stop()) {
        (Finish::Stops(why), stop) => assert_eq!(Stop::from(why), *stop),
        (Finish::Limiter { ready_in, allowed, .. }, Stop::Limiter { ready_in: takes, allowed: left, .. }) => {
            assert_eq!((ready_in, allowed), (*takes, *left));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(course.total(), Some(gave_up.elapsed()));
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![1 => Just(0), 4 => (0_u32..12).prop_map(|tens| tens * 10), 2 => 0_u32..150].prop_map(|ms| ms * MS)
}

prop_compose! {
    fn policies()(
        pace in time(),
        is_grid: bool,
        bounds in proptest::array::uniform3(proptest::option::of(time())),
        attempts in 1_u32..8,
        switches: [bool; 2],
    ) -> Policy {
        let mut policy = Policy::new().max_attempts(attempts);
        policy = if is_grid { policy.every(pace) } else { policy.backoff(Backoff::fixed(pace)) };
        let [timeout, window, hard] = bounds;
        if let Some(timeout) = timeout {
            policy = policy.attempt_timeout(timeout);
        }
        if let Some(window) = window {
            policy = policy.start_within(window * 4);
        }
        if let Some(hard) = hard {
            policy = policy.finish_within(hard * 5);
        }
        if switches[0] {
            policy = policy.final_try();
        }
        if switches[1] {
            policy = policy.delay_first();
        }
        policy
    }
}

fn limiters() -> impl Strategy<Value = (Rate, u32)> {
    let rates = prop_oneof![
        1 => Just(Rate::ZERO),
        1 => Just(Rate::UNLIMITED),
        2 => Just(Rate::per_second(5)),
        6 => (1_u32..300).prop_map(|ms| Rate::every(ms * MS).unwrap()),
    ];
    (rates, 0_u32..5)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_courses_are_real_runs(policy in policies(), limiter in limiters()) {
        let plan = policy.plan().throttled(limiter.0, limiter.1);
        let (starts, gave_up) = block_on(run(&policy, limiter, |_| Duration::ZERO));
        same(plan.best(), &starts, gave_up.as_ref());
        let (starts, gave_up) = block_on(run(&policy, limiter, |_| Duration::MAX));
        same(plan.worst(), &starts, gave_up.as_ref());
    }

    #[test]
    fn no_real_run_exceeds_its_plan(
        policy in policies(),
        limiter in limiters(),
        takes in proptest::collection::vec(time(), 8),
    ) {
        let plan = policy.plan().throttled(limiter.0, limiter.1);
        let (starts, gave_up) = block_on(run(&policy, limiter, |index| takes.get(index).copied().unwrap_or_default()));
        prop_assert!(starts.len() <= plan.best().attempts(), "{starts:?}\n{plan}");
        if let Some(total) = plan.worst_total() {
            let gave_up = gave_up.expect("the plan says that it ends");
            prop_assert!(gave_up.elapsed() <= total, "{gave_up:?}\n{plan}");
        }
    }

    #[test]
    fn every_plan_fits_a_terminal(policy in policies(), limiter in limiters(), percent in 0_u32..300, reserve: u32) {
        let plan = policy.plan().throttled(limiter.0, limiter.1).budgeted(relent::Ratio::percent(percent), reserve);
        for line in plan.to_string().lines() {
            prop_assert!(line.chars().count() < 80 && line.trim_end() == line, "{}", plan);
        }
    }
}

fn kubeadm() -> Plan {
    "every 50ms, start_within 350ms, attempt_timeout 100ms".parse::<Policy>().unwrap().plan()
}

#[test]
fn warnings_of_a_limiter() {
    let warned = |plan: Plan| plan.warnings().iter().map(Warning::to_string).collect::<Vec<_>>();
    let none: [&str; 0] = [];
    assert_eq!(warned(kubeadm().throttled(Rate::per_second(5), 10)), none);
    assert_eq!(
        warned(kubeadm().throttled(Rate::per_second(5), 0)),
        ["there is never a retry: the next permit of the limiter takes 200ms, and 100ms is left"]
    );
    assert_eq!(
        warned(kubeadm().throttled(Rate::per_second(1), 0)),
        ["nothing is ever attempted: the next permit of the limiter takes 1s, and 350ms is left"]
    );
    assert_eq!(
        warned(kubeadm().throttled(Rate::ZERO, 1)),
        ["there is never a retry: the limiter has no further permit"]
    );
    let unbounded = "every 50ms, max_attempts 5, attempt_timeout 1s".parse::<Policy>().unwrap().plan();
    assert_eq!(warned(unbounded.throttled(Rate::ZERO, 2)), ["the limiter never has a permit for attempt 3"]);
}

#[test]
fn the_picture_shows_the_limiter() {
    let text = kubeadm().throttled(Rate::per_second(5), 2).to_string();
    let expected = "\
every 50ms, attempt_timeout 100ms, start_within 350ms
limiter: 5/s, burst 2, for this run alone

  calls fail at once: 3 attempts, ended at 250ms by the limiter: the next
  permit takes 150ms, and 100ms is left
  1 of them waits for the limiter, up to 100ms
  |.............|.............~~~~~~~~~~~~~~~~~~~~~~~~~~~|.............!
  0             50ms                                     200ms     250ms

  calls hang until they are cut: 3 attempts, ended at 300ms by the limiter: the
  next permit takes 100ms, and 50ms is left
  |=====================x|=====================x|======================!
  0                      100ms                  200ms              300ms

  at worst it takes 450ms: a call may start at 350ms and run for 100ms
";
    assert_eq!(text, expected);
}

#[test]
fn a_budget_is_put_into_numbers() {
    let last = |plan: Plan| plan.to_string().lines().last().unwrap().to_owned();
    let text = kubeadm().budgeted(relent::Ratio::percent(10), 20).to_string();
    assert!(
        text.ends_with(
            "\n  when all fail, 100 runs make at most 30 retries instead of 700: 10 by the\n  budget, 20 from its reserve\n"
        ),
        "{text}"
    );
    assert_eq!(
        last(kubeadm().budgeted(relent::Ratio::percent(1000), 0)),
        "  the budget refuses none of the 700 retries of 100 runs that all fail"
    );
}
