//! Faults planned for the next calls of what is in memory, for tests of its users.

use std::collections::VecDeque;

/// Planned faults, each with the number of calls that it happens to, in the order of planning.
#[derive(Debug)]
pub(crate) struct Faults<F>(VecDeque<(F, usize)>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<F: Copy> Faults<F> {
    pub(crate) fn plan(&mut self, fault: F, calls: usize) {
        self.0.push_back((fault, calls));
    }

    /// What happens to this call.
    pub(crate) fn next(&mut self) -> Option<F> {
        while let Some((fault, calls)) = self.0.front_mut() {
            if let Some(left) = calls.checked_sub(1) {
                *calls = left;
                return Some(*fault);
            }
            self.0.pop_front();
        }
        None
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
