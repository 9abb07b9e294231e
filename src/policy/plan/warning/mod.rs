//! Settings that defeat each other.

mod text;

use std::time::Duration;

use crate::policy::{
    nanos::{FOREVER, duration},
    plan::{
        course::{Calls, Course, Finish},
        forecast::Forecast,
    },
    schedule::{
        DELAY_FIRST, FINAL_TRY, Policy, RANDOM_PHASE, SET_EVERY, SHARE_RETRY_AFTER,
        attempts::{Decision, PolicyStop},
        bounds::Bounds,
    },
};

/// Something about a policy that is likely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Not even the first attempt starts.
    #[non_exhaustive]
    NothingAttempted {
        /// What prevents it.
        why: PolicyStop,
    },
    /// There is never a retry, although more than one attempt is allowed.
    #[non_exhaustive]
    NoRetry {
        /// What prevents it.
        why: PolicyStop,
    },
    /// The limiter lets in no attempt, or only the first, although the settings allow more.
    #[non_exhaustive]
    LimiterRefuses {
        /// How many it lets in.
        attempts: usize,
        /// How long the next permit takes; `Duration::MAX` is never.
        ready_in: Duration,
        /// How long the bounds allow.
        allowed: Duration,
    },
    /// The limiter has no permit for this attempt, ever, and nothing bounds the wait for it.
    #[non_exhaustive]
    PermitNeverComes {
        /// The attempt that never comes.
        before: usize,
    },
    /// Even the shortest pause before this attempt has no end.
    #[non_exhaustive]
    PauseWithoutEnd {
        /// The attempt that never comes.
        before: usize,
    },
    /// Jitter decides whether there is any retry: a long first pause goes beyond the window.
    #[non_exhaustive]
    RetryByChance {
        /// The window.
        bound: Duration,
    },
    /// A call that hangs uses up the window, so that there is no second try.
    #[non_exhaustive]
    HungCallGetsNoRetry {
        /// The deadline of each call, if it has one.
        attempt_timeout: Option<Duration>,
        /// The setting that leaves no room for a second try.
        window: &'static str,
        /// Its value.
        bound: Duration,
        /// The longest `attempt_timeout` with which there would be a second try, if there is one.
        at_most: Option<Duration>,
        /// Jitter or the grid of `random_phase` decides: some runs may get one.
        by_chance: bool,
    },
    /// The deadline of each call is never reached: the bound on everything is.
    #[non_exhaustive]
    AttemptTimeoutUnused {
        /// The deadline of each call.
        attempt_timeout: Duration,
        /// The bound on everything.
        finish_within: Duration,
    },
    /// The start window closes no sooner than the bound on everything.
    #[non_exhaustive]
    StartWindowUnused {
        /// The start window.
        start_within: Duration,
        /// The bound on everything.
        finish_within: Duration,
    },
    /// Calls are cut before they can wait for anything.
    NoTimeToAnswer,
    /// A call that hangs is never cut.
    CallNeverCut,
    /// Nothing ends the retries.
    Endless,
    /// Retries follow each other without a pause, and time alone ends them, if anything does.
    Spins,
    /// `final_try` adds no attempt.
    FinalTryUnused,
    /// Fewer attempts fit than are allowed.
    #[non_exhaustive]
    AttemptsUnreachable {
        /// What is allowed.
        max_attempts: u32,
        /// What fits.
        reachable: usize,
        /// What ends the run before.
        why: PolicyStop,
    },
    /// The backoff has more delays than the attempts allow pauses.
    #[non_exhaustive]
    DelaysUnused {
        /// How many it has.
        delays: u64,
        /// How many are used at most.
        used: u64,
    },
    /// `on_cut` decides what follows a call cut by its own deadline, and none is. It holds all the same for an attempt
    /// that the owner of a [`AttemptLoop`](crate::builder::AttemptLoop) drops.
    OnCutUnused,
    /// A pause longer than the window ends the run, whatever `max_retry_after` says.
    #[non_exhaustive]
    MaxRetryAfterUnused {
        /// The cap on what a server may ask for.
        max_retry_after: Duration,
        /// The window.
        bound: Duration,
    },
    /// No attempt runs as long as `reset_after` asks.
    #[non_exhaustive]
    ResetUnreachable {
        /// How long an attempt would have to run.
        reset_after: Duration,
        /// How long it may run.
        longest: Duration,
    },
    /// `reset_after` starts the backoff over, but `max_attempts` ends the run all the same: for a loop that is to live
    /// long it is too few.
    #[non_exhaustive]
    ResetDefeated {
        /// How many attempts there are in all.
        max_attempts: u32,
    },
    /// The grid of `every` is so wide that calls which fail at once start again on it, whatever the jitter of the
    /// backoff: runs that began together stay together.
    #[non_exhaustive]
    JitterSwallowed {
        /// The period of the grid.
        every: Duration,
    },
    /// `random_phase` is about the grid of `every`, and there is none.
    RandomPhaseUnused,
    /// A schedule without an end is followed by another.
    FollowerUnreachable,
    /// The cap is below the first delay, so that every delay is at most the cap.
    #[non_exhaustive]
    CapBelowBase {
        /// The first delay.
        base: Duration,
        /// The cap.
        cap: Duration,
    },
}

/// Everything there is to warn of, the gravest first.
pub(super) fn all(forecast: &Forecast) -> Vec<Warning> {
    let policy = &forecast.policy;
    if let Finish::Stops(why) = forecast.best.finish
        && forecast.best.spans.is_empty()
    {
        return vec![Warning::NothingAttempted { why }];
    }
    let mut found = Vec::new();
    of_time(forecast, &mut found);
    of_retries(forecast, &mut found);
    of_switches(policy, &mut found);
    if policy.uses_backoff() {
        of_backoff(policy, &mut found);
        of_jitter(forecast, &mut found);
    }
    found
}

/// The bounds, one against the other.
fn of_time(forecast: &Forecast, found: &mut Vec<Warning>) {
    let policy = &forecast.policy;
    let bounds = policy.bounds();
    let (own, window, hard) = (bounds.attempt_timeout, bounds.start_within, bounds.finish_within);
    if own == 0 || hard == 0 {
        found.push(Warning::NoTimeToAnswer);
    } else if let Some(warning) = hung_call(forecast) {
        found.push(warning);
    }
    // `final_try` reckons with both of them.
    let moves_final_try = |without: Bounds| policy.has(FINAL_TRY) && bounds.last_chance() != without.last_chance();
    let uncut = Bounds { attempt_timeout: FOREVER, ..*bounds };
    let open = Bounds { start_within: FOREVER, ..*bounds };
    if own != FOREVER && own >= hard && hard != 0 && !moves_final_try(uncut) {
        found.push(Warning::AttemptTimeoutUnused { attempt_timeout: duration(own), finish_within: duration(hard) });
    }
    if window != FOREVER && window >= hard && !moves_final_try(open) {
        found.push(Warning::StartWindowUnused { start_within: duration(window), finish_within: duration(hard) });
    }
    // What lives long, such as a connection, is neither cut nor ended: `reset_after` says that it is meant.
    if forecast.worst.finish == Finish::Hangs && !is_long_lived(policy) {
        found.push(Warning::CallNeverCut);
    }
}

/// A call that hangs and gets no second try, where one that fails does.
fn hung_call(forecast: &Forecast) -> Option<Warning> {
    let policy = &forecast.policy;
    // One that is not to be repeated needs no second try.
    let may_repeat = policy.after_cut() != Decision::Fatal;
    let hangs = may_repeat && forecast.worst.spans.len() == 1 && forecast.longest_pauses.spans.len() > 1;
    let why = match forecast.worst.finish {
        Finish::Stops(why @ (PolicyStop::StartWindow | PolicyStop::Deadline)) if hangs => why,
        _ => return None,
    };
    let gets_another = |timeout: u64| {
        // Not by the word, which would take a default window away.
        let mut shorter = policy.clone();
        shorter.max_attempts = 2;
        shorter.bounds.attempt_timeout = timeout;
        Course::worst(&shorter, forecast.limiter).spans.len() > 1
    };
    let (mut good, mut bad) = (0_u64, policy.bounds().attempt_timeout.min(policy.bounds().finish_within));
    while good.saturating_add(1) < bad {
        let middle = good.midpoint(bad);
        if gets_another(middle) { good = middle } else { bad = middle }
    }
    let own = policy.bounds().attempt_timeout;
    Some(Warning::HungCallGetsNoRetry {
        attempt_timeout: (own != FOREVER).then_some(duration(own)),
        window: setting_of(why),
        bound: duration(bound_of(policy, why)),
        at_most: (good > 0).then_some(duration(good)),
        by_chance: chance_gives_one(forecast),
    })
}

/// Whether a call that hangs might get a second try by a shorter pause, or on another random grid: windows longer by
/// what grids differ have room for one.
fn chance_gives_one(forecast: &Forecast) -> bool {
    let mut longer = forecast.policy.clone();
    longer.max_attempts = 2;
    let spread = longer.grid_spread();
    let Bounds { attempt_timeout, start_within, finish_within } = longer.bounds;
    if attempt_timeout >= finish_within {
        return false;
    }
    longer.bounds.start_within = start_within.saturating_add(spread);
    longer.bounds.finish_within = finish_within.saturating_add(spread);
    Course::of(&longer, forecast.limiter, Calls::Hang, 0).spans.len() > 1
}

/// How many attempts there are.
fn of_retries(forecast: &Forecast, found: &mut Vec<Warning>) {
    let policy = &forecast.policy;
    let (best, most, reachable) = (&forecast.best, forecast.most, forecast.best.spans.len());
    match best.finish {
        Finish::Stops(PolicyStop::BackoffEnded) if policy.can_start_over() => {}
        Finish::Stops(why) if why != PolicyStop::Attempts && most == 1 => found.push(Warning::NoRetry { why }),
        Finish::Stops(why)
            if why != PolicyStop::Attempts
                && policy.max_attempts != u32::MAX
                && u64::try_from(most).is_ok_and(|most| most < policy.max_attempts.into()) =>
        {
            found.push(Warning::AttemptsUnreachable { max_attempts: policy.max_attempts, reachable: most, why });
        }
        Finish::Limiter { ready_in, allowed } if reachable <= 1 => {
            found.push(Warning::LimiterRefuses { attempts: reachable, ready_in, allowed });
        }
        Finish::Starves => found.push(Warning::PermitNeverComes { before: reachable.saturating_add(1) }),
        Finish::Waits => found.push(Warning::PauseWithoutEnd { before: reachable.saturating_add(1) }),
        _ => {}
    }
    if let Finish::Stops(why @ (PolicyStop::StartWindow | PolicyStop::Deadline)) = forecast.longest_pauses.finish
        && forecast.longest_pauses.spans.len() <= 1
        && reachable > 1
    {
        found.push(Warning::RetryByChance { bound: duration(bound_of(policy, why)) });
    }
    let late = &forecast.longest_pauses;
    let stands_still = late.spans.get(99).is_some_and(|&(start, _)| start == late.over());
    if stands_still && late.finish == Finish::GoesOn {
        found.push(Warning::Spins);
    } else if late.finish == Finish::GoesOn && is_endless(policy) && !is_long_lived(policy) {
        found.push(Warning::Endless);
    }
}

/// Settings that have no effect.
fn of_switches(policy: &Policy, found: &mut Vec<Warning>) {
    let bounds = policy.bounds();
    let (own, hard) = (bounds.attempt_timeout, bounds.finish_within);
    // A grid that ends with the window has an attempt there of its own.
    let on_grid =
        |every: u64| !policy.has(DELAY_FIRST | RANDOM_PHASE) && bounds.start_within.checked_rem(every) == Some(0);
    let has_tick = bounds.start_within != FOREVER && !policy.uses_backoff() && policy.period().is_some_and(on_grid);
    if policy.has(FINAL_TRY) && (bounds.last_chance().is_none() || has_tick) {
        found.push(Warning::FinalTryUnused);
    }
    if policy.after_cut() != Decision::Retry && (own == FOREVER || own >= hard) {
        found.push(Warning::OnCutUnused);
    }
    if policy.has(RANDOM_PHASE) && policy.period().is_none() {
        found.push(Warning::RandomPhaseUnused);
    }
    let window = bounds.start_within.min(hard);
    // A default window moves along with what is asked for, and so long others pause whose limiter hears of it.
    let has_other_use = policy.has_default_window() || policy.has(SHARE_RETRY_AFTER);
    if policy.most_asked() != FOREVER && policy.most_asked() > window && !has_other_use {
        found.push(Warning::MaxRetryAfterUnused {
            max_retry_after: duration(policy.most_asked()),
            bound: duration(window),
        });
    }
}

/// The backoff by itself, and against the bounds.
fn of_backoff(policy: &Policy, found: &mut Vec<Warning>) {
    let backoff = policy.schedule();
    let longest = policy.bounds().attempt_timeout.min(policy.bounds().finish_within);
    if let Some(healthy) = backoff.healthy().filter(|&healthy| healthy > longest) {
        found.push(Warning::ResetUnreachable { reset_after: duration(healthy), longest: duration(longest) });
    } else if backoff.healthy().is_some() && policy.max_attempts != u32::MAX {
        found.push(Warning::ResetDefeated { max_attempts: policy.max_attempts });
    }
    // The first attempt needs no pause, unless it is delayed.
    let used = u64::from(policy.max_attempts).saturating_sub(u64::from(!policy.has(DELAY_FIRST)));
    if let Some(delays) = backoff.count().filter(|&delays| policy.max_attempts > 1 && delays > used) {
        found.push(Warning::DelaysUnused { delays, used });
    }
    if backoff.has_unreachable() {
        found.push(Warning::FollowerUnreachable);
    }
    if let Some((base, cap)) = backoff.capped_below_base() {
        found.push(Warning::CapBelowBase { base: duration(base), cap: duration(cap) });
    }
}

/// The jitter of the backoff against the grid: only the latter shows where the former is always shorter.
fn of_jitter(forecast: &Forecast, found: &mut Vec<Warning>) {
    let policy = &forecast.policy;
    let (Some(every), None, None) = (policy.period(), policy.seed(), forecast.limiter) else { return };
    if policy.has(RANDOM_PHASE) || forecast.best.spans != forecast.longest_pauses.spans {
        return;
    }
    let mut without = policy.clone();
    without.flags &= !SET_EVERY;
    let course = |random| Course::of(&without, None, Calls::FailAtOnce, random).spans;
    if course(0) != course(u64::MAX) {
        found.push(Warning::JitterSwallowed { every: duration(every) });
    }
}

fn is_long_lived(policy: &Policy) -> bool {
    policy.uses_backoff() && policy.schedule().healthy().is_some()
}

pub(in crate::policy) fn is_endless(policy: &Policy) -> bool {
    let bounds = policy.bounds();
    policy.most_attempts() == u64::MAX && bounds.start_within.min(bounds.finish_within) == FOREVER
}

/// The name of the setting that ends a run so.
pub(in crate::policy) fn setting_of(why: PolicyStop) -> &'static str {
    match why {
        PolicyStop::Fatal => "on_cut",
        PolicyStop::Attempts => "max_attempts",
        PolicyStop::BackoffEnded => "the backoff",
        PolicyStop::StartWindow => "start_within",
        PolicyStop::Deadline => "finish_within",
    }
}

fn bound_of(policy: &Policy, why: PolicyStop) -> u64 {
    if why == PolicyStop::StartWindow { policy.bounds().start_within } else { policy.bounds().finish_within }
}
