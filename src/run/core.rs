//! The attempt loop without an operation: what it decides, and how it waits.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::end::{AttemptEnd, RunEnd, cut_after, may_start, plan_first};
use crate::{
    error::{End, EndStop, Ending, Stop},
    events::Wait,
    policy::{
        nanos::{FOREVER, duration},
        schedule::{
            Policy,
            attempts::{Attempt, Attempts, Decision},
            bounds::CutBy,
        },
    },
    run::controls::{Admission, Control},
    time::{self, Instant, Sleeper},
};

/// A run without its operation, its listener and its errors.
#[derive(Debug)]
pub(crate) struct Core<G: Control> {
    pub(crate) policy: Policy,
    attempts: Attempts,
    /// When the run began; `None` as long as nothing needed to know.
    start: Option<Instant>,
    /// While the run waits: when its next attempt is planned. Otherwise the time as it was last read. Both are
    /// nanoseconds since it began.
    at: u64,
    state: State<G::Waiter>,
    ending: Ending,
    /// Whether anything can cut an attempt: a bound, or a cancellation.
    is_guarded: bool,
    ties: G,
}

/// In the order of the life of an attempt.
#[derive(Debug)]
enum State<K> {
    /// The first attempt starts at once.
    First,
    /// So does the next one: others have run, and the clock was read a moment ago.
    Due,
    /// A run that does not begin with an attempt: it waits first, or ends.
    Unstarted,
    /// In a pause.
    Sleeping,
    /// The next attempt is due without a pause, and the clock was read a moment ago: others run first.
    Yielding,
    /// The same, but other code has run since the clock was read.
    Yielded,
    /// On the wait list of the limiter. Dropped, the waiter is gone.
    AwaitingPermit(K),
    /// An attempt runs, or was dropped by its owner.
    Attempting,
    /// The run has ended.
    Over,
}

/// What the owner of a run does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The attempt starts: see [`Core::attempt`].
    Start,
    /// The listener is told, and the run asked again.
    Wait(Wait),
}

impl<G: Control> Core<G> {
    #[inline]
    pub(crate) fn new(policy: Policy, ties: G) -> Self {
        Self {
            attempts: Attempts::default(),
            start: None,
            at: 0,
            // Decided here, where the settings are mostly known to the compiler.
            state: if policy.starts_at_once() { State::First } else { State::Unstarted },
            ending: Ending::NotStarted,
            is_guarded: policy.cuts() || ties.may_be_cancelled(),
            policy,
            ties,
        }
    }

    /// The same run with something else shared: begun or not, it goes on as it was.
    pub(crate) fn with<H: Control>(self, change: impl FnOnce(G) -> H) -> Core<H> {
        let Self { policy, attempts, start, at, state, ending, is_guarded, ties } = self;
        let state = match state {
            State::First => State::First,
            State::Due => State::Yielding,
            State::Unstarted => State::Unstarted,
            State::Sleeping | State::AwaitingPermit(_) => State::Sleeping,
            State::Yielding => State::Yielding,
            State::Yielded => State::Yielded,
            State::Attempting => State::Attempting,
            State::Over => State::Over,
        };
        let ties = change(ties);
        let is_guarded = is_guarded || ties.may_be_cancelled();
        Core { policy, attempts, start, at, state, ending, is_guarded, ties }
    }

    /// A new run with the same settings.
    pub(crate) fn begin_anew(&mut self) {
        (self.attempts, self.start, self.at, self.ending) = (Attempts::default(), None, 0, Ending::NotStarted);
        self.state = if self.policy.starts_at_once() { State::First } else { State::Unstarted };
    }

    /// The attempt that runs counts as the first of a new run, which begins now.
    #[cfg(feature = "stream")]
    pub(crate) fn begin_anew_with_this(&mut self) {
        self.attempts.begin_anew();
        (self.start, self.at) = (Some(time::now()), 0);
        if let Some(retries) = self.ties.retries() {
            retries.end_run();
        }
    }

    /// Waits until the next attempt starts. Dropped, it can be called again; see [`leave`](Self::leave).
    #[inline]
    pub(crate) fn poll_start<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: Pin<&mut T>,
    ) -> Poll<Result<Step, Stop>> {
        // The first attempt is all that many runs have.
        if matches!(self.state, State::First | State::Due) && self.ties.admits_at_once() {
            self.start::<T>();
            return Poll::Ready(Ok(Step::Start));
        }
        self.poll_next(cx, alarm)
    }

    /// The attempt has ended without a value, as [`end`](Self::end) says, and there is no listener to tell of it. Others run, if
    /// the next one follows without a pause.
    #[inline(never)]
    pub(crate) fn end_and_yield<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        ending: Ending,
        decision: Decision,
    ) -> Poll<Result<(), EndStop>> {
        _ = self.plan_after(ending, decision)?;
        if matches!(self.state, State::Yielding) {
            if T::poll_yield(cx).is_pending() {
                self.start_clock();
                return Poll::Pending;
            }
            self.state = State::Due;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for whatever the next attempt has to wait for.
    #[inline(never)]
    fn poll_next<T: Sleeper>(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut T>) -> Poll<Result<Step, Stop>> {
        loop {
            let planned = self.at;
            match &mut self.state {
                State::First | State::Due => {}
                State::Unstarted => {
                    if let Some(pause) = self.begin()? {
                        return Poll::Ready(Ok(Step::Wait(Wait::Pause(duration(pause)))));
                    }
                    continue;
                }
                State::Sleeping => {
                    if self.ties.poll_cancelled(cx).is_ready() {
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
                    self.state = State::Yielded;
                    ready!(T::poll_yield(cx));
                    if is_stale {
                        self.at = self.read();
                    }
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
                Admission::Queued(ticket) => {
                    if let Some(wait) = self.queue(cx, ticket, planned) {
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

    /// Puts the run on the limiter's wait list. `None`: its permit is there already.
    #[cold]
    fn queue(&mut self, cx: &mut Context<'_>, mut ticket: G::Waiter, planned: u64) -> Option<Wait> {
        // The wait counts: the clock starts before the listener hears of it.
        self.start.get_or_insert_with(time::now);
        let turn = self.ties.poll_turn(&mut ticket, cx);
        self.at = planned;
        self.state = State::AwaitingPermit(ticket);
        turn.map(|turn| {
            let wait = turn.map_or(FOREVER, |turn| time::between(time::now(), turn));
            Wait::Limiter(duration(wait))
        })
    }

    /// Waits on the limiter's wait list: until the permit is there, the run is cancelled or a bound is over.
    fn poll_permit<T: Sleeper>(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut T>) -> Poll<Result<(), Stop>> {
        if self.ties.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Err(Stop::Cancelled));
        }
        let start = *self.start.get_or_insert_with(time::now);
        let bounds = *self.policy.bounds();
        loop {
            let State::AwaitingPermit(ticket) = &mut self.state else { return Poll::Ready(Ok(())) };
            let Some(turn) = self.ties.poll_turn(ticket, cx) else { return Poll::Ready(Ok(())) };
            // A limiter whose rate was lowered may have put the turn off beyond the bounds.
            let turn_at = turn.map_or(FOREVER, |turn| time::between(start, turn));
            if bounds.admit(turn_at.max(self.at)).is_err() {
                let now = self.read();
                may_start(&self.policy, now)?;
                let ready_in = if turn.is_some() { turn_at.saturating_sub(now) } else { FOREVER };
                let stop = Stop::Limiter { ready_in: duration(ready_in), allowed: duration(bounds.room(now)) };
                return Poll::Ready(Err(stop));
            }
            ready!(alarm.as_mut().poll_at(cx, turn));
        }
    }

    /// The attempt starts now, that is at `self.at`.
    #[inline]
    fn start<T: Sleeper>(&mut self) {
        if matches!(self.state, State::First) && self.start.is_none() && (T::TIME_PASSES_IN_POLL || self.policy.is_timed()) {
            self.start = Some(time::now());
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
        } else if let State::AwaitingPermit(ticket) = mem::replace(&mut self.state, State::Attempting) {
            self.ties.spend(ticket);
        }
        _ = self.attempts.start(&self.policy, self.at);
    }

    /// The attempt that has started, as its operation sees it.
    #[inline]
    pub(crate) fn attempt(&self) -> Attempt {
        self.attempts.attempt(&self.policy)
    }

    /// The future that polls for the next attempt is dropped: no waiter stays behind. Asked again, the run queues anew.
    pub(crate) fn leave(&mut self) {
        if matches!(self.state, State::AwaitingPermit(_)) {
            self.state = State::Sleeping;
        }
    }

    /// The clock starts now, if it has not: other code may take any time before the run reads it.
    #[inline]
    pub(crate) fn start_clock(&mut self) {
        self.start.get_or_insert_with(time::now);
        self.reread();
    }

    /// Code of others has run since the clock was read: it is read again before the next attempt starts.
    #[inline]
    pub(crate) fn reread(&mut self) {
        if matches!(self.state, State::Yielding) {
            self.state = State::Yielded;
        }
    }

    /// While the operation waits: whether it is cut, and by what.
    #[inline]
    pub(crate) fn poll_cut<T: Sleeper>(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut T>) -> Poll<CutBy> {
        if !self.is_guarded {
            self.start.get_or_insert_with(time::now);
            return Poll::Pending;
        }
        self.poll_guards(cx, alarm)
    }

    #[inline(never)]
    fn poll_guards<T: Sleeper>(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut T>) -> Poll<CutBy> {
        let (at, by) = self.attempts.cut(&self.policy);
        self.poll_cut_at(cx, alarm, at, by)
    }

    /// The same for one call of several in an attempt: it is cut at `at`, by `by`.
    pub(crate) fn poll_cut_at<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: Pin<&mut T>,
        at: u64,
        by: CutBy,
    ) -> Poll<CutBy> {
        let start = *self.start.get_or_insert_with(time::now);
        if self.ties.poll_cancelled(cx).is_ready() {
            return Poll::Ready(CutBy::Cancelled);
        }
        alarm.poll_at(cx, time::after(start, at)).map(|()| by)
    }

    /// The attempt has ended without a value: how long the run pauses before the next one, or why there is none. See
    /// [`ended`](Self::ended) for when it was.
    #[inline(never)]
    pub(crate) fn end(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        self.plan_after(ending, decision)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    fn plan_after(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        match decision {
            Decision::RetryAfter(asked) => self.plan_asked(ending, asked),
            _ => self.plan_next(ending, decision),
        }
    }

    /// A pause is asked for: by a server, or by the policy after a cut.
    #[cold]
    #[inline(never)]
    fn plan_asked(&mut self, ending: Ending, asked: Duration) -> Result<u64, EndStop> {
        if ending == Ending::Failed {
            self.policy.move_window(asked);
            if let Some(pause) = self.policy.pause_for_all(asked) {
                self.ties.pause(pause);
            }
        }
        self.plan_next(ending, Decision::RetryAfter(asked))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would be a third of it")]
    fn plan_next(&mut self, ending: Ending, decision: Decision) -> Result<u64, EndStop> {
        self.ending = ending;
        let now = self.read();
        let planned = if ending == Ending::Cut(CutBy::Cancelled) && self.ties.is_cancelled() {
            Err(EndStop::Cancelled)
        } else {
            let Self { policy, attempts, ties, .. } = self;
            let policy = &*policy;
            AttemptEnd { now, ending, decision }.plan(policy, attempts, move || policy.seed(), ties.retries())
        };
        match planned {
            Ok(at) => Ok(self.wait_until(at, now)),
            Err(stop) => {
                (self.at, self.state) = (now, State::Over);
                Err(stop)
            }
        }
    }

    /// When the attempt ended that [`end`](Self::end) has just told this pause of.
    pub(crate) fn ended(&self, pause: u64) -> u64 {
        self.at.saturating_sub(pause)
    }

    /// The attempt has ended, and the run with it, by a rule of the verb's own. When it ended.
    pub(crate) fn end_by_rule(&mut self, ending: Ending) -> u64 {
        (self.at, self.ending, self.state) = (self.read(), ending, State::Over);
        self.at
    }

    /// The run has given its value: from here on it stands on no wait list and counts for no budget.
    #[inline]
    pub(crate) fn finish(&mut self) {
        self.state = State::Over;
        if let Some(retries) = self.ties.retries() {
            retries.end_run();
        }
    }

    /// The run has ended without a value: from here on it stands on no wait list and counts for no budget. `cut_after` is
    /// how long its last attempt had run when it was cut, where the owner knows better.
    pub(crate) fn stop(&mut self, stop: Stop, cut_after: Option<u64>) -> End {
        if !matches!(self.state, State::Over) {
            self.at = self.read();
        }
        self.state = State::Over;
        let (now, ending) = (self.at, self.ending);
        let cut_after = cut_after.unwrap_or_else(|| self.cut_after(ending, now));
        let end = RunEnd { stop, now, ending, cut_after };
        end.close(&self.policy, &self.attempts, self.ties.retries())
    }

    /// How long an attempt that was cut just now had run.
    pub(crate) fn cut_after(&self, ending: Ending, now: u64) -> u64 {
        cut_after(&self.policy, &self.attempts, ending, now)
    }

    /// Attempts started.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.number()
    }

    /// Attempts started, and nanoseconds since the run began, by the clock.
    pub(crate) fn report(&self) -> (u32, u64) {
        (self.attempts(), self.read())
    }

    /// Whether there is anything that could cancel the run.
    pub(crate) fn may_be_cancelled(&self) -> bool {
        self.ties.may_be_cancelled()
    }

    /// Whether the run is cancelled.
    pub(crate) fn is_cancelled(&mut self) -> bool {
        self.ties.is_cancelled()
    }

    /// Whether an attempt has started whose end is not noted.
    pub(crate) fn is_attempting(&self) -> bool {
        matches!(self.state, State::Attempting)
    }

    /// Whether a call may start within the attempt that runs: what cuts it if not.
    pub(crate) fn may_call(&mut self) -> Result<(), CutBy> {
        if self.ties.is_cancelled() {
            Err(CutBy::Cancelled)
        } else if self.policy.bounds().finish_within != FOREVER && self.policy.bounds().is_over(self.read()) {
            Err(CutBy::Deadline)
        } else {
            Ok(())
        }
    }

    /// Nanoseconds since the run began, by the clock.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.start.map_or(0, |start| time::between(start, time::now()))
    }

    /// Lets the run's clock go on to `at` without waiting, by dating its beginning back. False: a clock cannot show that.
    #[cfg(feature = "test-util")]
    fn skip_until(&mut self, at: Option<Instant>) -> bool {
        let pause = at.map(|at| time::between(time::now(), at));
        let earlier = self.start.zip(pause).and_then(|(start, pause)| start.checked_sub(duration(pause)));
        self.start = earlier.or(self.start);
        earlier.is_some()
    }

    /// How long that is.
    #[inline]
    fn wait_until(&mut self, at: u64, now: u64) -> u64 {
        self.at = at;
        self.state = State::Yielding;
        let pause = at.saturating_sub(now);
        if pause > 0 {
            // Nothing has waited so far, and nothing needed the time.
            self.start.get_or_insert_with(time::now);
            self.state = State::Sleeping;
        }
        pause
    }
}
