//! The wait list in front of a bucket: which waiter is granted when.
//!
//! Waiters are granted strictly in the order in which they joined, each at the first instant at which the bucket holds
//! what it asks for. Whoever looks at the list lets all be granted whose turn has come, itself or others, as of the
//! instant at which it came. So it does not matter who looks, and a waiter that never does takes its turn and no more.
//!
//! A grant has to be collected within the catch-up, which is what timers need. Afterwards it is lost, as it would be in a
//! full bucket, and its waiter is the first again when it comes. So permits come out as the bucket yields them, at most
//! the catch-up later, whatever stalls. A waiter that is itself later than that is the sign of a stall: what no bucket
//! would hold has run over, and those behind it wait on.
//!
//! Every waiter knows an instant, its `due`, at which it looks. It is exact as long as nobody ahead leaves. The first
//! ones, a window of them, are told when theirs comes nearer: so a wait costs two looks, three if others leave, however
//! long the list is; and as long as one of the window looks, it does not matter which.

mod changes;
mod grants;
mod lease;
mod told;
mod turns;

use std::collections::VecDeque;

use self::{
    grants::{Grant, Grants},
    lease::Lease,
    told::TOLD,
};
pub use self::{lease::Usage, told::Told};
use crate::policy::{bucket::Bucket, nanos::FOREVER, parked::Measure, rate::Rate};

/// Room for so many is kept when the list is empty.
const KEPT: usize = 1024;
/// What timers need: a millisecond is the tick of tokio's.
pub const CATCH_UP: u64 = 10_000_000;

/// A bucket and those that wait for it. `W` is whatever wakes one of them.
#[derive(Debug)]
pub struct Line<W> {
    bucket: Bucket,
    /// In order of their numbers. The first never is one that left.
    places: VecDeque<Place<W>>,
    /// Granted and not collected yet.
    grants: Grants,
    /// How long a grant may be collected.
    catch_up: u64,
    /// Nobody is granted before.
    paused: u64,
    /// The latest event that filled the bucket or cleared the way, other than time: no grant is dated before.
    from: u64,
    /// The number of the next to join.
    next: u64,
    /// Since when there have been waiters, if there are any.
    busy: u64,
    /// Permits that those in the list ask for.
    asked: u64,
    /// Places of those that left.
    left: usize,
    /// The turns of waiters from the first number up to the second may be before their dues.
    moved: (u64, u64),
    /// Of a bucket that is somebody's for a time only.
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Place<W> {
    number: u64,
    due: u64,
    /// Zero: left.
    permits: u32,
    /// It holds its turn until then, for one of another limiter.
    not_before: u64,
    /// Nobody will collect the grant.
    spent: bool,
    waker: Option<W>,
}

/// The answer to one that asks for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Joined {
    /// Taken.
    Granted,
    /// In the list, under this number.
    Waiting(u64),
    /// The turn would come at this time, and that is too far. Not in the list.
    TooFar(u64),
    /// More than there ever is at once. Not in the list.
    OverBurst,
}

/// The answer to one that looks whether its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Looked {
    /// Collected: the permits of this instant.
    Granted(u64),
    /// It is to look again then, or when it is told.
    Due(u64),
    /// The wake list is full: wake them and look again at once.
    Again,
}

impl<W> Line<W> {
    /// Nobody waits before a full bucket.
    #[must_use]
    pub fn new(rate: Rate, burst: u32, catch_up: u64) -> Self {
        Self {
            bucket: Bucket::new(rate, burst),
            places: VecDeque::new(),
            grants: Grants::default(),
            catch_up,
            paused: 0,
            from: 0,
            next: 0,
            busy: 0,
            asked: 0,
            left: 0,
            moved: (0, 0),
            lease: None,
        }
    }

    /// An empty bucket that may be used only while [`set_share`](Self::set_share) says so.
    #[must_use]
    pub fn leased(burst: u32, catch_up: u64) -> Self {
        let mut line = Self::new(Rate::ZERO, burst, catch_up);
        line.bucket.drain();
        line.lease = Some(Lease::default());
        line
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// How long a grant may be collected.
    #[must_use]
    pub fn catch_up(&self) -> u64 {
        self.catch_up
    }

    /// The bucket in one word, if nobody is in the list; see [`Bucket::park`].
    #[must_use]
    pub fn park(&self, former: Measure) -> Option<(Measure, u64)> {
        if self.is_free() && self.lease.is_none() { self.bucket.park(former) } else { None }
    }

    /// Takes the bucket back; see [`Bucket::unpark`].
    pub fn unpark(&mut self, measure: Measure, word: u64) {
        self.bucket.unpark(measure, word);
    }

    /// How many are in the list.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.len().saturating_sub(self.left)
    }

    /// How many places are kept, those of waiters that left included.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Permits that could be taken now.
    #[must_use]
    pub fn available(&self) -> u32 {
        if self.is_free() { self.bucket.available() } else { 0 }
    }

    /// Whether nothing but the bucket stands before one that asks.
    fn is_free(&self) -> bool {
        self.places.is_empty() && !self.is_paused() && !self.is_lapsed()
    }

    /// Nobody is granted before: it is paused, or the first holds its turn.
    fn opens(&self) -> u64 {
        self.paused.max(self.places.front().map_or(0, |first| first.not_before))
    }

    fn is_paused(&self) -> bool {
        self.bucket.at() < self.opens()
    }

    /// Lets time pass and all be granted whose turn has come. True: `told` is full, wake them and come again.
    pub fn flow(&mut self, now: u64, told: &mut Told<W>) -> bool {
        self.pass(now, false, told)
    }

    /// The same; after a stall what is above the burst runs over first.
    fn pass(&mut self, now: u64, stalled: bool, told: &mut Told<W>) -> bool {
        if self.lapse(now) {
            return false;
        }
        while self.is_paused() {
            let opens = self.opens();
            self.bucket.flow(now.min(opens));
            self.cut();
            if now < opens {
                return self.tell(told);
            }
            self.from = opens;
            if self.go(told) {
                return true;
            }
        }
        self.bucket.flow(now);
        if stalled {
            self.from = self.bucket.at();
            if self.cut() {
                self.put_off();
            }
        }
        self.grants.expire(self.oldest());
        self.go(told)
    }

    /// Joins the list, where all whose turn has come are granted. `allowed` is how long it would wait.
    pub fn join(&mut self, now: u64, permits: u32, allowed: u64) -> Joined {
        let granted = permits == 0 || (self.is_free() && self.bucket.pay(permits));
        self.note_use(permits, granted);
        if granted {
            return Joined::Granted;
        }
        if self.is_lapsed() && allowed != FOREVER {
            return Joined::TooFar(FOREVER);
        }
        // One permit can always be waited for, also where nothing is ever saved up.
        if permits > self.bucket.burst().max(1) {
            return Joined::OverBurst;
        }
        let asked = self.asked.saturating_add(permits.into());
        let least = self.places.front().map_or(permits, |first| first.permits);
        let due = self.ready_at(asked, least);
        if due.saturating_sub(now) > allowed || (due == FOREVER && allowed != FOREVER) {
            return Joined::TooFar(due);
        }
        self.asked = asked;
        let number = self.number();
        self.get_busy();
        self.places.push_back(Place { number, due, permits, not_before: 0, spent: false, waker: None });
        Joined::Waiting(number)
    }

    /// The same, and one whose turn is now has to collect it like any other.
    pub fn reserve(&mut self, now: u64, permits: u32, allowed: u64) -> Joined {
        let joined = self.join(now, permits, allowed);
        if joined != Joined::Granted || permits == 0 {
            return joined;
        }
        let number = self.number();
        self.grants.push(Grant { number, permits, at: self.bucket.at() });
        Joined::Waiting(number)
    }

    /// One that asked for `permits` under `number` looks whether its turn has come.
    pub fn look(&mut self, now: u64, number: u64, permits: u32, told: &mut Told<W>) -> Looked {
        let late = |place: &Place<W>| place.due.saturating_add(self.catch_up) < now;
        let stalled = self.get(number).is_some_and(late);
        if self.pass(now, stalled, told) {
            return Looked::Again;
        }
        if self.find(number).is_none() && !self.grants.has(number, self.oldest()) {
            self.come_back(number, permits);
            if self.go(told) {
                return Looked::Again;
            }
        }
        match self.grants.collect(number, self.oldest()) {
            Some(grant) => Looked::Granted(grant.at),
            None => Looked::Due(self.due(number)),
        }
    }

    /// One that did not collect its grant in time is as far ahead in the list as it ever was, and those behind it that
    /// have not collected theirs are in the list again, too.
    fn come_back(&mut self, number: u64, permits: u32) {
        self.withdraw(number);
        self.insert(Grant { number, permits, at: 0 });
        self.from = self.bucket.at();
        self.cut();
    }

    /// Grants from `number` on that are not collected are none.
    fn withdraw(&mut self, number: u64) {
        while let Some(grant) = self.grants.pop_from(number) {
            self.bucket.give_back(grant.permits, 0, u32::MAX);
            self.insert(grant);
        }
    }

    fn insert(&mut self, Grant { number, permits, at: due }: Grant) {
        self.get_busy();
        let index = self.places.partition_point(|place| place.number < number);
        self.places.insert(index, Place { number, due, permits, not_before: 0, spent: false, waker: None });
        self.asked = self.asked.saturating_add(permits.into());
    }

    /// The due of `number` in the list, after all were granted whose turn had come.
    fn due(&mut self, number: u64) -> u64 {
        let Some(index) = self.find(number) else { return FOREVER };
        let passed = self.places.get(index).is_none_or(|place| place.due <= self.bucket.at());
        let turn = if passed { self.turn(number) } else { 0 };
        self.places.get_mut(index).map_or(FOREVER, |place| {
            // Others came back, or a stall put them off.
            place.due = place.due.max(turn);
            place.due
        })
    }

    /// What wakes `number` in the list.
    #[must_use]
    pub fn waker(&self, number: u64) -> Option<&W> {
        self.get(number).and_then(|place| place.waker.as_ref())
    }

    /// From now on `number` is told through `waker` when its due comes nearer. The former one comes back.
    pub fn watch(&mut self, number: u64, waker: W) -> Option<W> {
        match self.find(number).and_then(|index| self.places.get_mut(index)) {
            Some(place) => place.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// The exact turn of one that asked for `permits` under `number`, if it comes for them, as things stand. Now, if its turn
    /// has come.
    #[must_use]
    pub fn turn_of(&self, number: u64, permits: u32) -> u64 {
        if self.grants.has(number, self.oldest()) {
            return self.bucket.at();
        }
        if self.find(number).is_some() {
            return self.turn(number);
        }
        // It did not come in time: it would be ahead of all that are behind it.
        let ahead = self.places.iter().take_while(|place| place.number < number);
        let asked = ahead.fold(u64::from(permits), |sum, place| sum.saturating_add(place.permits.into()));
        self.ready_at(asked, if asked == u64::from(permits) { permits } else { self.first() })
    }

    /// The exact turn of `number` in the list, as things stand, at the cost of a walk along it.
    #[must_use]
    pub fn turn(&self, number: u64) -> u64 {
        let upto = self.places.iter().take_while(|place| place.number <= number);
        let asked = upto.fold(0_u64, |sum, place| sum.saturating_add(place.permits.into()));
        self.ready_at(asked, self.first())
    }

    /// Grants all for which the bucket holds enough, then sees to it that the first ones know their turns.
    fn go(&mut self, told: &mut Told<W>) -> bool {
        if self.is_lapsed() {
            return false;
        }
        while let Some(first) = self.places.front_mut() {
            if told.is_full() {
                return true;
            }
            if self.bucket.at() < self.paused.max(first.not_before) || !self.bucket.pay(first.permits) {
                return self.tell(told);
            }
            self.asked = self.asked.saturating_sub(first.permits.into());
            told.push(first.waker.take());
            if !first.spent {
                let at = self.bucket.paid_at().max(self.from);
                self.grants.push(Grant { number: first.number, permits: first.permits, at });
            }
            self.places.pop_front();
            self.tidy();
        }
        // As long as one waits, nothing runs over: the first takes it before.
        self.bucket.spill();
        self.moved = (self.next, self.next);
        if self.places.capacity() > KEPT {
            self.places = VecDeque::new();
        }
        false
    }

    /// Removes the places of those that left: from the front at once, elsewhere when they are the majority.
    fn tidy(&mut self) {
        while self.places.front().is_some_and(|first| first.permits == 0) {
            self.places.pop_front();
            self.left = self.left.saturating_sub(1);
        }
        if self.left > TOLD && self.left > self.waiting() {
            self.places.retain(|place| place.permits != 0);
            self.left = 0;
        }
    }

    /// Runs over what is above the burst, or above what the first asks for.
    fn cut(&mut self) -> bool {
        self.bucket.cut(self.first())
    }

    fn get_busy(&mut self) {
        if self.places.is_empty() {
            self.busy = self.bucket.at();
        }
    }

    /// What the first asks for.
    fn first(&self) -> u32 {
        self.places.front().map_or(0, |first| first.permits)
    }

    /// No grant that is older can be collected.
    fn oldest(&self) -> u64 {
        self.bucket.at().saturating_sub(self.catch_up)
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn get(&self, number: u64) -> Option<&Place<W>> {
        self.find(number).and_then(|index| self.places.get(index))
    }

    /// Numbers only grow along the list; without gaps the first guess is right.
    fn find(&self, number: u64) -> Option<usize> {
        let first = self.places.front()?.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        if self.places.get(guess).is_some_and(|place| place.number == number) {
            return Some(guess);
        }
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }
}
