//! What a run says to its listener, and the error that it ends with: the only place where a verb's events come from.
//!
//! For every verb: (`Waiting`* `Started` `Ended`)* and then `Succeeded` or `GaveUp`. Whatever is told has been decided and
//! noted before, so that a listener that panics changes nothing.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::core::{Core, Decided, Step};
use crate::{
    error::{Detail, Ending, GaveUp, Stop},
    events::{Event, Listener, Wait},
    policy::{
        nanos::duration,
        schedule::attempts::{Attempt, Decision},
    },
    run::controls::Ties,
    time::Alarm,
};

impl<G: Ties> Core<G> {
    /// Waits until the next attempt starts.
    #[inline]
    pub(crate) fn poll_attempt<E, L: Listener<E>, T: Alarm>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut T>,
        listener: &mut L,
    ) -> Poll<Result<Attempt, Stop>> {
        loop {
            match ready!(self.poll_start(cx, alarm.as_mut()))? {
                Step::Start(attempt) => {
                    if !L::SILENT {
                        // What the listener takes counts.
                        self.start_clock();
                    }
                    listener.on_event(&Event::Started(attempt));
                    return Poll::Ready(Ok(attempt));
                }
                Step::Wait(wait) => listener.on_event(&Event::Waiting(wait)),
            }
        }
    }

    /// The attempt has ended without a value. `cut_after` is how long it had run when it was cut, where the verb knows
    /// better.
    #[inline]
    pub(crate) fn end_attempt<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<&E>,
        ending: Ending,
        decision: Decision,
        cut_after: Option<u64>,
    ) -> Result<(), Stop> {
        let decided = self.end(ending, decision);
        self.tell_end(listener, error, ending, decided, cut_after)
    }

    /// The attempt has ended, and the run with it, by a rule of the verb's own.
    #[cold]
    pub(crate) fn end_attempt_by_rule<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<&E>,
        ending: Ending,
        stop: Stop,
        cut_after: Option<u64>,
    ) -> Stop {
        let now = self.end_by_rule(ending);
        let decided = Decided { now, next: Err(stop.clone()) };
        _ = self.tell_end(listener, error, ending, decided, cut_after);
        stop
    }

    /// Tells of the end of an attempt, and of the wait that follows.
    #[inline]
    pub(crate) fn tell_end<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<&E>,
        ending: Ending,
        Decided { now, next }: Decided,
        cut_after: Option<u64>,
    ) -> Result<(), Stop> {
        if !L::SILENT {
            // The listener may take its time: the next attempt says when it starts, and the hard bound may come meanwhile.
            self.reread();
            let cut_after = cut_after.unwrap_or_else(|| self.cut_after(ending, now));
            let last = ending.last(error, duration(cut_after));
            let again = match next {
                Ok(Some(Wait::Pause(pause))) => Some(pause),
                Ok(_) => Some(Duration::ZERO),
                Err(_) => None,
            };
            listener.on_event(&Event::Ended { attempt: self.attempts(), elapsed: duration(now), last, again });
            if let Ok(Some(wait)) = next {
                listener.on_event(&Event::Waiting(wait));
            }
        }
        next.map(drop)
    }

    /// The attempt has given the value.
    #[inline]
    pub(crate) fn succeed<E, L: Listener<E>>(&mut self, listener: &mut L) {
        self.finish();
        if !L::SILENT {
            listener.on_event(&Event::Succeeded { attempts: self.attempts(), elapsed: duration(self.read()) });
        }
    }

    /// The run has ended without a value. `detail` is what the verb adds.
    #[cold]
    pub(crate) fn give_up<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<E>,
        stop: Stop,
        detail: Option<Detail>,
        cut_after: Option<u64>,
    ) -> GaveUp<E> {
        let gave_up = self.stop(stop, cut_after, error).with_detail(detail);
        Self::tell_gave_up(listener, &gave_up);
        gave_up
    }

    /// Tells of the end of a run without a value.
    #[cold]
    pub(crate) fn tell_gave_up<E, L: Listener<E>>(listener: &mut L, gave_up: &GaveUp<E>) {
        listener.on_event(&Event::GaveUp(gave_up));
    }
}
