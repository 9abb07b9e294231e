//! One permit of each of several limiters, all at once or none.
//!
//! Places are taken one after the other, in the limiter made last first: the next only when the turn has come in all before.
//! A turn that has come is not used before the last one has: it is held, as the first in its list, and its bucket runs over
//! at its burst meanwhile. As all go in one order, none waits for one that waits for it; and one that waits for a slow
//! limiter stands in the lists of the older ones only when there is nothing else to wait for.

use std::task::Context;

use crate::{
    limiter::{Limiter, Refused, Ticket, Turn},
    policy::nanos,
    time::{self, Instant},
};

/// A place in the wait lists of several limiters. Dropped, it leaves no trace, unless it was [spent](Several::spend).
#[derive(Debug)]
#[must_use]
pub(crate) struct Several {
    /// The limiters in which it has no place yet, the next last.
    rest: Vec<Limiter>,
    /// With their numbers.
    tickets: Vec<(u64, Ticket)>,
    /// Not after this instant, which is so far away at first.
    bound: Option<(Instant, u64)>,
}

impl Several {
    /// Joins the first wait list, if its turn comes within `allowed` nanoseconds. The same limiter counts once.
    pub(crate) fn join(limiters: &[Limiter], allowed: u64) -> Result<Self, Refused> {
        let mut rest = limiters.to_vec();
        rest.sort_unstable_by_key(|limiter| limiter.inner.made);
        rest.dedup_by_key(|limiter| limiter.inner.made);
        let bound = time::after(time::now(), allowed).map(|bound| (bound, allowed));
        let mut this = Self { rest, tickets: Vec::new(), bound };
        this.next()?;
        Ok(this)
    }

    /// Joins the next wait list. False: there is none.
    fn next(&mut self) -> Result<bool, Refused> {
        let Some(limiter) = self.rest.pop() else { return Ok(false) };
        let left = self.bound.map_or(nanos::FOREVER, |(bound, _)| time::between(time::now(), bound));
        let ticket = limiter.ticket(1, left)?;
        self.tickets.push((ticket.number(), ticket));
        Ok(true)
    }

    /// Whether the turn has come in all of them. Refused, it has no place any more once it is dropped.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, Refused> {
        loop {
            let turns: Vec<_> = self.tickets.iter_mut().map(|(_, ticket)| ticket.poll_turn(cx)).collect();
            // The latest is what it waits for.
            match turns.iter().copied().max_by_key(|turn| turn.order()) {
                None | Some(Turn::Granted) => {}
                Some(latest) => return self.hold(&turns, latest),
            }
            if !self.next()? {
                return Ok(Turn::Granted);
            }
        }
    }

    fn hold(&mut self, turns: &[Turn], latest: Turn) -> Result<Turn, Refused> {
        let until = if let Turn::At(instant) = latest { Some(instant) } else { None };
        if let Some((bound, allowed)) = self.bound
            && until.is_none_or(|until| until > bound)
        {
            let ready_in = until.map_or(nanos::FOREVER, |until| time::between(time::now(), until));
            return Err(Refused::too_far(0, ready_in, allowed));
        }
        let others = self.tickets.iter_mut().zip(turns).filter(|(_, turn)| **turn != latest);
        others.for_each(|((number, ticket), _)| ticket.hold(*number, until));
        Ok(latest)
    }

    /// The permits are used.
    pub(crate) fn spend(&mut self) {
        self.tickets.iter_mut().for_each(|(_, ticket)| ticket.spend());
    }
}
