//! Writes whose outcome is unknown.

/// More of them are not remembered: the oldest is forgotten, and counts as another's if it shows up.
const MOST: usize = 8;

/// The marks of writes that may still land, or have landed unseen: all of them over one version, so that one of them lands at
/// most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct InDoubt {
    over: Option<u128>,
    marks: [Option<u64>; MOST],
}

impl InDoubt {
    /// The outcome of a write over this version is unknown; `None` is a creation.
    pub(super) fn add(&mut self, over: Option<u128>, mark: u64) {
        if self.over != over {
            *self = Self { over, ..Self::default() };
        }
        self.marks.rotate_right(1);
        if let Some(newest) = self.marks.first_mut() {
            *newest = Some(mark);
        }
    }

    pub(super) fn contains(&self, mark: u64) -> bool {
        self.marks.contains(&Some(mark))
    }

    /// A state of the lock was seen. Writes over a version that is gone land no more.
    pub(super) fn observe_version(&mut self, version: Option<u128>) {
        if self.over != version {
            self.clear();
        }
    }

    /// What became of them is observed, or does not matter any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn forget_creations(&mut self) {
        if self.over.is_none() {
            self.clear();
        }
    }
}
