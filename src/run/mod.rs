//! The one attempt loop that every verb drives, and the one place where a run ends.
//!
//! [`Core`] is a run without its operation: it asks `policy/`, waits, tells the listener and ends. [`RunFuture`] adds
//! an operation and is the future behind `retry`, `poll` and `settle`, asynchronous and blocking; the cursor and
//! `ensure` drive a [`Core`] themselves; the items of a queue share [`end`]. So no verb can differ from another in what
//! it decides.

pub(crate) mod alarm;
pub(crate) mod cancel;
pub(crate) mod controls;
mod core;
pub(crate) mod end;
pub(crate) mod retries;
pub(crate) mod settings;
mod tell;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

pub(crate) use self::core::Core;
use self::tell::tell_gave_up;
use crate::{
    error::{Detail, End, Ending, GaveUp, Stop},
    events::Listener,
    operation::{Classify, Judged, Operation, Verb, VerbTypes},
    policy::schedule::{Policy, attempts::Decision, bounds::CutBy},
    report::Reports,
    run::{alarm::Alarm, controls::Control},
    time::Sleeper,
};

pin_project! {
    /// A run with its operation: the future behind the verbs.
    /// In this order: with the error beside the counters, both are built elsewhere and copied here.
    #[repr(C)]
    pub(crate) struct RunFuture<V, O, W, L, G, T>
    where
        O: Operation,
        V: VerbTypes<O::Output>,
        G: Control,
    {
        core: Core<G>,
        #[pin]
        alarm: Alarm<T, G>,
        error: Option<V::Error>,
        #[pin]
        slot: AttemptSlot<O::Future>,
        verb: V,
        operation: O,
        when: W,
        listener: L,
    }
}

pin_project! {
    #[project = AttemptSlotProj]
    enum AttemptSlot<F> {
        Idle,
        Running {
            #[pin]
            attempt: F,
        },
        Done,
    }
}

impl<V, O, W, L, G, T> RunFuture<V, O, W, L, G, T>
where
    O: Operation,
    V: VerbTypes<O::Output>,
    G: Control,
    T: Sleeper,
{
    #[inline]
    pub(crate) fn new(verb: V, operation: O, when: W, listener: L, policy: Policy, ties: G) -> Self {
        let core = Core::new(policy, ties);
        Self { verb, operation, when, listener, core, error: None, alarm: Alarm::default(), slot: AttemptSlot::Idle }
    }
}

impl<V, O, W, L, G, T> Future for RunFuture<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    W: Classify<V::Error>,
    L: Listener<V::Error>,
    G: Control,
    T: Sleeper,
{
    type Output = Result<V::Value, GaveUp<V::Error>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        loop {
            let answer = {
                if let AttemptSlotProj::Idle = this.slot.as_mut().project() {
                    match ready!(this.core.poll_attempt(cx, this.alarm.as_mut(), this.listener)) {
                        Ok(attempt) => {
                            this.verb.begin(attempt);
                            // The listener may have taken its time, or cancelled the run: the call is not begun then.
                            if !L::SILENT
                                && let Err(stop) = this.core.may_call()
                            {
                                let error = this.error.as_ref();
                                let stop =
                                    this.core.end_attempt_by_rule(this.listener, error, Ending::NotCalled, stop, None);
                                return self.give_up(stop);
                            }
                            this.slot.set(AttemptSlot::Running { attempt: this.operation.call(attempt) });
                        }
                        Err(stop) => return self.give_up(stop),
                    }
                }
                let AttemptSlotProj::Running { attempt: running } = this.slot.as_mut().project() else {
                    panic!("`{}` polled after completion", V::NAME)
                };
                match running.poll(cx) {
                    Poll::Ready(output) => Ok(output),
                    Poll::Pending => Err(ready!(this.core.poll_cut(cx, this.alarm.as_mut()))),
                }
            };
            // What follows, if not the end by a rule of the verb's own.
            let (ending, follows) = match answer {
                Ok(output) => {
                    let judged = this.verb.judge(output, || this.core.read());
                    if let Judged::Value(value) = judged {
                        this.slot.set(AttemptSlot::Done);
                        this.core.disarm(this.alarm.as_mut());
                        this.core.succeed(this.listener);
                        return Poll::Ready(Ok(value));
                    }
                    // Destructors and `when` may take any time.
                    this.core.start_clock();
                    // What the operation holds is let go before anything else happens. A panic from here on ends it
                    // all.
                    this.slot.set(AttemptSlot::Done);
                    // An error is kept first, so that a panic of `when` does not lose it.
                    match judged {
                        Judged::Value(_) | Judged::NotYet => (Ending::NotReady, Ok(Decision::Retry)),
                        Judged::NotYetBecause(error) => {
                            *this.error = Some(error);
                            (Ending::NotReadyBecause, Ok(Decision::Retry))
                        }
                        Judged::Failed(error) => (Ending::Failed, Ok(this.when.classify(this.error.insert(error)))),
                        Judged::Decided(error, decision) => {
                            *this.error = Some(error);
                            (Ending::Failed, Ok(decision))
                        }
                        Judged::Stopped(stop, None) => (Ending::NotReady, Err(stop)),
                        Judged::Stopped(stop, Some(error)) => match this.when.classify(this.error.insert(error)) {
                            Decision::Fatal => (Ending::Failed, Ok(Decision::Fatal)),
                            _ => (Ending::Failed, Err(stop)),
                        },
                    }
                }
                Err(by) => {
                    this.slot.set(AttemptSlot::Done);
                    let decision = this.core.policy.after_cut();
                    let may_end = by == CutBy::AttemptTimeout && decision != Decision::Fatal;
                    let stop = if may_end { this.verb.cut(|| this.core.read()) } else { None };
                    (Ending::Cut(by), stop.map_or(Ok(decision), Err))
                }
            };
            let decision = match follows {
                Ok(decision) => decision,
                Err(stop) => {
                    let error = this.error.as_ref();
                    let stop = this.core.end_attempt_by_rule(this.listener, error, ending, stop, None);
                    return self.give_up(stop);
                }
            };
            if L::SILENT {
                // Nothing of the caller's runs from here to the next attempt.
                this.slot.set(AttemptSlot::Idle);
                if let Err(stop) = ready!(this.core.end_and_yield::<T>(cx, ending, decision)) {
                    return self.give_up(stop.into());
                }
            } else {
                match this.core.end_attempt(this.listener, this.error.as_ref(), ending, decision, None) {
                    Ok(()) => this.slot.set(AttemptSlot::Idle),
                    Err(stop) => return self.give_up(stop),
                }
            }
        }
    }
}

impl<V, O, W, L, G, T> RunFuture<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    L: Listener<V::Error>,
    G: Control,
    T: Sleeper,
{
    /// The end without a value. Out of line, so that a value need not be moved to where an error would be.
    #[cold]
    #[inline(never)]
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> Poll<Result<V::Value, GaveUp<V::Error>>> {
        let mut this = self.project();
        this.slot.set(AttemptSlot::Done);
        this.core.disarm(this.alarm.as_mut());
        let detail = match this.verb.detail(|| this.core.read()) {
            None if this.error.is_none() => Detail::read(this.operation.reads()),
            detail => detail,
        };
        let end = End { observes: V::OBSERVES, ..this.core.stop(stop, None) };
        Poll::Ready(Err(tell_gave_up(this.listener, GaveUp::new(end, this.error.take(), detail))))
    }
}

impl<V, O, W, L, G, T> Reports for RunFuture<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    G: Control,
{
    fn report(&self) -> (u32, u64) {
        self.core.report()
    }
}

impl<V, O, W, L, G, T> fmt::Debug for RunFuture<V, O, W, L, G, T>
where
    O: Operation,
    V: VerbTypes<O::Output>,
    G: Control,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.slot {
            AttemptSlot::Idle => "between attempts",
            AttemptSlot::Running { .. } => "in an attempt",
            AttemptSlot::Done => "done",
        };
        f.debug_struct(V::NAME)
            .field("state", &state)
            .field("attempts", &self.core.attempts())
            .field("policy", &self.core.policy)
            .finish_non_exhaustive()
    }
}
