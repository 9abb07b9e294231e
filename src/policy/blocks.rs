//! A growing array whose items stay where they are: memory comes in blocks, so that growing copies nothing and asks for
//! little more than is needed.

use std::{
    mem::replace,
    ops::{Index, IndexMut},
};

/// An array in blocks of so many items, a power of two. The first block grows to that size; the others have it from
/// the beginning.
#[derive(Debug)]
pub(crate) struct Blocks<T, const BLOCK: usize> {
    /// All are full but the last one.
    blocks: Vec<Vec<T>>,
}

impl<T, const BLOCK: usize> Blocks<T, BLOCK> {
    pub(crate) const fn new() -> Self {
        const { assert!(BLOCK.is_power_of_two()) };
        Self { blocks: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        let full = self.blocks.len().saturating_sub(1).saturating_mul(BLOCK);
        full.saturating_add(self.blocks.last().map_or(0, Vec::len))
    }

    /// Appends an item; its index is the length before. The caller has to see to it that an index can say that.
    pub(crate) fn push(&mut self, item: T) {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(if self.blocks.is_empty() { Vec::new() } else { Vec::with_capacity(BLOCK) });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(item);
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (block, place) = Self::locate(index);
        self.blocks.get(block)?.get(place)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (block, place) = Self::locate(index);
        self.blocks.get_mut(block)?.get_mut(place)
    }

    /// Takes the last item. A block that is empty then is given back, unless it is the first.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.blocks.last_mut()?.pop();
        if self.blocks.len() > 1 && self.blocks.last().is_some_and(Vec::is_empty) {
            self.blocks.pop();
            if self.blocks.len() < self.blocks.capacity() / 4 {
                self.blocks.shrink_to(self.blocks.len().saturating_mul(2));
            }
        }
        item
    }

    /// Takes the item at an index. The last one moves there.
    pub(crate) fn swap_remove(&mut self, index: u32) -> Option<T> {
        self.get(index)?;
        let last = self.pop()?;
        Some(match self.get_mut(index) {
            Some(item) => replace(item, last),
            // It was the last one.
            None => last,
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flatten()
    }

    /// Items that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }

    /// Which block, and where in it.
    #[inline]
    #[expect(clippy::arithmetic_side_effects, reason = "no block has no place")]
    const fn locate(index: u32) -> (usize, usize) {
        (index as usize / BLOCK, index as usize % BLOCK)
    }
}

impl<T, const BLOCK: usize> Index<u32> for Blocks<T, BLOCK> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        let (block, place) = Self::locate(index);
        &self.blocks[block][place]
    }
}

impl<T, const BLOCK: usize> IndexMut<u32> for Blocks<T, BLOCK> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let (block, place) = Self::locate(index);
        &mut self.blocks[block][place]
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Each item is found by its index, and where it was; memory is for a block more at most, then for one block.
    #[test]
    fn items_stay_where_they_are() {
        const BLOCK: usize = 1024;
        let mut items = Blocks::<_, BLOCK>::new();
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against std's vector, by all that changes either.
        #[test]
        fn it_is_a_vector(ops in vec((0_u8..8, 0_u32..40), 1..200)) {
            let mut items = Blocks::<_, 4>::new();
            let mut naive = Vec::new();
            for (op, index) in ops {
                let there = (index as usize) < naive.len();
                match op {
                    0..=4 => {
                        items.push(index);
                        naive.push(index);
                    }
                    5 => prop_assert_eq!(items.pop(), naive.pop()),
                    _ => prop_assert_eq!(items.swap_remove(index), there.then(|| naive.swap_remove(index as usize))),
                }
                prop_assert_eq!(items.get(index), naive.get(index as usize));
                prop_assert_eq!(items.iter_mut().map(|item| *item).collect::<Vec<_>>(), naive.clone());
                prop_assert!(items.capacity() <= naive.len() + 4);
            }
        }
    }
}
