//! A term of the run: it begins, is lost or cancelled, and its work ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    state::{Election, LockCall, TermEnd, Value},
    watch::RecordWatch,
};
use crate::{
    leader::{
        error::{Ended, Loss},
        event::ElectionEvent,
        lock::{Lock, LockError},
        term::TermOwner,
        work::TermWork,
    },
    policy::lease::{self, Exit},
    run::cancel::Cancel,
};

impl<L: Lock, W: TermWork> Election<L, W> {
    /// Begins a term, or makes it longer.
    pub(super) fn apply_term(mut self: Pin<&mut Self>, now: u64) {
        let mut this = self.as_mut().project();
        let (Some(held), Some(valid_until), Some(clock)) =
            (this.lease.held_term(), this.lease.valid_until(), *this.clock)
        else {
            return;
        };
        if let Some(owner) = this.term {
            // A read that succeeds between writes that fail renews nothing: what they failed with is still the reason.
            if owner.extend(held, valid_until) {
                *this.last_error = None;
            }
            return;
        }
        if this.settings.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            this.stop_at.get_or_insert(now);
            return self.end_term(now, TermEnd::Cancelled(None), true);
        }
        let (identity, last_renewal) = (Arc::clone(&this.settings.identity), Arc::clone(&this.settings.last_renewal));
        let owner = TermOwner::new(held, valid_until, identity, clock, last_renewal);
        this.running.set(Some(this.work.begin(owner.term().clone())));
        (*this.term, *this.watch) = (Some(owner), RecordWatch::default());
        *this.last_error = None;
        self.tell(&ElectionEvent::Elected { fence: held.fence });
    }

    /// Tells the work, and the listener, that the term is lost.
    pub(super) fn announce_loss(mut self: Pin<&mut Self>) {
        let Some((why, drop_at)) = self.lease.lost() else { return };
        if self.loss.is_some() {
            return;
        }
        let loss = match why {
            lease::Loss::TakenOver => {
                Loss::TakenOver { by: self.latest.as_ref().map_or_else(String::new, |record| record.holder.clone()) }
            }
            lease::Loss::Cleared => Loss::Cleared,
            lease::Loss::SameIdentity => Loss::SameIdentity { identity: self.settings.identity.to_string() },
            lease::Loss::Deadline => {
                Loss::Deadline { after: self.settings.timing.renew_deadline(), last: self.last_error.clone() }
            }
        };
        if let Some(owner) = &self.term {
            owner.announce_loss(drop_at);
        }
        *self.as_mut().project().loss = Some(loss.clone());
        self.tell(&ElectionEvent::Lost(loss));
    }

    /// When the work has to be dropped.
    pub(super) fn drop_at(&self) -> Option<u64> {
        self.running.as_ref()?;
        let lost = self.lease.lost().map(|(_, drop_at)| drop_at);
        [lost, self.stop_at].into_iter().flatten().min()
    }

    /// The work has ended by itself.
    pub(super) fn work_ended(mut self: Pin<&mut Self>, now: u64, value: Value<W>) {
        let end = match self.as_mut().project().loss.take() {
            Some(loss) => TermEnd::Lost(loss, Some(value)),
            None if self.stop_at.is_some() => TermEnd::Cancelled(Some(value)),
            None => TermEnd::Finished(value),
        };
        self.end_term(now, end, true);
    }

    /// The work has outlived its term or its grace.
    pub(super) fn drop_work(mut self: Pin<&mut Self>, now: u64) {
        let end = match self.as_mut().project().loss.take() {
            Some(loss) => TermEnd::Lost(loss, None),
            None => TermEnd::Cancelled(None),
        };
        let gone = !self.settings.in_tasks;
        self.end_term(now, end, gone);
    }

    /// From here on the work is `gone`, unless tasks of its own may still run. The lock is given back only if it is.
    fn end_term(mut self: Pin<&mut Self>, now: u64, end: TermEnd<Value<W>>, gone: bool) {
        self.as_mut().give_up_call(now);
        let mut this = self.project();
        this.running.set(None);
        *this.term = None;
        *this.end = Some(end);
        *this.last_error = None;
        this.lease.on_work_ended(now, this.settings.release_on_end && gone);
    }

    pub(super) fn poll_cancelled(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stop_at.is_some() {
            return Poll::Ready(());
        }
        this.settings.cancel.as_mut().map_or(Poll::Pending, |cancel| cancel.poll_cancelled(this.cancelled, cx))
    }

    /// The run is cancelled: ends a campaign, or tells the work.
    pub(super) fn cancel(mut self: Pin<&mut Self>, now: u64) -> Option<Ended<Value<W>>> {
        let first = self.stop_at.is_none();
        let grace = self.settings.cancel_grace;
        let stop_at = *self.as_mut().project().stop_at.get_or_insert(now.saturating_add(grace));
        if let Some(owner) = self.term.as_ref().filter(|_| first) {
            owner.announce_loss(stop_at);
        }
        // A write that may make this the leader is awaited, so that it can be undone.
        let writing = self.call.as_ref().is_some_and(LockCall::is_write);
        let campaigns = self.term.is_none() && self.end.is_none() && !writing;
        campaigns.then_some(Ended::Cancelled { finished: None })
    }

    /// The term is over and done with: ends the run, or goes on with the next campaign.
    pub(super) fn conclude(self: Pin<&mut Self>, exit: Exit, now: u64) -> Option<Ended<Value<W>>> {
        let this = self.project();
        *this.call = None;
        let error = this.last_error.take();
        let end = this.end.take()?;
        if let TermEnd::Lost(..) = end
            && this.work.again()
            && this.stop_at.is_none()
        {
            this.lease.campaign(now);
            return None;
        }
        let unreleased = (exit == Exit::Unreleased)
            .then(|| error.unwrap_or_else(|| LockError::unavailable("the lock kept changing")));
        Some(match (end, unreleased) {
            (TermEnd::Lost(why, finished), _) => Ended::Lost { why, finished },
            (TermEnd::Finished(value), None) => Ended::Finished(value),
            (TermEnd::Cancelled(finished), None) => Ended::Cancelled { finished },
            (TermEnd::Finished(value), Some(error)) => Ended::Unreleased { finished: Some(value), error },
            (TermEnd::Cancelled(finished), Some(error)) => Ended::Unreleased { finished, error },
        })
    }
}
