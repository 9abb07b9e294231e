//! What the run of an election knows.

use std::{fmt, pin::Pin, sync::Arc};

use pin_project_lite::pin_project;

use super::watch::RecordWatch;
use crate::{
    leader::{
        error::{ElectError, Ended, Loss},
        event::ElectionEvent,
        lock::{Lock, LockError, Record},
        settings::Settings,
        term::TermOwner,
        work::TermWork,
    },
    policy::{
        lease::{Holder, Lease, RecordView, Refusals, WriteStep},
        nanos::nanos,
    },
    run::cancel::CancelWait,
    time::{BootClock, Timer},
};

pin_project! {
    /// The future of an election: made by [`Elect::run`](super::Elect::run).
    #[must_use = "futures do nothing unless polled"]
    pub struct Election<L: Lock, W: TermWork> {
        pub(super) lock: Arc<L>,
        pub(super) settings: Settings,
        pub(super) work: W,
        #[pin]
        pub(super) running: Option<W::Future>,
        #[pin]
        pub(super) timer: Timer,
        #[pin]
        pub(super) cancelled: CancelWait,
        // What all times count from.
        pub(super) clock: Option<BootClock>,
        // Decides.
        pub(super) lease: Lease,
        pub(super) refusals: Refusals,
        // The record as the last answer had it, or a newer report.
        pub(super) latest: Option<Record<L::Object>>,
        // A report came since the last call began.
        pub(super) overtaken: bool,
        pub(super) call: Option<LockCall<L>>,
        pub(super) watch: RecordWatch<L>,
        // The term that the work runs in.
        pub(super) term: Option<TermOwner>,
        // When a cancelled run drops its work.
        pub(super) stop_at: Option<u64>,
        // Why the term was lost, once the work was told.
        pub(super) loss: Option<Loss>,
        // How the term ended, while the lock is given back.
        pub(super) end: Option<TermEnd<Value<W>>>,
        pub(super) last_error: Option<LockError>,
        // The holder that the listener was told last; empty: none.
        pub(super) last_holder: Option<String>,
        pub(super) done: bool,
    }
}

pub(super) type Value<W> = <<W as TermWork>::Future as Future>::Output;
pub(super) type RunResult<W> = Result<Ended<Value<W>>, ElectError>;

/// A call of the lock that is under way.
pub(super) struct LockCall<L: Lock> {
    /// What is written; `None`: it is a read.
    pub(super) write: Option<WriteStep>,
    pub(super) sent: u64,
    pub(super) deadline: u64,
    pub(super) answer: AnswerFuture<L>,
}

pub(super) type AnswerFuture<L> = Pin<Box<dyn Future<Output = Result<LockRecord<L>, LockError>> + Send>>;
pub(super) type LockRecord<L> = Option<Record<<L as Lock>::Object>>;

impl<L: Lock> LockCall<L> {
    pub(super) fn is_write(&self) -> bool {
        self.write.is_some()
    }
}

/// How a term ended, and what its work answered if it was not dropped.
pub(super) enum TermEnd<V> {
    Finished(V),
    Lost(Loss, Option<V>),
    Cancelled(Option<V>),
}

impl<L: Lock, W: TermWork> fmt::Debug for Election<L, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("lock", &self.lock.name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<L: Lock, W: TermWork> Election<L, W> {
    pub(in crate::leader) fn new(lock: L, settings: Settings, work: W) -> Self {
        let lease = Lease::new(settings.timing, Some(fastrand::u64(..))).lead_on_create(settings.lead_on_create);
        Self {
            lock: Arc::new(lock),
            settings,
            work,
            running: None,
            timer: Timer::default(),
            cancelled: CancelWait::default(),
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

    pub(super) fn tell(self: Pin<&mut Self>, event: &ElectionEvent) {
        if let Some(listener) = &mut self.project().settings.on_event {
            listener(event);
        }
    }

    /// Tells the listener the holder of the lock, if it is another than before.
    pub(super) fn note_holder(mut self: Pin<&mut Self>) {
        let holder = self.latest.as_ref().map_or_else(String::new, |record| record.holder.clone());
        if self.last_holder.as_ref() != Some(&holder) {
            *self.as_mut().project().last_holder = Some(holder.clone());
            self.tell(&ElectionEvent::Holder(Some(holder).filter(|holder| !holder.is_empty())));
        }
    }
}

/// What the state machine has to know of a record.
pub(super) fn view<O>(record: &Record<O>, identity: &str) -> RecordView {
    let holder = match record.holder.as_str() {
        "" if record.lease.is_zero() => Holder::Released,
        "" => Holder::Emptied,
        holder if holder == identity => Holder::Own,
        _ => Holder::Other,
    };
    RecordView::new(record.version, record.heartbeat, holder, nanos(record.lease)).marked(record.mark)
}
