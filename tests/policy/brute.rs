//! What a plan says holds in every run: any policy of a few nanoseconds, any limiter, any calls, any chance.

use std::time::Duration;

use proptest::prelude::*;
use relent::{
    Backoff, Jitter, Policy, Rate, Ratio,
    plan::Warning,
    policy::schedule::{
        attempts::{Attempts, Decision, Next, PolicyStop},
        bounds::CutBy,
        jitter::series,
    },
};

use crate::{bytes, cases, models::source::Source, source};

const CALLS: usize = 60;

/// A call: how long it takes, what its error says, and the number that is drawn after it.
#[derive(Clone, Copy, Debug)]
struct Call {
    takes: u64,
    says: Decision,
    random: u64,
}

/// A run to its end, or to the end of its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    spans: Vec<(u64, u64)>,
    end: End,
    over: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped(PolicyStop),
    Refused,
    Open,
    Hangs,
}

/// A bucket of so many permits at most, full, that gains one in each interval.
type Throttle = Option<(u64, u64)>;

fn run(policy: &Policy, throttle: Throttle, first: u64, calls: &[Call]) -> Run {
    let bounds = (timed(policy, "start_within"), timed(policy, "finish_within"));
    let (mut level, mut asked_at) = throttle.map_or((0, 0), |(interval, burst)| (burst * interval, 0));
    let (mut attempts, mut spans, mut over) = (Attempts::default(), Vec::new(), 0);
    let seed =
        said(policy, "backoff").and_then(|backoff| backoff.split_once("seed ")?.1.split(' ').next()?.parse().ok());
    let mut drawn = 0;
    let mut draw = |random| {
        drawn += 1;
        seed.map_or(random, |seed| series(seed, drawn - 1))
    };
    let mut next = attempts.first(policy, || draw(first));
    for call in calls {
        let planned = match next {
            Next::Start(planned) => planned,
            Next::Stop(why) => return Run { spans, end: End::Stopped(why), over },
            _ => unreachable!("no third way"),
        };
        let mut start = planned;
        if let Some((interval, burst)) = throttle {
            level = (level + (planned - asked_at)).min(burst * interval);
            let wait = interval.saturating_sub(level);
            let last = bounds.0.unwrap_or(u64::MAX).min(bounds.1.map_or(u64::MAX, |hard| hard.saturating_sub(1)));
            if planned.saturating_add(wait) > last && wait > 0 {
                return Run { spans, end: End::Refused, over: planned };
            }
            level = level + wait - interval;
            start = planned + wait;
            asked_at = start;
        }
        attempts.start(policy, start);
        let (cut, by) = attempts.cut(policy);
        let ended = start.saturating_add(call.takes);
        if cut == u64::MAX && call.takes == u64::MAX {
            return Run { spans, end: End::Hangs, over: u64::MAX };
        }
        // An answer that comes with the cut is first.
        let (end, says) = if ended <= cut {
            (ended, Some(call.says))
        } else {
            (cut, (by == CutBy::AttemptTimeout).then(|| after_cut(policy)))
        };
        spans.push((start, end));
        over = end;
        next = match says {
            Some(says) => attempts.end(policy, end, says, || draw(call.random)),
            None => Next::Stop(PolicyStop::Deadline),
        };
    }
    match next {
        Next::Stop(why) => Run { spans, end: End::Stopped(why), over },
        _ => Run { spans, end: End::Open, over },
    }
}

/// The value of a setting, by the policy's text.
fn said(policy: &Policy, name: &str) -> Option<String> {
    let text = policy.to_string();
    text.split(", ").find_map(|item| item.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

fn timed(policy: &Policy, name: &str) -> Option<u64> {
    said(policy, name).map(|text| text.strip_suffix("ns").map_or(0, |text| text.parse().unwrap()))
}

fn after_cut(policy: &Policy) -> Decision {
    said(policy, "on_cut").map_or(Decision::Retry, |text| text.parse().unwrap())
}

fn below(source: &mut Source<'_>, most: u8) -> Duration {
    Duration::from_nanos((source.byte() % most).into())
}

fn schedule(source: &mut Source<'_>) -> Backoff {
    let (base, cap) = (below(source, 12), below(source, 40));
    let mut backoff = match source.byte() % 6 {
        0 => Backoff::fixed(base),
        1 => Backoff::exponential(base, cap),
        2 => Backoff::linear(base, cap),
        3 => Backoff::fibonacci(base, cap),
        4 => Backoff::decorrelated(base, cap),
        _ => Backoff::steps((0..source.byte() % 5).map(|_| below(source, 30)).collect::<Vec<_>>()),
    };
    if source.one_in(3) {
        backoff = backoff.factor(Ratio::percent(u32::from(source.byte() % 4) * 75));
    }
    backoff = match source.byte() % 8 {
        0 => backoff.jitter(Jitter::Full),
        1 => backoff.jitter(Jitter::Equal),
        2 => backoff.jitter(Jitter::Plus(Ratio::percent(u32::from(source.byte())))),
        3 => backoff.jitter(Jitter::PlusMinus(Ratio::percent(u32::from(source.byte())))),
        4 => backoff.jitter(Jitter::None),
        _ => backoff,
    };
    if source.one_in(3) {
        backoff = backoff.take((source.byte() % 5).into());
    }
    if source.one_in(4) {
        backoff = backoff.reset_after(below(source, 40));
    }
    if source.one_in(6) {
        backoff = backoff.seed(source.word());
    }
    if source.one_in(4) { backoff.then(schedule(source)) } else { backoff }
}

fn policy(source: &mut Source<'_>) -> Policy {
    let mut policy = Policy::new();
    let cadence = source.byte() % 5;
    if cadence < 3 {
        policy = policy.every(below(source, 14));
    }
    if cadence > 1 {
        policy = policy.backoff(schedule(source));
    }
    if source.one_in(3) {
        policy = policy.random_phase();
    }
    if source.one_in(2) {
        policy = policy.attempt_timeout(below(source, 40));
    }
    if source.one_in(2) {
        policy = policy.start_within(below(source, 80));
    }
    if source.one_in(2) {
        policy = policy.finish_within(below(source, 90));
    }
    if source.one_in(2) {
        policy = policy.max_attempts((source.byte() % 8).into());
    }
    if source.one_in(3) {
        policy = policy.final_try();
    }
    if source.one_in(3) {
        policy = policy.delay_first();
    }
    policy = match source.byte() % 6 {
        0 => policy.on_cut(Decision::Fatal),
        1 | 2 => policy.on_cut(Decision::RetryAfter(below(source, 40))),
        _ => policy,
    };
    if source.one_in(2) { policy.max_retry_after(below(source, 50)) } else { policy }
}

/// The same policy without a setting, by its text.
fn without(policy: &Policy, name: &str) -> Policy {
    let text = policy.to_string();
    let kept: Vec<_> = text.split(", ").filter(|item| item.split(' ').next() != Some(name)).collect();
    if kept.is_empty() { Policy::new() } else { kept.join(", ").parse().unwrap() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_a_plan_says_holds_in_every_run(bytes in bytes(), more in proptest::collection::vec(any::<u8>(), 600)) {
        let mut source = source(&bytes);
        let policy = policy(&mut source);
        let throttle = source.one_in(3).then(|| (1 + u64::from(source.byte() % 30), u64::from(source.byte() % 4)));
        let mut plan = policy.plan();
        if let Some((interval, burst)) = throttle {
            plan = plan.throttled(Rate::every(Duration::from_nanos(interval)).unwrap(), burst.try_into().unwrap());
        }
        let foreseen = said(&policy, "max_retry_after").is_some();
        let mut source = crate::source(&more);
        let call = |takes, random| Call { takes, says: Decision::Retry, random };
        let at_once: Vec<Call> = (0..CALLS).map(|_| call(0, source.random())).collect();
        let hung: Vec<Call> = (0..CALLS).map(|_| call(u64::MAX, source.random())).collect();
        let any: Vec<Call> = (0..CALLS).map(|_| {
            let takes = match source.byte() % 4 { 0 => 0, 1 => 1000, _ => u64::from(source.byte() % 50) };
            let says = if foreseen && source.one_in(3) { Decision::RetryAfter(below(&mut source, 60)) } else { Decision::Retry };
            Call { takes, says, random: source.random() }
        }).collect();
        let first = source.random();
        let what = format!("{policy}\n{throttle:?}\n{plan}");
        for calls in [&at_once, &hung, &any] {
            let ran = run(&policy, throttle, first, calls);
            let what = format!("{what}{ran:?}");
            if let Some(total) = plan.worst_total() {
                prop_assert!(ran.end != End::Hangs && u128::from(ran.over) <= total.as_nanos(), "{what}");
            }
            let other = |name: &str| run(&without(&policy, name), throttle, first, calls);
            let same_without = |name: &str| {
                let other = other(name);
                (other.spans == ran.spans) && (matches!(other.end, End::Stopped(_)) == matches!(ran.end, End::Stopped(_)))
            };
            for warning in plan.warnings() {
                let holds = match warning {
                    Warning::NothingAttempted { .. } => ran.spans.is_empty(),
                    Warning::NoRetry { .. } => ran.spans.len() <= 1,
                    Warning::LimiterRefuses { attempts, .. } => ran.spans.len() <= *attempts,
                    Warning::PermitNeverComes { before, .. } | Warning::PauseWithoutEnd { before, .. } => ran.spans.len() < *before,
                    Warning::AttemptsUnreachable { reachable, .. } => ran.spans.len() <= *reachable,
                    Warning::HungCallGetsNoRetry { at_most, by_chance, .. } => {
                        let again = |timeout: Duration| run(&policy.clone().attempt_timeout(timeout), throttle, first, &hung).spans.len() > 1;
                        at_most.is_none_or(again) && (*by_chance || run(&policy, throttle, first, &hung).spans.len() <= 1)
                    }
                    Warning::AttemptTimeoutUnused { .. } => same_without("attempt_timeout"),
                    Warning::StartWindowUnused { .. } => same_without("start_within"),
                    // A limiter that saves nothing may refuse it instead.
                    Warning::FinalTryUnused => other("final_try").spans == ran.spans,
                    Warning::OnCutUnused => same_without("on_cut"),
                    Warning::MaxRetryAfterUnused { .. } => same_without("max_retry_after"),
                    Warning::RandomPhaseUnused => same_without("random_phase"),
                    Warning::CallNeverCut => run(&policy, throttle, first, &hung).end == End::Hangs
                        || run(&policy, throttle, first, &hung).spans.is_empty(),
                    _ => true,
                };
                prop_assert!(holds, "{warning:?}\n{what}");
            }
        }
        let best = run(&policy, throttle, first, &at_once);
        if !plan.warnings().iter().any(|warning| matches!(warning, Warning::ResetDefeated { .. })) {
            let may_exceed = policy.to_string().contains("random_phase") || policy.to_string().contains("reset_after");
            prop_assert!(may_exceed || best.spans.len() <= plan.best().attempts(), "{what}{best:?}");
        }
        if plan.warnings().iter().any(|warning| matches!(warning, Warning::JitterSwallowed { .. })) {
            let other = run(&policy, throttle, !first, &at_once.iter().map(|call| Call { random: !call.random, ..*call }).collect::<Vec<_>>());
            prop_assert_eq!(&best.spans, &other.spans, "{}", what);
        }
    }
}
