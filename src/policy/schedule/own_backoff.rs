//! The backoff of a policy: in place, but for what few backoffs have, which is where the policy has what few policies
//! have.

use std::sync::Arc;

use super::{
    Policy,
    backoff::{Backoff, Extras, Schedule},
};

impl Policy {
    #[inline]
    pub(super) fn set_backoff(&mut self, Backoff { plain, more }: Backoff) {
        self.backoff = plain;
        if self.rare.get().is_some() || more.is_some() {
            self.set_rest_of_backoff(more);
        }
    }

    #[inline(never)]
    fn set_rest_of_backoff(&mut self, rest: Option<Arc<Extras>>) {
        self.change_rare(|rare| rare.backoff = rest);
    }

    /// Its backoff by itself.
    pub(super) fn its_backoff(&self) -> Backoff {
        Backoff { plain: self.backoff, more: self.rare.get().and_then(|rare| rare.backoff.clone()) }
    }

    /// Its backoff, to be read.
    #[inline]
    pub(in crate::policy) fn schedule(&self) -> Schedule<'_> {
        Schedule { plain: &self.backoff, more: self.rare.get().and_then(|rare| rare.backoff.as_deref()) }
    }

    /// Whether its backoff is one that [`next_simple`](super::backoff::Plain::next_simple) goes through.
    #[inline]
    pub(super) fn is_simple(&self) -> bool {
        self.rare.get().is_none() && self.backoff.is_simple()
    }
}
