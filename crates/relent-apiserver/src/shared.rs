//! What the clones of a server share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    gc,
    state::{Outage, State},
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// The latest revision; reads of what is still to come wait on it.
    pub(super) revision: watch::Sender<u64>,
    /// How often the server went down.
    pub(super) outages: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) fn outages(&self) -> watch::Receiver<u64> {
        self.outages.subscribe()
    }

    /// After a write: all that follows from it, and those that are to know.
    pub(super) fn publish(&self, state: &mut State) {
        if state.collects {
            gc::collect(state);
        }
        state.tell();
        let revision = state.store.revision();
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    pub(super) fn goes_down(&self, outage: Outage) {
        let mut state = self.lock();
        state.outage = outage;
        state.watchers.cut();
        drop(state);
        self.outages.send_modify(|count| *count += 1);
    }
}
