//! The attempt loop without an operation: what it decides, and how it waits.

mod end;
mod start;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    error::{Ending, Stop},
    events::Wait,
    policy::{
        nanos::FOREVER,
        schedule::{
            Policy,
            attempts::{Attempt, Attempts},
            bounds::CutBy,
        },
    },
    run::{alarm::Alarm, controls::Control},
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
    /// It joined the limiter's wait list having used up its share: others run first, whether its permit is there or
    /// not.
    yields_in_list: bool,
    ties: G,
}

/// In the order of the life of an attempt.
#[derive(Debug)]
enum State<K> {
    /// The first attempt starts at once.
    First,
    /// So does this one, and the clock with it.
    FirstTimed,
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

impl<K> State<K> {
    /// Of a run that has not begun.
    #[inline]
    fn before(policy: &Policy) -> Self {
        match (policy.starts_at_once(), policy.is_timed()) {
            (true, false) => Self::First,
            (true, true) => Self::FirstTimed,
            (false, _) => Self::Unstarted,
        }
    }
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
            state: State::before(&policy),
            ending: Ending::NotStarted,
            is_guarded: policy.cuts() || ties.may_be_cancelled(),
            yields_in_list: false,
            policy,
            ties,
        }
    }

    /// The same run with something else shared: begun or not, it goes on as it was.
    pub(crate) fn with<H: Control>(self, change: impl FnOnce(G) -> H) -> Core<H> {
        let Self { policy, attempts, start, at, state, ending, is_guarded, ties, .. } = self;
        let state = match state {
            State::First => State::First,
            State::FirstTimed => State::FirstTimed,
            State::Unstarted => State::Unstarted,
            State::Sleeping | State::AwaitingPermit(_) => State::Sleeping,
            State::Due | State::Yielding => State::Yielding,
            State::Yielded => State::Yielded,
            State::Attempting => State::Attempting,
            State::Over => State::Over,
        };
        let ties = change(ties);
        let is_guarded = is_guarded || ties.may_be_cancelled();
        Core { policy, attempts, start, at, state, ending, is_guarded, yields_in_list: false, ties }
    }

    /// A new run with the same settings.
    pub(crate) fn begin_anew(&mut self) {
        (self.attempts, self.start, self.at, self.ending) = (Attempts::default(), None, 0, Ending::NotStarted);
        self.state = State::before(&self.policy);
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

    /// The attempt that has started, as its operation sees it.
    #[inline]
    pub(crate) fn attempt(&self) -> Attempt {
        self.attempts.attempt(&self.policy)
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
    pub(crate) fn poll_cut<T: Sleeper>(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut Alarm<T, G>>) -> Poll<CutBy> {
        if !self.is_guarded {
            self.start.get_or_insert_with(time::now);
            return Poll::Pending;
        }
        self.poll_guards(cx, alarm)
    }

    #[inline(never)]
    fn poll_guards<T: Sleeper>(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut Alarm<T, G>>) -> Poll<CutBy> {
        let (at, by) = self.attempts.cut(&self.policy);
        self.poll_cut_at(cx, alarm, at, by)
    }

    /// The same for one call of several in an attempt: it is cut at `at`, by `by`.
    pub(crate) fn poll_cut_at<T: Sleeper>(
        &mut self,
        cx: &mut Context<'_>,
        mut alarm: Pin<&mut Alarm<T, G>>,
        at: u64,
        by: CutBy,
    ) -> Poll<CutBy> {
        let start = *self.start.get_or_insert_with(time::now);
        if alarm.as_mut().poll_cancelled(&mut self.ties, cx).is_ready() {
            return Poll::Ready(CutBy::Cancelled);
        }
        alarm.poll_at(cx, time::after(start, at)).map(|()| by)
    }

    /// The run is over: nothing wakes its task any more, though its future be kept.
    #[inline]
    pub(crate) fn disarm<T: Sleeper>(&mut self, alarm: Pin<&mut Alarm<T, G>>) {
        alarm.disarm(&mut self.ties);
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

    /// Whether a call may start within the attempt that runs: what ends the run if not.
    pub(crate) fn may_call(&mut self) -> Result<(), Stop> {
        if self.ties.is_cancelled() {
            Err(Stop::Cancelled)
        } else if self.policy.bounds().finish_within != FOREVER && self.policy.bounds().is_over(self.read()) {
            Err(Stop::Deadline)
        } else {
            Ok(())
        }
    }

    /// Nanoseconds since the run began, by the clock.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.start.map_or(0, |start| time::between(start, time::now()))
    }

    /// The same to tell.
    #[inline]
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.map_or(Duration::ZERO, |start| time::now().saturating_duration_since(start))
    }
}
