//! A growing array whose items stay where they are: memory comes in blocks, so that growing copies nothing and asks for
//! little more than is needed.

use std::ops::{Index, IndexMut};

/// Items of a block. The first block grows to that size; the others have it from the beginning.
pub(super) const BLOCK: usize = 1024;

#[derive(Debug)]
pub(super) struct Blocks<T> {
    /// All are full but the last one.
    blocks: Vec<Vec<T>>,
}

impl<T> Blocks<T> {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        let full = self.blocks.len().saturating_sub(1).saturating_mul(BLOCK);
        full.saturating_add(self.blocks.last().map_or(0, Vec::len))
    }

    /// Appends an item; its index is the length before. The caller has to see to it that an index can say that.
    pub(super) fn push(&mut self, item: T) {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(if self.blocks.is_empty() { Vec::new() } else { Vec::with_capacity(BLOCK) });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(item);
        }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.blocks.get(index as usize / BLOCK)?.get(index as usize % BLOCK)
    }

    /// Takes the last item. A block that is empty then is given back, unless it is the first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.blocks.last_mut()?.pop();
        if self.blocks.len() > 1 && self.blocks.last().is_some_and(Vec::is_empty) {
            self.blocks.pop();
            if self.blocks.len() < self.blocks.capacity() / 4 {
                self.blocks.shrink_to(self.blocks.len().saturating_mul(2));
            }
        }
        item
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flatten()
    }

    /// Items that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }
}

impl<T> Index<u32> for Blocks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.blocks[index as usize / BLOCK][index as usize % BLOCK]
    }
}

impl<T> IndexMut<u32> for Blocks<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.blocks[index as usize / BLOCK][index as usize % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each item is found by its index, and where it was; memory is for a block more at most, then for one block.
    #[test]
    fn items_stay_where_they_are() {
        let mut items = Blocks::new();
        for round in 0..2 {
            let mut addresses = Vec::new();
            for index in 0..5000_u32 {
                assert_eq!(items.len(), index as usize);
                items.push(index ^ round);
                assert!(items.capacity() <= BLOCK.max(index as usize + BLOCK));
                addresses.push(&raw const items[index]);
            }
            for index in 0..5000 {
                items[index] += 1;
                assert_eq!(items[index], (index ^ round) + 1);
                assert!(index < 1024 || addresses[index as usize] == &raw const items[index]);
            }
            for index in (0..5000).rev() {
                assert_eq!(items.pop(), Some((index ^ round) + 1));
                assert_eq!(items.len(), index as usize);
                assert!(items.capacity() <= index as usize + BLOCK);
            }
            assert_eq!((items.pop(), items.capacity()), (None, BLOCK));
        }
    }
}
