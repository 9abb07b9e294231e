//! The one attempt loop that every verb drives.
//!
//! [`Core`] is a run without its operation: it asks `policy/` and waits. [`Run`] adds an operation and is the future
//! behind `retry` and `poll`, asynchronous and blocking; the cursor drives a [`Core`] by hand. So no verb can differ from
//! another in what it decides.

mod core;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;

pub(crate) use self::core::Core;
use crate::{
    error::{Ending, GaveUp, Stop},
    events::{Event, Listener},
    operation::{Classify, Judged, Operation, Verb},
    policy::{Policy, attempts::Decision, bounds::CutBy, nanos::duration},
    shared::Ties,
    time::Alarm,
};

/// A run with its operation: the future behind the verbs.
// In this order: with the error beside the counters, both are built elsewhere and copied here.
#[pin_project]
#[repr(C)]
pub(crate) struct Run<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    G: Ties,
{
    core: Core<G>,
    #[pin]
    alarm: T,
    error: Option<V::Error>,
    #[pin]
    slot: Slot<O::Future>,
    verb: V,
    operation: O,
    when: W,
    listener: L,
}

#[pin_project(project = SlotProj)]
enum Slot<F> {
    Idle,
    Running(#[pin] F),
    Done,
}

impl<V, O, W, L, G, T> Run<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    G: Ties,
    T: Alarm,
{
    #[inline]
    pub(crate) fn new(verb: V, operation: O, when: W, listener: L, policy: Policy, ties: G) -> Self {
        let core = Core::new(policy, ties);
        Self { verb, operation, when, listener, core, error: None, alarm: T::default(), slot: Slot::Idle }
    }
}

impl<V, O, W, L, G, T> Future for Run<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    W: Classify<V::Error>,
    L: Listener<V::Error>,
    G: Ties,
    T: Alarm,
{
    type Output = Result<V::Value, GaveUp<V::Error>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        loop {
            if let SlotProj::Idle = this.slot.as_mut().project() {
                let on_wait = |wait| this.listener.on_event(&Event::Waiting(wait));
                match ready!(this.core.poll_start(cx, this.alarm.as_mut(), on_wait)) {
                    Ok(attempt) => {
                        this.listener.on_event(&Event::Started(attempt));
                        this.verb.begin();
                        this.slot.set(Slot::Running(this.operation.call(attempt)));
                    }
                    Err(stop) => return self.give_up(stop),
                }
            }
            let SlotProj::Running(operation) = this.slot.as_mut().project() else {
                panic!("`{}` polled after completion", V::NAME)
            };
            let (ending, decision) = match operation.poll(cx) {
                Poll::Ready(output) => match this.verb.judge(output) {
                    Judged::Value(value) => {
                        this.slot.set(Slot::Done);
                        this.core.over();
                        if !L::SILENT {
                            let (attempts, elapsed) = (this.core.attempts(), duration(this.core.elapsed()));
                            this.listener.on_event(&Event::Succeeded { attempts, elapsed });
                        }
                        return Poll::Ready(Ok(value));
                    }
                    Judged::NotYet => (Ending::NotReady, Decision::Retry),
                    Judged::NotYetBecause(error) => {
                        *this.error = Some(error);
                        (Ending::NotReadyBecause, Decision::Retry)
                    }
                    Judged::Failed(error) => {
                        let decision = this.when.classify(&error);
                        *this.error = Some(error);
                        (Ending::Failed, decision)
                    }
                    Judged::Fatal(error) => {
                        *this.error = Some(error);
                        (Ending::Failed, Decision::Fatal)
                    }
                    Judged::Stopped(stop, error) => {
                        let ending = if error.is_some() { Ending::Failed } else { Ending::NotReady };
                        *this.error = error.or(this.error.take());
                        return self.ruled(ending, stop);
                    }
                },
                Poll::Pending => {
                    let by = ready!(this.core.poll_cut(cx, this.alarm.as_mut()));
                    if by == CutBy::AttemptTimeout
                        && let Some(stop) = this.verb.cut()
                    {
                        return self.ruled(Ending::Cut(by), stop);
                    }
                    (Ending::Cut(by), this.core.policy.after_cut())
                }
            };
            // Whatever the operation holds is let go before anything else happens.
            this.slot.set(Slot::Idle);
            if !L::SILENT {
                let (attempt, elapsed) = (this.core.attempts(), duration(this.core.elapsed()));
                let last = ending.last(this.error.as_ref(), this.core.cut_after(ending, elapsed));
                this.listener.on_event(&Event::Ended { attempt, elapsed, last });
            }
            let mut on_wait = |wait| this.listener.on_event(&Event::Waiting(wait));
            if let Err(stop) = this.core.end::<T>(ending, decision, &mut on_wait) {
                return self.give_up(stop);
            }
        }
    }
}

impl<V, O, W, L, G, T> Run<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    L: Listener<V::Error>,
    G: Ties,
    T: Alarm,
{
    /// The verb's own rule ends the run, right after an attempt.
    #[cold]
    fn ruled(mut self: Pin<&mut Self>, ending: Ending, stop: Stop) -> Poll<Result<V::Value, GaveUp<V::Error>>> {
        let mut this = self.as_mut().project();
        this.slot.set(Slot::Idle);
        this.core.ending = ending;
        this.core.over();
        if !L::SILENT {
            let (attempt, elapsed) = (this.core.attempts(), duration(this.core.elapsed()));
            let last = ending.last(this.error.as_ref(), this.core.cut_after(ending, elapsed));
            this.listener.on_event(&Event::Ended { attempt, elapsed, last });
        }
        self.give_up(stop)
    }

    /// The end without a value. Out of line, so that a value need not be moved to where an error would be.
    #[cold]
    #[inline(never)]
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> Poll<Result<V::Value, GaveUp<V::Error>>> {
        let mut this = self.project();
        this.slot.set(Slot::Done);
        let gave_up = this.core.give_up(stop, this.error.take());
        let gave_up = this.verb.explain(gave_up);
        this.listener.on_event(&Event::GaveUp(&gave_up));
        Poll::Ready(Err(gave_up))
    }
}

impl<V, O, W, L, G, T> fmt::Debug for Run<V, O, W, L, G, T>
where
    O: Operation,
    V: Verb<O::Output>,
    G: Ties,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.slot {
            Slot::Idle => "between attempts",
            Slot::Running(_) => "in an attempt",
            Slot::Done => "done",
        };
        f.debug_struct(V::NAME)
            .field("state", &state)
            .field("attempts", &self.core.attempts())
            .field("policy", &self.core.policy)
            .finish_non_exhaustive()
    }
}
