//! The run of an election: one future that campaigns, renews, and polls the work.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    elect::Settings,
    error::{ElectError, Ended, Loss},
    lock::{Lock, LockError, Put, Seen},
    term::Term,
    watch::Changes,
    work::Work,
};
use crate::{
    ConfigError,
    policy::{
        lease::{self, Exit, Holder, Lease, Record, Step, Write, Wrote},
        nanos::{FOREVER, duration, nanos},
    },
    time::{self, Alarm, Instant, Timer},
};

/// What [`on_change`](super::Elect::on_change) hears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// The lock bears this identity now; `None`: nobody's.
    Holder(Option<String>),
    /// This candidate leads.
    Elected {
        /// The term's fence.
        fence: u128,
    },
    /// This candidate's term was lost.
    Lost(Loss),
    /// A call of the lock failed; the election goes on.
    Trouble(LockError),
}

type Value<W> = <<W as Work>::Future as Future>::Output;
type Known<L> = Option<Seen<<L as Lock>::Object>>;
type Answer<L> = Pin<Box<dyn Future<Output = Result<Known<L>, LockError>> + Send>>;

/// A call of the lock that is under way.
struct Call<L: Lock> {
    write: Option<Write>,
    sent: u64,
    deadline: u64,
    answer: Answer<L>,
}

/// How the term ended, while the lock is given back.
enum End {
    Finished,
    Lost(Loss),
    Cancelled,
}

/// The future of an election: made by [`Elect::run`](super::Elect::run).
#[pin_project]
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
    begun: Option<Instant>,
    lease: Lease,
    seen: Option<Seen<L::Object>>,
    call: Option<Call<L>>,
    changes: Option<Changes<L>>,
    reopen_at: u64,
    /// Whether the reports that are open have brought anything.
    heard: bool,
    term: Option<Term>,
    /// When a cancelled run drops its work.
    stop_at: Option<u64>,
    loss: Option<Loss>,
    end: Option<(End, Option<Value<W>>)>,
    last_error: Option<LockError>,
    /// Empty: nobody's. `None`: not yet heard.
    last_holder: Option<String>,
    done: bool,
}

impl<L: Lock, W: Work> fmt::Debug for Leading<L, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leading")
            .field("lock", &self.lock.name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// ===== impl Leading =====

impl<L: Lock, W: Work> Leading<L, W> {
    pub(super) fn new(lock: L, settings: Settings, work: W) -> Self {
        let lease = Lease::new(settings.timing, Some(fastrand::u64(..))).lead_on_create(settings.lead_on_create);
        let cancelled = settings.cancel.clone().map(tokio_util::sync::CancellationToken::cancelled_owned);
        Self {
            lock: Arc::new(lock),
            settings,
            work,
            running: None,
            cancelled,
            timer: Timer::default(),
            begun: None,
            lease,
            seen: None,
            call: None,
            changes: None,
            reopen_at: 0,
            heard: false,
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

impl<L: Lock, W: Work> Future for Leading<L, W> {
    type Output = Result<Ended<Value<W>>, ElectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.done, "`Leading` polled after completion");
        let ended = self.as_mut().advance(cx);
        if ended.is_ready() {
            let mut this = self.project();
            *this.done = true;
            // Nothing outlives the run.
            this.running.set(None);
            (*this.call, *this.changes) = (None, None);
            this.settings.pulse.rest();
        }
        ended
    }
}

impl<L: Lock, W: Work> Leading<L, W> {
    fn advance(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Ended<Value<W>>, ElectError>> {
        if self.begun.is_none() {
            self.check()?;
            *self.as_mut().project().begun = Some(time::now());
        }
        let mut work_was_polled = false;
        loop {
            // The clock is read before every poll of the work.
            let now = self.now();
            self.as_mut().project().lease.tick(now);
            self.as_mut().tell(now);
            if self.drop_at().is_some_and(|drop_at| now >= drop_at) {
                self.as_mut().work_ended(now, None);
            }
            if !work_was_polled && self.running.is_some() {
                work_was_polled = true;
                let this = self.as_mut().project();
                let polled = this.running.as_pin_mut().map_or(Poll::Pending, |work| work.poll(cx));
                let now = self.now();
                if let Poll::Ready(value) = polled {
                    self.as_mut().work_ended(now, Some(value));
                }
                // The poll may have taken its time.
                continue;
            }
            if self.as_mut().poll_cancelled(cx).is_ready()
                && let Some(ended) = self.as_mut().cancel(now)
            {
                return Poll::Ready(Ok(ended));
            }
            if let Some(answer) = self.as_mut().poll_call(cx, now) {
                if let Some(error) = answer {
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            if self.as_mut().poll_changes(cx, now) {
                continue;
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
            let mut wake = until.min(self.call.as_ref().map_or(FOREVER, |call| call.deadline));
            wake = wake.min(self.drop_at().unwrap_or(FOREVER));
            if self.changes.is_none() {
                wake = wake.min(self.reopen_at);
            }
            let this = self.as_mut().project();
            let at = this.begun.and_then(|begun| time::after(begun, wake));
            if this.timer.poll_at(cx, at).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn check(&self) -> Result<(), ElectError> {
        if self.settings.identity.is_empty() {
            return Err(ConfigError::new("identity", "\"\"", "must not be empty: it tells candidates apart").into());
        }
        Ok(self.lock.admits(self.settings.timing.lease())?)
    }

    fn now(&self) -> u64 {
        self.begun.map_or(0, |begun| time::between(begun, time::now()))
    }

    /// When the work has to be dropped.
    fn drop_at(&self) -> Option<u64> {
        self.running.as_ref()?;
        let lost = self.lease.lost().map(|(_, drop_at)| drop_at);
        [lost, self.stop_at, self.lease.valid_until()].into_iter().flatten().min()
    }

    fn hear(self: Pin<&mut Self>, change: &Change) {
        if let Some(listener) = &mut self.project().settings.on_change {
            listener(change);
        }
    }

    /// Tells the work that its term is lost.
    fn tell(mut self: Pin<&mut Self>, now: u64) {
        let Some((why, drop_at)) = self.lease.lost() else { return };
        if self.loss.is_some() {
            return;
        }
        let by = || self.seen.as_ref().map_or_else(String::new, |seen| seen.holder.clone());
        let loss = match why {
            lease::Loss::TakenOver => Loss::TakenOver { by: by() },
            lease::Loss::Cleared => Loss::Cleared,
            _ => Loss::Deadline { after: self.settings.timing.renew_deadline(), last: self.last_error.clone() },
        };
        if let Some(term) = &self.term {
            term.tell(drop_at);
        }
        *self.as_mut().project().loss = Some(loss.clone());
        self.as_mut().hear(&Change::Lost(loss));
        // A term that never got to its work has nothing to wait for.
        if self.running.is_none() {
            self.work_ended(now, None);
        }
    }

    /// The work has ended, or is dropped now. Only from here on is the lock given back.
    fn work_ended(mut self: Pin<&mut Self>, now: u64, value: Option<Value<W>>) {
        self.as_mut().give_up_call(now);
        let mut this = self.as_mut().project();
        this.running.set(None);
        if let Some(term) = this.term.take() {
            term.over();
        }
        this.settings.pulse.rest();
        let end = match this.loss.take() {
            Some(loss) => End::Lost(loss),
            None if this.stop_at.is_some() => End::Cancelled,
            None => End::Finished,
        };
        // Work that was dropped has outlived a grace, or its term.
        let end = match (end, &value) {
            (End::Finished, None) => End::Lost(Loss::Deadline {
                after: this.settings.timing.renew_deadline(),
                last: this.last_error.clone(),
            }),
            (end, _) => end,
        };
        *this.end = Some((end, value));
        *this.last_error = None;
        let release = this.settings.release_on_end;
        this.lease.ended(now, release);
    }

    fn give_up_call(self: Pin<&mut Self>, now: u64) {
        let this = self.project();
        if let Some(call) = this.call.take() {
            match call.write {
                Some(write) => this.lease.wrote(write, call.sent, now, Wrote::Unknown),
                None => this.lease.looked(now, None),
            }
        }
    }

    fn poll_cancelled(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.stop_at.is_some() {
            return Poll::Ready(());
        }
        match this.cancelled.as_mut().as_pin_mut() {
            Some(cancelled) => cancelled.poll(cx),
            None => Poll::Pending,
        }
    }

    /// The run is cancelled: ends a campaign, or tells the work.
    fn cancel(mut self: Pin<&mut Self>, now: u64) -> Option<Ended<Value<W>>> {
        let first = self.stop_at.is_none();
        let grace = self.settings.cancel_grace.unwrap_or_else(|| self.settings.timing.grace_nanos());
        let stop_at = *self.as_mut().project().stop_at.get_or_insert(now.saturating_add(grace));
        if self.end.is_some() {
            return None;
        }
        if self.running.is_some() {
            if let (true, Some(term)) = (first, &self.term) {
                term.tell(stop_at);
            }
            return None;
        }
        // A write that may make this the leader is awaited, so that it can be undone.
        let writing = self.call.as_ref().is_some_and(|call| call.write.is_some());
        (!writing).then_some(Ended::Cancelled { finished: None })
    }

    /// The answer of the call under way, or its deadline. `Some(Some(_))` ends the run.
    #[allow(clippy::option_option)]
    fn poll_call(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: u64) -> Option<Option<ElectError>> {
        let this = self.as_mut().project();
        let call = this.call.as_mut()?;
        let answer = match call.answer.as_mut().poll(cx) {
            Poll::Ready(answer) => answer,
            Poll::Pending if now >= call.deadline => {
                Err(LockError::timeout(duration(this.settings.timing.call_nanos())))
            }
            Poll::Pending => return None,
        };
        let (write, sent) = (call.write, call.sent);
        *this.call = None;
        match answer {
            Ok(seen) => {
                let record = seen.as_ref().map(|seen| record(seen, &this.settings.identity));
                *this.seen = seen;
                match (write, record) {
                    (Some(write), Some(record)) => {
                        this.lease.wrote(write, sent, now, Wrote::Done { version: record.version });
                    }
                    (Some(write), None) => this.lease.wrote(write, sent, now, Wrote::Unknown),
                    (None, record) => this.lease.looked(now, Some(record)),
                }
                self.as_mut().note_holder();
                self.as_mut().follow_term(now);
            }
            Err(error) => {
                match write {
                    Some(write) if error.is_conflict() => this.lease.wrote(write, sent, now, Wrote::Refused),
                    Some(write) => this.lease.wrote(write, sent, now, Wrote::Unknown),
                    None => this.lease.looked(now, None),
                }
                if error.is_conflict() {
                    return Some(None);
                }
                *this.last_error = Some(error.clone());
                let campaigns = this.term.is_none() && this.end.is_none();
                if campaigns && error.is_fatal() {
                    let doing = if write.is_some() { "write" } else { "read" };
                    return Some(Some(ElectError::Lock { doing, lock: this.lock.name(), source: error }));
                }
                self.hear(&Change::Trouble(error));
            }
        }
        Some(None)
    }

    /// Begins a term, or makes it longer.
    fn follow_term(mut self: Pin<&mut Self>, now: u64) {
        let mut this = self.as_mut().project();
        let (Some(tenure), Some(valid_until), Some(begun)) =
            (this.lease.tenure(), this.lease.valid_until(), *this.begun)
        else {
            return;
        };
        this.settings.pulse.beat(begun, tenure.sent);
        if let Some(term) = this.term {
            // A look that succeeds between writes that fail renews nothing: what they failed with is still the reason.
            if term.extend(valid_until) {
                *this.last_error = None;
            }
            return;
        }
        let cancelled = this.settings.cancel.as_ref().is_some_and(tokio_util::sync::CancellationToken::is_cancelled);
        if cancelled {
            this.stop_at.get_or_insert(now);
            return self.work_ended(now, None);
        }
        let term = Term::new(tenure.fence, Arc::clone(&this.settings.identity), begun, valid_until);
        *this.term = Some(term.clone());
        this.running.set(Some(this.work.begin(term)));
        *this.last_error = None;
        self.hear(&Change::Elected { fence: tenure.fence });
    }

    /// Hears what the lock reports. True: something came in.
    fn poll_changes(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: u64) -> bool {
        let this = self.as_mut().project();
        if this.changes.is_none() && now >= *this.reopen_at {
            *this.changes = Some(this.lock.changes());
        }
        let Some(changes) = this.changes.as_mut() else { return false };
        match changes.as_mut().poll_next(cx) {
            Poll::Pending => false,
            Poll::Ready(None) => {
                *this.changes = None;
                // Where there are none (no right to watch, say), asking for them is not worth much.
                let timing = &this.settings.timing;
                let pause = if std::mem::take(this.heard) { timing.retry_nanos() } else { timing.lease_nanos() };
                *this.reopen_at = now.saturating_add(pause);
                false
            }
            Poll::Ready(Some(seen)) => {
                *this.heard = true;
                let record = seen.as_ref().map(|seen| record(seen, &this.settings.identity));
                this.lease.seen(now, record);
                let latest = this.seen.as_ref().map_or(0, |seen| seen.version);
                let follows = this.lease.tenure().is_none() && this.lease.lost().is_none() && this.end.is_none();
                if follows && record.is_some_and(|record| record.version > latest) {
                    *this.seen = seen;
                    self.note_holder();
                }
                true
            }
        }
    }

    fn note_holder(mut self: Pin<&mut Self>) {
        let holder = self.seen.as_ref().map_or_else(String::new, |seen| seen.holder.clone());
        if self.last_holder.as_ref() != Some(&holder) {
            *self.as_mut().project().last_holder = Some(holder.clone());
            self.hear(&Change::Holder(Some(holder).filter(|holder| !holder.is_empty())));
        }
    }

    fn look(self: Pin<&mut Self>, now: u64) {
        let this = self.project();
        let lock = Arc::clone(this.lock);
        let deadline = now.saturating_add(this.settings.timing.call_nanos());
        let answer: Answer<L> = Box::pin(async move { lock.read().await });
        *this.call = Some(Call { write: None, sent: now, deadline, answer });
    }

    fn write(self: Pin<&mut Self>, write: Write, now: u64) {
        let this = self.project();
        let (lock, holder, lease) =
            (Arc::clone(this.lock), Arc::clone(&this.settings.identity), this.settings.timing.lease());
        let over = write.over().and_then(|version| this.seen.clone().filter(|seen| seen.version == version));
        let answer: Answer<L> = if over.is_none() && write.over().is_some() {
            // What is known has been overtaken by a report: the write would be refused.
            Box::pin(async { Err(LockError::conflict("the lock has changed")) })
        } else {
            Box::pin(async move {
                let put = match write {
                    Write::Release { .. } => Put::Release,
                    Write::Renew { .. } => Put::Renew { holder: &holder, lease },
                    _ => Put::Take { holder: &holder, lease },
                };
                lock.write(over.as_ref(), put).await.map(Some)
            })
        };
        let deadline = now.saturating_add(this.settings.timing.call_nanos());
        *this.call = Some(Call { write: Some(write), sent: now, deadline, answer });
    }

    /// The term is over and done with: ends the run, or goes on with the next campaign.
    fn conclude(self: Pin<&mut Self>, exit: Exit, now: u64) -> Option<Ended<Value<W>>> {
        let this = self.project();
        *this.call = None;
        let (end, finished) = this.end.take()?;
        let error = this.last_error.take();
        match (end, exit) {
            (End::Lost(_), _) if this.work.again() && this.stop_at.is_none() => {
                this.lease.campaign(now);
                None
            }
            (End::Lost(why), _) => Some(Ended::Lost { why, finished }),
            (_, Exit::Unreleased) => {
                let error = error.unwrap_or_else(|| LockError::unavailable("the lock kept changing"));
                Some(Ended::Unreleased { finished, error })
            }
            (End::Cancelled, _) => Some(Ended::Cancelled { finished }),
            (End::Finished, _) => finished.map(Ended::Finished),
        }
    }
}

fn record<O>(seen: &Seen<O>, identity: &str) -> Record {
    let holder = match seen.holder.as_str() {
        "" => Holder::Nobody,
        holder if holder == identity => Holder::Me,
        _ => Holder::Other,
    };
    Record::new(seen.version, seen.beat, holder, nanos(seen.lease))
}
