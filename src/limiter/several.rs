//! One permit of each of several limiters, all at once or none.
//!
//! Wait lists are joined one after the other, that of the limiter made last first: the next only when all before have
//! granted. A grant is not used before the last limiter's: it is held, as the first in its list, and its bucket runs
//! over at its burst meanwhile. As all go in one order, none waits for one that waits for it; and a waiter for a slow
//! limiter is in the lists of the older ones only when there is nothing else to wait for.

use std::task::Context;

use crate::{
    limiter::{Limiter, QueuedPermit, Readiness, Refused},
    policy::{
        limit::wait_list::WaiterId,
        nanos::{FOREVER, duration},
    },
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

/// A waiter of one limiter or of several. Dropped, it leaves no trace, unless it was
/// [consumed](QueuedPermits::consume).
#[derive(Debug)]
#[must_use]
pub(crate) enum QueuedPermits {
    One(QueuedPermit),
    More(Box<Several>),
}

#[derive(Debug)]
pub(crate) struct Several {
    /// Those whose lists it has not joined, the next at the end.
    limiters: Vec<Limiter>,
    /// With their ids, from the limiter made last on.
    permits: Vec<(WaiterId, QueuedPermit)>,
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
        all.sort_by_key(|limiter| limiter.semaphore.created);
        all.dedup_by_key(|limiter| limiter.semaphore.created);
        Self::More(all)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Limiter] {
        match self {
            Self::One(limiter) => std::slice::from_ref(limiter),
            Self::More(all) => all,
        }
    }

    /// The refusal of the first that has no share of its fleet's rate.
    #[cold]
    pub(crate) fn no_share(&self) -> Option<Refused> {
        self.all().iter().find_map(Limiter::no_share)
    }

    /// None of them grants anything for so many nanoseconds.
    pub(crate) fn pause(&self, nanos: u64) {
        for limiter in self.all() {
            limiter.pause_for(duration(nanos));
        }
    }

    /// Takes a permit for use, if there is only one to ask and it is there at once.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        if let Self::One(limiter) = self { limiter.try_take(1) } else { false }
    }

    /// Joins the wait list, if a permit will be there within `allowed` nanoseconds. Of several only the first is asked.
    pub(crate) fn enqueue(&self, allowed: u64) -> Result<QueuedPermits, Refused> {
        match self {
            Self::One(limiter) => limiter.enqueue(1, allowed).map(QueuedPermits::One),
            Self::More(all) => {
                let mut several = Box::new(Several { limiters: all.to_vec(), permits: Vec::new() });
                several.join(allowed)?;
                Ok(QueuedPermits::More(several))
            }
        }
    }
}

impl QueuedPermits {
    /// Whether all have granted. Then start at once, or drop it.
    pub(crate) fn poll_acquire(&mut self, cx: &mut Context<'_>) -> Readiness {
        match self {
            Self::One(permit) => permit.poll_acquire(cx),
            Self::More(several) => several.poll_acquire(cx),
        }
    }

    /// The permits are used.
    pub(crate) fn consume(&mut self) {
        match self {
            Self::One(permit) => permit.consume(),
            Self::More(several) => several.permits.iter_mut().for_each(|(_, permit)| permit.consume()),
        }
    }
}

impl Several {
    /// Joins the next wait list. False: there is none.
    fn join(&mut self, allowed: u64) -> Result<bool, Refused> {
        let Some(limiter) = self.limiters.last() else { return Ok(false) };
        let permit = limiter.enqueue(1, allowed)?;
        // One permit is never taken without a waiter.
        self.permits.push((permit.id().unwrap_or_default(), permit));
        self.limiters.pop();
        Ok(true)
    }

    fn poll_acquire(&mut self, cx: &mut Context<'_>) -> Readiness {
        loop {
            // The last is what it waits for. The others are held until then.
            let others = self.permits.len().saturating_sub(1);
            let (earlier, last) = self.permits.split_at_mut(others);
            let readiness = last.first_mut().map_or(Readiness::Granted, |(_, permit)| permit.poll_acquire(cx));
            let until = match readiness {
                Readiness::Granted => Some(time::now()),
                Readiness::At(instant) => Some(instant),
                Readiness::Never => None,
            };
            let all = earlier.iter_mut();
            for (id, permit) in all.filter(|(_, permit)| readiness != Readiness::Granted || !permit.is_granted()) {
                permit.hold(*id, until);
            }
            if readiness != Readiness::Granted {
                return readiness;
            }
            // A waiter that is late after a stall may be ahead again, and be due what this one has: it goes back.
            let lost = earlier.iter_mut().position(|(_, permit)| permit.poll_acquire(cx) != Readiness::Granted);
            if let Some(index) = lost {
                let later = self.permits.split_off(index.saturating_add(1));
                self.limiters.extend(later.iter().rev().map(|(_, permit)| permit.limiter().clone()));
                continue;
            }
            match self.join(FOREVER) {
                Ok(true) => {}
                Ok(false) => return Readiness::Granted,
                Err(refused) => unreachable!("one permit can always be waited for: {refused}"),
            }
        }
    }
}
