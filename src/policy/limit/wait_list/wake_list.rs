//! The wake list: wakers that are to be called outside the lock.

/// How many are woken in one go.
pub(super) const NUM_WAKERS: usize = 16;

/// Wakers to call, in order.
#[derive(Debug)]
pub struct WakeList<W> {
    wakers: [Option<W>; NUM_WAKERS],
    next: usize,
    end: usize,
}

impl<W> WakeList<W> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { wakers: [const { None }; NUM_WAKERS], next: 0, end: 0 }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// The next to call.
    pub fn pop(&mut self) -> Option<W> {
        let waker = self.wakers.get_mut(self.next).and_then(Option::take)?;
        self.next = self.next.saturating_add(1);
        if self.is_empty() {
            (self.next, self.end) = (0, 0);
        }
        Some(waker)
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == NUM_WAKERS
    }

    pub(super) fn push(&mut self, waker: Option<W>) {
        if let Some(slot) = waker.is_some().then(|| self.wakers.get_mut(self.end)).flatten() {
            *slot = waker;
            self.end = self.end.saturating_add(1);
        }
    }
}

impl<W> Default for WakeList<W> {
    fn default() -> Self {
        Self::new()
    }
}
