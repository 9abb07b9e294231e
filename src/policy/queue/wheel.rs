//! Which of many due times is next: a hierarchical timing wheel over numbered nodes that keeps the exact order.
//!
//! Time is cut into blocks of 2^20 ns, about the millisecond that a timer can tell apart. What lies in a later block
//! waits, unsorted, in a slot; the slots of a level are 64 times as wide as those of the level below, and eight levels
//! span all 64 bits. When time reaches a slot, what it holds moves to finer slots and in the end, sorted by due time
//! and turn, to the back of a line. Every node moves at most eight times, so nothing costs more than the sorting of a
//! block, however many nodes wait. A slot is a list of numbers and not a chain of nodes: who opens it asks for many nodes
//! at once, and does not wait for each to come from memory before it knows the next.

use std::mem::take;

use super::ready::{Line, Ticket};

/// 2^20 ns to a block.
const BLOCK: u32 = 20;
/// Six bits of a block's number choose the slot on a level.
const LEVELS: [u32; 8] = [0, 6, 12, 18, 24, 30, 36, 42];
const SLOTS: usize = 64;
/// So many nodes of the next slot are looked at for the exact time to wake up; a fuller slot is opened in time instead.
const GLANCE: usize = 8;
/// What a slot asks memory for at first.
const FIRST_IN_A_SLOT: usize = 16;
/// So much memory a slot keeps once it is empty.
const KEPT_IN_A_SLOT: usize = 64;
/// Other buffers above this size are given back once they are empty.
pub(super) const KEPT: usize = 1024;

/// When something is due, and whose turn it is among equals. A turn is never used twice: it is the node's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) due: u64,
    pub(super) turn: u64,
}

/// The turn of a node that does not wait. Real turns begin at 1.
const NOBODY: Turn = Turn { due: 0, turn: 0 };

/// What the wheel knows of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) at: Turn,
    /// Where it is in its slot, if it is in one; free for other use while it does not wait.
    pub(super) index: u64,
}

impl Node {
    /// A node that does not wait.
    pub(super) const NEW: Self = Self { at: NOBODY, index: 0 };
}

/// Where the nodes are: with what else is known of each, so that all of it comes from memory at once.
pub(super) trait Nodes {
    fn node(&self, number: u32) -> &Node;
    fn node_mut(&mut self, number: u32) -> &mut Node;
}

#[derive(Debug, Default)]
struct Level {
    /// A bit for each slot that holds anything.
    occupied: u64,
    /// All or, before the first use, none.
    slots: Vec<Vec<u32>>,
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// The block that time has reached: it and all before it are in line, all after it in slots.
    block: u64,
    levels: [Level; LEVELS.len()],
    line: Line,
    sorting: Vec<Ticket>,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self { block: now >> BLOCK, levels: Default::default(), line: Line::default(), sorting: Vec::new() }
    }

    /// Notes a node's turn without making it wait.
    pub(super) fn hold(nodes: &mut impl Nodes, node: u32, at: Turn) {
        nodes.node_mut(node).at = at;
    }

    /// Makes a node wait for its turn. It must not be waiting already.
    pub(super) fn put(&mut self, nodes: &mut impl Nodes, node: u32, at: Turn) {
        Self::hold(nodes, node, at);
        if at.due >> BLOCK > self.block {
            self.link(nodes, node, at.due >> BLOCK);
        } else {
            self.line.push(Ticket { at, node });
        }
    }

    /// The node waits no more.
    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, node: u32) {
        let Node { at, index } = *nodes.node(node);
        nodes.node_mut(node).at = NOBODY;
        if at.due >> BLOCK <= self.block {
            return self.line.leave(nodes);
        }
        let (level, slot) = self.place(at.due >> BLOCK);
        let Level { occupied, slots } = &mut self.levels[level];
        let list = &mut slots[slot as usize];
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        list.swap_remove(place);
        match list.get(place) {
            Some(moved) => nodes.node_mut(*moved).index = index,
            None if list.is_empty() => *occupied &= !bit(slot),
            None => {}
        }
        if list.capacity() > KEPT_IN_A_SLOT && list.len() < list.capacity() / 4 {
            list.shrink_to(KEPT_IN_A_SLOT.max(list.len().saturating_mul(2)));
        }
    }

    /// The node's turn, if it waits or is held.
    pub(super) fn at(nodes: &impl Nodes, node: u32) -> Turn {
        nodes.node(node).at
    }

    /// The node whose turn is next, if it is due by `now`.
    pub(super) fn due(&mut self, nodes: &mut impl Nodes, now: u64) -> Option<(u32, Turn)> {
        self.head(nodes, now).filter(|head| head.at.due <= now).map(|head| (head.node, head.at))
    }

    /// Takes the node that [`due`](Self::due) has just shown.
    pub(super) fn pop(&mut self, nodes: &mut impl Nodes) {
        if let Some(Ticket { node, .. }) = self.line.pop() {
            nodes.node_mut(node).at = NOBODY;
        }
    }

    /// How many nodes are due by `now`.
    pub(super) fn count_due(&mut self, nodes: &mut impl Nodes, now: u64) -> usize {
        // All blocks that time has reached are in line then.
        while self.advance(nodes, now) {}
        self.line.count_due(nodes, now)
    }

    /// When to ask again: never after the next due time, and at most a few times before it.
    pub(super) fn next_wake(&mut self, nodes: &mut impl Nodes) -> Option<u64> {
        if let Some(head) = self.head(nodes, 0) {
            return Some(head.at.due);
        }
        let (level, slot) = self.next_slot()?;
        let list = &self.levels[level].slots[slot as usize];
        if list.len() > GLANCE {
            return Some(self.first_block(level, slot) << BLOCK);
        }
        list.iter().map(|node| nodes.node(*node).at.due).min()
    }

    /// Forgets all nodes; none of them may be waiting.
    pub(super) fn clear(&mut self) {
        self.line.clear();
    }

    /// Whether no ticket is in line, good or not.
    #[cfg(test)]
    pub(super) fn is_vacant(&self) -> bool {
        self.line.len() == 0 && self.line.is_fresh()
    }

    /// The largest room that one of the lists has.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        let slots = self.levels.iter().flat_map(|level| &level.slots).map(Vec::capacity);
        slots.max().unwrap_or(0).max(self.line.capacity()).max(self.sorting.capacity())
    }

    /// Whoever is next, once time has moved on to `now` as far as it takes to know. It may be due later than `now`.
    fn head(&mut self, nodes: &mut impl Nodes, now: u64) -> Option<Ticket> {
        loop {
            match self.line.first(nodes) {
                None if self.advance(nodes, now) => {}
                first => return first,
            }
        }
    }

    /// Opens the next slot if time has reached it.
    fn advance(&mut self, nodes: &mut impl Nodes, now: u64) -> bool {
        let Some((level, slot)) = self.next_slot() else { return false };
        let block = self.first_block(level, slot);
        if block > now >> BLOCK {
            return false;
        }
        self.block = block;
        self.levels[level].occupied &= !bit(slot);
        let mut list = take(&mut self.levels[level].slots[slot as usize]);
        for node in list.drain(..) {
            let at = nodes.node(node).at;
            if at.due >> BLOCK > block {
                self.link(nodes, node, at.due >> BLOCK);
            } else {
                self.sorting.push(Ticket { at, node });
            }
        }
        list.shrink_to(KEPT_IN_A_SLOT);
        self.levels[level].slots[slot as usize] = list;
        self.sorting.sort_unstable();
        self.line.append(&mut self.sorting);
        true
    }

    /// The first slot that holds anything: on the lowest level that does, since lower levels hold what is nearer.
    fn next_slot(&self) -> Option<(usize, u32)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros()))
    }

    /// The level and slot of a later block: the highest digit in which it differs from the block that time has reached.
    fn place(&self, block: u64) -> (usize, u32) {
        let highest = (block ^ self.block).checked_ilog2().unwrap_or(0);
        let level = (highest / 6) as usize;
        (level, (block.wrapping_shr(LEVELS[level]) & 63) as u32)
    }

    /// The first block of a slot.
    fn first_block(&self, level: usize, slot: u32) -> u64 {
        let above = self.block.wrapping_shr(LEVELS[level]) & !63;
        (above | u64::from(slot)).wrapping_shl(LEVELS[level])
    }

    fn link(&mut self, nodes: &mut impl Nodes, node: u32, block: u64) {
        let (level, slot) = self.place(block);
        let Level { occupied, slots } = &mut self.levels[level];
        if slots.is_empty() {
            slots.resize_with(SLOTS, Vec::new);
        }
        let list = &mut slots[slot as usize];
        *occupied |= bit(slot);
        nodes.node_mut(node).index = list.len() as u64;
        if list.capacity() == 0 {
            list.reserve(FIRST_IN_A_SLOT);
        }
        list.push(node);
    }
}

const fn bit(slot: u32) -> u64 {
    1_u64.wrapping_shl(slot)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use fastrand::Rng;

    use super::*;

    /// Nodes that count how often one is looked at or written to.
    struct Counted {
        nodes: Vec<Node>,
        steps: Cell<u64>,
    }

    impl Nodes for Counted {
        fn node(&self, number: u32) -> &Node {
            self.steps.set(self.steps.get() + 1);
            &self.nodes[number as usize]
        }
        fn node_mut(&mut self, number: u32) -> &mut Node {
            self.steps.set(self.steps.get() + 1);
            &mut self.nodes[number as usize]
        }
    }

    impl Counted {
        fn since(&self, before: u64) -> u64 {
            self.steps.get() - before
        }
    }

    const HOUR: u64 = 3_600_000_000_000;

    /// Steps, not time: however many wait, one comes or goes in a handful of steps, and all of a life takes a few for each
    /// level. What is beyond that is the sorting of one block.
    #[test]
    fn steps_do_not_grow_with_the_number_of_nodes() {
        let mut rng = Rng::with_seed(1);
        let mut turn = 0;
        let mut at = |due| {
            turn += 1;
            Turn { due, turn }
        };
        for number in [1_000_u32, 30_000, 1_000_000] {
            let mut wheel = Wheel::new(0);
            let mut nodes = Counted { nodes: vec![Node::NEW; number as usize], steps: Cell::new(0) };
            let (mut put, mut moved) = (0, 0);
            for node in 0..number {
                let before = nodes.steps.get();
                wheel.put(&mut nodes, node, at(rng.u64(..HOUR)));
                put = put.max(nodes.since(before));
            }
            for _ in 0..number {
                let (node, before) = (rng.u32(..number), nodes.steps.get());
                wheel.remove(&mut nodes, node);
                wheel.put(&mut nodes, node, at(rng.u64(..HOUR)));
                moved = moved.max(nodes.since(before));
            }
            let (before, mut out, mut last) = (nodes.steps.get(), 0, 0);
            while let Some(wake) = wheel.next_wake(&mut nodes) {
                while let Some((_, Turn { due, .. })) = wheel.due(&mut nodes, wake) {
                    assert!(last <= due && due <= wake);
                    wheel.pop(&mut nodes);
                    (last, out) = (due, out + 1);
                }
            }
            let life = nodes.since(before) / u64::from(number);
            println!("{number} nodes: {put} steps to come, {moved} to move, {life} to come out");
            assert_eq!(out, number);
            assert!(put <= 3 && moved <= 7 && life <= 40, "{number} nodes: {put}, {moved}, {life}");
        }
    }

    /// What stands in line already is moved about: the tickets left behind are cleared away now and then, and that costs
    /// each move a few steps and no memory.
    #[test]
    fn moves_within_the_line_cost_a_few_steps_each() {
        let mut rng = Rng::with_seed(2);
        for number in [100_u32, 10_000, 100_000] {
            let mut wheel = Wheel::new(HOUR);
            let mut nodes = Counted { nodes: vec![Node::NEW; number as usize], steps: Cell::new(0) };
            (0..number)
                .for_each(|node| wheel.put(&mut nodes, node, Turn { due: rng.u64(..HOUR), turn: 1 + u64::from(node) }));
            let before = nodes.steps.get();
            for turn in 0..10 * u64::from(number) {
                let node = rng.u32(..number);
                wheel.remove(&mut nodes, node);
                wheel.put(&mut nodes, node, Turn { due: rng.u64(..HOUR), turn: 1_000_000 + turn });
                let tickets = wheel.line.len();
                assert!(tickets <= 2 * number as usize + 33, "{tickets} tickets for {number} nodes");
            }
            let each = nodes.since(before) / (10 * u64::from(number));
            assert!(each <= 8, "{each} steps a move among {number}");
            // The line goes on as it should: all come out, once, in order.
            let (mut out, mut last) = (0, 0);
            while let Some((_, Turn { due, .. })) = wheel.due(&mut nodes, HOUR) {
                assert!(last <= due);
                wheel.pop(&mut nodes);
                (last, out) = (due, out + 1);
            }
            assert_eq!((out, wheel.is_vacant()), (number, true));
        }
    }

    /// Empty again, it keeps a little memory and forgets the rest.
    #[test]
    fn clearing_forgets() {
        let mut wheel = Wheel::new(HOUR);
        let mut nodes = Counted { nodes: vec![Node::NEW; 100_000], steps: Cell::new(0) };
        for round in 0..3 {
            for node in 0..100_000_u32 {
                let turn = round * 200_000 + 2 * u64::from(node) + 1;
                wheel.put(&mut nodes, node, Turn { due: u64::from(node), turn });
                wheel.put(&mut nodes, node, Turn { due: 0, turn: turn + 1 });
            }
            (0..100_000).for_each(|node| wheel.remove(&mut nodes, node));
            wheel.clear();
            assert!(wheel.is_vacant() && wheel.line.capacity() <= 2 * KEPT);
            assert_eq!(wheel.due(&mut nodes, u64::MAX), None);
        }
    }

    /// So does a line whose tickets have all been taken, when the next slot opens.
    #[test]
    fn a_line_that_was_long_is_given_back() {
        let mut wheel = Wheel::new(0);
        let mut nodes = Counted { nodes: vec![Node::NEW; 100_000], steps: Cell::new(0) };
        let block = 1 << BLOCK;
        (0..100_000).for_each(|node| wheel.put(&mut nodes, node, Turn { due: 2 * block, turn: 1 + u64::from(node) }));
        while wheel.due(&mut nodes, 2 * block).is_some() {
            wheel.pop(&mut nodes);
        }
        wheel.put(&mut nodes, 0, Turn { due: 9 * block, turn: 200_000 });
        assert_eq!(wheel.due(&mut nodes, 9 * block).map(|(node, _)| node), Some(0));
        assert!(wheel.line.capacity() <= 2 * KEPT && wheel.sorting.capacity() <= 2 * KEPT);
    }
}
