//! One permit of each of several limiters, all at once or none.
//!
//! Places are taken one after the other, in the limiter made last first: the next only when the turn has come in all before.
//! A turn that has come is not used before the last one has: it is held, as the first in its list, and its bucket runs over
//! at its burst meanwhile. As all go in one order, none waits for one that waits for it; and one that waits for a slow
//! limiter stands in the lists of the older ones only when there is nothing else to wait for.

use std::task::Context;

use crate::{
    limiter::{Limiter, Refused, Ticket, Turn},
    policy::nanos::{FOREVER, duration},
    time,
};

/// Limiters that are asked together.
#[derive(Clone, Debug)]
pub(crate) enum Limiters {
    One(Limiter),
    /// In the order in which they were made, each once.
    #[expect(clippy::box_collection, reason = "the futures of runs with one limiter stay small")]
    More(Box<Vec<Limiter>>),
}

/// A place in the wait list of one limiter or of several. Dropped, it leaves no trace, unless it was
/// [spent](Place::spend).
#[derive(Debug)]
#[must_use]
pub(crate) enum Place {
    One(Ticket),
    More(Box<Several>),
}

#[derive(Debug)]
pub(crate) struct Several {
    limiters: Vec<Limiter>,
    /// With their numbers, from the limiter made last on.
    tickets: Vec<(u64, Ticket)>,
}

impl Limiters {
    /// Those before, and this one.
    pub(crate) fn and(before: Option<Self>, limiter: Limiter) -> Self {
        let mut all = match before {
            None => return Self::One(limiter),
            Some(Self::One(first)) => Box::new(vec![first]),
            Some(Self::More(all)) => all,
        };
        all.push(limiter);
        all.sort_by_key(|limiter| limiter.inner.made);
        all.dedup_by_key(|limiter| limiter.inner.made);
        Self::More(all)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Limiter] {
        match self {
            Self::One(limiter) => std::slice::from_ref(limiter),
            Self::More(all) => all,
        }
    }

    /// None of them grants anything for so many nanoseconds.
    pub(crate) fn pause(&self, nanos: u64) {
        for limiter in self.all() {
            limiter.pause_for(duration(nanos));
        }
    }

    /// Takes a permit for use, if there is only one to ask and it is there at once.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        if let Self::One(limiter) = self { limiter.take(1) } else { false }
    }

    /// A place in the wait list, if the turn comes within `allowed` nanoseconds. Of several it is asked in the first only.
    pub(crate) fn place(&self, allowed: u64) -> Result<Place, Refused> {
        match self {
            Self::One(limiter) => limiter.ticket(1, allowed).map(Place::One),
            Self::More(all) => {
                let mut several = Box::new(Several { limiters: all.to_vec(), tickets: Vec::new() });
                several.join(allowed)?;
                Ok(Place::More(several))
            }
        }
    }
}

impl Place {
    /// Whether the turn has come, in all of them. Granted, start at once, or drop it.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        match self {
            Self::One(ticket) => ticket.poll_turn(cx),
            Self::More(several) => several.poll_turn(cx),
        }
    }

    /// The permits are used.
    pub(crate) fn spend(&mut self) {
        match self {
            Self::One(ticket) => ticket.spend(),
            Self::More(several) => several.tickets.iter_mut().for_each(|(_, ticket)| ticket.spend()),
        }
    }
}

impl Several {
    /// Joins the next wait list. False: there is none.
    fn join(&mut self, allowed: u64) -> Result<bool, Refused> {
        let Some(limiter) = self.limiters.last() else { return Ok(false) };
        let ticket = limiter.ticket(1, allowed)?;
        self.tickets.push((ticket.number(), ticket));
        self.limiters.pop();
        Ok(true)
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Turn {
        loop {
            // The last is what it waits for. The others are held until then.
            let others = self.tickets.len().saturating_sub(1);
            let (earlier, last) = self.tickets.split_at_mut(others);
            let turn = last.first_mut().map_or(Turn::Granted, |(_, ticket)| ticket.poll_turn(cx));
            let until = match turn {
                Turn::Granted => Some(time::now()),
                Turn::At(instant) => Some(instant),
                Turn::Never => None,
            };
            let all = earlier.iter_mut();
            for (number, ticket) in all.filter(|(_, ticket)| turn != Turn::Granted || !ticket.is_granted()) {
                ticket.hold(*number, until);
            }
            if turn != Turn::Granted {
                return turn;
            }
            // One that came back after a stall may stand before it again, and want what it has: it goes back.
            let lost = earlier.iter_mut().position(|(_, ticket)| ticket.poll_turn(cx) != Turn::Granted);
            if let Some(index) = lost {
                let later = self.tickets.split_off(index.saturating_add(1));
                self.limiters.extend(later.iter().rev().map(|(_, ticket)| ticket.limiter().clone()));
                continue;
            }
            match self.join(FOREVER) {
                Ok(true) => {}
                Ok(false) => return Turn::Granted,
                Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
            }
        }
    }
}
