//! What a member tells.

use std::{fmt, time::Duration};

use super::ledger::LedgerError;
use crate::{
    error::ConfigError,
    policy::{limit::rate::Rate, nanos::Measured},
};

/// What [`on_event`](super::Fleet::on_event) hears.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FleetEvent {
    /// This process's share is another one.
    #[non_exhaustive]
    Share {
        /// Its rate.
        rate: Rate,
        /// Its burst.
        burst: u32,
        /// The rate of the whole fleet.
        of: Rate,
        /// How many share it.
        members: u32,
    },
    /// It has none any more, or none yet: nothing is granted until it has one.
    NoShare,
    /// Something is wrong; the member goes on.
    Trouble(Trouble),
}

/// What can be wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trouble {
    /// A call of the ledger failed. Conflicts are no trouble.
    Call(LedgerError),
    /// The record cannot be read: something else has been written into it. It is left as it is.
    Record(ConfigError),
    /// The ledger does not know all shares that may be in use: the record is new, or was deleted or restored. No share
    /// grows until then.
    Unsettled {
        /// How long that takes.
        left: Duration,
    },
    /// The members are so many, or the ledger is so slow, that shares would have to live longer than `max_ttl` allows.
    Crowded {
        /// How many they are.
        members: u32,
    },
    /// There are more members than the fleet's burst has permits: those that came last have no share.
    OverBurst {
        /// How many they are.
        members: u32,
        /// The burst.
        burst: u32,
    },
    /// The record has as many members as one can have: this process is none, and has no share, until one of them is
    /// gone.
    Full {
        /// How many they are.
        members: u32,
    },
    /// Another process has written under this member's id. It goes on under another one.
    SameId,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Record(error) => write!(f, "the record cannot be read: {error}"),
            Self::Unsettled { left } => {
                write!(f, "the record may lack shares that are in use: none grows for {}", Measured(*left))
            }
            Self::Crowded { members } => {
                write!(f, "{members} members are too many for so slow a ledger: raise max_ttl, in all processes")
            }
            Self::OverBurst { members, burst } => {
                write!(f, "{members} members are more than the burst of {burst}: those that came last have no share")
            }
            Self::Full { members } => write!(f, "{members} members are as many as a record can have"),
            Self::SameId => f.write_str("another process has written under this member's id"),
        }
    }
}

pub(super) type OnEvent = Box<dyn FnMut(&FleetEvent) + Send>;
