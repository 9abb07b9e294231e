//! What few policies have. Each run holds its policy, so that what few of them have costs one pointer.

use std::sync::Arc;

use super::backoff::Extras;

/// Settings that few policies have.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Rare {
    /// The pause after a cut.
    pub(super) after_cut: u64,
    /// The most that is waited of what a server asks for.
    pub(super) max_retry_after: Option<u64>,
    /// The latest end that a default window may be moved to.
    pub(super) window_moves_to: Option<u64>,
    /// How long before the hard bound there is a final try.
    pub(super) final_try: Option<u64>,
    /// What few backoffs have.
    pub(super) backoff: Option<Arc<Extras>>,
}

impl Rare {
    pub(super) const NONE: Self =
        Self { after_cut: 0, max_retry_after: None, window_moves_to: None, final_try: None, backoff: None };
}

/// What few policies have, where one has any of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct MaybeRare(Option<Arc<Rare>>);

impl MaybeRare {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn new(rare: Rare) -> Self {
        Self((rare != Rare::NONE).then(|| Arc::new(rare)))
    }

    #[inline]
    pub(super) fn get(&self) -> Option<&Rare> {
        self.0.as_deref()
    }
}

/// Policies are dropped in every future that has a run: what this does there is not inlined.
impl Drop for MaybeRare {
    #[inline]
    fn drop(&mut self) {
        #[cold]
        #[inline(never)]
        fn let_go(rare: Arc<Rare>) {
            drop(rare);
        }
        if let Some(rare) = self.0.take() {
            let_go(rare);
        }
    }
}
