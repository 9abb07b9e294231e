//! What an election was told.

use std::{fmt, sync::Arc};

use super::{event::OnEvent, health::LastRenewal};
use crate::{policy::lease::Timing, run::cancel::Cancel};

#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(super) struct Settings {
    pub(super) identity: Arc<str>,
    pub(super) timing: Timing,
    pub(super) release_on_end: bool,
    pub(super) lead_on_create: bool,
    pub(super) cancel: Option<Cancel>,
    pub(super) unless_held: bool,
    /// How long the work may take to end after a cancellation; the term is renewed meanwhile.
    pub(super) cancel_grace: u64,
    /// The work runs in tasks of its own, which outlive the future that is dropped.
    pub(super) in_tasks: bool,
    pub(super) on_event: Option<OnEvent>,
    pub(super) last_renewal: Arc<LastRenewal>,
}

impl Settings {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity: identity.into(),
            timing: Timing::default(),
            release_on_end: true,
            lead_on_create: false,
            cancel: None,
            unless_held: false,
            cancel_grace: 20_000_000_000,
            in_tasks: false,
            on_event: None,
            last_renewal: Arc::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, timing, release_on_end, lead_on_create, .. } = self;
        f.debug_struct("Settings")
            .field("identity", identity)
            .field("timing", timing)
            .field("release_on_end", release_on_end)
            .field("lead_on_create", lead_on_create)
            .finish_non_exhaustive()
    }
}
