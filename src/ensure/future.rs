//! The future of `ensure`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::Ensured;
use crate::{
    ensure::reconciler::{ObserveOutput, Observed, Reconciler, ReconcilerTypes},
    error::{Detail, Ending, GaveUp, Stop},
    events::{Event, Listener},
    operation::{Classify, Judged, RetryAll, RetryOutput},
    policy::{
        nanos::duration,
        schedule::{
            Policy,
            attempts::{Attempt, Decision, PolicyStop},
            bounds::CutBy,
        },
        verb::ensure::{EnsureState, EnsureStep, Sample},
    },
    report::Reports,
    run::Core,
    run::controls::Control,
    time::Timer,
};

pin_project! {
    /// The future of [`ensure`](crate::ensure()).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct EnsureFuture<O, W = RetryAll, L = (), G = ()>
    where
        O: ReconcilerTypes,
        G: Control,
    {
        reconciler: O,
        when: W,
        listener: L,
        core: Core<G>,
        acts: EnsureState,
        error: Option<O::Error>,
        // How the last call ended that had something to say.
        ending: Ending,
        // When the call in flight began, and how long it ran if it was cut.
        called: u64,
        cut_after: u64,
        #[pin]
        alarm: Timer,
        #[pin]
        state: State<O::Observe, O::State, O::Act>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<V, S, A> {
        /// Between rounds.
        Idle,
        /// The round's observation, or the one that follows its act.
        Looking {
            #[pin]
            look: V,
            attempt: Attempt,
        },
        /// An act is due. A cancellation at the very instant of the observation goes first.
        Differs { state: Option<S>, attempt: Attempt },
        /// The round's act, until then at most.
        Acting {
            #[pin]
            act: A,
            attempt: Attempt,
            until: u64,
            by: CutBy,
        },
        /// The run is over, or a callback has panicked.
        Done,
    }
}

/// What follows a call, as the loop sees it.
enum Then<S> {
    /// An act is due, if the run is not cancelled at this very instant.
    Yield(S),
    /// The round goes on with an act, cut then.
    Act(S, u64, CutBy),
    /// The round is over, and another one may follow.
    Next(Decision),
    /// The run is over.
    Stop(Stop),
}

impl<O: ReconcilerTypes, W, L, G: Control> EnsureFuture<O, W, L, G> {
    pub(super) fn new(reconciler: O, when: W, listener: L, policy: Policy, shared: G) -> Self {
        let acts = EnsureState::new(policy.attempts_allowed());
        // The cadence counts rounds; how many acts there may be is not its business.
        let core = Core::new(policy.max_attempts(u32::MAX), shared);
        Self {
            reconciler,
            when,
            listener,
            core,
            acts,
            error: None,
            ending: Ending::NotStarted,
            called: 0,
            cut_after: 0,
            alarm: Timer::default(),
            state: State::Idle,
        }
    }
}

impl<O, W, L, G> Reports for EnsureFuture<O, W, L, G>
where
    O: Reconciler,
    G: Control,
{
    fn report(&self) -> (u32, u64) {
        self.core.report()
    }
}

impl<O, W, L, G> Future for EnsureFuture<O, W, L, G>
where
    O: Reconciler,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Control,
{
    type Output = Result<Ensured<O::Value>, GaveUp<O::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let (attempt, then) = match this.state.as_mut().project() {
                StateProj::Idle => match ready!(this.core.poll_attempt(cx, this.alarm.as_mut(), this.listener)) {
                    Ok(attempt) => {
                        this.acts.begin_round();
                        self.as_mut().look(attempt);
                        continue;
                    }
                    Err(stop) => return Poll::Ready(Err(self.give_up(stop))),
                },
                StateProj::Looking { look, attempt } => {
                    let attempt = *attempt;
                    let then = match look.poll(cx) {
                        Poll::Ready(looked) => match self.as_mut().looked(looked.read()) {
                            Ok(ensured) => return Poll::Ready(Ok(ensured)),
                            Err(then) => then,
                        },
                        Poll::Pending => {
                            let (at, by) = this.core.policy.bounds().cut(*this.called);
                            let by = ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), at, by));
                            self.as_mut().look_was_cut(by)
                        }
                    };
                    (attempt, then)
                }
                StateProj::Differs { state, attempt } => {
                    let attempt = *attempt;
                    let Some(state) = state.take() else { unreachable!("it differs by something") };
                    (attempt, self.as_mut().differs(state))
                }
                StateProj::Acting { act, attempt, until, by } => {
                    let answer = match act.poll(cx) {
                        Poll::Ready(answer) => Ok(match answer.judge() {
                            Judged::Failed(error) => Err(error),
                            _ => Ok(()),
                        }),
                        Poll::Pending => Err(ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), *until, *by))),
                    };
                    let attempt = *attempt;
                    match self.as_mut().acted(attempt, answer) {
                        Ok(()) => {
                            self.as_mut().look(attempt);
                            continue;
                        }
                        Err(stop) => (attempt, Then::Stop(stop)),
                    }
                }
                StateProj::Done => panic!("`EnsureFuture` polled after completion"),
            };
            // What the call holds is let go before anything else happens. A panic from here on ends it all.
            self.as_mut().project().state.set(State::Done);
            let ended = match then {
                Then::Yield(state) => {
                    self.as_mut().project().state.set(State::Differs { state: Some(state), attempt });
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Then::Act(state, at, by) => {
                    self.as_mut().act(attempt, state, at, by);
                    continue;
                }
                Then::Next(decision) => self.as_mut().end_round(decision),
                Then::Stop(stop) => Err(self.as_mut().stop_round(stop)),
            };
            match ended {
                Ok(()) => self.as_mut().project().state.set(State::Idle),
                Err(stop) => return Poll::Ready(Err(self.give_up(stop))),
            }
        }
    }
}

fn then_of<S>(step: EnsureStep) -> Then<S> {
    match step {
        EnsureStep::NextRound(decision) => Then::Next(decision),
        EnsureStep::Stop(ended) => Then::Stop(ended.into()),
        // A look that saw nothing can lead to neither.
        EnsureStep::Done(_) | EnsureStep::Act(..) => Then::Next(Decision::Retry),
    }
}

impl<O, W, L, G> EnsureFuture<O, W, L, G>
where
    O: Reconciler,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Control,
{
    /// Begins an observation.
    fn look(self: Pin<&mut Self>, attempt: Attempt) {
        let mut this = self.project();
        *this.called = this.core.read();
        let look = this.reconciler.observe(attempt);
        this.state.set(State::Looking { look, attempt });
    }

    /// Begins an act.
    fn act(self: Pin<&mut Self>, attempt: Attempt, state: O::State, until: u64, by: CutBy) {
        let mut this = self.project();
        *this.called = this.core.read();
        if !L::SILENT {
            let (attempt, elapsed) = (attempt.number(), duration(*this.called));
            this.listener.on_event(&Event::Acting { attempt, elapsed });
        }
        let act = this.reconciler.act(state);
        this.state.set(State::Acting { act, attempt, until, by });
    }

    /// Reads what a look has seen.
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    fn looked(
        mut self: Pin<&mut Self>,
        seen: Result<Observed<O::Value, O::State, O::Error>, O::Error>,
    ) -> Result<Ensured<O::Value>, Then<O::State>> {
        let mut this = self.as_mut().project();
        if !matches!(seen, Ok(Observed::AsWanted(_))) {
            // From here on other code takes its time, which counts.
            this.core.start_clock();
        }
        let now = this.core.read();
        let bounds = *this.core.policy.bounds();
        let looked = |acts: &mut EnsureState, found| acts.looked(&bounds, now, found);
        let then = match seen {
            Ok(Observed::AsWanted(value)) => {
                let EnsureStep::Done(change) = looked(this.acts, Sample::AsWanted) else {
                    return Err(Then::Next(Decision::Retry));
                };
                this.state.set(State::Done);
                this.core.succeed(this.listener);
                return Ok(Ensured { value, change });
            }
            Ok(Observed::Differs(state)) => {
                if this.core.may_be_cancelled() {
                    return Err(Then::Yield(state));
                }
                return Err(self.differs(state));
            }
            Ok(Observed::NotYet) => {
                let step = looked(this.acts, Sample::NotYet);
                if step != EnsureStep::Stop(PolicyStop::Fatal) {
                    *this.ending = Ending::NotReady;
                }
                then_of(step)
            }
            Ok(Observed::NotYetBecause(error)) => {
                let step = looked(this.acts, Sample::NotYet);
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
                then_of(looked(this.acts, Sample::Failed(Decision::Fatal)))
            }
            Err(error) => {
                let decision = this.when.classify(&error);
                let step = looked(this.acts, Sample::Failed(decision));
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
    fn differs(self: Pin<&mut Self>, state: O::State) -> Then<O::State> {
        let this = self.project();
        // Without an act before it, the last thing known is that it is not so.
        if this.acts.acts() == 0 {
            *this.ending = Ending::NotReady;
        }
        let (before, now) = (*this.acts, this.core.read());
        let bounds = *this.core.policy.bounds();
        match this.acts.looked(&bounds, now, Sample::Differs) {
            EnsureStep::Act(..) if this.core.is_cancelled() => {
                // It was observed, and that is all.
                *this.acts = before;
                _ = this.acts.looked(&bounds, now, Sample::NotYet);
                Then::Stop(Stop::Cancelled)
            }
            EnsureStep::Act(until, by) => Then::Act(state, until, by),
            other => then_of(other),
        }
    }

    /// A look was cut: always worth another one, while there is time.
    fn look_was_cut(self: Pin<&mut Self>, by: CutBy) -> Then<O::State> {
        let this = self.project();
        let now = this.core.read();
        let step = this.acts.looked(this.core.policy.bounds(), now, Sample::Failed(Decision::Retry));
        // An act that was refused for good, or cut for good, is what the run ends with.
        if by != CutBy::AttemptTimeout || step != EnsureStep::Stop(PolicyStop::Fatal) {
            *this.cut_after = now.saturating_sub(*this.called);
            *this.ending = Ending::Cut(by);
        }
        match by {
            CutBy::AttemptTimeout => then_of(step),
            CutBy::Deadline => Then::Stop(Stop::Deadline),
            CutBy::Cancelled => Then::Stop(Stop::Cancelled),
        }
    }

    /// An act has answered, or was cut: a look follows, if it may.
    fn acted(self: Pin<&mut Self>, attempt: Attempt, answer: Result<Result<(), O::Error>, CutBy>) -> Result<(), Stop> {
        let mut this = self.project();
        let now = this.core.read();
        // What the act holds is let go before the look that follows. A panic from here on ends it all.
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
            Err(by) => {
                *this.cut_after = now.saturating_sub(*this.called);
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
        // An act may run up to the hard bound itself: a look may still answer there and then, but not later.
        if this.core.read() > this.core.policy.bounds().finish_within {
            return Err(Stop::Deadline);
        }
        Ok(())
    }

    /// The round has ended without a value: plans the next one, or says why there is none.
    fn end_round(self: Pin<&mut Self>, decision: Decision) -> Result<(), Stop> {
        let this = self.project();
        let (ending, cut_after) = (*this.ending, Some(*this.cut_after));
        this.core.end_attempt(this.listener, this.error.as_ref(), ending, decision, cut_after)
    }

    /// The round has ended, and the run with it.
    fn stop_round(self: Pin<&mut Self>, stop: Stop) -> Stop {
        let this = self.project();
        let (ending, cut_after) = (*this.ending, Some(*this.cut_after));
        this.core.end_attempt_by_rule(this.listener, this.error.as_ref(), ending, stop, cut_after)
    }

    #[cold]
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> GaveUp<O::Error> {
        let mut this = self.project();
        this.state.set(State::Done);
        let (acts, outcome_unknown) = (this.acts.acts(), this.acts.outcome_unknown());
        let detail = Some(Detail::Ensure { acts, outcome_unknown });
        this.core.give_up(this.listener, this.error.take(), stop, detail, Some(*this.cut_after))
    }
}

impl<O, W, L, G> fmt::Debug for EnsureFuture<O, W, L, G>
where
    O: ReconcilerTypes,
    G: Control,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "between rounds",
            State::Looking { .. } | State::Differs { .. } => "looking",
            State::Acting { .. } => "acting",
            State::Done => "done",
        };
        f.debug_struct("EnsureFuture")
            .field("state", &state)
            .field("acts", &self.acts.acts())
            .field("policy", &self.core.policy)
            .finish_non_exhaustive()
    }
}
