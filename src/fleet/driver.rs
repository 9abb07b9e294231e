//! The task of a member: it asks the policy what to do, calls the ledger, and lets the limiter follow.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::watch;

use super::{
    call::{Answered, Call, PendingCall},
    events::{FleetEvent, OnEvent, Trouble},
    ledger::{Ledger, LedgerError, Stored, StoredStream},
    share::{Controls, MemberShare as Told, Wanted},
};
use crate::{
    limiter::{Limiter, Standing},
    policy::{
        fleet::{Member, Notes, ReadResult, Record, Share, Step, Timing, Wants, Written, shares, watches},
        limit::rate::Rate,
        nanos::{FOREVER, duration},
    },
    time::{Sleeper, Timer},
};

/// What the guard wants, and a future that waits for the next change of it.
type NextWanted = Pin<Box<dyn Future<Output = watch::Receiver<Wanted>> + Send>>;

pub(super) struct Driver<L> {
    ledger: Arc<L>,
    member: Member,
    timing: Timing,
    wants: Wants,
    limiter: Limiter,
    controls: Controls,
    on_event: Option<OnEvent>,
    next_wanted: NextWanted,
    call: Option<PendingCall>,
    reports: Option<StoredStream>,
    /// The reports are asked for again then.
    reports_at: u64,
    measured_at: u64,
    asked: u64,
    /// What the limiter has been given, and until when.
    given: (Share, u64),
    notes: Notes,
    told_unsettled: bool,
    standing: Standing,
    last_error: Option<LedgerError>,
    /// What is wrong, as told to those that are refused.
    trouble: Option<String>,
    timer: Pin<Box<Timer>>,
}

impl<L> fmt::Debug for Driver<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("member", &self.member).finish_non_exhaustive()
    }
}

impl<L: Ledger> Driver<L> {
    pub(super) fn new(
        ledger: L,
        member: Member,
        wants: Wants,
        limiter: Limiter,
        controls: Controls,
        on_event: Option<OnEvent>,
        timing: Timing,
    ) -> Self {
        let next_wanted = next_wanted(controls.wanted.subscribe());
        Self {
            ledger: Arc::new(ledger),
            member,
            timing,
            wants,
            limiter,
            controls,
            on_event,
            next_wanted,
            call: None,
            reports: None,
            reports_at: 0,
            measured_at: 0,
            asked: 0,
            given: (Share::NONE, 0),
            notes: Notes::default(),
            told_unsettled: false,
            standing: Standing::New,
            last_error: None,
            trouble: None,
            timer: Box::pin(Timer::default()),
        }
    }

    /// Every third of a period, so that one that is idle is heard soon when it is not any more.
    fn pause(&self) -> u64 {
        Timing::period(self.timing.ttl_nanos()) / 3
    }

    fn measure(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.measured_at);
        if elapsed < self.pause() {
            return;
        }
        let usage = self.limiter.take_usage();
        let asked = usage.asked.saturating_sub(self.asked);
        (self.asked, self.measured_at) = (usage.asked, now);
        let limit = self.member.limit().rate.max(self.member.share(now).0.rate);
        let limit = if limit == 0 { self.controls.wanted.borrow().states.rate } else { limit };
        // The first span begins with the clock.
        self.member.set_want(self.wants.want(asked, elapsed, usage.pressed, limit));
    }

    fn poll_wanted(&mut self, cx: &mut Context<'_>, now: u64) {
        while let Poll::Ready(mut wanted) = self.next_wanted.as_mut().poll(cx) {
            let Wanted { states, leave } = *wanted.borrow_and_update();
            self.next_wanted = next_wanted(wanted);
            self.member.set_states(now, states);
            if leave {
                self.member.leave(now);
            }
        }
    }

    fn poll_reports(&mut self, cx: &mut Context<'_>, now: u64) {
        if !watches(self.member.members()) {
            self.reports = None;
            return;
        }
        // A ledger whose reports are always ready does not keep the task busy.
        for _ in 0..16 {
            if self.reports.is_none() && self.reports_at <= now {
                self.reports_at = now.saturating_add(self.pause().saturating_mul(3));
                let ledger = Arc::clone(&self.ledger);
                self.reports = catch_unwind(AssertUnwindSafe(|| ledger.watch())).ok();
            }
            let Some(reports) = &mut self.reports else { return };
            match catch_unwind(AssertUnwindSafe(|| reports.as_mut().poll_next(cx))) {
                Ok(Poll::Pending) => return,
                Ok(Poll::Ready(Some(stored))) => {
                    if let Ok(record) = stored.text.parse() {
                        self.member.on_report(self.limiter.clock(), stored.version, &record);
                    }
                }
                Ok(Poll::Ready(None)) | Err(_) => self.reports = None,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Lets the call go on.
    fn poll_call(&mut self, cx: &mut Context<'_>) {
        let Some(call) = &mut self.call else { return };
        let limiter = &self.limiter;
        let Poll::Ready((now, answered)) = call.poll(cx, || limiter.clock()) else { return };
        self.call = None;
        match answered {
            Answered::Read(answer) => self.read(now, answer),
            Answered::Written(Ok(version)) => {
                self.last_error = None;
                self.member.on_written(now, Written::Done(version));
                self.refreshed();
            }
            Answered::Written(Err(error)) => {
                self.member.on_written(now, if error.is_conflict() { Written::Conflict } else { Written::Unknown });
                self.last_error = Some(error.clone());
                if !error.is_conflict() {
                    self.tell_trouble(Trouble::Call(error));
                }
            }
        }
    }

    fn read(&mut self, now: u64, answer: Result<Option<Stored>, LedgerError>) {
        let found = match answer {
            Ok(None) => ReadResult::Missing,
            Ok(Some(Stored { version, text })) => match text.parse::<Record>() {
                Ok(record) => ReadResult::Found(version, record),
                Err(error) => {
                    self.last_error = Some(LedgerError::unavailable(error.to_string()));
                    self.tell_trouble(Trouble::Record(error));
                    ReadResult::Failed
                }
            },
            // One that is called a conflict, too: there is none about a read.
            Err(error) => {
                self.last_error = Some(error.clone());
                self.tell_trouble(Trouble::Call(error));
                ReadResult::Failed
            }
        };
        if found != ReadResult::Failed {
            self.last_error = None;
        }
        self.member.on_read(now, found);
    }

    /// What to do next is done; when to come again.
    fn step(&mut self) -> u64 {
        let now = self.limiter.clock();
        let step = self.member.next(now);
        // Before anything is sent: a decrease takes effect first.
        self.follow(now);
        let call = match step {
            Step::Wait(until) => return until,
            Step::Read => Call::read(&self.ledger),
            Step::Write { over, record } => Call::write(&self.ledger, over, record.to_string()),
        };
        self.call = Some(PendingCall { call, began: now, deadline: self.member.give_up_at(now) });
        // It is polled at once.
        now
    }

    /// The limiter follows the share.
    fn follow(&mut self, now: u64) {
        let given = self.member.share(now);
        if given == self.given {
            return;
        }
        let changed = given.0 != self.given.0;
        self.given = given;
        let (share, until) = given;
        let rate = shares::rate(share.rate);
        if share.is_none() {
            // One whose share went to others waits and is refused as one without the store, in other words.
            self.standing = match self.standing {
                Standing::Member if until > now => Standing::Without,
                Standing::Without if until <= now => Standing::Member,
                standing => standing,
            };
            self.limiter.set_lapse(self.standing, self.trouble.clone());
            self.limiter.set_share(Rate::ZERO, 0, 0);
        } else {
            self.limiter.set_share(rate, share.burst, until);
        }
        if changed {
            let (of, members) = (shares::rate(self.member.limit().rate), self.member.members());
            let told = Told { rate, burst: share.burst, of, members };
            self.controls.share.send_replace(told);
            let event = FleetEvent::Share { rate, burst: share.burst, of, members };
            self.tell(if share.is_none() { &FleetEvent::NoShare } else { &event });
        }
    }

    /// Of what was wrong before only what its refresh shows still is.
    fn refreshed(&mut self) {
        let Notes { over_burst, full, .. } = self.member.notes();
        if !over_burst && !full && self.member.unsettled_until().is_none() {
            self.trouble = None;
        }
        if !self.member.share(self.limiter.clock()).0.is_none() {
            self.standing = Standing::Member;
            self.limiter.set_lapse(self.standing, self.trouble.clone());
        }
    }

    fn tell_trouble(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble.to_string());
        self.limiter.set_lapse(self.standing, self.trouble.clone());
        self.tell(&FleetEvent::Trouble(trouble));
    }

    /// What has begun to be wrong is told once.
    fn tell_notes(&mut self, now: u64) {
        let (before, notes) = (self.notes, self.member.notes());
        self.notes = notes;
        let (members, burst) = (self.member.members(), self.member.limit().burst);
        let troubles = [
            (!before.crowded && notes.crowded).then_some(Trouble::Crowded { members }),
            (!before.over_burst && notes.over_burst).then_some(Trouble::OverBurst { members, burst }),
            (!before.full && notes.full).then_some(Trouble::Full { members }),
            (!before.same_id && notes.same_id).then_some(Trouble::SameId),
        ];
        for trouble in troubles.into_iter().flatten() {
            self.tell_trouble(trouble);
        }
        let unsettled = self.member.unsettled_until();
        if let (Some(until), false) = (unsettled, self.told_unsettled) {
            let left = duration(until.saturating_sub(now));
            self.tell_trouble(Trouble::Unsettled { left });
        }
        self.told_unsettled = unsettled.is_some();
    }

    fn tell(&mut self, event: &FleetEvent) {
        if let Some(listener) = &mut self.on_event {
            listener(event);
        }
    }
}

impl<L: Ledger> Future for Driver<L> {
    type Output = Result<(), LedgerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let now = this.limiter.clock();
            if this.measured_at == 0 {
                this.measured_at = now;
            }
            this.poll_wanted(cx, now);
            this.measure(now);
            this.poll_reports(cx, now);
            this.poll_call(cx);
            let next = this.step();
            this.tell_notes(now);
            if this.member.is_gone() {
                return Poll::Ready(this.last_error.take().map_or(Ok(()), Err));
            }
            let now = this.limiter.clock();
            if next <= now {
                // A call that has just been begun, or a step that is due.
                std::task::ready!(Timer::poll_yield(cx));
                continue;
            }
            let give_up = this.call.as_ref().map_or(FOREVER, |call| call.deadline);
            let lapses = this.member.changes_at(now).unwrap_or(FOREVER);
            let measures = this.measured_at.saturating_add(this.pause());
            let watches = this.reports.is_none() && watches(this.member.members());
            let reports = if watches { this.reports_at } else { FOREVER };
            let at = [next, give_up, lapses, measures, reports].into_iter().min().unwrap_or(FOREVER);
            let at = this.limiter.instant_of(at);
            std::task::ready!(this.timer.as_mut().poll_at(cx, at));
        }
    }
}

/// Whatever ends the task, nothing is granted any more.
impl<L> Drop for Driver<L> {
    fn drop(&mut self) {
        let trouble = std::thread::panicking().then(|| "its listener panicked".to_owned());
        self.limiter.end_share(trouble);
        self.controls.share.send_modify(|share| (share.rate, share.burst) = (Rate::ZERO, 0));
    }
}

fn next_wanted(mut wanted: watch::Receiver<Wanted>) -> NextWanted {
    Box::pin(async move {
        if wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        wanted
    })
}
