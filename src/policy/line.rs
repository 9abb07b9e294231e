//! The line in front of a bucket: who goes when.
//!
//! Those in line go strictly in the order in which they joined, each at the first instant at which the bucket holds
//! what it asks for. Whoever looks at the line lets everyone go whose turn has come, himself or others, as of the
//! instant at which it came: a late look moves nothing. So it does not matter who looks, and one who never does takes
//! his turn and no more.
//!
//! Everyone in line knows an instant, his `due`, that is never before his turn and exact when nobody ahead left. When
//! somebody becomes the first and his turn is before his due, he is told. So a place costs two looks, three if others
//! leave, however long the line is.

use std::collections::VecDeque;

use crate::policy::{bucket::Bucket, nanos::FOREVER, parked::Measure, rate::Rate};

/// How many are told in one go.
const TOLD: usize = 16;
/// Room for so many is kept when the line is empty.
const KEPT: usize = 1024;

/// A bucket and those who wait for it. `W` is whatever wakes one of them.
#[derive(Debug)]
pub struct Line<W> {
    bucket: Bucket,
    /// In order of their numbers. The first never is one who left.
    places: VecDeque<Place<W>>,
    /// The number of the next to join.
    next: u64,
    /// Permits that those in line ask for.
    asked: u64,
    /// Places of those who left.
    left: usize,
}

#[derive(Debug)]
struct Place<W> {
    number: u64,
    due: u64,
    /// Zero: left.
    permits: u32,
    waker: Option<W>,
}

/// The answer to one who asks for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Joined {
    /// He has them.
    Granted,
    /// He is in line, under this number.
    Waiting(u64),
    /// His turn would come at this time, and that is too far. He is not in line.
    TooFar(u64),
    /// He asks for more than there ever is at once. He is not in line.
    OverBurst,
}

/// Those who have to be told, in order.
#[derive(Debug)]
pub struct Told<W> {
    wakers: [Option<W>; TOLD],
    next: usize,
    end: usize,
}

impl<W> Line<W> {
    /// Nobody in line before a full bucket.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { bucket: Bucket::new(rate, burst), places: VecDeque::new(), next: 0, asked: 0, left: 0 }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The bucket in one word, if nobody is in line; see [`Bucket::park`].
    #[must_use]
    pub fn park(&self, former: Measure) -> Option<(Measure, u64)> {
        if self.places.is_empty() { self.bucket.park(former) } else { None }
    }

    /// Takes the bucket back; see [`Bucket::unpark`].
    pub fn unpark(&mut self, measure: Measure, word: u64) {
        self.bucket.unpark(measure, word);
    }

    /// How many are in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.len().saturating_sub(self.left)
    }

    /// How many places are kept, those of people who left included.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Lets time pass and everyone go whose turn has come. True: `told` is full, tell them and come again.
    pub fn flow(&mut self, now: u64, told: &mut Told<W>) -> bool {
        self.bucket.flow(now);
        self.go(told)
    }

    /// Joins the line, where all whose turn has come have gone. `allowed` is how long he would wait.
    pub fn join(&mut self, now: u64, permits: u32, allowed: u64) -> Joined {
        if permits == 0 || (self.places.is_empty() && self.bucket.pay(permits)) {
            return Joined::Granted;
        }
        // One permit can always be waited for, also where nothing is ever saved up.
        if permits > self.bucket.burst().max(1) {
            return Joined::OverBurst;
        }
        let asked = self.asked.saturating_add(permits.into());
        let due = self.bucket.ready_at(asked);
        if due.saturating_sub(now) > allowed || (due == FOREVER && allowed != FOREVER) {
            return Joined::TooFar(due);
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.asked = asked;
        self.places.push_back(Place { number, due, permits, waker: None });
        Joined::Waiting(number)
    }

    /// Whether the turn of `number`, who did not leave, has come.
    #[must_use]
    pub fn has_gone(&self, number: u64) -> bool {
        self.places.front().is_none_or(|first| number < first.number)
    }

    /// The due of `number` in line. From now on he is told through `waker` when it comes nearer; the one he was told
    /// through before comes back.
    pub fn watch(&mut self, number: u64, waker: W) -> (u64, Option<W>) {
        let place = self.find(number).and_then(|index| self.places.get_mut(index));
        place.map_or((FOREVER, None), |place| (place.due, place.waker.replace(waker)))
    }

    /// The due of `number` in line and the one who wakes him.
    #[must_use]
    pub fn due(&self, number: u64) -> (u64, Option<&W>) {
        let place = self.find(number).and_then(|index| self.places.get(index));
        place.map_or((FOREVER, None), |place| (place.due, place.waker.as_ref()))
    }

    /// The exact turn of `number`, as things stand, at the cost of a walk along the line.
    #[must_use]
    pub fn turn(&self, number: u64) -> u64 {
        let upto = self.places.iter().take_while(|place| place.number <= number);
        self.bucket.ready_at(upto.fold(0_u64, |sum, place| sum.saturating_add(place.permits.into())))
    }

    /// One leaves, from the line or with permits that he has and does not use. Those behind move up. True as in
    /// [`Line::flow`]. What woke him comes back.
    pub fn leave(&mut self, number: u64, permits: u32, told: &mut Told<W>) -> (bool, Option<W>) {
        let mut waker = None;
        if self.has_gone(number) {
            self.bucket.give_back(permits);
        } else if let Some(place) = self.find(number).and_then(|index| self.places.get_mut(index)) {
            waker = place.waker.take();
            place.permits = 0;
            self.asked = self.asked.saturating_sub(permits.into());
            self.left = self.left.saturating_add(1);
            self.tidy();
        }
        (self.go(told), waker)
    }

    /// Permits come back that were taken without a place in line. True as in [`Line::flow`].
    pub fn give_back(&mut self, permits: u32, told: &mut Told<W>) -> bool {
        self.bucket.give_back(permits);
        self.go(told)
    }

    /// From now on the bucket fills at `rate`. Everyone in line has a new due and is to be told.
    pub fn set_rate(&mut self, rate: Rate, told: &mut impl Extend<W>) {
        self.bucket.set_rate(rate);
        self.plan(told);
    }

    /// From now on the bucket holds `burst`. Those in line keep their places, also when they ask for more.
    pub fn set_burst(&mut self, burst: u32, told: &mut impl Extend<W>) {
        self.bucket.set_burst(burst);
        self.plan(told);
    }

    /// Lets everyone go for whom the bucket holds enough, then sees to it that the first knows his turn.
    fn go(&mut self, told: &mut Told<W>) -> bool {
        while let Some(first) = self.places.front_mut() {
            if told.is_full() {
                return true;
            }
            if !self.bucket.pay(first.permits) {
                if self.bucket.is_ready_before(first.permits, first.due) {
                    first.due = self.bucket.ready_at(first.permits.into());
                    told.push(first.waker.take());
                }
                return false;
            }
            self.asked = self.asked.saturating_sub(first.permits.into());
            told.push(first.waker.take());
            self.places.pop_front();
            self.tidy();
        }
        // As long as somebody waits, nothing runs over: the first takes it before.
        self.bucket.spill();
        if self.places.capacity() > KEPT {
            self.places = VecDeque::new();
        }
        false
    }

    /// Removes the places of those who left: from the front at once, elsewhere when they are the majority.
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

    fn plan(&mut self, told: &mut impl Extend<W>) {
        let mut asked = 0_u64;
        for place in self.places.iter_mut().filter(|place| place.permits != 0) {
            asked = asked.saturating_add(place.permits.into());
            let due = self.bucket.ready_at(asked);
            if due != place.due {
                place.due = due;
                told.extend(place.waker.take());
            }
        }
    }

    /// Numbers only grow along the line; without gaps the first guess is right.
    fn find(&self, number: u64) -> Option<usize> {
        let first = self.places.front()?.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        if self.places.get(guess).is_some_and(|place| place.number == number) {
            return Some(guess);
        }
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }
}

impl<W> Told<W> {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { wakers: [const { None }; TOLD], next: 0, end: 0 }
    }

    /// Whether nobody is left to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// The next to be told.
    pub fn pop(&mut self) -> Option<W> {
        let waker = self.wakers.get_mut(self.next).and_then(Option::take)?;
        self.next = self.next.saturating_add(1);
        Some(waker)
    }

    fn is_full(&self) -> bool {
        self.end == TOLD
    }

    fn push(&mut self, waker: Option<W>) {
        if let Some(slot) = waker.is_some().then(|| self.wakers.get_mut(self.end)).flatten() {
            *slot = waker;
            self.end = self.end.saturating_add(1);
        }
    }
}

impl<W> Default for Told<W> {
    fn default() -> Self {
        Self::new()
    }
}
