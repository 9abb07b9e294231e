//! Warnings as sentences.

use std::{fmt, time::Duration};

use super::{Warning, setting_of};
use crate::policy::{nanos::Short, schedule::attempts::PolicyStop};

/// One sentence.
impl fmt::Display for Warning {
    #[expect(clippy::too_many_lines, reason = "one sentence for each")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NothingAttempted { why } => match why {
                PolicyStop::Attempts => f.write_str("nothing is ever attempted: max_attempts is 0"),
                PolicyStop::BackoffEnded => {
                    f.write_str("nothing is ever attempted: delay_first waits for a delay, and the backoff has none")
                }
                why => write!(f, "nothing is ever attempted: delay_first waits beyond {}", setting_of(why)),
            },
            Self::NoRetry { why } => match why {
                PolicyStop::BackoffEnded => f.write_str("there is never a retry: the backoff has no delay for it"),
                why => write!(f, "there is never a retry: the first pause goes beyond {}", setting_of(why)),
            },
            Self::LimiterRefuses { attempts, ready_in, allowed } => {
                let never = if attempts == 0 { "nothing is ever attempted" } else { "there is never a retry" };
                match ready_in {
                    Duration::MAX => write!(f, "{never}: the limiter has no further permit"),
                    takes => {
                        let (takes, left) = (Short(takes), Short(allowed));
                        write!(f, "{never}: the next permit of the limiter takes {takes}, and {left} is left")
                    }
                }
            }
            Self::PermitNeverComes { before } => write!(f, "the limiter never has a permit for attempt {before}"),
            Self::PauseWithoutEnd { before } => write!(f, "the pause before attempt {before} has no end"),
            Self::RetryByChance { bound } => write!(
                f,
                "jitter decides whether there is any retry: the longest first pause goes beyond {}",
                Short(bound)
            ),
            Self::HungCallGetsNoRetry { attempt_timeout, window, bound, at_most, by_chance } => {
                f.write_str(if by_chance {
                    "a call that hangs may get no second try, as chance has it: "
                } else {
                    "a call that hangs gets no second try: "
                })?;
                let bound = Short(bound);
                match attempt_timeout {
                    Some(own) if own > bound.0 => write!(f, "attempt_timeout {} outlasts {window} {bound}", Short(own)),
                    Some(own) => write!(f, "attempt_timeout {} leaves no time for one in {window} {bound}", Short(own)),
                    None => write!(f, "only {window} {bound} cuts it"),
                }?;
                match at_most {
                    Some(most) => {
                        write!(f, "; an attempt_timeout of at most {} would give it one", Short(most))
                    }
                    None => Ok(()),
                }
            }
            Self::AttemptTimeoutUnused { attempt_timeout, finish_within } => write!(
                f,
                "attempt_timeout {} is never reached: finish_within {} cuts first",
                Short(attempt_timeout),
                Short(finish_within)
            ),
            Self::StartWindowUnused { start_within, finish_within } => write!(
                f,
                "start_within {} has no effect: nothing starts after finish_within {}",
                Short(start_within),
                Short(finish_within)
            ),
            Self::NoTimeToAnswer => f.write_str("only a call that is ready at once can succeed: it is cut after 0ns"),
            Self::CallNeverCut => {
                f.write_str("a call that hangs is never cut: there is neither attempt_timeout nor finish_within")
            }
            Self::Endless => {
                f.write_str("the retries never end: there is no start_within, finish_within or max_attempts")
            }
            Self::Spins => {
                f.write_str("calls that fail at once are repeated without any pause, and no max_attempts ends it soon")
            }
            Self::FinalTryUnused => f.write_str(
                "final_try adds no attempt: it needs a start_within that the cadence does not meet anyway, \
                 or both attempt_timeout and a longer finish_within",
            ),
            Self::AttemptsUnreachable { max_attempts, reachable, why } => write!(
                f,
                "max_attempts {max_attempts} is never reached: at most {reachable} fit before {} ends the run",
                setting_of(why)
            ),
            Self::DelaysUnused { delays, used } => {
                write!(f, "max_attempts leaves room for {used} of the {delays} delays of the backoff")
            }
            Self::OnCutUnused => f.write_str(
                "on_cut is about calls cut by attempt_timeout, and none ever is: only for attempts dropped by hand does it say \
                 what follows",
            ),
            Self::MaxRetryAfterUnused { max_retry_after, bound } => write!(
                f,
                "max_retry_after {} has no effect: a pause beyond {} ends the run",
                Short(max_retry_after),
                Short(bound)
            ),
            Self::ResetUnreachable { reset_after, longest } => {
                write!(f, "reset_after {} is never reached: calls are cut after {}", Short(reset_after), Short(longest))
            }
            Self::ResetDefeated { max_attempts } => write!(
                f,
                "reset_after starts the backoff over, not the count: max_attempts {max_attempts} ends the run, however long its \
                 attempts were healthy"
            ),
            Self::JitterSwallowed { every } => write!(
                f,
                "every {} swallows the jitter of the backoff: calls that fail at once start again on its grid, in all runs that \
                 began together at the same instants; random_phase spreads them",
                Short(every)
            ),
            Self::RandomPhaseUnused => f.write_str("random_phase has no effect: it is about the grid of every, and there is none"),
            Self::FollowerUnreachable => {
                f.write_str("the backoff never comes to what is behind `then`: the schedule before it has no end")
            }
            Self::CapBelowBase { base, cap } => write!(
                f,
                "the cap {} of the backoff is below its first delay {}: no delay exceeds the cap",
                Short(cap),
                Short(base)
            ),
        }
    }
}
