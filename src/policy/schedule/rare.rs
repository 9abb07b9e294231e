//! What few policies have, and the backoff of a policy, part of which is there.
//!
//! Each run holds its policy, so that what few of them have costs one pointer.

use std::sync::Arc;

use super::{
    Policy,
    backoff::{Backoff, Extras},
    chain::Schedule,
};
use crate::policy::nanos::FOREVER;

/// Settings that few policies have.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Rare {
    /// The pause after a cut.
    pub(super) after_cut: u64,
    /// The most that is waited of what a server asks for.
    pub(super) max_retry_after: Option<u64>,
    /// The latest end that a default window may be moved to.
    pub(super) window_moves_to: Option<u64>,
    /// How long before the hard bound there is a last look.
    pub(super) last_look: Option<u64>,
    /// What few backoffs have.
    backoff: Option<Arc<Extras>>,
}

impl Rare {
    const NONE: Self =
        Self { after_cut: 0, max_retry_after: None, window_moves_to: None, last_look: None, backoff: None };
}

impl Policy {
    #[inline]
    pub(super) fn set_backoff(&mut self, Backoff { plain, more }: Backoff) {
        self.backoff = plain;
        if self.rare.is_some() || more.is_some() {
            self.set_rest_of_backoff(more);
        }
    }

    #[inline(never)]
    fn set_rest_of_backoff(&mut self, rest: Option<Arc<Extras>>) {
        self.change_rare(|rare| rare.backoff = rest);
    }

    /// Its backoff by itself.
    pub(super) fn its_backoff(&self) -> Backoff {
        Backoff { plain: self.backoff, more: self.rare.as_ref().and_then(|rare| rare.backoff.clone()) }
    }

    /// Its backoff, to be read.
    #[inline]
    pub(in crate::policy) fn schedule(&self) -> Schedule<'_> {
        Schedule { plain: &self.backoff, more: self.rare.as_ref().and_then(|rare| rare.backoff.as_deref()) }
    }

    /// Whether its backoff is one that [`next_simple`](super::backoff::Plain::next_simple) goes through.
    #[inline]
    pub(super) fn is_simple(&self) -> bool {
        self.rare.is_none() && self.backoff.is_simple()
    }

    #[inline]
    pub(super) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&Rare::NONE)
    }

    /// Changes what few policies have; nothing allocates where nothing changes, and equal policies stay equal.
    pub(super) fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare().clone();
        change(&mut rare);
        if rare != *self.rare() {
            self.rare = (rare != Rare::NONE).then(|| Arc::new(rare));
        }
    }

    /// The pause after a cut.
    #[inline]
    pub(super) fn cut_pause(&self) -> u64 {
        self.rare().after_cut
    }

    /// The most that is waited of what a server asks for.
    #[inline]
    pub(in crate::policy) fn most_asked(&self) -> u64 {
        self.rare().max_retry_after.unwrap_or(FOREVER)
    }
}
