//! The plan: it is what runs do, it bounds them, and it warns of what is likely not meant, and of nothing else.

use std::time::Duration;

use proptest::prelude::*;
use relent::{
    Policy,
    plan::{Course, Finish, PolicyStop, Warning},
};

use crate::{
    bytes, cases,
    models::{
        FOREVER,
        attempts::{Call, End, Says, drive},
        backoff::nanos,
    },
    source,
};

fn plan(text: &str) -> relent::plan::Plan {
    text.parse::<Policy>().unwrap().plan()
}

#[test]
fn the_plan_of_three_bounds() {
    let plan = plan("every 50ms, start_within 350ms, attempt_timeout 10s");
    let starts: Vec<u128> = plan.best().starts().map(|start| start.as_millis()).collect();
    assert_eq!(starts, [0, 50, 100, 150, 200, 250, 300, 350]);
    assert_eq!(plan.best().finish(), Finish::Stops(PolicyStop::StartWindow));
    assert_eq!(plan.best().total(), Some(Duration::from_millis(350)));
    assert_eq!(plan.worst().starts().collect::<Vec<_>>(), [Duration::ZERO]);
    assert_eq!(plan.worst().ends().collect::<Vec<_>>(), [Duration::from_secs(10)]);
    assert_eq!(plan.worst_total(), Some(Duration::from_millis(10_350)));
}

#[test]
fn an_endless_plan_is_readable() {
    let text = plan("default").to_string();
    let expected = "\
default

  calls fail at once, longest pauses: attempts without end
  #||.|...|.......|...........|...........|............|...........|...>
  0 1.5s  6.3s    12.7s       22.7s       32.7s        42.7s       52.7s
  jitter may make each pause shorter, down to none

  calls hang: the first attempt never ends
  |====================================================================>
  0

  nothing bounds how long it takes: a call may hang

  warning: a call that hangs is never cut: there is neither attempt_timeout nor
  finish_within

  warning: the retries never end: there is no start_within, finish_within or
  max_attempts
";
    assert_eq!(text, expected);
}

#[test]
fn a_long_plan_is_readable() {
    let text = plan("every 1s, attempt_timeout 3s, max_attempts 5000").to_string();
    let expected = "\
every 1s, attempt_timeout 3s, max_attempts 5000

  calls fail at once: more than 1000 attempts
  |.....|.....|.....|.....|.....|....|.....|.....|.....|.....|.....|...>
  0     1s    2s    3s    4s    5s   6s    7s    8s    9s    10s   11s

  calls hang until they are cut: more than 1000 attempts
  |===x|====x|===x|====x|===x|====x|===x|===x|====x|===x|====x|====x...>
  0    3s    6s   9s    12s  15s   18s  21s  24s   27s  30s   33s  36s

  at worst it takes 5h16m40s: every call may run for 3s
";
    // More than is looked at, and yet its bound is known: 4999 pauses until the tick after, no call longer than 3 s.
    assert_eq!(text, expected);
}

#[test]
fn sane_policies_have_no_warning() {
    let sane = [
        "every 50ms, start_within 350ms, attempt_timeout 100ms",
        "every 1s, attempt_timeout 10s, finish_within 5m",
        "every 300ms, start_within 1s, final_try, attempt_timeout 200ms",
        "attempt_timeout 5s, finish_within 30s",
        "attempt_timeout 5s, finish_within 30s, final_try",
        "attempt_timeout 2s, max_attempts 5",
        "attempt_timeout 2s, max_attempts 1",
        "finish_within 10s, max_attempts 1",
        "attempt_timeout 5s, max_attempts 3, on_cut fatal",
        "backoff steps 1s 2s 5s, attempt_timeout 10s",
        "backoff steps 1s 2s 5s, attempt_timeout 10s, max_attempts 4",
        "backoff fixed 1s take 3 then fixed 1m, attempt_timeout 10s, finish_within 10m",
        "backoff exponential 1s..1m reset_after 5m",
        "backoff fixed 0ns, max_attempts 3, attempt_timeout 1s",
        "backoff decorrelated 50ms..5s, attempt_timeout 1s, max_attempts 8, max_retry_after 30s",
        "attempt_timeout 1s, start_within 10s, finish_within 12s, max_retry_after 5s",
        "delay_first, every 1s, attempt_timeout 5s, start_within 1m",
        "every 10s, random_phase, attempt_timeout 1s, finish_within 5m",
        "every 10s, random_phase, backoff exponential 100ms..5s, attempt_timeout 1s, finish_within 5m",
        "every 10s, backoff exponential 100ms..5s seed 1, attempt_timeout 1s, finish_within 5m",
        "every 1s, backoff exponential 100ms..5s, attempt_timeout 1s, finish_within 5m",
        "backoff exponential 100ms..5s take 5, attempt_timeout 1s",
    ];
    for text in sane {
        assert_eq!(plan(text).warnings(), [], "{text}");
    }
}

#[test]
fn warnings_say_what_defeats_what() {
    let hung = "a call that hangs gets no second try: ";
    let uncut = "a call that hangs is never cut: there is neither attempt_timeout nor finish_within";
    let final_try = "final_try adds no attempt: it needs a start_within that the cadence does not meet anyway, or both \
                     attempt_timeout and a longer finish_within";
    let warned: &[(&str, &[&str])] = &[
        (
            "every 50ms, start_within 350ms, attempt_timeout 10s",
            &[&format!(
                "{hung}attempt_timeout 10s outlasts start_within 350ms; an attempt_timeout of at most 350ms would give it one"
            )],
        ),
        (
            "backoff fixed 1s, attempt_timeout 4500ms, finish_within 5s",
            &[&format!(
                "{hung}attempt_timeout 4.5s leaves no time for one in finish_within 5s; an attempt_timeout of at most 3.999s would give it one"
            )],
        ),
        (
            "backoff fixed 1s, finish_within 5s",
            &[&format!("{hung}only finish_within 5s cuts it; an attempt_timeout of at most 3.999s would give it one")],
        ),
        (
            "every 1s, attempt_timeout 10s, finish_within 5s",
            &[
                &format!(
                    "{hung}attempt_timeout 10s outlasts finish_within 5s; an attempt_timeout of at most 4s would give it one"
                ),
                "attempt_timeout 10s is never reached: finish_within 5s cuts first",
            ],
        ),
        (
            "every 1s, attempt_timeout 2s, start_within 1m, finish_within 1m",
            &["start_within 1m has no effect: nothing starts after finish_within 1m"],
        ),
        (
            "every 1s, attempt_timeout 0ns, max_attempts 3",
            &["only a call that is ready at once can succeed: it is cut after 0ns"],
        ),
        ("every 1s, start_within 5s", &[uncut]),
        ("default", &[uncut, "the retries never end: there is no start_within, finish_within or max_attempts"]),
        (
            "backoff fixed 0ns, attempt_timeout 1s, finish_within 50s",
            &["calls that fail at once are repeated without any pause, and no max_attempts ends it soon"],
        ),
        (
            "backoff exponential 1s..1m factor 0 jitter none, attempt_timeout 1s",
            &["calls that fail at once are repeated without any pause, and no max_attempts ends it soon"],
        ),
        ("max_attempts 0", &["nothing is ever attempted: max_attempts is 0"]),
        (
            "delay_first, every 10s, start_within 5s",
            &["nothing is ever attempted: delay_first waits beyond start_within"],
        ),
        (
            "delay_first, backoff steps",
            &["nothing is ever attempted: delay_first waits for a delay, and the backoff has none"],
        ),
        (
            "every 10s, start_within 5s, attempt_timeout 1s",
            &["there is never a retry: the first pause goes beyond start_within"],
        ),
        ("backoff steps, attempt_timeout 1s", &["there is never a retry: the backoff has no delay for it"]),
        (
            "backoff exponential 10s..1m, start_within 1s, attempt_timeout 500ms",
            &["jitter decides whether there is any retry: the longest first pause goes beyond 1s"],
        ),
        ("every forever, attempt_timeout 1s", &["the pause before attempt 2 has no end"]),
        ("attempt_timeout 1s, max_attempts 3, final_try", &[final_try]),
        // The start window has an effect: without it the final try would come at 4 s.
        ("every 3s, attempt_timeout 1s, start_within 5s, finish_within 5s, final_try", &[final_try]),
        // And so has the deadline: without it there would be no final try at the start.
        ("every 9s, delay_first, attempt_timeout 5s, finish_within 5s, final_try, max_attempts 1", &[]),
        ("every 50ms, attempt_timeout 100ms, start_within 350ms, final_try", &[final_try]),
        (
            "every 50ms, attempt_timeout 100ms, start_within 350ms, max_attempts 20",
            &["max_attempts 20 is never reached: at most 8 fit before start_within ends the run"],
        ),
        (
            "backoff steps 1s 2s, attempt_timeout 1s, max_attempts 20",
            &["max_attempts 20 is never reached: at most 3 fit before the backoff ends the run"],
        ),
        (
            "backoff steps 1s 2s 5s, attempt_timeout 1s, max_attempts 3",
            &["max_attempts leaves room for 2 of the 3 delays of the backoff"],
        ),
        (
            "max_attempts 3, finish_within 1m, on_cut fatal",
            &[
                "on_cut is about calls cut by attempt_timeout, and none ever is: only for attempts dropped by hand does it say what \
               follows",
            ],
        ),
        (
            "attempt_timeout 1s, start_within 10s, max_retry_after 1m",
            &["max_retry_after 1m has no effect: a pause beyond 10s ends the run"],
        ),
        (
            "backoff fixed 1s reset_after 5m, attempt_timeout 10s, max_attempts 9",
            &["reset_after 5m is never reached: calls are cut after 10s"],
        ),
        (
            "backoff exponential 1s..1m reset_after 5m, max_attempts 9",
            &[
                "reset_after starts the backoff over, not the count: max_attempts 9 ends the run, however long its attempts were healthy",
            ],
        ),
        (
            "every 10s, backoff exponential 100ms..5s, attempt_timeout 1s, finish_within 5m",
            &[
                "every 10s swallows the jitter of the backoff: calls that fail at once start again on its grid, in all runs that \
               began together at the same instants; random_phase spreads them",
            ],
        ),
        (
            "random_phase, attempt_timeout 1s, max_attempts 3",
            &["random_phase has no effect: it is about the grid of every, and there is none"],
        ),
        (
            "backoff fixed 1s then fixed 2s, attempt_timeout 10s, max_attempts 9",
            &["the backoff never comes to what is behind `then`: the schedule before it has no end"],
        ),
        (
            "backoff linear 10s..1s, attempt_timeout 10s, max_attempts 9",
            &["the cap 1s of the backoff is below its first delay 10s: no delay exceeds the cap"],
        ),
    ];
    for (text, expected) in warned {
        let said: Vec<String> = plan(text).warnings().iter().map(Warning::to_string).collect();
        assert_eq!(said, *expected, "{text}");
    }
}

/// How many attempts of a course the naive model is asked for.
const COMPARED: usize = 48;

/// The plan's course is the model's run.
fn same(course: &Course, settings: &crate::models::attempts::Settings, call: Call) {
    let history = settings.history(&settings.seeded(&[call; COMPARED]));
    let spans = course.starts().zip(course.ends()).map(|(start, end)| (start.as_nanos(), end.as_nanos()));
    let expected: Vec<(u128, u128)> = history.attempts.iter().map(|&(start, end, _)| (start, end)).collect();
    let compared: Vec<(u128, u128)> = spans.take(expected.len()).collect();
    assert_eq!(compared, expected);
    match history.end {
        End::Stopped(why) => {
            assert_eq!((course.attempts(), course.finish()), (expected.len(), Finish::Stops(why)));
            assert_eq!(course.total().unwrap().as_nanos(), expected.last().map_or(0, |last| last.1));
        }
        End::Never if course.finish() == Finish::Waits => assert_eq!(course.attempts(), expected.len()),
        End::Never => assert_eq!((course.attempts(), course.finish()), (expected.len() + 1, Finish::Hangs)),
        End::Open => assert!(course.attempts() >= COMPARED),
    }
    assert_eq!(course.finish() == Finish::GoesOn, course.total().is_none() && course.attempts() == 1000);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn courses_are_the_runs_of_the_model(bytes in bytes()) {
        let settings = source(&bytes).settings();
        let plan = settings.policy().plan();
        let at_once = Call { takes: Duration::ZERO, says: Says::Retry, random: 0, late: Duration::ZERO };
        same(plan.best(), &settings, at_once);
        same(plan.longest_pauses(), &settings, Call { random: u64::MAX, ..at_once });
        // Of random grids the worst is not the latest: `the_worst_grid_is_found`.
        if !settings.random_phase {
            same(plan.worst(), &settings, Call { takes: Duration::MAX, random: u64::MAX, ..at_once });
        }
    }

    #[test]
    fn no_run_exceeds_its_plan(bytes in bytes()) {
        let mut source = source(&bytes);
        let settings = source.settings();
        let plan = settings.policy().plan();
        // What is late is late: a plan knows nothing of it.
        let on_time = |call: Call| Call { late: Duration::ZERO, ..call };
        let calls: Vec<Call> = settings.seeded(&(0..40).map(|_| on_time(source.call())).collect::<Vec<_>>());
        let bound = |time: Option<Duration>| time.map_or(FOREVER, nanos);
        let windows = bound(settings.start_within) + bound(settings.attempt_timeout);
        let latest = windows.min(bound(settings.finish_within));
        prop_assert!(drive(&settings, &calls).attempts.last().map_or(0, |last| last.1) <= latest);
        // A pause that only an error knows of is no part of the plan.
        let is_foreseen = bound(settings.max_retry_after) < FOREVER;
        let foreseen = |says| match says {
            Says::RetryAfter(_) if !is_foreseen => Says::Retry,
            says => says,
        };
        let calls: Vec<Call> = calls.iter().map(|call| Call { says: foreseen(call.says), ..*call }).collect();
        let history = drive(&settings, &calls);
        if let Some(total) = plan.worst_total() {
            let end = history.attempts.last().map_or(0, |last| last.1);
            prop_assert!(end <= total.as_nanos(), "{}: {end} after {total:?}", settings.policy());
            prop_assert_ne!(history.end, End::Never, "{}: {:?} {:?}", settings.policy(), total, calls);
        }
        // A backoff that starts over after an attempt that was long enough has no end by itself.
        let starts_over = settings.backoff.as_ref().is_some_and(|backoff| backoff.reset_after().is_some());
        // Beside a backoff some grid may fit one more: `no_grid_exceeds_the_plan`.
        let fits_more = settings.random_phase && settings.every.is_some() && settings.backoff.is_some();
        if !starts_over && !fits_more && plan.best().finish() != Finish::GoesOn {
            prop_assert!(history.attempts.len() <= plan.best().attempts());
        }
    }

    /// Where neither a window nor a server has a say, hanging calls and the longest pauses are the worst there is.
    #[test]
    fn the_worst_total_is_reached(bytes in bytes()) {
        let mut settings = source(&bytes).settings();
        (settings.start_within, settings.finish_within, settings.max_retry_after) = (None, None, None);
        settings.on_cut = Says::Retry;
        let mut schedule = settings.backoff.as_mut();
        while let Some(backoff) = schedule {
            backoff.reset_after = None;
            schedule = backoff.then.as_deref_mut();
        }
        let plan = settings.policy().plan();
        if plan.worst().finish() == Finish::GoesOn {
            return Ok(());
        }
        // Of a random grid beside a backoff the worst place is known to a period only.
        match settings.every.filter(|_| settings.random_phase && settings.backoff.is_some()) {
            None => prop_assert_eq!(plan.worst_total(), plan.worst().total(), "{}", plan),
            Some(every) => {
                let (total, reached) = (plan.worst_total(), plan.worst().total());
                prop_assert!(total.is_none() || reached <= total, "{}", plan);
                let bound = |total: Option<Duration>| total.map_or(FOREVER, nanos);
                prop_assert!(bound(total) <= bound(reached).saturating_add(nanos(every)), "{}", plan);
            }
        }
    }

    #[test]
    fn advice_helps(bytes in bytes()) {
        let policy = source(&bytes).settings().policy();
        for warning in policy.plan().warnings() {
            let &Warning::HungCallGetsNoRetry { at_most: Some(most), .. } = warning else { continue };
            let with = |timeout: Duration| policy.clone().attempt_timeout(timeout).plan();
            prop_assert!(with(most).worst().attempts() > 1, "{policy}: {most:?}");
            prop_assert_eq!(with(most + Duration::from_nanos(1)).worst().attempts(), 1, "{}: {:?}", policy, most);
        }
    }

    /// What is said to be without effect changes no run when it is taken away.
    #[test]
    fn what_is_unused_is_not_missed(bytes in bytes()) {
        let mut source = source(&bytes);
        let settings = source.settings();
        let calls: Vec<Call> = settings.seeded(&(0..40).map(|_| source.call()).collect::<Vec<_>>());
        for warning in settings.policy().plan().warnings() {
            let mut without = settings.clone();
            match warning {
                Warning::AttemptTimeoutUnused { .. } => without.attempt_timeout = None,
                Warning::StartWindowUnused { .. } => without.start_within = None,
                Warning::MaxRetryAfterUnused { .. } => without.max_retry_after = None,
                Warning::OnCutUnused => without.on_cut = Says::Retry,
                Warning::FinalTryUnused => without.final_try = false,
                Warning::RandomPhaseUnused => without.random_phase = false,
                _ => continue,
            }
            prop_assert_eq!(drive(&settings, &calls), drive(&without, &calls), "{}: {}", settings.policy(), warning);
        }
    }

    #[test]
    fn every_plan_fits_a_terminal(bytes in bytes()) {
        let plan = source(&bytes).settings().policy().plan();
        let text = plan.to_string();
        for line in text.lines() {
            prop_assert!(line.chars().count() < 80, "{}", text);
            prop_assert_eq!(line.trim_end(), line);
        }
        for warning in plan.warnings() {
            prop_assert!(!warning.to_string().ends_with('.'));
        }
    }
}

/// A cap on what servers ask for that is longer than the window still says how long others pause, or how far a default
/// window moves.
#[test]
fn what_is_asked_for_may_count_beyond_the_window() {
    let unused = |policy: &Policy| {
        policy.plan().warnings().iter().any(|warning| matches!(warning, Warning::MaxRetryAfterUnused { .. }))
    };
    let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 10s, max_retry_after 1m".parse().unwrap();
    assert!(unused(&policy));
    assert!(!unused(&policy.share_retry_after()));
    let (window, asked, each) = (Duration::from_millis(350), Duration::from_secs(10), Duration::from_secs(1));
    let default_window = Policy::new().every(Duration::from_millis(50)).attempt_timeout(each);
    let default_window = default_window.default_start_within(window, asked);
    assert_eq!(default_window.plan().worst_total(), Some(window + each), "nothing that is asked for is foreseen");
    let default_window = default_window.max_retry_after(each);
    assert!(!unused(&default_window));
    assert_eq!(default_window.plan().worst_total(), Some(window + asked + each));
}

/// A default window is one while the plan tries other deadlines, too.
#[test]
fn a_hung_call_in_a_default_window() {
    let (window, asked, each) = (Duration::from_millis(350), Duration::from_secs(10), Duration::from_secs(10));
    let policy = Policy::new().every(Duration::from_millis(50)).attempt_timeout(each);
    let warned = |policy: Policy| policy.plan().warnings().iter().map(Warning::to_string).collect::<Vec<_>>();
    assert_eq!(warned(policy.clone().default_start_within(window, asked)), warned(policy.start_within(window)));
}

/// Where chance decides, that is said.
#[test]
fn a_hung_call_on_a_random_grid() {
    let warned = |text: &str| plan(text).warnings().iter().map(Warning::to_string).collect::<Vec<_>>();
    assert_eq!(
        warned("every 10s, random_phase, start_within 16s, attempt_timeout 8s"),
        [
            "a call that hangs may get no second try, as chance has it: attempt_timeout 8s leaves no time for one in start_within 16s; an attempt_timeout of at most 6s would give it one"
        ]
    );
    let none = warned("every 10s, random_phase, start_within 16s, attempt_timeout 30s");
    assert!(none[0].starts_with("a call that hangs gets no second try: "), "{none:?}");
}
