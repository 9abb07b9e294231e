//! The rules again, as plainly as they can be written: a simulation with 128-bit nanoseconds and no cleverness.

use std::time::Duration;

use super::script::{Answer, Delays, FOREVER, OnCut, Script};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    Failed,
    Cut(&'static str, u128),
    NotStarted,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub starts: Vec<u128>,
    /// `value`, the name of a stop, or `never`.
    pub end: &'static str,
    pub last: Last,
    /// The number of the attempt whose error is kept.
    pub error: Option<u32>,
    pub elapsed: u128,
}

/// How the world behaves that the run lives in.
#[derive(Clone, Copy)]
pub struct World {
    /// When a task that waits for an instant wakes.
    pub wakes: fn(u128) -> u128,
    /// Whether an attempt can be cut.
    pub cuts: bool,
}

pub fn nanos(duration: Duration) -> u128 {
    duration.as_nanos().min(FOREVER)
}

fn plus(a: u128, b: u128) -> u128 {
    (a + b).min(FOREVER)
}

fn or_forever(bound: Option<Duration>) -> u128 {
    bound.map_or(FOREVER, nanos)
}

/// The delay of this index, if there is one.
fn delay(delays: &Delays, index: usize) -> Option<u128> {
    let grown = |base: Duration, cap: Duration, above: u128, below: u128| {
        let mut delay = nanos(base).min(nanos(cap));
        for _ in 0..index {
            delay = (delay * above / below).min(nanos(cap));
        }
        delay
    };
    match delays {
        Delays::Unset => Some(0),
        Delays::Fixed(delay) => Some(nanos(*delay)),
        Delays::Doubling(base, cap) => Some(grown(*base, *cap, 2, 1)),
        Delays::HalfAgain(base, cap) => Some(grown(*base, *cap, 3, 2)),
        Delays::Steps(steps) => steps.get(index).copied().map(nanos),
    }
}

pub fn simulate(script: &Script, world: World) -> History {
    let (timeout, window, bound) =
        (or_forever(script.attempt_timeout), or_forever(script.start_within), or_forever(script.finish_within));
    let max_attempts = script.max_attempts.unwrap_or(u32::MAX);
    let cancel = script.cancel_at.map_or(FOREVER, |at| (world.wakes)(nanos(at)));
    let mut cancelled_inside = false;
    let mut history = History { starts: vec![], end: "", last: Last::NotStarted, error: None, elapsed: 0 };
    let (mut index, mut final_tried) = (0, false);
    let mut grid = 0;
    let mut now = 0;

    // The instants are: `now`, the end of the attempt before; `started`, its start; `earliest`, what a server asked
    // for.
    let mut plan = |now: u128, started: Option<u128>, earliest: u128, grid: u128, reset: bool| {
        if reset {
            index = 0;
        }
        let mut planned = earliest;
        if !matches!(script.delays, Delays::Unset) {
            let Some(delay) = delay(&script.delays, index) else { return Err("backoff_ended") };
            index += 1;
            planned = planned.max(plus(now, delay));
        }
        if let Some(every) = script.every.map(nanos) {
            let tick = if every == 0 {
                now
            } else {
                let mut tick = grid + (now - grid) / every * every;
                while tick < now || started.is_none_or(|started| tick <= started) && tick <= started.unwrap_or(0) {
                    tick = plus(tick, every);
                    if tick == FOREVER {
                        break;
                    }
                }
                tick
            };
            planned = planned.max(tick);
        }
        if final_tried {
            return Err(if window < bound { "start_window" } else { "deadline" });
        }
        let admitted = |at: u128| at <= window && (at < bound || bound == FOREVER);
        if admitted(planned) {
            return Ok(planned);
        }
        let last_chance = if window != FOREVER {
            Some(window)
        } else if bound != FOREVER && timeout != FOREVER && timeout <= bound {
            Some(bound - timeout)
        } else {
            None
        };
        if let Some(at) = last_chance
            && script.final_try
            && admitted(at)
            && at >= earliest
            && started.is_none_or(|started| at > started)
        {
            final_tried = true;
            return Ok(at);
        }
        Err(if window < bound { "start_window" } else { "deadline" })
    };

    let end = 'run: {
        if cancel == 0 {
            break 'run "cancelled";
        }
        if max_attempts == 0 {
            break 'run "attempts";
        }
        let mut next = if script.delay_first { plan(0, None, 0, 0, false) } else { Ok(0) };
        let mut number = 0;
        loop {
            let planned = match next {
                Ok(planned) => planned,
                Err(stop) => break 'run stop,
            };
            // The wait.
            if planned > now {
                let woken = if planned == FOREVER { FOREVER } else { (world.wakes)(planned) };
                if cancel <= woken && cancel != FOREVER || cancelled_inside {
                    now = if cancelled_inside { now } else { now.max(cancel) };
                    break 'run "cancelled";
                }
                if woken == FOREVER {
                    break 'run "never";
                }
                now = woken;
            } else if cancelled_inside || now >= cancel {
                break 'run "cancelled";
            }
            // However late it has become, nothing starts at the hard bound.
            if now >= bound && bound != FOREVER && now > 0 {
                break 'run "deadline";
            }
            // The attempt.
            number += 1;
            let started = now;
            if number == 1 {
                grid = now;
            }
            history.starts.push(now);
            let step = script.step(number);
            let ends = match step.answer {
                Answer::Hangs if world.cuts => FOREVER,
                _ if step.latency.is_zero() => now,
                _ => (world.wakes)(plus(now, nanos(step.latency))),
            };
            let (cut_at, cut_by) = if plus(started, timeout) < bound {
                (plus(started, timeout), "attempt_timeout")
            } else {
                (bound, "deadline")
            };
            let cut = if cut_at == FOREVER { FOREVER } else { (world.wakes)(cut_at).max(now) };
            let decision;
            if world.cuts && (cancel < ends && cancel <= cut || cut < ends && cut < cancel) {
                if cancel <= cut {
                    now = now.max(cancel);
                    history.last = Last::Cut("cancelled", now - started);
                    break 'run "cancelled";
                }
                now = cut;
                history.last = Last::Cut(cut_by, cut_at.saturating_sub(started));
                if cut_by == "deadline" {
                    break 'run "deadline";
                }
                decision = match script.on_cut {
                    OnCut::Retry => Some(0),
                    OnCut::After(pause) => Some(nanos(pause)),
                    OnCut::Fatal => None,
                };
            } else {
                if ends == FOREVER {
                    break 'run "never";
                }
                now = ends;
                cancelled_inside |= script.cancel_in == Some(number);
                if step.answer == Answer::Value {
                    break 'run "value";
                }
                history.last = Last::Failed;
                history.error = Some(number);
                decision = match step.answer {
                    Answer::FailsAndAsksFor(pause) => Some(nanos(pause)),
                    Answer::Fatal => None,
                    _ => Some(0),
                };
            }
            let Some(pause) = decision else { break 'run "fatal" };
            if number >= max_attempts {
                break 'run "attempts";
            }
            let earliest = plus(now, pause.min(or_forever(script.max_retry_after)));
            let reset = script.reset_after.is_some_and(|healthy| now - started >= nanos(healthy));
            next = plan(now, Some(started), earliest, grid, reset);
        }
    };
    history.end = end;
    history.elapsed = now;
    history
}
