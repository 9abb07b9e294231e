//! The run of an election: one future that campaigns, renews, and polls the work.

mod call;
mod term;
mod watch;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::{call::LockCall, term::TermEnd, watch::RecordWatch};
use super::{
    error::{ElectError, Ended, Loss},
    event::ElectionEvent,
    lock::{Lock, LockError, Record},
    settings::Settings,
    term::TermOwner,
    work::TermWork,
};
use crate::{
    ConfigError,
    policy::{
        lease::{Holder, Lease, RecordView, Refusals, Step},
        nanos::nanos,
    },
    time::{BootClock, Sleeper, Timer},
};

pin_project! {
    /// The future of an election: made by [`Elect::run`](super::Elect::run).
    #[must_use = "futures do nothing unless polled"]
    pub struct Election<L: Lock, W: TermWork> {
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
        // The record as the last answer had it, or a newer report.
        latest: Option<Record<L::Object>>,
        // A report came since the last call began.
        overtaken: bool,
        call: Option<LockCall<L>>,
        watch: RecordWatch<L>,
        // The term that the work runs in.
        term: Option<TermOwner>,
        // When a cancelled run drops its work.
        stop_at: Option<u64>,
        // Why the term was lost, once the work was told.
        loss: Option<Loss>,
        // How the term ended, while the lock is given back.
        end: Option<TermEnd<Value<W>>>,
        last_error: Option<LockError>,
        // The holder that the listener was told last; empty: none.
        last_holder: Option<String>,
        done: bool,
    }
}

type Value<W> = <<W as TermWork>::Future as Future>::Output;
type RunResult<W> = Result<Ended<Value<W>>, ElectError>;

/// How many reports are taken in before others may run.
const REPORTS_A_POLL: u32 = 32;

impl<L: Lock, W: TermWork> fmt::Debug for Election<L, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("lock", &self.lock.name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<L: Lock, W: TermWork> Election<L, W> {
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
            latest: None,
            overtaken: false,
            call: None,
            watch: RecordWatch::default(),
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

    fn tell(self: Pin<&mut Self>, event: &ElectionEvent) {
        if let Some(listener) = &mut self.project().settings.on_event {
            listener(event);
        }
    }

    /// Tells the listener the holder of the lock, if it is another than before.
    fn note_holder(mut self: Pin<&mut Self>) {
        let holder = self.latest.as_ref().map_or_else(String::new, |record| record.holder.clone());
        if self.last_holder.as_ref() != Some(&holder) {
            *self.as_mut().project().last_holder = Some(holder.clone());
            self.tell(&ElectionEvent::Holder(Some(holder).filter(|holder| !holder.is_empty())));
        }
    }
}

/// What the state machine has to know of a record.
fn view<O>(record: &Record<O>, identity: &str) -> RecordView {
    let holder = match record.holder.as_str() {
        "" if record.lease.is_zero() => Holder::Released,
        "" => Holder::Emptied,
        holder if holder == identity => Holder::Own,
        _ => Holder::Other,
    };
    RecordView::new(record.version, record.heartbeat, holder, nanos(record.lease)).marked(record.mark)
}
