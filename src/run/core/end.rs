//! How an attempt and a run end, and what follows.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use super::{Core, State};
use crate::{
    error::{End, EndStop, Ending, Stop},
    policy::schedule::{attempts::Decision, bounds::CutBy},
    run::{
        controls::Control,
        end::{AttemptEnd, RunEnd, cut_after},
    },
    time::{self, Sleeper},
};

impl<G: Control> Core<G> {
    /// The attempt has ended without a value, as [`end`](Self::end) says, and there is no listener to tell of it.
    /// Others run, if the next one follows without a pause.
    #[inline(never)]
    pub(crate) fn end_and_yield<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        ending: Ending,
        decision: Decision,
    ) -> Poll<Result<(), EndStop>> {
        _ = self.plan_after(ending, decision)?;
        if matches!(self.state, State::Yielding) {
            if T::poll_yield(cx).is_pending() {
                self.start_clock();
                return Poll::Pending;
            }
            self.state = State::Due;
        }
        Poll::Ready(Ok(()))
    }

    /// The attempt has ended without a value: how long the run pauses before the next one, or why there is none. See
    /// [`ended`](Self::ended) for when it was.
    #[inline(never)]
    pub(crate) fn end(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        self.plan_after(ending, decision)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    fn plan_after(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        match decision {
            Decision::RetryAfter(asked) => self.plan_asked(ending, asked),
            _ => self.plan_next(ending, decision),
        }
    }

    /// A pause is asked for: by a server, or by the policy after a cut.
    #[cold]
    #[inline(never)]
    fn plan_asked(&mut self, ending: Ending, asked: Duration) -> Result<u64, EndStop> {
        if ending == Ending::Failed {
            self.policy.move_window(asked);
            if let Some(pause) = self.policy.pause_for_all(asked) {
                self.ties.pause(pause);
            }
        }
        self.plan_next(ending, Decision::RetryAfter(asked))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    fn plan_next(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        self.ending = ending;
        let now = self.read();
        let planned = if ending == Ending::Cut(CutBy::Cancelled) && self.ties.is_cancelled() {
            Err(EndStop::Cancelled)
        } else {
            let Self { policy, attempts, ties, .. } = self;
            let policy = &*policy;
            AttemptEnd { now, ending, decision }.plan(policy, attempts, move || policy.seed(), ties.retries())
        };
        match planned {
            Ok(at) => Ok(self.wait_until(at, now)),
            Err(stop) => {
                (self.at, self.state) = (now, State::Over);
                Err(stop)
            }
        }
    }

    /// When the attempt ended that [`end`](Self::end) has just told this pause of.
    pub(crate) fn ended(&self, pause: u64) -> u64 {
        self.at.saturating_sub(pause)
    }

    /// The attempt has ended, and the run with it, by a rule of the verb's own. When it ended.
    pub(crate) fn end_by_rule(&mut self, ending: Ending) -> u64 {
        (self.at, self.ending, self.state) = (self.read(), ending, State::Over);
        self.at
    }

    /// The run has given its value: from here on it stands on no wait list and counts for no budget.
    #[inline]
    pub(crate) fn finish(&mut self) {
        self.state = State::Over;
        if let Some(retries) = self.ties.retries() {
            retries.end_run();
        }
    }

    /// The run has ended without a value: from here on it stands on no wait list and counts for no budget. `cut_after`
    /// is how long its last attempt had run when it was cut, where the owner knows better.
    pub(crate) fn stop(&mut self, stop: Stop, cut_after: Option<u64>) -> End {
        if !matches!(self.state, State::Over) {
            self.at = self.read();
        }
        self.state = State::Over;
        let (now, ending) = (self.at, self.ending);
        let cut_after = cut_after.unwrap_or_else(|| self.cut_after(ending, now));
        let end = RunEnd { stop, now, ending, cut_after };
        end.close(&self.policy, &self.attempts, self.ties.retries())
    }

    /// How long an attempt that was cut just now had run.
    pub(crate) fn cut_after(&self, ending: Ending, now: u64) -> u64 {
        cut_after(&self.policy, &self.attempts, ending, now)
    }

    /// The next start is planned at `at`: how long that is away.
    #[inline]
    pub(super) fn wait_until(&mut self, at: u64, now: u64) -> u64 {
        self.at = at;
        self.state = State::Yielding;
        let pause = at.saturating_sub(now);
        if pause > 0 {
            // Nothing has waited so far, and nothing needed the time.
            self.start.get_or_insert_with(time::now);
            self.state = State::Sleeping;
        }
        pause
    }
}
