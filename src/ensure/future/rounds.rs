//! The steps of a round of `ensure`: an observation, an act, and what follows.

use std::pin::Pin;

use super::{EnsureFuture, State, Then, then_of};
use crate::{
    ensure::{
        Ensured,
        reconciler::{Observed, Reconciler},
    },
    error::{Detail, Ending, GaveUp, Last, Stop},
    events::{Event, Listener},
    operation::Classify,
    policy::{
        nanos::duration,
        schedule::{
            attempts::{Attempt, Decision, PolicyStop},
            bounds::CutBy,
        },
        verb::ensure::{EnsureState, EnsureStep, Sample, act_until},
    },
    run::controls::Control,
};

impl<O, W, L, G> EnsureFuture<O, W, L, G>
where
    O: Reconciler,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Control,
{
    /// Begins an observation.
    pub(super) fn observe(self: Pin<&mut Self>, attempt: Attempt) {
        let mut this = self.project();
        *this.called = this.core.read();
        let observation = this.reconciler.observe(attempt);
        this.state.set(State::Observing { observation, attempt });
    }

    /// Tells that an act begins: `until` when it may run, and what cuts it then, anew after the listener has taken its
    /// time. If that cancels the run, or leaves the act no time before the closing observation, it does not begin, and
    /// what is known is what was seen `before`.
    pub(super) fn may_act(
        self: Pin<&mut Self>,
        attempt: Attempt,
        before: EnsureState,
        until: (u64, CutBy),
    ) -> Option<(u64, CutBy)> {
        if L::SILENT {
            return Some(until);
        }
        let this = self.project();
        let attempt = attempt.number();
        this.listener.on_event(&Event::Acting { attempt, elapsed: this.core.elapsed() });
        let now = this.core.read();
        let (until, by) = act_until(this.core.policy.bounds(), now);
        if this.core.may_call().is_ok() && (by != CutBy::Deadline || now < until) {
            return Some((until, by));
        }
        *this.acts = before;
        _ = this.acts.observed(this.core.policy.bounds(), now, Sample::NotYet);
        this.listener.on_event(&Event::Acted { attempt, elapsed: duration(now), failed: Some(Last::NotCalled) });
        None
    }

    /// Begins an act.
    pub(super) fn act(self: Pin<&mut Self>, attempt: Attempt, state: O::State, until: u64, by: CutBy) {
        let mut this = self.project();
        *this.called = this.core.read();
        let act = this.reconciler.act(state);
        this.state.set(State::Acting { act, attempt, until, by });
    }

    /// Reads what an observation has seen.
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    pub(super) fn observed(
        self: Pin<&mut Self>,
        seen: Result<Observed<O::Value, O::State, O::Error>, O::Error>,
    ) -> Result<Ensured<O::Value>, Then<O::State>> {
        let mut this = self.project();
        if !matches!(seen, Ok(Observed::AsWanted(_))) {
            // From here on other code takes its time, which counts.
            this.core.start_clock();
        }
        let now = this.core.read();
        let bounds = *this.core.policy.bounds();
        let observed = |acts: &mut EnsureState, found| acts.observed(&bounds, now, found);
        let then = match seen {
            Ok(Observed::AsWanted(value)) => {
                let EnsureStep::Done(change) = observed(this.acts, Sample::AsWanted) else {
                    return Err(Then::Next(Decision::Retry));
                };
                this.state.set(State::Done);
                this.core.disarm(this.alarm.as_mut());
                this.core.succeed(this.listener);
                return Ok(Ensured { value, change });
            }
            Ok(Observed::Differs(state)) => return Err(Then::Differs(state)),
            Ok(Observed::NotYet) => {
                let step = observed(this.acts, Sample::NotYet);
                if step != EnsureStep::Stop(PolicyStop::Fatal) {
                    *this.ending = Ending::NotReady;
                }
                then_of(step)
            }
            Ok(Observed::NotYetBecause(error)) => {
                let step = observed(this.acts, Sample::NotYet);
                if step != EnsureStep::Stop(PolicyStop::Fatal) {
                    (*this.ending, *this.error) = (Ending::NotReadyBecause, Some(error));
                } else if matches!(this.ending, Ending::Cut(_)) {
                    // The act that was cut ends the run, and has given no error itself.
                    *this.error = Some(error);
                }
                then_of(step)
            }
            Ok(Observed::Fatal(error)) => {
                (*this.ending, *this.error) = (Ending::Failed, Some(error));
                then_of(observed(this.acts, Sample::Failed(Decision::Fatal)))
            }
            Err(error) => {
                let decision = this.when.classify(&error);
                let step = observed(this.acts, Sample::Failed(decision));
                // Where an act was refused for good, that is what the run ends with.
                if step != EnsureStep::Stop(PolicyStop::Fatal) || decision == Decision::Fatal {
                    (*this.ending, *this.error) = (Ending::Failed, Some(error));
                } else if matches!(this.ending, Ending::Cut(_)) {
                    // The act that was cut ends the run, and has given no error itself.
                    *this.error = Some(error);
                }
                then_of(step)
            }
        };
        Err(then)
    }

    /// It was seen that an act is due: begins it, if there may be one.
    pub(super) fn differs(self: Pin<&mut Self>, state: O::State) -> Then<O::State> {
        let this = self.project();
        // Without an act before it, the last thing known is that it is not so.
        if this.acts.acts() == 0 {
            *this.ending = Ending::NotReady;
        }
        let (before, now) = (*this.acts, this.core.read());
        let bounds = *this.core.policy.bounds();
        match this.acts.observed(&bounds, now, Sample::Differs) {
            EnsureStep::Act(..) if this.core.is_cancelled() => {
                // It was observed, and that is all.
                *this.acts = before;
                _ = this.acts.observed(&bounds, now, Sample::NotYet);
                Then::Stop(Stop::Cancelled)
            }
            EnsureStep::Act(until, by) => Then::Act(state, until, by, before),
            other => then_of(other),
        }
    }

    /// An observation was cut, at `at` if not by a cancellation: always worth another one, while there is time.
    pub(super) fn observation_was_cut(self: Pin<&mut Self>, by: CutBy, at: u64) -> Then<O::State> {
        let this = self.project();
        let now = this.core.read();
        let step = this.acts.observed(this.core.policy.bounds(), now, Sample::Failed(Decision::Retry));
        // An act that was refused for good, or cut for good, is what the run ends with.
        if by != CutBy::AttemptTimeout || step != EnsureStep::Stop(PolicyStop::Fatal) {
            *this.cut_after = cut_after(*this.called, now, by, at);
            *this.ending = Ending::Cut(by);
        }
        match by {
            CutBy::AttemptTimeout => then_of(step),
            CutBy::Deadline => Then::Stop(Stop::Deadline),
            CutBy::Cancelled => Then::Stop(Stop::Cancelled),
        }
    }

    /// An act has answered, or was cut: an observation follows, if it may.
    pub(super) fn acted(
        self: Pin<&mut Self>,
        attempt: Attempt,
        answer: Result<Result<(), O::Error>, (CutBy, u64)>,
    ) -> Result<(), Stop> {
        let mut this = self.project();
        let now = this.core.read();
        // What the act holds is let go before the observation that follows. A panic from here on ends it all.
        this.state.set(State::Done);
        let failed = match answer {
            Ok(Ok(())) => {
                *this.ending = Ending::NotReady;
                None
            }
            Ok(Err(error)) => {
                *this.ending = Ending::Failed;
                Some(this.when.classify(this.error.insert(error)))
            }
            Err((by, at)) => {
                *this.cut_after = cut_after(*this.called, now, by, at);
                *this.ending = Ending::Cut(by);
                Some(this.core.policy.after_cut())
            }
        };
        this.acts.acted(failed);
        if !L::SILENT {
            let failed = failed.map(|_| this.ending.last(this.error.as_ref(), duration(*this.cut_after)));
            this.listener.on_event(&Event::Acted { attempt: attempt.number(), elapsed: duration(now), failed });
        }
        if this.core.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        // An act may run up to the hard bound itself: an observation may still answer there and then, but not later.
        if this.core.read() > this.core.policy.bounds().finish_within {
            return Err(Stop::Deadline);
        }
        Ok(())
    }

    /// The round has ended without a value: plans the next one, or says why there is none.
    pub(super) fn end_round(self: Pin<&mut Self>, decision: Decision) -> Result<(), Stop> {
        let this = self.project();
        let (ending, cut_after) = (*this.ending, Some(*this.cut_after));
        this.core.end_attempt(this.listener, this.error.as_ref(), ending, decision, cut_after)
    }

    /// The round has ended, and the run with it.
    pub(super) fn stop_round(self: Pin<&mut Self>, stop: Stop) -> Stop {
        let this = self.project();
        let (ending, cut_after) = (*this.ending, Some(*this.cut_after));
        this.core.end_attempt_by_rule(this.listener, this.error.as_ref(), ending, stop, cut_after)
    }

    #[cold]
    pub(super) fn give_up(self: Pin<&mut Self>, stop: Stop) -> GaveUp<O::Error> {
        let mut this = self.project();
        this.state.set(State::Done);
        this.core.disarm(this.alarm.as_mut());
        let (acts, outcome_unknown) = (this.acts.acts(), this.acts.outcome_unknown());
        let detail = Some(Detail::Ensure { acts, outcome_unknown });
        this.core.give_up(this.listener, this.error.take(), stop, detail, Some(*this.cut_after))
    }
}

/// How long a call that was cut had run: what was set, rather than how late the timer was.
fn cut_after(called: u64, now: u64, by: CutBy, at: u64) -> u64 {
    let ended = if by == CutBy::Cancelled { now } else { at };
    ended.saturating_sub(called)
}
