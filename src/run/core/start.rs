//! How a run waits for its next attempt, and starts it.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{Core, State, Step};
use crate::{
    error::Stop,
    events::Wait,
    policy::nanos::{FOREVER, duration},
    run::{
        alarm::Alarm,
        controls::{Admission, Control},
        end::{may_start, plan_first},
    },
    time::{self, Sleeper},
};

impl<G: Control> Core<G> {
    /// Waits until the next attempt starts. Dropped, it can be called again; see [`leave`](Self::leave).
    #[inline]
    pub(crate) fn poll_start<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: Pin<&mut Alarm<T, G>>,
    ) -> Poll<Result<Step, Stop>> {
        // The first attempt is all that many runs have.
        if matches!(self.state, State::First | State::FirstTimed | State::Due)
            && self.ties.admits_at_once(|| T::poll_yield(cx).is_ready())
        {
            self.start::<T>();
            return Poll::Ready(Ok(Step::Start));
        }
        self.poll_next(cx, alarm)
    }

    /// Waits for whatever the next attempt has to wait for.
    #[inline(never)]
    fn poll_next<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Alarm<T, G>>,
    ) -> Poll<Result<Step, Stop>> {
        loop {
            let planned = self.at;
            match &mut self.state {
                // A limiter that grants at once must not keep others from running.
                State::First | State::FirstTimed if self.ties.is_limited() && T::poll_yield(cx).is_pending() => {
                    self.start.get_or_insert_with(time::now);
                    self.yield_in_list(planned);
                    return Poll::Pending;
                }
                State::First | State::FirstTimed | State::Due => {}
                State::Unstarted => {
                    if let Some(pause) = self.begin()? {
                        return Poll::Ready(Ok(Step::Wait(Wait::Pause(duration(pause)))));
                    }
                    continue;
                }
                State::Sleeping => {
                    if alarm.as_mut().poll_cancelled(&mut self.ties, cx).is_ready() {
                        return Poll::Ready(Err(Stop::Cancelled));
                    }
                    let at = self.start.and_then(|start| time::after(start, planned));
                    #[cfg(feature = "test-util")]
                    if self.policy.skips_pauses() && self.skip_until(at) {
                        self.state = State::Yielded;
                        continue;
                    }
                    ready!(alarm.as_mut().poll_at(cx, at));
                    self.at = self.read();
                }
                State::Yielding | State::Yielded => {
                    let is_stale = matches!(self.state, State::Yielded);
                    if T::poll_yield(cx).is_pending() {
                        self.yield_in_list(planned);
                        return Poll::Pending;
                    }
                    if is_stale {
                        self.at = self.read();
                    }
                }
                State::AwaitingPermit(_) if self.yields_in_list => {
                    ready!(T::poll_yield(cx));
                    self.yields_in_list = false;
                    if self.ties.is_cancelled() {
                        return Poll::Ready(Err(Stop::Cancelled));
                    }
                    may_start(&self.policy, self.read())?;
                    if let State::AwaitingPermit(waiter) = mem::replace(&mut self.state, State::Yielded)
                        && let Some(wait) = self.queue(cx, waiter, planned)
                    {
                        return Poll::Ready(Ok(Step::Wait(wait)));
                    }
                    continue;
                }
                State::AwaitingPermit(_) => {
                    ready!(self.poll_permit(cx, alarm.as_mut()))?;
                    self.at = self.read();
                    may_start(&self.policy, self.at)?;
                    self.start::<T>();
                    return Poll::Ready(Ok(Step::Start));
                }
                State::Attempting | State::Over => panic!("a run was polled after a panic"),
            }
            if self.ties.is_cancelled() {
                return Poll::Ready(Err(Stop::Cancelled));
            }
            may_start(&self.policy, self.at)?;
            match self.ties.ask(self.policy.bounds().room(planned)) {
                Admission::Granted => {
                    self.start::<T>();
                    return Poll::Ready(Ok(Step::Start));
                }
                Admission::Queued(waiter) => {
                    if let Some(wait) = self.queue(cx, waiter, planned) {
                        return Poll::Ready(Ok(Step::Wait(wait)));
                    }
                }
                Admission::Refused(stop) => return Poll::Ready(Err(stop)),
            }
        }
    }

    /// A run that does not begin with an attempt: how long it waits for its first one, if it does.
    #[cold]
    fn begin(&mut self) -> Result<Option<u64>, Stop> {
        if self.ties.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.policy.is_timed() {
            self.start = Some(time::now());
        }
        let first = plan_first(&self.policy, &mut self.attempts, self.policy.seed())?;
        let pause = self.wait_until(first, 0);
        Ok((pause > 0).then_some(pause))
    }

    /// Others run before the next attempt. If it needs a permit it joins the limiter's wait list first, so that none
    /// overtakes it.
    #[cold]
    fn yield_in_list(&mut self, planned: u64) {
        self.state = State::Yielded;
        if self.ties.is_limited()
            && !self.ties.is_cancelled()
            && let Admission::Queued(waiter) = self.ties.join(self.policy.bounds().room(planned))
        {
            (self.state, self.yields_in_list) = (State::AwaitingPermit(waiter), true);
        }
    }

    /// Puts the run on the limiter's wait list. `None`: its permit is there already.
    #[cold]
    fn queue(&mut self, cx: &mut Context<'_>, mut waiter: G::Waiter, planned: u64) -> Option<Wait> {
        // The wait counts: the clock starts before the listener hears of it.
        self.start.get_or_insert_with(time::now);
        let pending = self.ties.poll_granted(&mut waiter, cx);
        self.at = planned;
        self.state = State::AwaitingPermit(waiter);
        pending.map(|due| {
            let wait = due.map_or(FOREVER, |due| time::between(time::now(), due));
            Wait::Limiter(duration(wait))
        })
    }

    /// Waits on the limiter's wait list: until the permit is there, the run is cancelled or a bound is over.
    fn poll_permit<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Alarm<T, G>>,
    ) -> Poll<Result<(), Stop>> {
        if alarm.as_mut().poll_cancelled(&mut self.ties, cx).is_ready() {
            return Poll::Ready(Err(Stop::Cancelled));
        }
        let start = *self.start.get_or_insert_with(time::now);
        let bounds = *self.policy.bounds();
        loop {
            let State::AwaitingPermit(waiter) = &mut self.state else { return Poll::Ready(Ok(())) };
            let Some(due) = self.ties.poll_granted(waiter, cx) else { return Poll::Ready(Ok(())) };
            // A limiter whose rate was lowered may have put the permit off beyond the bounds.
            let due_at = due.map_or(FOREVER, |due| time::between(start, due));
            if bounds.admit(due_at.max(self.at)).is_err() {
                let now = self.read();
                may_start(&self.policy, now)?;
                let ready_in = if due.is_some() { due_at.saturating_sub(now) } else { FOREVER };
                let stop = Stop::Limiter { ready_in: duration(ready_in), allowed: duration(bounds.room(now)) };
                return Poll::Ready(Err(self.ties.no_share().unwrap_or(stop)));
            }
            ready!(alarm.as_mut().poll_at(cx, due));
        }
    }

    /// The attempt starts now, that is at `self.at`.
    #[inline]
    fn start<T: Sleeper>(&mut self) {
        if matches!(self.state, State::FirstTimed) || T::TIME_PASSES_IN_POLL && matches!(self.state, State::First) {
            self.start.get_or_insert_with(time::now);
        }
        self.begin_attempt();
    }

    #[inline]
    fn begin_attempt(&mut self) {
        if let Some(retries) = self.ties.retries() {
            retries.begin_attempt();
        }
        if G::NOTHING || !matches!(self.state, State::AwaitingPermit(_)) {
            self.state = State::Attempting;
        } else if let State::AwaitingPermit(waiter) = mem::replace(&mut self.state, State::Attempting) {
            self.ties.spend(waiter);
        }
        _ = self.attempts.start(&self.policy, self.at);
    }

    /// The future that polls for the next attempt is dropped: no waiter stays behind. Asked again, the run queues anew.
    pub(crate) fn leave(&mut self) {
        if matches!(self.state, State::AwaitingPermit(_)) {
            (self.state, self.yields_in_list) = (State::Sleeping, false);
        }
    }

    /// Lets the run's clock go on to `at` without waiting, by dating its beginning back. False: a clock cannot show
    /// that.
    #[cfg(feature = "test-util")]
    fn skip_until(&mut self, at: Option<time::Instant>) -> bool {
        let pause = at.map(|at| time::between(time::now(), at));
        let earlier = self.start.zip(pause).and_then(|(start, pause)| start.checked_sub(duration(pause)));
        self.start = earlier.or(self.start);
        earlier.is_some()
    }
}
