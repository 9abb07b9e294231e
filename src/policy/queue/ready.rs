//! Who stands in line: what comes in order at the back, what comes too late for that aside.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::wheel::{KEPT, Nodes, Turn};

/// A number in line: still good if the node has the same turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) at: Turn,
    pub(super) node: u32,
}

impl Ticket {
    fn is_good(&self, nodes: &impl Nodes) -> bool {
        nodes.node(self.node).at == self.at
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    /// What came in order, in order.
    ordered: VecDeque<Ticket>,
    /// What came out of order: due before something that already stood in line.
    late: BinaryHeap<Reverse<Ticket>>,
    /// Tickets whose node has left.
    stale: usize,
}

impl Line {
    /// The first good ticket. Those before it are thrown away.
    pub(super) fn first(&mut self, nodes: &impl Nodes) -> Option<Ticket> {
        loop {
            let ordered = self.ordered_is_first();
            let first = if ordered { self.ordered.front() } else { self.late.peek().map(|late| &late.0) };
            let first = *first?;
            if first.is_good(nodes) {
                return Some(first);
            }
            self.stale = self.stale.saturating_sub(1);
            self.pop();
        }
    }

    /// Takes the first ticket.
    pub(super) fn pop(&mut self) -> Option<Ticket> {
        if self.ordered_is_first() {
            let (len, room) = (self.ordered.len(), self.ordered.capacity());
            if room > KEPT && len < room / 4 {
                self.ordered.shrink_to(KEPT.max(len.saturating_mul(2)));
            }
            self.ordered.pop_front()
        } else {
            let (len, room) = (self.late.len(), self.late.capacity());
            if room > KEPT && len < room / 4 {
                self.late.shrink_to(KEPT.max(len.saturating_mul(2)));
            }
            self.late.pop().map(|late| late.0)
        }
    }

    /// How many good tickets are due by `now`: all but the last few of those that came in order.
    pub(super) fn count_due(&self, nodes: &impl Nodes, now: u64) -> usize {
        let later = |ticket: &&Ticket| ticket.at.due > now && ticket.is_good(nodes);
        let ordered = self.ordered.iter().rev().take_while(|ticket| ticket.at.due > now).filter(later).count();
        let late = self.late.iter().map(|late| &late.0).filter(later).count();
        self.len().saturating_sub(self.stale).saturating_sub(ordered).saturating_sub(late)
    }

    fn ordered_is_first(&self) -> bool {
        match (self.ordered.front(), self.late.peek()) {
            (Some(ordered), Some(late)) => *ordered < late.0,
            (ordered, _) => ordered.is_some(),
        }
    }

    pub(super) fn push(&mut self, ticket: Ticket) {
        if self.ordered.back().is_none_or(|last| *last < ticket) {
            self.ordered.push_back(ticket);
        } else {
            self.late.push(Reverse(ticket));
        }
    }

    /// Tickets in order that come after all that stand in line in order.
    pub(super) fn append(&mut self, tickets: &mut Vec<Ticket>) {
        if self.ordered.is_empty() {
            self.ordered.shrink_to(tickets.len().max(KEPT));
        }
        self.ordered.extend(tickets.drain(..));
        tickets.shrink_to(KEPT);
    }

    /// A node has left. Stale tickets are cleared away once they are most of what stands in line.
    pub(super) fn leave(&mut self, nodes: &impl Nodes) {
        self.stale = self.stale.saturating_add(1);
        if self.stale < 32 || self.stale < self.len() / 2 {
            return;
        }
        self.ordered.retain(|ticket| ticket.is_good(nodes));
        self.late.retain(|ticket| ticket.0.is_good(nodes));
        self.shrink();
    }

    pub(super) fn clear(&mut self) {
        self.ordered.clear();
        self.late.clear();
        self.shrink();
    }

    fn shrink(&mut self) {
        self.stale = 0;
        self.ordered.shrink_to(KEPT);
        self.late.shrink_to(KEPT);
    }

    /// Tickets, good or not.
    pub(super) fn len(&self) -> usize {
        self.ordered.len().saturating_add(self.late.len())
    }

    /// Whether every ticket is good, as far as is known.
    #[cfg(test)]
    pub(super) fn is_fresh(&self) -> bool {
        self.stale == 0
    }

    /// Tickets that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.ordered.capacity().max(self.late.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::queue::wheel::Node;

    struct Waiting(Vec<Node>);

    impl Nodes for Waiting {
        fn node(&self, number: u32) -> &Node {
            &self.0[number as usize]
        }
        fn node_mut(&mut self, number: u32) -> &mut Node {
            &mut self.0[number as usize]
        }
    }

    fn ticket(due: u64, node: u32) -> Ticket {
        Ticket { at: Turn { due, turn: 1 + u64::from(node) }, node }
    }

    fn waiting(tickets: &[Ticket]) -> Waiting {
        Waiting(tickets.iter().map(|ticket| Node { at: ticket.at, ..Node::NEW }).collect())
    }

    /// Only what comes out of order has to be sorted in.
    #[test]
    fn what_comes_in_order_stands_at_the_back() {
        let tickets: Vec<_> = [3, 3, 7, 5, 7, 7, 1].into_iter().zip(0..).map(|(due, node)| ticket(due, node)).collect();
        let (nodes, mut line) = (waiting(&tickets), Line::default());
        for ticket in &tickets {
            line.push(*ticket);
        }
        assert_eq!((line.ordered.len(), line.late.len()), (5, 2));
        let order: Vec<u32> = std::iter::from_fn(|| {
            let first = line.first(&nodes)?;
            assert_eq!(line.pop(), Some(first));
            Some(first.node)
        })
        .collect();
        assert_eq!(order, [6, 0, 1, 3, 2, 4, 5]);
    }

    /// A few stale tickets are passed over when their turn comes; when they are half of the line, all go at once.
    #[test]
    fn stale_tickets_are_cleared_away_together() {
        let tickets: Vec<_> = (0..100).map(|node| ticket(9, node)).collect();
        let (mut nodes, mut line) = (waiting(&tickets), Line::default());
        line.append(&mut tickets.clone());
        for node in (0..100).rev() {
            nodes.node_mut(node).at = Node::NEW.at;
            line.leave(&nodes);
            let left = match node {
                51.. => 100,
                19..=50 => 50,
                _ => 18,
            };
            assert_eq!(line.len(), left, "{node} are there");
        }
        assert_eq!((line.first(&nodes), line.len()), (None, 0));
    }
}
