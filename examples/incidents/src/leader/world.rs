//! What happens in an election, seen from outside.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relent::leader::Term;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::LOOK;
use crate::stage::{Failed, Stage};

/// What happens in an election, seen from outside.
pub(super) struct World {
    pub(super) start: Instant,
    /// Up to where the lines have been read, and the lines.
    pub(super) diary: Mutex<(usize, Vec<(Duration, String)>)>,
    pub(super) terms: Mutex<Vec<Begun>>,
    pub(super) register: Mutex<Register>,
}

/// A term that has begun.
#[derive(Clone)]
pub(super) struct Begun {
    pub(super) who: &'static str,
    pub(super) term: Term,
    /// Other terms that were valid then.
    pub(super) others: usize,
}

/// What the work writes to: it refuses an older fence.
#[derive(Default)]
pub(super) struct Register {
    /// For each fence: whose, and its first and last write.
    pub(super) spans: Vec<Span>,
    pub(super) refused: u32,
}

pub(super) struct Span {
    pub(super) who: &'static str,
    pub(super) fence: u128,
    pub(super) first: Duration,
    pub(super) last: Duration,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        let start = Instant::now();
        Arc::new(Self { start, diary: Mutex::default(), terms: Mutex::default(), register: Mutex::default() })
    }

    pub(super) fn note(&self, text: impl fmt::Display) {
        locked(&self.diary).1.push((self.start.elapsed(), text.to_string()));
    }

    /// Prints what is new.
    pub(super) fn read(&self, stage: &Stage) {
        let mut diary = locked(&self.diary);
        for (at, text) in &diary.1[diary.0..] {
            stage.say(format_args!("{:>9} | {text}", format!("{} ms", at.as_millis())));
        }
        diary.0 = diary.1.len();
    }

    pub(super) fn said(&self, text: &str) -> bool {
        locked(&self.diary).1.iter().any(|(_, line)| line.contains(text))
    }

    pub(super) fn begin(&self, who: &'static str, term: &Term) {
        let mut terms = locked(&self.terms);
        let others = terms.iter().filter(|begun| !begun.term.valid_for().is_zero()).count();
        terms.push(Begun { who, term: term.clone(), others });
    }

    pub(super) fn begun(&self) -> usize {
        locked(&self.terms).len()
    }

    /// The term after `before` others.
    pub(super) async fn leader(&self, before: usize, within: Duration) -> Result<Begun, Failed> {
        self.until(within, "no candidate leads", || locked(&self.terms).get(before).cloned()).await
    }

    /// Looks until there is something.
    pub(super) async fn until<T>(
        &self,
        within: Duration,
        not: &str,
        look: impl Fn() -> Option<T>,
    ) -> Result<T, Failed> {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if start.elapsed() > within {
                return Err(format!("{not} after {} ms", within.as_millis()).into());
            }
            sleep(LOOK).await;
        }
    }

    pub(super) async fn over(&self, term: &Term, within: Duration) -> Result<(), Failed> {
        self.until(within, "the term is still valid", || term.valid_for().is_zero().then_some(())).await
    }

    pub(super) fn write(&self, who: &'static str, fence: u128) -> bool {
        let (mut register, now) = (locked(&self.register), self.start.elapsed());
        match register.spans.last_mut() {
            Some(span) if span.fence > fence => {
                register.refused += 1;
                return false;
            }
            Some(span) if span.fence == fence => span.last = now,
            _ => register.spans.push(Span { who, fence, first: now, last: now }),
        }
        true
    }
}

/// Counts the moments at which two terms are valid.
pub(super) async fn observe(world: Arc<World>, stop: CancellationToken) -> (u32, u32) {
    let (mut looks, mut overlaps) = (0, 0);
    while !stop.is_cancelled() {
        looks += 1;
        let valid = locked(&world.terms).iter().filter(|begun| !begun.term.valid_for().is_zero()).count();
        overlaps += u32::from(valid > 1);
        sleep(LOOK).await;
    }
    (looks, overlaps)
}
