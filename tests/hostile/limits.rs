//! The law of the window and the ideal wait list, as naive as can be.

use std::collections::{BTreeMap, VecDeque};

use relent::Rate;

use super::world::{MS, Nanos, World, note, now, require, violated, with};

/// What timers need.
const CATCH_UP: u128 = 10 * MS as u128;

/// What is known of one limiter of the case.
pub struct Limit {
    /// One permit is `unit`, a nanosecond yields so many: in lowest terms.
    pub yields: u128,
    pub unit: u128,
    pub burst: u128,
    /// Whether only what the ideal list knows of uses it.
    pub modelled: bool,
    /// Whether the settings were changed.
    pub changed: bool,
    /// Whether the ideal list does not hold: the settings were changed while a grant was not collected, or one that was
    /// not polled is polled again and takes its permits late, by the law of the window; those behind it wait for that.
    pub loose: bool,
    /// One in line was leaked.
    pub leaked: bool,
    /// Nothing is granted before: a server has asked for a pause.
    pub paused: Nanos,
    pub ideal: Ideal,
    /// What may come out by the law, and when that was.
    room: u128,
    at: Nanos,
    /// Until then what was granted by former settings may come out: so much.
    former: (u128, Nanos),
    /// Those that may be in line and are not in the ideal list.
    pub unlisted: usize,
    /// Permits of reservations that were used before their turns.
    pub spent: u64,
}

/// The ideal wait list: the first in line gets its permits as soon as they have come in.
#[derive(Default)]
pub struct Ideal {
    level: u128,
    at: Nanos,
    /// None is granted before.
    paused: Nanos,
    pub line: VecDeque<(usize, u128)>,
    /// Granted, and not yet told.
    pub granted: BTreeMap<usize, (Nanos, u128)>,
}

impl Limit {
    pub fn new(yields: u64, unit: u64, burst: u32, modelled: bool) -> Self {
        let (yields, unit) = lowest(yields.into(), unit.into());
        let burst = u128::from(burst);
        let ideal = Ideal { level: burst * unit, ..Ideal::default() };
        let room = burst * unit + yields * CATCH_UP;
        Self {
            yields,
            unit,
            burst,
            modelled,
            changed: false,
            loose: false,
            leaked: false,
            paused: 0,
            ideal,
            room,
            at: 0,
            former: (0, 0),
            unlisted: 0,
            spent: 0,
        }
    }

    /// What may come out at once: those in line keep their places, also when they ask for more than the burst is now.
    fn most(&self) -> u128 {
        let asked = self.ideal.line.iter().map(|(_, permits)| *permits);
        let asked = asked.chain(self.ideal.granted.values().map(|(_, permits)| *permits)).max();
        self.burst.max(asked.unwrap_or(1)).max(1) * self.unit + self.yields * CATCH_UP
    }

    fn flow(&mut self, to: Nanos) {
        if to > self.at {
            self.clamp(to);
        }
    }

    fn clamp(&mut self, to: Nanos) {
        let former = if to > self.former.1 { 0 } else { self.former.0 };
        self.room = (self.room + u128::from(to - self.at) * self.yields).min(self.most() + former);
        self.at = to;
    }

    /// From now on it has these settings. What is in it stays, to a fraction of a permit that the new rate can express;
    /// where keys have them together, one that is full stays full.
    fn set(&mut self, to: Nanos, (yields, unit): (u128, u128), burst: u128, keyed: bool) {
        self.flow(to);
        self.advance(to);
        self.changed = true;
        self.loose |= self.ideal.granted.values().any(|(_, permits)| *permits > 0);
        let full = self.ideal.line.is_empty() && self.ideal.level >= self.burst * self.unit;
        let before = self.most() + if to > self.former.1 { 0 } else { self.former.0 };
        // Nothing comes in: a permit may cost what it did.
        let (yields, unit) = if yields == 0 { (0, self.unit) } else { lowest(yields, unit) };
        let convert = |level: u128| level / self.unit * unit + level % self.unit * unit / self.unit;
        self.former = (convert(before) + 1, to + CATCH_UP as Nanos);
        self.room = convert(self.room) + 1 + if keyed { burst.saturating_sub(self.burst) * unit } else { 0 };
        self.ideal.level = convert(self.ideal.level);
        (self.yields, self.unit, self.burst) = (yields, unit, burst);
        if self.ideal.line.is_empty() {
            let most = burst * unit;
            self.ideal.level = if full && keyed { most } else { self.ideal.level.min(most) };
        }
        self.clamp(to);
        self.advance(to);
    }

    /// A server has asked for a pause, until then.
    pub fn pause(&mut self, now: Nanos, until: Nanos) {
        self.advance(now);
        self.paused = self.paused.max(until);
        self.ideal.paused = self.paused;
        // What was granted and not collected is taken back.
        self.loose |= self.ideal.granted.values().any(|(_, permits)| *permits > 0);
    }

    pub fn advance(&mut self, to: Nanos) {
        let Self { yields, unit, burst, ideal, .. } = self;
        ideal.advance(to, *yields, *unit, *burst);
    }

    /// Up to which instant a wait may take, with timers of a millisecond.
    pub fn granted_at(&self, wait: usize) -> Option<Nanos> {
        self.ideal.granted.get(&wait).map(|(at, _)| at.div_ceil(MS) * MS)
    }
}

impl Ideal {
    fn advance(&mut self, to: Nanos, yields: u128, unit: u128, burst: u128) {
        // In a pause it fills, up to what the first in line asks for if that is more.
        let paused = self.paused.min(to);
        if self.at < paused {
            let first = self.line.front().map_or(0, |(_, permits)| *permits);
            self.level = (self.level + u128::from(paused - self.at) * yields).min(burst.max(first) * unit);
            self.at = paused;
        }
        if to < self.paused {
            return;
        }
        while let Some(&(wait, permits)) = self.line.front() {
            let missing = (permits * unit).saturating_sub(self.level);
            let takes = if yields == 0 && missing > 0 { u128::MAX } else { missing.div_ceil(yields.max(1)) };
            let left = u128::from(to - self.at);
            if takes > left {
                self.level += left * yields;
                self.at = to;
                return;
            }
            self.at += takes as u64;
            self.level = self.level + takes * yields - permits * unit;
            self.line.pop_front();
            self.granted.insert(wait, (self.at, permits));
        }
        self.level = (self.level + u128::from(to - self.at) * yields).min(burst * unit);
        self.at = to;
    }
}

/// In lowest terms.
fn lowest(yields: u128, unit: u128) -> (u128, u128) {
    let (mut a, mut b) = (yields, unit);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (yields / a.max(1), unit / a.max(1))
}

/// The settings of a limiter were changed: of all keys, if it has some.
pub fn set(world: &mut World, now: Nanos, limit: usize, rate: Rate, burst: u32) {
    let keyed = world.keyed;
    let rate = (rate.permits().into(), rate.per().as_nanos());
    let all = if keyed { 0..world.limits.len() } else { limit..limit + 1 };
    world.limits[all].iter_mut().for_each(|limit| limit.set(now, rate, burst.into(), keyed));
}

fn at<R>(limit: usize, f: impl FnOnce(&mut Limit) -> R) -> R {
    let now = now();
    with(|world| {
        let limit = &mut world.limits[limit];
        limit.flow(now);
        limit.advance(now);
        f(limit)
    })
}

/// It gets in line, for so many.
pub fn joins(limit: usize, wait: usize, permits: u32) {
    note("wait", wait, "joins for", permits.into());
    at(limit, |limit| {
        if permits == 0 {
            limit.ideal.granted.insert(wait, (limit.ideal.at, 0));
        } else {
            limit.ideal.line.push_back((wait, permits.into()));
        }
    });
    at(limit, |_| {});
}

/// It left, wherever it was.
pub fn leaves(limit: usize, wait: usize) {
    at(limit, |limit| {
        let before = limit.ideal.line.len();
        limit.ideal.line.retain(|(other, _)| *other != wait);
        let had = limit.ideal.granted.remove(&wait);
        // What comes back late may be more than the burst: whether it is granted again at once is not said.
        limit.loose |= had.is_some_and(|(at, _)| at < limit.ideal.at);
        let had = had.map(|(_, permits)| permits);
        if let Some(permits) = had {
            limit.ideal.level += permits * limit.unit;
        }
        // What it may have had and not used is there again.
        let permits = had.unwrap_or(u128::from(before > limit.ideal.line.len()));
        limit.flow(limit.ideal.at);
        let most = limit.most() + if limit.at > limit.former.1 { 0 } else { limit.former.0 };
        limit.room = (limit.room + permits * limit.unit).min(most);
    });
    at(limit, |_| {});
}

/// Permits have come out: the law of the window.
///
/// Granted before, and used now: such permits are `held`, and a pause does not take them back.
pub fn came_out(limit: usize, permits: u32, excused: bool, held: bool) {
    note("limiter", limit, "permits", permits.into());
    let now = now();
    let paused = with(|world| world.limits[limit].paused);
    require(now >= paused || excused || held || permits == 0, "nothing is granted in a pause", || {
        format!("limiter {limit}: {permits} at {} ms, paused until {} ms", now / MS, paused / MS)
    });
    let broken = with(|world| {
        world.progress += 1;
        let limit = &mut world.limits[limit];
        limit.flow(now);
        let cost = u128::from(permits) * limit.unit;
        if excused {
            // Granted before, when no one can say.
            return false;
        }
        let broken = cost > limit.room;
        limit.room = limit.room.saturating_sub(cost);
        broken
    });
    if broken {
        let how = if with(|world| world.hostile.stalls) { "stalls" } else { "none stalls" };
        violated(
            "law of the window",
            format!("limiter {limit} ({how}): {permits} more than burst + rate * (w + 10 ms)"),
        );
    }
}

/// A wait that the ideal list knows has got its permits.
pub fn got(limit: usize, wait: usize, permits: u32, excused: bool, held: bool) {
    let early = at(limit, |limit| {
        let early = limit.ideal.line.iter().any(|(other, _)| *other == wait);
        limit.ideal.granted.remove(&wait);
        early && limit.modelled && !limit.loose
    });
    if early {
        let stalls = with(|world| world.hostile.stalls);
        at(limit, |limit| {
            limit.ideal.line.retain(|(other, _)| *other != wait);
        });
        if !stalls {
            violated("order of the wait list", format!("limiter {limit}: {wait} got {permits} before its turn"));
        }
    }
    note("wait", wait, "got", permits.into());
    came_out(limit, permits, excused, held);
}

/// Whether it was granted, ideally, and is not told yet.
pub fn is_granted(limit: usize, wait: usize) -> bool {
    at(limit, |limit| limit.loose || limit.ideal.granted.contains_key(&wait))
}

/// Whether one that waits may learn before its due that others, which came late or hold their turns, have put it off
/// beyond its bound. That wakes none: at its bound it is told at the latest.
pub fn puts_off(limit: usize) -> bool {
    limit > 0 || with(|world| world.hostile.stalls || world.hostile.unpolled)
}

/// Taken at once, or not.
pub fn tried(limit: usize, permits: u32, taken: bool) {
    let (could, modelled) = at(limit, |limit| {
        let need = u128::from(permits) * limit.unit;
        let open = limit.ideal.line.is_empty() && limit.ideal.at >= limit.paused;
        let could = open && limit.ideal.level >= need;
        if taken {
            limit.ideal.level = limit.ideal.level.saturating_sub(need);
        }
        (could, limit.modelled && !limit.loose && permits > 0)
    });
    if taken {
        came_out(limit, permits, false, false);
    }
    if modelled && could != taken && !with(|world| world.hostile.stalls) {
        violated(
            "order of the wait list",
            format!("limiter {limit}: try_acquire({permits}) took {taken}, ideally {could}"),
        );
    }
}
