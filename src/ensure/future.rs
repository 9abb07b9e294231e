//! The future of `ensure`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;

use super::Ensured;
use crate::{
    endeavour::{Endeavour, Look, Seen},
    error::{Detail, End, Ending, GaveUp, Stop},
    events::{Event, Listener},
    operation::{Classify, RetryAll},
    policy::{
        Policy,
        attempts::{Attempt, Decision, Ended},
        bounds::CutBy,
        ensure::{Acts, Found, Move},
        nanos::duration,
    },
    run::Core,
    shared::Ties,
    time::Timer,
};

/// The future of [`ensure`](crate::ensure()).
#[pin_project]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct EnsureFuture<O, W = RetryAll, L = (), G = ()>
where
    O: Endeavour,
    G: Ties,
{
    both: O,
    when: W,
    listener: L,
    policy: Policy,
    core: Core<G>,
    acts: Acts,
    /// The round that runs.
    attempt: Option<Attempt>,
    error: Option<O::Error>,
    ending: Ending,
    /// When the call in flight began, and how long it ran if it was cut.
    called: u64,
    cut_after: u64,
    #[pin]
    alarm: Timer,
    #[pin]
    state: State<O::Look, O::Act>,
}

#[pin_project(project = StateProj)]
enum State<V, A> {
    Idle,
    Looking(#[pin] V),
    Acting(#[pin] A, u64, CutBy),
    Done,
}

impl<O: Endeavour, W, L, G: Ties> EnsureFuture<O, W, L, G> {
    pub(super) fn new(both: O, when: W, listener: L, policy: Policy, shared: G) -> Self {
        // The cadence counts rounds; how many acts there may be is not its business.
        let core = Core::new(policy.clone().max_attempts(u32::MAX), shared);
        Self {
            both,
            when,
            listener,
            policy,
            core,
            acts: Acts::default(),
            attempt: None,
            error: None,
            ending: Ending::NotStarted,
            called: 0,
            cut_after: 0,
            alarm: Timer::default(),
            state: State::Idle,
        }
    }
}

/// What follows a call, as the loop sees it.
enum Then<S> {
    Act(S, u64, CutBy),
    Next(Decision),
    Stop(Stop),
}

impl<O, W, L, G> Future for EnsureFuture<O, W, L, G>
where
    O: Endeavour,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Ties,
{
    type Output = Result<Ensured<O::Value>, GaveUp<O::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let then = match this.state.as_mut().project() {
                StateProj::Idle => {
                    let listener = this.listener;
                    let on_wait = |wait| listener.on_event(&Event::Waiting(wait));
                    match ready!(this.core.poll_start(cx, this.alarm.as_mut(), on_wait)) {
                        Ok(attempt) => {
                            listener.on_event(&Event::Started(attempt));
                            *this.attempt = Some(attempt);
                            this.acts.begin_round();
                            *this.called = this.core.elapsed();
                            this.state.set(State::Looking(this.both.look(attempt)));
                            continue;
                        }
                        Err(stop) => Then::Stop(stop),
                    }
                }
                StateProj::Looking(look) => match look.poll(cx) {
                    Poll::Ready(looked) => match self.as_mut().looked(looked.read()) {
                        Ok(ensured) => return Poll::Ready(Ok(ensured)),
                        Err(then) => then,
                    },
                    Poll::Pending => {
                        let (at, by) = this.policy.bounds().cut(*this.called);
                        let by = ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), at, by));
                        *this.cut_after = this.core.elapsed().saturating_sub(*this.called);
                        *this.ending = Ending::Cut(by);
                        let now = this.core.elapsed();
                        let step = this.acts.looked(this.policy, now, Found::Failed(Decision::Retry));
                        match by {
                            CutBy::AttemptTimeout => then_of(step),
                            CutBy::Deadline => Then::Stop(Stop::Deadline),
                            CutBy::Cancelled => Then::Stop(Stop::Cancelled),
                        }
                    }
                },
                StateProj::Acting(act, at, by) => {
                    let failed = match act.poll(cx) {
                        Poll::Ready(Ok(_)) => {
                            *this.ending = Ending::NotReady;
                            None
                        }
                        Poll::Ready(Err(error)) => {
                            let decision = this.when.classify(&error);
                            *this.error = Some(error);
                            *this.ending = Ending::Failed;
                            Some(decision)
                        }
                        Poll::Pending => {
                            let by = ready!(this.core.poll_cut_at(cx, this.alarm.as_mut(), *at, *by));
                            *this.cut_after = this.core.elapsed().saturating_sub(*this.called);
                            *this.ending = Ending::Cut(by);
                            Some(this.core.policy.after_cut())
                        }
                    };
                    if !L::SILENT {
                        let (attempt, elapsed) = (this.core.attempts(), duration(this.core.elapsed()));
                        let failed = failed.map(|_| this.ending.last(this.error.as_ref(), duration(*this.cut_after)));
                        this.listener.on_event(&Event::Acted { attempt, elapsed, failed });
                    }
                    if *this.ending == Ending::Cut(CutBy::Cancelled) {
                        return Poll::Ready(Err(self.give_up(Stop::Cancelled)));
                    }
                    this.acts.acted(failed);
                    // What the act holds is let go before the look that follows.
                    this.state.set(State::Idle);
                    *this.called = this.core.elapsed();
                    if let Some(attempt) = *this.attempt {
                        this.state.set(State::Looking(this.both.look(attempt)));
                    }
                    continue;
                }
                StateProj::Done => panic!("`EnsureFuture` polled after completion"),
            };
            match then {
                Then::Act(state, until, by) => {
                    let mut this = self.as_mut().project();
                    this.state.set(State::Idle);
                    *this.called = this.core.elapsed();
                    if !L::SILENT {
                        let (attempt, elapsed) = (this.core.attempts(), duration(*this.called));
                        this.listener.on_event(&Event::Acting { attempt, elapsed });
                    }
                    this.state.set(State::Acting(this.both.act(state), until, by));
                }
                Then::Next(decision) => {
                    if let Err(stop) = self.as_mut().end_round(decision) {
                        return Poll::Ready(Err(self.give_up(stop)));
                    }
                }
                Then::Stop(stop) => return Poll::Ready(Err(self.give_up(stop))),
            }
        }
    }
}

fn then_of<S>(step: Move) -> Then<S> {
    match step {
        Move::NextRound(decision) => Then::Next(decision),
        Move::Stop(ended) => Then::Stop(ended.into()),
        // A look that saw nothing can lead to neither.
        Move::Done(_) | Move::Act(..) => Then::Next(Decision::Retry),
    }
}

impl<O, W, L, G> EnsureFuture<O, W, L, G>
where
    O: Endeavour,
    W: Classify<O::Error>,
    L: Listener<O::Error>,
    G: Ties,
{
    /// Reads what a look has seen.
    #[expect(clippy::type_complexity, reason = "the three parts of what an observation sees")]
    fn looked(
        self: Pin<&mut Self>,
        seen: Result<Seen<O::Value, O::State, O::Error>, O::Error>,
    ) -> Result<Ensured<O::Value>, Then<O::State>> {
        let mut this = self.project();
        let now = this.core.elapsed();
        let looked = |acts: &mut Acts, found| acts.looked(this.policy, now, found);
        let then = match seen {
            Ok(Seen::AsWanted(value)) => {
                let Move::Done(change) = looked(this.acts, Found::AsWanted) else {
                    return Err(Then::Next(Decision::Retry));
                };
                this.state.set(State::Done);
                this.core.over();
                if !L::SILENT {
                    let (attempts, elapsed) = (this.core.attempts(), duration(now));
                    this.listener.on_event(&Event::Succeeded { attempts, elapsed });
                }
                return Ok(Ensured { value, change });
            }
            Ok(Seen::Differs(state)) => match looked(this.acts, Found::Differs) {
                Move::Act(until, by) => Then::Act(state, until, by),
                other => {
                    // Without an act before it, the last thing known is that it is not so.
                    if this.acts.acts() == 0 {
                        *this.ending = Ending::NotReady;
                    }
                    then_of(other)
                }
            },
            Ok(Seen::NotYet) => {
                *this.ending = Ending::NotReady;
                then_of(looked(this.acts, Found::NotYet))
            }
            Ok(Seen::NotYetBecause(error)) => {
                let step = looked(this.acts, Found::NotYet);
                if step != Move::Stop(Ended::Fatal) {
                    (*this.ending, *this.error) = (Ending::NotReadyBecause, Some(error));
                }
                then_of(step)
            }
            Ok(Seen::Fatal(error)) => {
                (*this.ending, *this.error) = (Ending::Failed, Some(error));
                then_of(looked(this.acts, Found::Failed(Decision::Fatal)))
            }
            Err(error) => {
                let decision = this.when.classify(&error);
                let step = looked(this.acts, Found::Failed(decision));
                // Where an act was refused for good, that is what the run ends with.
                if step != Move::Stop(Ended::Fatal) || decision == Decision::Fatal {
                    (*this.ending, *this.error) = (Ending::Failed, Some(error));
                }
                then_of(step)
            }
        };
        Err(then)
    }

    /// The round has ended without a value: plans the next one, or says why there is none.
    fn end_round(self: Pin<&mut Self>, decision: Decision) -> Result<(), Stop> {
        let mut this = self.project();
        this.state.set(State::Idle);
        let ending = *this.ending;
        let listener = this.listener;
        if !L::SILENT {
            let (attempt, elapsed) = (this.core.attempts(), duration(this.core.elapsed()));
            let last = ending.last(this.error.as_ref(), duration(*this.cut_after));
            listener.on_event(&Event::Ended { attempt, elapsed, last });
        }
        this.core.end::<Timer>(ending, decision, &mut |wait| listener.on_event(&Event::Waiting(wait)))
    }

    #[cold]
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> GaveUp<O::Error> {
        let mut this = self.project();
        let in_round = !matches!(*this.state, State::Idle);
        this.state.set(State::Done);
        if in_round {
            this.core.over();
        }
        let bounds = this.policy.bounds();
        let end = End {
            attempts: if stop == Stop::Attempts { this.acts.acts() } else { this.core.attempts() },
            elapsed: this.core.elapsed(),
            bound: if stop == Stop::StartWindow { bounds.start_within } else { bounds.finish_within },
            cut_after: *this.cut_after,
            ending: *this.ending,
            stop,
        };
        let (acts, outcome_unknown) = (this.acts.acts(), this.acts.outcome_unknown());
        let gave_up = GaveUp::new(end, this.error.take()).with_detail(Detail::Ensure { acts, outcome_unknown });
        this.listener.on_event(&Event::GaveUp(&gave_up));
        gave_up
    }
}

impl<O, W, L, G> fmt::Debug for EnsureFuture<O, W, L, G>
where
    O: Endeavour,
    G: Ties,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "between rounds",
            State::Looking(_) => "looking",
            State::Acting(..) => "acting",
            State::Done => "done",
        };
        f.debug_struct("EnsureFuture")
            .field("state", &state)
            .field("acts", &self.acts.acts())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
