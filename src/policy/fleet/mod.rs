//! One member's part in keeping one rate together: what it has read and what time it is goes in, what to do next comes
//! out.
//!
//! What keeps the sum of all shares below the limit:
//! - One record says which member has which share. It is changed by compare-and-swap only, over the version that was
//!   read; and a member raises its share only to what the record leaves, in a write that removes those it takes it
//!   from.
//! - A share is valid for `ttl * (1 - 2 * drift)` from the moment at which the last confirmed refresh was *sent*.
//! - A member is left alone until its beat has stood still for its own ttl, by the reader's clock, since the reader saw
//!   it.
//! - A decrease takes effect before it is written, an increase after it is confirmed. While the outcome of a write is
//!   unknown, a conflict included, the lesser of both is used.
//! - A record that is missing, or older than one that was seen, may lack shares that are in use: it is unsettled.
//!   Members bring in what they hold, and no share is raised until all that could be missing has lapsed.
//! - An entry is this member's own only if its beat is one that it wrote.
#![cfg_attr(
    feature = "internals",
    expect(
        clippy::exhaustive_structs,
        clippy::exhaustive_enums,
        reason = "not part of the API; simulations make them"
    )
)]

mod learning;
mod plan;
mod random;
pub mod record;
pub mod shares;
pub mod timing;
mod wants;

use std::sync::Arc;

pub use self::{
    record::{Entry, Record},
    shares::Share,
    timing::Timing,
    wants::Wants,
};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then; `u64::MAX`: until something happens.
    Wait(u64),
    /// Read the record.
    Read,
    /// Write this record over that version; over none, create it.
    Write {
        /// The version that was read.
        over: Option<u128>,
        /// What to write.
        record: Record,
    },
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// With this version of the record.
    Found(u128, Record),
    /// There is no record.
    Missing,
    /// No answer.
    Failed,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// Done; the record has this version now.
    Done(u128),
    /// The record had another version. Whether this write was done all the same, by another try underneath, is unknown.
    Conflict,
    /// No answer.
    Unknown,
}

/// What a member has to say of itself that is not its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a note of its own")]
pub struct Notes {
    /// Another process has written under this member's id.
    pub same_id: bool,
    /// The members are more, or the store is slower, than the longest ttl allows.
    pub crowded: bool,
    /// The members are more than the burst.
    pub over_burst: bool,
    /// The record has no place for another member.
    pub full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Member,
    /// Tries to remove its entry.
    Leaving {
        tries: u32,
    },
    Gone,
}

/// A call that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    began: u64,
    write: Option<Pending>,
}

/// A write that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pending {
    beat: u64,
    share: Share,
    ttl: u64,
    target: Share,
    leaves: bool,
    /// Of the record.
    settled: bool,
    generation: u64,
    writes: u64,
}

/// Another member, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Other {
    id: Arc<str>,
    beat: u64,
    since: u64,
}

/// An unsettled record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unsettled {
    generation: u64,
    version: u128,
    writes: u64,
    since: u64,
}

/// What was read, for the write that follows at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fresh {
    over: Option<u128>,
    /// It is older than one that was seen.
    restored: bool,
    record: Record,
}

/// So many members a record has at most: refreshes go one after the other, and each writes the whole record, of up to
/// 400 KB then. A `ConfigMap` holds 1 MiB.
pub const MOST_MEMBERS: usize = 1_000;
/// Whether in a fleet of so many each should have all changes of the record reported: that is the number of members
/// squared, times the length of the record, and so its third power, in each period. For 20 that is half a megabyte a
/// second.
#[must_use]
pub fn watches(members: u32) -> bool {
    members <= 20
}

/// How often it is tried to remove the entry.
const LEAVES: u32 = 8;
/// Of its own writes with unknown outcomes, so many are remembered. One that is forgotten costs a rejoin.
const DOUBTS: usize = 4;

/// The state of one member.
///
/// Ask [`next`](Self::next) after everything that happens and whenever the time comes that it named, and then
/// [`share`](Self::share) for what may be used. At most one call of the store is under way at a time; one that is given
/// up has the answer [`Written::Unknown`] or [`ReadResult::Failed`], and its real answer is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    timing: Timing,
    name: Arc<str>,
    id: Arc<str>,
    states: Share,
    want: u64,
    /// The share when the store has been gone for long.
    floor: Option<Share>,
    /// The state of the random numbers, if there are any.
    random: Option<u64>,
    phase: Phase,

    in_use: Share,
    valid_until: u64,
    /// The beat of the last confirmed write.
    beat: Option<u64>,
    doubts: [u64; DOUBTS],
    /// The latest version seen.
    version: u128,
    others: Vec<Other>,
    unsettled: Option<Unsettled>,
    /// When the last read was answered.
    read_at: Option<u64>,
    /// Since when no call has been answered.
    gone_since: Option<u64>,
    fresh: Option<Fresh>,
    call: Option<Call>,

    /// When the last confirmed refresh was sent.
    refreshed: u64,
    refresh_at: u64,
    failures: u32,
    round_trip: u64,
    ttl: u64,
    target: Share,
    limit: Share,
    members: u32,
    notes: Notes,
}

impl Member {
    /// One that has read nothing yet. `name` and `seed` make its id: each run of a process must have another seed.
    #[must_use]
    pub fn new(timing: Timing, name: &str, states: Share, seed: u64) -> Self {
        let mut member = Self {
            timing,
            name: name.into(),
            id: name.into(),
            states,
            want: 0,
            floor: None,
            random: Some(seed),
            phase: Phase::Member,
            in_use: Share::NONE,
            valid_until: 0,
            beat: None,
            doubts: [0; DOUBTS],
            version: 0,
            others: Vec::new(),
            unsettled: None,
            read_at: None,
            gone_since: None,
            fresh: None,
            call: None,
            refreshed: 0,
            refresh_at: 0,
            failures: 0,
            round_trip: 0,
            ttl: timing.ttl_nanos(),
            target: Share::NONE,
            limit: Share::NONE,
            members: 0,
            notes: Notes::default(),
        };
        member.draw_id(0);
        member
    }

    /// Without anything random: an id that was given, no jitter, and beats by the time. For model checkers.
    #[must_use]
    pub fn without_chance(mut self) -> Self {
        self.random = None;
        self
    }

    /// Under this id, also where another member has it.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// With a share to use when the store has not answered for so long that all shares have lapsed.
    #[must_use]
    pub fn with_floor(mut self, floor: Share) -> Self {
        self.floor = Some(floor);
        self
    }

    /// What to do now. While a call is under way it is always to wait.
    pub fn next(&mut self, now: u64) -> Step {
        if self.call.is_some() || self.phase == Phase::Gone {
            return Step::Wait(u64::MAX);
        }
        if let Some(fresh) = self.fresh.take() {
            return self.write(now, fresh);
        }
        if now < self.refresh_at {
            return Step::Wait(self.refresh_at);
        }
        self.call = Some(Call { began: now, write: None });
        Step::Read
    }

    /// When a call that begins now is to be given up: there is time for three in the life of a share.
    #[must_use]
    pub fn give_up_at(&self, began: u64) -> u64 {
        began.saturating_add((self.period() / 2).max(1))
    }

    /// What may be used now, and until when: nothing is valid at that instant or later.
    #[must_use]
    pub fn share(&self, now: u64) -> (Share, u64) {
        match (self.phase, self.floor_at()) {
            (Phase::Member, _) if now < self.valid_until => (self.in_use, self.valid_until),
            (Phase::Member, Some((floor, at))) if at <= now => (floor, u64::MAX),
            _ => (Share::NONE, 0),
        }
    }

    /// When the share changes by time alone: it lapses, or the floor begins. `None`: it does not.
    #[must_use]
    pub fn changes_at(&self, now: u64) -> Option<u64> {
        let floor = self.floor_at().map(|(_, at)| at);
        [Some(self.valid_until), floor].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The floor, and when it begins: when the store has been gone for the longest ttl, all shares that it ever gave
    /// have lapsed.
    fn floor_at(&self) -> Option<(Share, u64)> {
        let at = self.gone_since?.saturating_add(self.timing.max_ttl_nanos()).max(self.valid_until);
        self.floor.map(|floor| (floor, at))
    }

    /// So much could be used, in billionths of a permit per second. One that has less than that refreshes early.
    pub fn set_want(&mut self, want: u64) {
        let more = want > self.want && want > self.in_use.rate;
        self.want = want;
        if more && self.failures == 0 {
            self.refresh_at = self.refresh_at.min(self.refreshed.saturating_add(self.period() / 3));
        }
    }

    /// From now on it takes the limit for that.
    pub fn set_states(&mut self, now: u64, states: Share) {
        if self.states != states {
            self.states = states;
            self.refresh_at = self.refresh_at.min(now);
        }
    }

    /// Nothing is used any more, and the entry is to be removed.
    pub fn leave(&mut self, now: u64) {
        if self.phase == Phase::Member {
            (self.in_use, self.valid_until) = (Share::NONE, 0);
            self.phase = if self.beat.is_none() && self.doubts == [0; DOUBTS] && self.call.is_none() {
                Phase::Gone
            } else {
                Phase::Leaving { tries: LEAVES }
            };
            self.refresh_at = now;
            self.fresh = None;
        }
    }

    /// Whether it has left, or has given up to.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Its id in the record.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The limit that was in force when it last wrote.
    #[must_use]
    pub fn limit(&self) -> Share {
        self.limit
    }

    /// What it should have, as of the last write.
    #[must_use]
    pub fn target(&self) -> Share {
        self.target
    }

    /// How many members there were at the last write, itself included.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members
    }

    /// What else there is to say.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// Whether the record lacks shares that may be in use: no share is raised. And until when, if this is known.
    #[must_use]
    pub fn unsettled_until(&self) -> Option<u64> {
        self.unsettled.map(|unsettled| unsettled.since.saturating_add(self.timing.max_ttl_nanos()))
    }

    /// Since when no call was answered.
    #[must_use]
    pub fn gone_since(&self) -> Option<u64> {
        self.gone_since
    }

    fn period(&self) -> u64 {
        Timing::period(self.ttl)
    }
}
