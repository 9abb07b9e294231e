//! Which of many due times is next: a hierarchical timing wheel over numbered nodes that keeps the exact order.
//!
//! Time is cut into blocks of 2^20 ns, about the millisecond that a timer can tell apart. What lies in a later block
//! waits, unsorted, in a slot; the slots of a level are 64 times as wide as those of the level below, and eight levels
//! span all 64 bits. When time reaches a slot, what it holds moves to finer slots and in the end, sorted by due time
//! and turn, to the back of a line. Every node moves at most eight times, so nothing costs more than the sorting of a
//! block, however many nodes wait.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque};

/// 2^20 ns to a block.
const BLOCK: u32 = 20;
/// Six bits of a block's number choose the slot on a level.
const LEVELS: [u32; 8] = [0, 6, 12, 18, 24, 30, 36, 42];
const SLOTS: usize = 64;
/// No node.
const NIL: u32 = u32::MAX;
/// So many nodes of the next slot are looked at for the exact time to wake up; a fuller slot is opened in time instead.
const GLANCE: usize = 8;
/// Buffers above this size are given back once they are empty.
const KEPT: usize = 1024;

/// When something is due, and whose turn it is among equals. A turn is never used twice: it is the node's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) due: u64,
    pub(super) turn: u64,
}

/// The turn of a node that does not wait. Real turns begin at 1.
const NOBODY: Turn = Turn { due: 0, turn: 0 };

#[derive(Clone, Copy, Debug)]
struct Node {
    at: Turn,
    prev: u32,
    next: u32,
}

/// A number in line: still good if the node has the same turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    at: Turn,
    node: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// The block that time has reached: it and all before it are in line, all after it in slots.
    block: u64,
    nodes: Vec<Node>,
    occupied: [u64; LEVELS.len()],
    slots: [[u32; SLOTS]; LEVELS.len()],
    /// What comes in order, in order.
    line: VecDeque<Ticket>,
    /// What came out of order: due before something that already stands in line.
    late: BinaryHeap<Reverse<Ticket>>,
    /// Tickets in `line` and `late` whose node has left.
    stale: usize,
    sorting: Vec<Ticket>,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self {
            block: now >> BLOCK,
            nodes: Vec::new(),
            occupied: [0; LEVELS.len()],
            slots: [[NIL; SLOTS]; LEVELS.len()],
            line: VecDeque::new(),
            late: BinaryHeap::new(),
            stale: 0,
            sorting: Vec::new(),
        }
    }

    /// Notes a node's turn without making it wait.
    pub(super) fn hold(&mut self, node: u32, at: Turn) {
        let index = node as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index.saturating_add(1), Node { at: NOBODY, prev: NIL, next: NIL });
        }
        self.nodes[index].at = at;
    }

    /// Makes a node wait for its turn. It must not be waiting already.
    pub(super) fn put(&mut self, node: u32, at: Turn) {
        self.hold(node, at);
        if at.due >> BLOCK > self.block {
            self.link(node, at.due >> BLOCK);
        } else {
            self.stand_in_line(Ticket { at, node });
        }
    }

    /// The node waits no more.
    pub(super) fn remove(&mut self, node: u32) {
        let Node { at, prev, next } = self.nodes[node as usize];
        self.nodes[node as usize].at = NOBODY;
        if at.due >> BLOCK <= self.block {
            self.stale = self.stale.saturating_add(1);
            return self.sweep();
        }
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev as usize].next = next;
            return;
        }
        let (level, slot) = self.place(at.due >> BLOCK);
        self.slots[level][slot as usize] = next;
        if next == NIL {
            self.occupied[level] &= !bit(slot);
        }
    }

    /// The node's turn, if it waits or is held.
    pub(super) fn at(&self, node: u32) -> Turn {
        self.nodes[node as usize].at
    }

    /// The node whose turn is next, if it is due by `now`.
    pub(super) fn due(&mut self, now: u64) -> Option<(u32, Turn)> {
        self.head(now).filter(|head| head.at.due <= now).map(|head| (head.node, head.at))
    }

    /// Takes the node that [`due`](Self::due) has just shown.
    pub(super) fn pop(&mut self) {
        let ticket = if self.line_is_first() { self.line.pop_front() } else { self.late.pop().map(|late| late.0) };
        if let Some(Ticket { node, .. }) = ticket {
            self.nodes[node as usize].at = NOBODY;
        }
    }

    /// When to ask again: never after the next due time, and at most a few times before it.
    pub(super) fn next_wake(&mut self) -> Option<u64> {
        if let Some(head) = self.head(0) {
            return Some(head.at.due);
        }
        let (level, slot) = self.next_slot()?;
        let mut node = self.slots[level][slot as usize];
        let mut earliest = u64::MAX;
        for _ in 0..GLANCE {
            let Node { at, next, .. } = self.nodes[node as usize];
            earliest = earliest.min(at.due);
            node = next;
            if node == NIL {
                return Some(earliest);
            }
        }
        Some(self.first_block(level, slot) << BLOCK)
    }

    /// Forgets all nodes; none of them may be waiting.
    pub(super) fn clear(&mut self) {
        self.stale = 0;
        self.line.clear();
        self.line.shrink_to(KEPT);
        self.late.clear();
        self.late.shrink_to(KEPT);
        self.nodes.clear();
        self.nodes.shrink_to(KEPT);
    }

    /// Whoever is next, once time has moved on to `now` as far as it takes to know. It may be due later than `now`.
    fn head(&mut self, now: u64) -> Option<Ticket> {
        loop {
            let from_line = self.line_is_first();
            let head = if from_line { self.line.front() } else { self.late.peek().map(|late| &late.0) };
            let Some(&head) = head else {
                if self.advance(now) {
                    continue;
                }
                return None;
            };
            if self.nodes[head.node as usize].at == head.at {
                return Some(head);
            }
            self.stale = self.stale.saturating_sub(1);
            if from_line {
                self.line.pop_front();
            } else {
                self.late.pop();
            }
        }
    }

    fn line_is_first(&self) -> bool {
        match (self.line.front(), self.late.peek()) {
            (Some(line), Some(late)) => *line < late.0,
            (line, _) => line.is_some(),
        }
    }

    /// Opens the next slot if time has reached it.
    fn advance(&mut self, now: u64) -> bool {
        let Some((level, slot)) = self.next_slot() else { return false };
        let block = self.first_block(level, slot);
        if block > now >> BLOCK {
            return false;
        }
        self.block = block;
        self.occupied[level] &= !bit(slot);
        let mut node = std::mem::replace(&mut self.slots[level][slot as usize], NIL);
        while node != NIL {
            let Node { at, next, .. } = self.nodes[node as usize];
            if at.due >> BLOCK > block {
                self.link(node, at.due >> BLOCK);
            } else {
                self.sorting.push(Ticket { at, node });
            }
            node = next;
        }
        self.sorting.sort_unstable();
        if self.line.is_empty() {
            self.line.shrink_to(KEPT);
        }
        self.line.extend(self.sorting.drain(..));
        self.sorting.shrink_to(KEPT);
        true
    }

    /// The first slot that holds anything: on the lowest level that does, since lower levels hold what is nearer.
    fn next_slot(&self) -> Option<(usize, u32)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros()))
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

    fn link(&mut self, node: u32, block: u64) {
        let (level, slot) = self.place(block);
        let next = std::mem::replace(&mut self.slots[level][slot as usize], node);
        self.occupied[level] |= bit(slot);
        if next != NIL {
            self.nodes[next as usize].prev = node;
        }
        let Node { prev, next: link, .. } = &mut self.nodes[node as usize];
        (*prev, *link) = (NIL, next);
    }

    fn stand_in_line(&mut self, ticket: Ticket) {
        if self.line.back().is_none_or(|last| *last < ticket) {
            self.line.push_back(ticket);
        } else {
            self.late.push(Reverse(ticket));
        }
    }

    /// Clears away stale tickets once they are most of what stands in line.
    fn sweep(&mut self) {
        let tickets = self.line.len().saturating_add(self.late.len());
        if self.stale < 32 || self.stale < tickets / 2 {
            return;
        }
        let good = |ticket: &Ticket| self.nodes[ticket.node as usize].at == ticket.at;
        self.line.retain(good);
        self.late.retain(|ticket| good(&ticket.0));
        self.line.shrink_to(KEPT);
        self.late.shrink_to(KEPT);
        self.stale = 0;
    }
}

const fn bit(slot: u32) -> u64 {
    1_u64.wrapping_shl(slot)
}
