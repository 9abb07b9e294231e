//! The wake list: those that are to be woken outside the lock.

/// How many are told in one go.
pub(super) const TOLD: usize = 16;

/// Those that have to be told, in order.
#[derive(Debug)]
pub struct Told<W> {
    wakers: [Option<W>; TOLD],
    next: usize,
    end: usize,
}

impl<W> Told<W> {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { wakers: [const { None }; TOLD], next: 0, end: 0 }
    }

    /// Whether nobody is left to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// The next to be told.
    pub fn pop(&mut self) -> Option<W> {
        let waker = self.wakers.get_mut(self.next).and_then(Option::take)?;
        self.next = self.next.saturating_add(1);
        if self.is_empty() {
            (self.next, self.end) = (0, 0);
        }
        Some(waker)
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == TOLD
    }

    pub(super) fn push(&mut self, waker: Option<W>) {
        if let Some(slot) = waker.is_some().then(|| self.wakers.get_mut(self.end)).flatten() {
            *slot = waker;
            self.end = self.end.saturating_add(1);
        }
    }
}

impl<W> Default for Told<W> {
    fn default() -> Self {
        Self::new()
    }
}
