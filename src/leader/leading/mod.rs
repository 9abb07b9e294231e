//! The run of an election: one future that campaigns, renews, and polls the work.

mod call;
mod reports;
mod tenure;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::{call::Call, reports::Reported, tenure::End};
use super::{
    change::Change,
    elect::Settings,
    error::{ElectError, Ended, Loss},
    lock::{Lock, LockError, Seen},
    term::Held,
    work::Work,
};
use crate::{
    ConfigError,
    policy::{
        lease::{Holder, Lease, Record, Refusals, Step},
        nanos::nanos,
    },
    time::{BootClock, Sleeper, Timer},
};

pin_project! {
    /// The future of an election: made by [`Elect::run`](super::Elect::run).
    #[must_use = "futures do nothing unless polled"]
    pub struct Leading<L: Lock, W: Work> {
        lock: Arc<L>,
        settings: Settings,
        work: W,
        #[pin]
        running: Option<W::Future>,
        #[pin]
        cancelled: Option<WaitForCancellationFutureOwned>,
        #[pin]
        timer: Timer,
        // What all times count from.
        clock: Option<BootClock>,
        // Decides.
        lease: Lease,
        refusals: Refusals,
        // What the last answer said, or the last report.
        seen: Option<Seen<L::Object>>,
        // A report came since the last call began.
        overtaken: bool,
        call: Option<Call<L>>,
        reported: Reported<L>,
        // The term that the work runs in.
        term: Option<Held>,
        // When a cancelled run drops its work.
        stop_at: Option<u64>,
        // Why the term was lost, once the work has been told.
        loss: Option<Loss>,
        // How the term ended, while the lock is given back.
        end: Option<End<Value<W>>>,
        last_error: Option<LockError>,
        // The holder that was last heard of; empty: nobody.
        last_holder: Option<String>,
        done: bool,
    }
}

type Value<W> = <<W as Work>::Future as Future>::Output;
type Outcome<W> = Result<Ended<Value<W>>, ElectError>;

/// How many reports are taken in before others may run.
const REPORTS_A_POLL: u32 = 32;

impl<L: Lock, W: Work> fmt::Debug for Leading<L, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leading")
            .field("lock", &self.lock.name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<L: Lock, W: Work> Leading<L, W> {
    pub(super) fn new(lock: L, settings: Settings, work: W) -> Self {
        let lease = Lease::new(settings.timing, Some(fastrand::u64(..))).lead_on_create(settings.lead_on_create);
        let cancelled = settings.cancel.clone().map(CancellationToken::cancelled_owned);
        Self {
            lock: Arc::new(lock),
            settings,
            work,
            running: None,
            cancelled,
            timer: Timer::default(),
            clock: None,
            lease,
            refusals: Refusals::default(),
            seen: None,
            overtaken: false,
            call: None,
            reported: Reported::default(),
            term: None,
            stop_at: None,
            loss: None,
            end: None,
            last_error: None,
            last_holder: None,
            done: false,
        }
    }
}

// ===== impl Leading =====

impl<L: Lock, W: Work> Future for Leading<L, W> {
    type Output = Outcome<W>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.done, "`Leading` polled after completion");
        let outcome = ready!(self.as_mut().advance(cx));
        let mut this = self.project();
        *this.done = true;
        // Nothing outlives the run.
        this.running.set(None);
        (*this.term, *this.call, *this.reported) = (None, None, Reported::default());
        Poll::Ready(outcome)
    }
}

impl<L: Lock, W: Work> Leading<L, W> {
    fn advance(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<W>> {
        if self.clock.is_none() {
            self.check()?;
            *self.as_mut().project().clock = Some(BootClock::start());
        }
        // The term whose work has had its turn in this poll.
        let mut worked = None;
        let mut reports = 0;
        loop {
            // The clock is read before every poll of the work.
            let now = self.now();
            self.as_mut().project().lease.tick(now);
            self.as_mut().tell();
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
            if self.follows() && reports < REPORTS_A_POLL && self.as_mut().poll_reports(cx, now).is_ready() {
                reports += 1;
                continue;
            }
            if let Some(by) = self.held() {
                return Poll::Ready(Ok(Ended::Held { by }));
            }
            let step = self.as_mut().project().lease.next(now);
            if let Some(exit) = self.lease.exit() {
                match self.as_mut().conclude(exit, now) {
                    Some(ended) => return Poll::Ready(Ok(ended)),
                    None => continue,
                }
            }
            let until = match step {
                Step::Look => {
                    self.as_mut().look(now);
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
            let reopen_at = self.reported.reopen_at().filter(|_| self.follows());
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
        self.term.as_ref().map(|held| held.term().fence())
    }

    /// Whether it waits for the lock. Who leads asks for no reports: each renewal would come back as one.
    fn follows(&self) -> bool {
        self.term.is_none() && self.end.is_none()
    }

    /// Who holds the lock, for one that does not want to wait for it.
    fn held(&self) -> Option<String> {
        let waits = self.settings.unless_held && self.follows() && self.call.is_none();
        let held = waits && self.lease.is_held();
        held.then(|| self.seen.as_ref().map_or_else(String::new, |seen| seen.holder.clone()))
    }

    fn poll_work(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let running = self.as_mut().project().running;
        if let Some(Poll::Ready(value)) = running.as_pin_mut().map(|work| work.poll(cx)) {
            let now = self.now();
            self.work_ended(now, value);
        }
    }

    /// Hears what the lock reports.
    fn poll_reports(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        let this = self.as_mut().project();
        let seen = ready!(this.reported.poll_next(cx, now, &**this.lock, &this.settings.timing));
        let record = seen.as_ref().map(|seen| record(seen, &this.settings.identity));
        this.lease.seen(now, record);
        let latest = this.seen.as_ref().map_or(0, |seen| seen.version);
        if record.is_some_and(|record| record.version > latest) {
            (*this.seen, *this.overtaken) = (seen, true);
            self.note_holder();
        }
        Poll::Ready(())
    }

    fn hear(self: Pin<&mut Self>, change: &Change) {
        if let Some(listener) = &mut self.project().settings.on_change {
            listener(change);
        }
    }

    /// Says who holds the lock, if it is another than before.
    fn note_holder(mut self: Pin<&mut Self>) {
        let holder = self.seen.as_ref().map_or_else(String::new, |seen| seen.holder.clone());
        if self.last_holder.as_ref() != Some(&holder) {
            *self.as_mut().project().last_holder = Some(holder.clone());
            self.hear(&Change::Holder(Some(holder).filter(|holder| !holder.is_empty())));
        }
    }
}

/// What the state machine has to know of it.
fn record<O>(seen: &Seen<O>, identity: &str) -> Record {
    let holder = match seen.holder.as_str() {
        "" if seen.lease.is_zero() => Holder::Nobody,
        "" => Holder::Emptied,
        holder if holder == identity => Holder::Me,
        _ => Holder::Other,
    };
    Record::new(seen.version, seen.beat, holder, nanos(seen.lease)).marked(seen.mark)
}
