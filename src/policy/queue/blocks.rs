//! Numbered rows that stay where they are: memory comes in blocks, so that growing copies nothing and asks for little more
//! than is needed.

use std::ops::{Index, IndexMut};

/// Rows of a block. The first block grows to that size; the others have it from the beginning.
pub(super) const BLOCK: usize = 1024;

#[derive(Debug)]
pub(super) struct Rows<T> {
    blocks: Vec<Vec<T>>,
}

impl<T> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        let full = self.blocks.len().saturating_sub(1).saturating_mul(BLOCK);
        full.saturating_add(self.blocks.last().map_or(0, Vec::len))
    }

    /// Another row; its number is the length before. Numbers are for the caller to count: there may be more rows than numbers.
    pub(super) fn push(&mut self, row: T) {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(if self.blocks.is_empty() { Vec::new() } else { Vec::with_capacity(BLOCK) });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(row);
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.blocks.get(number as usize / BLOCK)?.get(number as usize % BLOCK)
    }

    /// Takes the last row. A block that is empty is given back, unless it is the first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let row = self.blocks.last_mut()?.pop();
        if self.blocks.len() > 1 && self.blocks.last().is_some_and(Vec::is_empty) {
            self.blocks.pop();
            if self.blocks.len() < self.blocks.capacity() / 4 {
                self.blocks.shrink_to(self.blocks.len().saturating_mul(2));
            }
        }
        row
    }

    /// Rows that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }
}

impl<T> Index<u32> for Rows<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: u32) -> &T {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}

impl<T> IndexMut<u32> for Rows<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row is found under its number, and where it was; memory is for a block more at most, then for one block.
    #[test]
    fn rows_stay_where_they_are() {
        let mut rows = Rows::new();
        for round in 0..2 {
            let mut places = Vec::new();
            for number in 0..5000_u32 {
                assert_eq!(rows.len(), number as usize);
                rows.push(number ^ round);
                assert!(rows.capacity() <= BLOCK.max(number as usize + BLOCK));
                places.push(&raw const rows[number]);
            }
            for number in 0..5000 {
                rows[number] += 1;
                assert_eq!(rows[number], (number ^ round) + 1);
                assert!(number < 1024 || places[number as usize] == &raw const rows[number]);
            }
            for number in (0..5000).rev() {
                assert_eq!(rows.pop(), Some((number ^ round) + 1));
                assert_eq!(rows.len(), number as usize);
                assert!(rows.capacity() <= number as usize + BLOCK);
            }
            assert_eq!((rows.pop(), rows.capacity()), (None, BLOCK));
        }
    }
}
