//! What the wait list keeps of a waiter, and what it answers.

/// The identity of a waiter in its list. Ids grow in the order in which waiters joined, and none is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(pub(super) u64);

/// One that waits for permits.
#[derive(Debug)]
pub(super) struct Waiter<W> {
    pub(super) id: WaiterId,
    /// When it is polled again at the latest, in nanoseconds: never earlier than its permits are there, as things
    /// stand.
    pub(super) ready_at: u64,
    /// How many it asks for. Zero: it was removed, and its entry is not compacted yet.
    pub(super) permits: u32,
    /// It holds its grant until then, while its task waits for another limiter. Zero: it does not.
    pub(super) hold_until: u64,
    /// The permits count as used when they are granted: nothing will collect them.
    pub(super) consumed: bool,
    /// Wakes it when `ready_at` comes nearer.
    pub(super) waker: Option<W>,
}

/// The answer to a request for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// They were taken.
    Granted,
    /// The request is in the list, under this id.
    Waiting(WaiterId),
    /// They would be there at this time, which is too late. Not in the list.
    TooFar(u64),
    /// More than there ever are at once. Not in the list.
    OverBurst,
}

/// The answer to a waiter that is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polled {
    /// Collected: the permits of this instant.
    Granted(u64),
    /// It is to be polled again then, or when it is woken.
    ReadyAt(u64),
    /// The wake list is full: wake them and poll again at once.
    WakeFirst,
}

impl WaiterId {
    /// The next one.
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
