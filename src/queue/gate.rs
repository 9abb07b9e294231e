//! The limiter before what a queue starts.

use std::task::Context;

use crate::{
    limiter::{Limiter, Ticket, Turn},
    policy::nanos::FOREVER,
    time::Instant,
};

/// A limiter and the place in its line, while there is something to start.
#[derive(Debug)]
pub(super) struct Gate {
    limiter: Limiter,
    ticket: Option<Ticket>,
}

impl Gate {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { limiter, ticket: None }
    }

    /// Whether something may start: `None` if so; else the instant at which to ask again, where one is known. The first
    /// question gets in line.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Option<Option<Instant>> {
        let Self { limiter, ticket } = self;
        let ticket = ticket.get_or_insert_with(|| match limiter.ticket(1, FOREVER) {
            Ok(ticket) => ticket,
            Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
        });
        match ticket.poll_turn(cx) {
            Turn::Granted => None,
            Turn::At(turn) => Some(Some(turn)),
            Turn::Never => Some(None),
        }
    }

    /// Something starts.
    pub(super) fn spend(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.spend();
        }
    }

    /// There is nothing to start.
    pub(super) fn leave(&mut self) {
        self.ticket = None;
    }
}
