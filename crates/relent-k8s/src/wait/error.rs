//! Why what is waited for is not known to hold.

use std::{fmt, time::Duration};

use relent::Decision;

use super::super::{ApiError, target::Target};

/// Why the condition is not known to hold.
#[non_exhaustive]
pub enum WaitError {
    /// The API server could not be asked, or refused.
    #[non_exhaustive]
    Api {
        /// `get`, `list` or `watch`.
        call: &'static str,
        /// What was waited for.
        of: Sighting,
        /// What came of it, and what to do about it.
        error: Box<ApiError>,
    },
    /// The API server did not answer in time.
    #[non_exhaustive]
    NoAnswer {
        /// `get`, `list` or `watch`.
        call: &'static str,
        /// What was waited for.
        of: Sighting,
        /// How long the call was given.
        after: Duration,
    },
    /// It does not hold for what was last seen.
    #[non_exhaustive]
    NotYet {
        /// The version it was last seen at; `None`: there was none.
        seen: Option<String>,
        /// What was waited for.
        of: Sighting,
        /// What ended the watch.
        watch: Option<String>,
    },
    /// It will never hold: [`unless`](crate::unless).
    #[non_exhaustive]
    Never {
        /// What was last seen.
        of: Sighting,
        /// Why.
        why: String,
    },
}

/// What is waited for, and how it was last seen.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub(super) target: std::sync::Arc<Target>,
    pub(super) last: Option<Last>,
}

/// What was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// How many objects there were.
    pub(super) objects: usize,
    /// The version of the object, or of all of them.
    pub(super) version: Option<String>,
    /// The one object is being deleted.
    pub(super) deleting: bool,
}

impl Sighting {
    /// The name of the object, or the label selector.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// The version it was last seen at; `None`: it was never seen, or last seen absent. Of a label selector the version
    /// of the list.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.last.as_ref().and_then(|last| last.version.as_deref())
    }

    /// How many objects were last seen; `None`: the server has not said yet.
    #[must_use]
    pub fn objects(&self) -> Option<usize> {
        self.last.as_ref().map(|last| last.objects)
    }
}

impl Sighting {
    /// In brackets what was last seen, if anything was.
    fn in_brackets(&self) -> String {
        self.last.as_ref().map_or(String::new(), |_| format!(" ({self})"))
    }
}

/// `absent`, `at resourceVersion 5`, `as 3 objects at resourceVersion 5`.
impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Last { objects, version, deleting }) = &self.last else { return f.write_str("never seen") };
        let version = version.as_deref().map_or(String::new(), |version| format!("at resourceVersion {version}"));
        match objects {
            0 => f.write_str("last seen absent"),
            _ if !self.target.by_label => {
                write!(f, "last seen {version}{}", if *deleting { ", being deleted" } else { "" })
            }
            1 => write!(f, "last seen as 1 object {version}"),
            many => write!(f, "last seen as {many} objects {version}"),
        }
    }
}

impl WaitError {
    /// Whether a later try may mend it: by [`ApiError::decision`], save that a conflict (409), and what was too old to
    /// begin with (410), is read again.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            Self::Api { error, .. } => error.decision_with_a_look(),
            Self::NoAnswer { .. } | Self::NotYet { .. } => Decision::Retry,
            Self::Never { .. } => Decision::Fatal,
        }
    }

    /// What is waited for, and how it was last seen.
    #[must_use]
    pub fn sighting(&self) -> &Sighting {
        match self {
            Self::Api { of, .. } | Self::NoAnswer { of, .. } | Self::NotYet { of, .. } | Self::Never { of, .. } => of,
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sighting { target, .. } = self.sighting();
        let Target { name, .. } = &**target;
        match self {
            Self::Api { call, of, error } => write!(f, "{call} {name}{}: {error}", of.in_brackets()),
            Self::NoAnswer { call, of, after } => {
                let seen = of.in_brackets();
                write!(f, "{call} {target}{seen}: no answer from the server within {after:?}")
            }
            Self::NotYet { of, watch, .. } => {
                write!(f, "the condition does not hold for {name}, {of} ({}", target.place())?;
                match watch {
                    Some(why) => write!(f, "; {why})"),
                    None => f.write_str(")"),
                }
            }
            Self::Never { of, why } => write!(f, "the condition will never hold for {target}, {of}: {why}"),
        }
    }
}

debug_as_display!(WaitError);

impl std::error::Error for WaitError {}
