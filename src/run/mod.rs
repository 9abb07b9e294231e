//! The one attempt loop that every verb drives, and the one place where a run ends.
//!
//! [`Core`] is a run without its operation: it asks `policy/`, waits, tells the listener and ends. [`RunFuture`] adds an operation
//! and is the future behind `retry`, `poll` and `settle`, asynchronous and blocking; the cursor and `ensure` drive a
//! [`Core`] themselves; the items of a queue share [`end`]. So no verb can differ from another in what it decides.

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
    run::controls::Control,
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
        alarm: T,
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
        Self { verb, operation, when, listener, core, error: None, alarm: T::default(), slot: AttemptSlot::Idle }
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
            let mut may_call = Ok(());
            if let AttemptSlotProj::Idle = this.slot.as_mut().project() {
                match ready!(this.core.poll_attempt(cx, this.alarm.as_mut(), this.listener)) {
                    Ok(attempt) => {
                        this.verb.begin(attempt);
                        // The listener may have taken its time, or cancelled the run: the call is not begun then.
                        if !L::SILENT {
                            may_call = this.core.may_call();
                        }
                        if may_call.is_ok() {
                            this.slot.set(AttemptSlot::Running { attempt: this.operation.call(attempt) });
                        }
                    }
                    Err(stop) => return self.give_up(stop),
                }
            }
            let answer = match (may_call, this.slot.as_mut().project()) {
                (Err(by), _) => Err(by),
                (Ok(()), AttemptSlotProj::Running { attempt: running }) => match running.poll(cx) {
                    Poll::Ready(output) => Ok(output),
                    Poll::Pending => Err(ready!(this.core.poll_cut(cx, this.alarm.as_mut()))),
                },
                _ => panic!("`{}` polled after completion", V::NAME),
            };
            let (ending, decision) = match answer {
                Ok(output) => {
                    let judged = this.verb.judge(output, || this.core.read());
                    if let Judged::Value(value) = judged {
                        this.slot.set(AttemptSlot::Done);
                        this.core.succeed(this.listener);
                        return Poll::Ready(Ok(value));
                    }
                    // Destructors and `when` may take any time.
                    this.core.start_clock();
                    // What the operation holds is let go before anything else happens. A panic from here on ends it all.
                    this.slot.set(AttemptSlot::Done);
                    match judged {
                        Judged::Value(_) | Judged::NotYet => (Ending::NotReady, Decision::Retry),
                        Judged::NotYetBecause(error) => {
                            *this.error = Some(error);
                            (Ending::NotReadyBecause, Decision::Retry)
                        }
                        Judged::Failed(error) => {
                            // Kept first, so that a panic of `when` does not lose it.
                            let error = this.error.insert(error);
                            (Ending::Failed, this.when.classify(error))
                        }
                        Judged::Fatal(error) => {
                            *this.error = Some(error);
                            (Ending::Failed, Decision::Fatal)
                        }
                        Judged::Decided(error, decision) => {
                            *this.error = Some(error);
                            (Ending::Failed, decision)
                        }
                        Judged::Stopped(stop, None) => return self.end_by_rule(Ending::NotReady, stop),
                        Judged::Stopped(stop, Some(error)) => {
                            let error = this.error.insert(error);
                            match this.when.classify(error) {
                                Decision::Fatal => (Ending::Failed, Decision::Fatal),
                                _ => return self.end_by_rule(Ending::Failed, stop),
                            }
                        }
                    }
                }
                Err(by) => {
                    this.slot.set(AttemptSlot::Done);
                    let decision = this.core.policy.after_cut();
                    if by == CutBy::AttemptTimeout
                        && decision != Decision::Fatal
                        && let Some(stop) = this.verb.cut(|| this.core.read())
                    {
                        return self.end_by_rule(Ending::Cut(by), stop);
                    }
                    (Ending::Cut(by), decision)
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
    /// The verb's own rule ends the run, right after an attempt.
    #[cold]
    fn end_by_rule(mut self: Pin<&mut Self>, ending: Ending, stop: Stop) -> Poll<Result<V::Value, GaveUp<V::Error>>> {
        let this = self.as_mut().project();
        let stop = this.core.end_attempt_by_rule(this.listener, this.error.as_ref(), ending, stop, None);
        self.give_up(stop)
    }

    /// The end without a value. Out of line, so that a value need not be moved to where an error would be.
    #[cold]
    #[inline(never)]
    fn give_up(self: Pin<&mut Self>, stop: Stop) -> Poll<Result<V::Value, GaveUp<V::Error>>> {
        let mut this = self.project();
        this.slot.set(AttemptSlot::Done);
        let read = || this.operation.reads().filter(|_| this.error.is_none()).map(|of| Detail::Read { of });
        let detail = this.verb.detail(|| this.core.read()).or_else(read);
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
