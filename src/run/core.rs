//! A run without its operation: what it decides, and how it waits.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    error::{End, Ending, GaveUp, Stop},
    events::Wait,
    policy::{
        Policy,
        attempts::{Attempt, Attempts, Decision, Next},
        bounds::CutBy,
        jitter::series,
        nanos::{FOREVER, duration, nanos},
    },
    shared::{Asked, Shared, Ties},
    time::{self, Alarm, Instant},
};

/// A run without its operation.
#[derive(Debug)]
pub(crate) struct Core<G: Ties> {
    pub(crate) policy: Policy,
    attempts: Attempts,
    /// When the run began; `None` as long as nobody needed to know.
    start: Option<Instant>,
    /// When the next attempt is due.
    planned: u64,
    phase: Phase<G::Ticket>,
    pub(super) ending: Ending,
    /// Whether time may have passed since the run last looked at the clock.
    stale: bool,
    /// Whether every start needs to know the time.
    timed: bool,
    /// Whether retries follow without a pause and without regard to time.
    hasty: bool,
    ties: G,
}

#[derive(Debug)]
enum Phase<K> {
    Begin,
    /// The next attempt is due without a pause.
    Breathing,
    Pausing,
    Due,
    Queueing(K),
    Attempting,
}

impl<G: Ties> Core<G> {
    #[inline]
    pub(crate) fn new(policy: Policy, ties: G) -> Self {
        let timed = policy.is_timed();
        Self {
            attempts: Attempts::default(),
            start: None,
            planned: 0,
            // Decided here, where the settings are mostly known to the compiler.
            phase: if policy.starts_at_once() { Phase::Due } else { Phase::Begin },
            ending: Ending::NotStarted,
            stale: false,
            timed,
            hasty: !timed && policy.is_immediate(),
            policy,
            ties,
        }
    }

    /// Waits until the next attempt may start. Dropped, it can be called again.
    #[inline]
    pub(crate) fn poll_start<T: Alarm>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut T>,
        mut on_wait: impl FnMut(Wait),
    ) -> Poll<Result<Attempt, Stop>> {
        // What goes on without a pause does so here, in line.
        if matches!(self.phase, Phase::Breathing) {
            ready!(T::poll_breathe(cx));
            self.phase = Phase::Due;
        }
        loop {
            if !matches!(self.phase, Phase::Due) {
                ready!(self.poll_wait(cx, alarm.as_mut(), &mut on_wait))?;
            }
            if matches!(self.phase, Phase::Due) {
                if self.ties.is_cancelled() {
                    return Poll::Ready(Err(Stop::Cancelled));
                }
                match self.ties.ask(duration(self.policy.bounds().room(self.planned))) {
                    Asked::Granted => {}
                    Asked::Queued(mut ticket) => {
                        if let Some(turn) = self.ties.poll_turn(&mut ticket, cx) {
                            let wait = turn.map_or(Duration::MAX, |turn| turn.saturating_duration_since(time::now()));
                            on_wait(Wait::Limiter(wait));
                        }
                        self.phase = Phase::Queueing(ticket);
                        continue;
                    }
                    Asked::Refused(stop) => return Poll::Ready(Err(stop)),
                }
            }
            return Poll::Ready(Ok(self.begin_attempt::<T>()));
        }
    }

    /// Waits until the next attempt is due, or has the permit that it queues for.
    #[inline(never)]
    fn poll_wait<T: Alarm>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut T>,
        on_wait: &mut impl FnMut(Wait),
    ) -> Poll<Result<(), Stop>> {
        loop {
            match self.phase {
                Phase::Begin => self.begin::<T>(on_wait)?,
                Phase::Breathing => {
                    ready!(T::poll_breathe(cx));
                    self.phase = Phase::Due;
                }
                Phase::Pausing => {
                    if self.ties.poll_cancelled(cx).is_ready() {
                        return Poll::Ready(Err(Stop::Cancelled));
                    }
                    let at = self.start.and_then(|start| time::after(start, self.planned));
                    ready!(alarm.as_mut().poll_at(cx, at));
                    self.stale = true;
                    self.phase = Phase::Due;
                }
                Phase::Due => return Poll::Ready(Ok(())),
                Phase::Queueing(_) => return self.poll_queue(cx, alarm),
                // The attempt was dropped by its owner: nobody knows what it did.
                Phase::Attempting => self.end::<T>(Ending::Cut(CutBy::Cancelled), Decision::Retry, on_wait)?,
            }
        }
    }

    /// A run that does not begin with an attempt: it waits first, or ends.
    fn begin<T: Alarm>(&mut self, on_wait: &mut impl FnMut(Wait)) -> Result<(), Stop> {
        if self.ties.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.timed {
            self.start = Some(time::now());
        }
        match self.attempts.first(&self.policy, || random(&self.policy, 0)) {
            Next::Start(at) => self.pause_until(at, 0, on_wait),
            Next::Stop(ended) => return Err(ended.into()),
        }
        Ok(())
    }

    /// Waits in the limiter's queue: until the permit is there, the run is cancelled or a bound is over.
    fn poll_queue<T: Alarm>(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut T>) -> Poll<Result<(), Stop>> {
        if self.ties.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Err(Stop::Cancelled));
        }
        self.stale = true;
        let start = *self.start.get_or_insert_with(time::now);
        let bounds = *self.policy.bounds();
        loop {
            let Phase::Queueing(ticket) = &mut self.phase else { return Poll::Ready(Ok(())) };
            let Some(turn) = self.ties.poll_turn(ticket, cx) else { return Poll::Ready(Ok(())) };
            // A limiter whose rate was lowered may have put the turn off beyond the bounds.
            let turn_at = turn.map_or(FOREVER, |turn| time::between(start, turn));
            if bounds.admit(turn_at.max(self.planned)).is_err() {
                let now = time::between(start, time::now());
                let ready_in = if turn.is_some() { turn_at.saturating_sub(now) } else { FOREVER };
                let stop = Stop::Limiter { ready_in: duration(ready_in), allowed: duration(bounds.room(now)) };
                return Poll::Ready(Err(stop));
            }
            ready!(alarm.as_mut().poll_at(cx, turn));
        }
    }

    /// While the operation waits: whether it is cut, and by what.
    #[inline(never)]
    pub(crate) fn poll_cut<T: Alarm>(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut T>) -> Poll<CutBy> {
        let (at, by) = self.attempts.cut(&self.policy);
        self.poll_cut_at(cx, alarm, at, by)
    }

    /// The same for one call of several in an attempt: it is cut at `at`, by `by`.
    pub(crate) fn poll_cut_at<T: Alarm>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: Pin<&mut T>,
        at: u64,
        by: CutBy,
    ) -> Poll<CutBy> {
        let start = *self.start.get_or_insert_with(time::now);
        self.stale = true;
        if self.ties.poll_cancelled(cx).is_ready() {
            return Poll::Ready(CutBy::Cancelled);
        }
        alarm.poll_at(cx, time::after(start, at)).map(|()| by)
    }

    /// The attempt has ended without a value: plans the next one, or says why there is none.
    #[inline]
    pub(crate) fn end<T: Alarm>(
        &mut self,
        ending: Ending,
        decision: Decision,
        on_wait: &mut impl FnMut(Wait),
    ) -> Result<(), Stop> {
        self.ending = ending;
        let failed = ending == Ending::Failed && decision == Decision::Retry;
        // What `plan_next` would do, sooner: an attempt that never waited took no time that a timer could tell.
        if failed && self.hasty && !self.stale && self.attempts.may_repeat(&self.policy) {
            if self.start.is_none() {
                self.start = Some(time::now());
            }
            self.phase = Phase::Breathing;
            return if self.ties.withdraw() { Ok(()) } else { Err(Stop::Budget) };
        }
        self.plan_next::<T>(decision, on_wait)
    }

    /// Plans the next attempt by the settings.
    #[inline(never)]
    fn plan_next<T: Alarm>(&mut self, decision: Decision, on_wait: &mut impl FnMut(Wait)) -> Result<(), Stop> {
        match self.ending {
            Ending::Cut(CutBy::Deadline) => return Err(Stop::Deadline),
            Ending::Cut(CutBy::Cancelled) if self.ties.is_cancelled() => return Err(Stop::Cancelled),
            _ => {}
        }
        if let (Ending::Failed, Decision::RetryAfter(asked)) = (self.ending, decision) {
            self.policy.move_window(asked);
        }
        let now = self.elapsed();
        self.start.get_or_insert_with(time::now);
        let number = self.attempts.number();
        match self.attempts.end(&self.policy, now, decision, || random(&self.policy, number)) {
            Next::Stop(ended) => Err(ended.into()),
            Next::Start(_) if !self.ties.withdraw() => Err(Stop::Budget),
            Next::Start(at) => {
                self.pause_until(at, now, on_wait);
                Ok(())
            }
        }
    }

    /// The error of a run that stopped.
    #[cold]
    pub(crate) fn give_up<E>(&mut self, stop: Stop, error: Option<E>) -> GaveUp<E> {
        self.ties.end_run();
        let elapsed = self.elapsed();
        let bounds = self.policy.bounds();
        let cut_after = nanos(self.cut_after(self.ending, duration(elapsed)));
        let bound = if stop == Stop::StartWindow { bounds.start_within } else { bounds.finish_within };
        let end = End { stop, attempts: self.attempts.number(), elapsed, bound, cut_after, ending: self.ending };
        GaveUp::new(end, error)
    }

    /// How long an attempt that is cut now has run: what was set, rather than how late the timer was.
    pub(crate) fn cut_after(&self, ending: Ending, elapsed: Duration) -> Duration {
        let bounds = self.policy.bounds();
        duration(match ending {
            Ending::Cut(CutBy::AttemptTimeout) => bounds.attempt_timeout,
            Ending::Cut(CutBy::Deadline) => bounds.finish_within.saturating_sub(self.attempts.started()),
            _ => nanos(elapsed).saturating_sub(self.attempts.started()),
        })
    }

    /// The run is over.
    #[inline]
    pub(crate) fn over(&mut self) {
        self.ties.end_run();
    }

    /// The same run with something more shared. For runs that have not begun.
    pub(crate) fn share(self, set: impl FnOnce(Shared) -> Shared) -> Core<Shared>
    where
        G: Into<Shared>,
    {
        Core::new(self.policy, set(self.ties.into()))
    }

    /// Time since the run began.
    pub(crate) fn elapsed(&self) -> u64 {
        self.start.map_or(0, |start| time::between(start, time::now()))
    }

    /// Attempts started.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.number()
    }

    #[inline]
    fn begin_attempt<T: Alarm>(&mut self) -> Attempt {
        let now = match self.start {
            Some(start) if self.stale => time::between(start, time::now()),
            // No time has passed that anybody could have seen.
            Some(_) => self.attempts.started(),
            None if self.timed || T::EAGER => {
                self.start = Some(time::now());
                0
            }
            None => 0,
        };
        self.ties.begin_attempt();
        // A ticket in the queue is spent by this.
        if let Phase::Queueing(ticket) = mem::replace(&mut self.phase, Phase::Attempting) {
            self.ties.spend(ticket);
        }
        self.stale = self.timed || T::EAGER;
        self.attempts.start(&self.policy, now)
    }

    fn pause_until(&mut self, at: u64, now: u64, on_wait: &mut impl FnMut(Wait)) {
        self.planned = at;
        if at > now {
            on_wait(Wait::Pause(duration(at.saturating_sub(now))));
            self.phase = Phase::Pausing;
        } else {
            self.phase = Phase::Breathing;
        }
    }
}

/// A number of the run's own series.
fn random(policy: &Policy, number: u32) -> u64 {
    match policy.seed() {
        Some(seed) => series(seed, number.into()),
        None => fastrand::u64(..),
    }
}
