//! The future of `ensure`.

mod rounds;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::Ensured;
use crate::{
    ensure::reconciler::{ObserveOutput, Reconciler, ReconcilerTypes},
    error::{Ending, GaveUp, Stop},
    events::Listener,
    operation::{Classify, Judged, RetryAll, RetryOutput},
    policy::{
        schedule::{
            Policy,
            attempts::{Attempt, Decision},
            bounds::CutBy,
        },
        verb::ensure::{EnsureState, EnsureStep},
    },
    report::Reports,
    run::Core,
    run::{alarm::Alarm, controls::Control},
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
        alarm: Alarm<Timer, G>,
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
        Observing {
            #[pin]
            observation: V,
            attempt: Attempt,
        },
        /// An act is due. What the observation holds is let go first, which may take its time, and so goes a
        /// cancellation at the very instant of the observation.
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
    /// An act is due, if there may be one once what the observation holds is let go, and the run is not cancelled at
    /// this very instant.
    Differs(S),
    /// The round goes on with an act, cut then. What was known before it was due.
    Act(S, u64, CutBy, EnsureState),
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
            alarm: Alarm::default(),
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
                        // The listener may have taken its time, or cancelled the run: no observation is begun then.
                        match if L::SILENT { Ok(()) } else { this.core.may_call() } {
                            Ok(()) => {
                                self.as_mut().observe(attempt);
                                continue;
                            }
                            Err(stop) => {
                                *this.ending = Ending::NotCalled;
                                (attempt, Then::Stop(stop))
                            }
                        }
                    }
                    Err(stop) => return Poll::Ready(Err(self.give_up(stop))),
                },
                StateProj::Observing { observation, attempt } => {
                    let attempt = *attempt;
                    let then = match observation.poll(cx) {
                        Poll::Ready(output) => match self.as_mut().observed(output.read()) {
                            Ok(ensured) => return Poll::Ready(Ok(ensured)),
                            Err(then) => then,
                        },
                        Poll::Pending => {
                            let (at, by) = this.core.policy.bounds().cut(*this.called);
                            let by = ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), at, by));
                            self.as_mut().observation_was_cut(by, at)
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
                        Poll::Pending => {
                            let by = ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), *until, *by));
                            Err((by, *until))
                        }
                    };
                    let attempt = *attempt;
                    match self.as_mut().acted(attempt, answer) {
                        Ok(()) => {
                            self.as_mut().observe(attempt);
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
                Then::Differs(state) => {
                    let mut this = self.as_mut().project();
                    this.state.set(State::Differs { state: Some(state), attempt });
                    if this.core.may_be_cancelled() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                Then::Act(state, at, by, before) => {
                    if let Some((at, by)) = self.as_mut().may_act(attempt, before, (at, by)) {
                        self.as_mut().act(attempt, state, at, by);
                        continue;
                    }
                    let stop =
                        if self.as_mut().project().core.is_cancelled() { Stop::Cancelled } else { Stop::Deadline };
                    Err(self.as_mut().stop_round(stop))
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
        // An observation that saw nothing can lead to neither.
        EnsureStep::Done(_) | EnsureStep::Act(..) => Then::Next(Decision::Retry),
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
            State::Observing { .. } | State::Differs { .. } => "observing",
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
