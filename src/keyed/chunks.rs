//! A list in chunks: where one more is added, none is moved, and what is free at its end is less than a chunk.

/// Elements of a chunk.
const CHUNK: usize = 64;

/// See the module. Positions are 32 bits wide.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    /// All are full but the last, which is not empty.
    chunks: Vec<Vec<T>>,
}

impl<T> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn last_position(&self) -> Option<u32> {
        self.len().checked_sub(1).and_then(|last| u32::try_from(last).ok())
    }

    #[inline]
    pub(super) fn get(&self, position: u32) -> Option<&T> {
        self.chunks.get(position as usize / CHUNK)?.get(position as usize % CHUNK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut T> {
        self.chunks.get_mut(position as usize / CHUNK)?.get_mut(position as usize % CHUNK)
    }

    /// How many it has room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum()
    }

    /// Adds one at the end: its position.
    pub(super) fn push(&mut self, element: T) -> u32 {
        let position = u32::try_from(self.len()).expect("fewer than 2^32 at a time");
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(element),
            _ => {
                // A short list takes no more than it needs.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 1 } else { CHUNK });
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
        position
    }

    /// Removes one. The last one takes its place.
    pub(super) fn swap_remove(&mut self, position: u32) -> Option<T> {
        let chunk = self.chunks.last_mut()?;
        let last = chunk.pop()?;
        if chunk.is_empty() {
            self.chunks.pop();
            // As after a growth: at most half of it is free, a little list aside.
            if self.chunks.capacity() > CHUNK && self.chunks.len() < self.chunks.capacity() / 4 {
                self.chunks.shrink_to(self.chunks.capacity() / 2);
            }
        }
        match self.get_mut(position) {
            Some(gap) => Some(std::mem::replace(gap, last)),
            // It was itself the last.
            None => Some(last),
        }
    }
}
