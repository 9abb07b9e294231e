//! What the wheel and the ready queue know of an entry: its deadline, and where it is kept.

/// Buffers above this capacity are given back once they are empty.
pub(super) const RETAINED_CAPACITY: usize = 1024;

/// When an entry expires. The order is that in which entries come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    /// Nanoseconds of queue time.
    pub(super) at: u64,
    /// Among equal times: the order in which they were given. A number is used for one deadline only, so that it also
    /// tells whether a slot still has the deadline that it had.
    pub(super) seq: u64,
}

impl Deadline {
    /// Of a slot in which nothing waits. Real numbers begin at 1.
    pub(super) const NONE: Self = Self { at: 0, seq: 0 };
}

/// What the wheel keeps in a slot of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct WheelEntry {
    pub(super) deadline: Deadline,
    /// The position in the bucket, for an entry that is in one. For other use while nothing waits in the slot.
    pub(super) index: u64,
}

impl WheelEntry {
    /// Nothing waits.
    pub(super) const NEW: Self = Self { deadline: Deadline::NONE, index: 0 };
}

/// Where the entries of a wheel are, by slot: beside what else is known of each, so that all of it comes from memory at
/// once.
pub(super) trait Store {
    fn wheel_entry(&self, slot: u32) -> &WheelEntry;
    fn wheel_entry_mut(&mut self, slot: u32) -> &mut WheelEntry;
}

/// A deadline that came up for a slot. It is [current](Self::is_current) as long as the slot has that deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expiration {
    pub(super) deadline: Deadline,
    pub(super) slot: u32,
}

impl Expiration {
    pub(super) fn is_current(&self, store: &impl Store) -> bool {
        store.wheel_entry(self.slot).deadline == self.deadline
    }
}
