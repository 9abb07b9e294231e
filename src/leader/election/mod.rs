//! The run of an election: one future that campaigns, renews, and polls the work.

mod call;
mod state;
mod term;
mod watch;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

pub use self::state::Election;
use self::{
    state::{RunResult, view},
    watch::RecordWatch,
};
use super::{
    error::{ElectError, Ended},
    lock::Lock,
    work::TermWork,
};
use crate::{
    error::ConfigError,
    policy::lease::Step,
    time::{BootClock, Sleeper, Timer},
};

/// How many reports are taken in before others may run.
const REPORTS_A_POLL: u32 = 32;

// ===== impl Election =====

impl<L: Lock, W: TermWork> Future for Election<L, W> {
    type Output = RunResult<W>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.done, "`Election` polled after completion");
        let outcome = ready!(self.as_mut().advance(cx));
        let mut this = self.project();
        *this.done = true;
        // Nothing outlives the run.
        this.running.set(None);
        this.timer.set(Timer::default());
        if let Some(cancel) = &mut this.settings.cancel {
            cancel.stop_waiting(this.cancelled);
        }
        (*this.term, *this.call, *this.watch) = (None, None, RecordWatch::default());
        Poll::Ready(outcome)
    }
}

impl<L: Lock, W: TermWork> Election<L, W> {
    fn advance(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RunResult<W>> {
        if self.clock.is_none() {
            self.check()?;
            *self.as_mut().project().clock = Some(BootClock::start());
        }
        // The term whose work was polled in this poll.
        let mut worked = None;
        let mut reports = 0;
        loop {
            // The clock is read before every poll of the work.
            let now = self.now();
            self.as_mut().project().lease.on_tick(now);
            self.as_mut().announce_loss();
            if self.drop_at().is_some_and(|drop_at| now >= drop_at) {
                self.as_mut().drop_work(now);
            }
            if self.running.is_some() && worked != self.fence() {
                worked = self.fence();
                self.as_mut().poll_work(cx);
                // The poll may have taken its time.
                continue;
            }
            if self.as_mut().poll_cancelled(cx).is_ready()
                && let Some(ended) = self.as_mut().cancel(now)
            {
                return Poll::Ready(Ok(ended));
            }
            if self.as_mut().poll_call(cx, now)?.is_ready() {
                continue;
            }
            if self.is_follower() && reports < REPORTS_A_POLL && self.as_mut().poll_watch(cx, now).is_ready() {
                reports += 1;
                continue;
            }
            if let Some(by) = self.held_by() {
                return Poll::Ready(Ok(Ended::Held { by }));
            }
            let step = self.as_mut().project().lease.next_step(now);
            if let Some(exit) = self.lease.exit() {
                match self.as_mut().conclude(exit, now) {
                    Some(ended) => return Poll::Ready(Ok(ended)),
                    None => continue,
                }
            }
            let until = match step {
                Step::Read => {
                    self.as_mut().read(now);
                    continue;
                }
                Step::Write(write) => {
                    self.as_mut().write(write, now);
                    continue;
                }
                Step::Wait(until) => until,
            };
            if reports == REPORTS_A_POLL {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let reopen_at = self.watch.reopen_at().filter(|_| self.is_follower());
            let alarms = [self.call.as_ref().map(|call| call.deadline), self.drop_at(), reopen_at];
            let wake = alarms.into_iter().flatten().fold(until, u64::min);
            let this = self.as_mut().project();
            let at = this.clock.and_then(|clock| clock.at(wake));
            ready!(this.timer.poll_at(cx, at));
        }
    }

    fn check(&self) -> Result<(), ElectError> {
        if self.settings.identity.is_empty() {
            return Err(ConfigError::new("identity", "\"\"", "must not be empty: it tells candidates apart").into());
        }
        Ok(self.lock.admits(self.settings.timing.lease())?)
    }

    fn now(&self) -> u64 {
        self.clock.map_or(0, BootClock::now)
    }

    fn fence(&self) -> Option<u128> {
        self.term.as_ref().map(|owner| owner.term().fence())
    }

    /// Whether it waits for the lock. A leader asks for no reports: each renewal would come back as one.
    fn is_follower(&self) -> bool {
        self.term.is_none() && self.end.is_none()
    }

    /// The holder of the lock, for a run that does not want to wait for it.
    fn held_by(&self) -> Option<String> {
        let waits = self.settings.unless_held && self.is_follower() && self.call.is_none();
        let held = waits && self.lease.is_held();
        held.then(|| self.latest.as_ref().map_or_else(String::new, |record| record.holder.clone()))
    }

    fn poll_work(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let running = self.as_mut().project().running;
        if let Some(Poll::Ready(value)) = running.as_pin_mut().map(|work| work.poll(cx)) {
            let now = self.now();
            self.work_ended(now, value);
        }
    }

    /// Takes in what the lock reports.
    fn poll_watch(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        let this = self.as_mut().project();
        let report = ready!(this.watch.poll_next(cx, now, &**this.lock, &this.settings.timing));
        let record = report.as_ref().map(|record| view(record, &this.settings.identity));
        this.lease.on_report(now, record);
        let latest = this.latest.as_ref().map_or(0, |record| record.version);
        if record.is_some_and(|record| record.version > latest) {
            (*this.latest, *this.overtaken) = (report, true);
            self.note_holder();
        }
        Poll::Ready(())
    }
}
