//! What a run says to its listener, and the error that it ends with: the only place where a verb's events come from.
//!
//! For every verb: (`Waiting`* `Started` `Ended`)*, then `Waiting`* `Started` `Succeeded`, or `Waiting`* `GaveUp`.
//! Whatever is told has been decided and noted before, so that a listener that panics changes nothing.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::core::{Core, Step};
use crate::{
    error::{Detail, Ending, GaveUp, Stop},
    events::{Event, Listener, Wait},
    policy::{
        nanos::duration,
        schedule::attempts::{Attempt, Decision},
    },
    run::{alarm::Alarm, controls::Control},
    time::Sleeper,
};

impl<G: Control> Core<G> {
    /// Waits until the next attempt starts.
    #[inline]
    pub(crate) fn poll_attempt<E, L: Listener<E>, T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Alarm<T, G>>,
        listener: &mut L,
    ) -> Poll<Result<Attempt, Stop>> {
        loop {
            match ready!(self.poll_start(cx, alarm.as_mut()))? {
                Step::Start => {
                    let attempt = self.attempt();
                    if !L::SILENT {
                        listener.on_event(&Event::Started(attempt));
                    }
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
        let next = self.end(ending, decision);
        if !L::SILENT {
            self.tell_end(listener, error, ending, next.ok(), cut_after);
        }
        next.map(drop).map_err(Stop::from)
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
        self.end_by_rule(ending);
        if !L::SILENT {
            self.tell_end(listener, error, ending, None, cut_after);
        }
        stop
    }

    /// Tells of the end of an attempt, and of the pause that follows; `None`: there is no further attempt.
    pub(crate) fn tell_end<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<&E>,
        ending: Ending,
        pause: Option<u64>,
        cut_after: Option<u64>,
    ) {
        let ended = self.ended(pause.unwrap_or(0));
        let cut_after = cut_after.unwrap_or_else(|| self.cut_after(ending, ended));
        // The listener may take its time: the next attempt says when it starts, and the hard bound may come meanwhile.
        self.reread();
        let again = pause.map(duration);
        let last = ending.last(error, duration(cut_after));
        listener.on_event(&Event::Ended { attempt: self.attempts(), elapsed: duration(ended), last, again });
        if let Some(pause) = again.filter(|pause| !pause.is_zero()) {
            listener.on_event(&Event::Waiting(Wait::Pause(pause)));
        }
    }

    /// The attempt has given the value.
    #[inline]
    pub(crate) fn succeed<E, L: Listener<E>>(&mut self, listener: &mut L) {
        self.finish();
        if !L::SILENT {
            listener.on_event(&Event::Succeeded { attempts: self.attempts(), elapsed: self.elapsed() });
        }
    }

    /// The run has ended without a value. `detail` is what the verb adds.
    #[inline]
    pub(crate) fn give_up<E, L: Listener<E>>(
        &mut self,
        listener: &mut L,
        error: Option<E>,
        stop: Stop,
        detail: Option<Detail>,
        cut_after: Option<u64>,
    ) -> GaveUp<E> {
        tell_gave_up(listener, GaveUp::new(self.stop(stop, cut_after), error, detail))
    }
}

/// The last thing that a run without a value tells.
#[inline]
pub(crate) fn tell_gave_up<E, L: Listener<E>>(listener: &mut L, gave_up: GaveUp<E>) -> GaveUp<E> {
    listener.on_event(&Event::GaveUp(&gave_up));
    gave_up
}
