//! Values from bytes, with a liking for those that break things.

use std::time::Duration;

use relent::{Jitter, Ratio};

use super::{
    attempts::{Call, Says, Settings},
    backoff::{Schedule, Shape},
};

/// Bytes to be made into values. Once they are used up it gives the simplest of everything.
#[derive(Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
    last: Duration,
}

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, last: Duration::ZERO }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.bytes {
            [first, rest @ ..] => {
                self.bytes = rest;
                *first
            }
            [] => 0,
        }
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number to pick by: often one of the ends.
    pub fn random(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => 0,
            1 => u64::MAX,
            _ => self.word(),
        }
    }

    pub fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    pub fn time(&mut self) -> Duration {
        self.last = match self.byte() % 14 {
            0 => Duration::ZERO,
            1 => Duration::from_nanos(1),
            2 => Duration::from_secs(self.byte().into()),
            3 => self.last,
            4 => self.last.saturating_add(Duration::from_nanos(1)),
            5 => self.last.saturating_sub(Duration::from_nanos(1)),
            6 => self.last.saturating_mul(self.byte().into()),
            7 => Duration::MAX,
            8 => Duration::from_nanos(u64::MAX - u64::from(self.byte() % 3)),
            9 => Duration::from_nanos(self.word()),
            10 => Duration::new(self.word(), 999_999_999),
            _ => Duration::from_millis(self.byte().into()),
        };
        self.last
    }

    pub fn some_time(&mut self) -> Option<Duration> {
        self.one_in(2).then(|| self.time())
    }

    pub fn count(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..250 => u32::from(byte % 12),
            250..253 => u32::MAX,
            _ => u32::try_from(self.word() % (1 << 32)).unwrap(),
        }
    }

    pub fn ratio(&mut self) -> Ratio {
        let (above, below) = match self.byte() % 4 {
            0 => (self.byte().into(), 1),
            1 => (self.byte().into(), u32::from(self.byte()) + 1),
            2 => (u32::MAX, u32::from(self.byte()) + 1),
            _ => (self.count(), self.count().max(1)),
        };
        Ratio::new(above, below).unwrap()
    }

    pub fn jitter(&mut self) -> Jitter {
        match self.byte() % 5 {
            0 => Jitter::None,
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Plus(self.ratio()),
            _ => Jitter::PlusMinus(self.ratio()),
        }
    }

    pub fn schedule(&mut self) -> Schedule {
        let shape = match self.byte() % 6 {
            0 => Shape::Fixed(self.time()),
            1 => Shape::Exponential(self.time(), self.time()),
            2 => Shape::Linear(self.time(), self.time()),
            3 => Shape::Fibonacci(self.time(), self.time()),
            4 => Shape::Decorrelated(self.time(), self.time()),
            _ => Shape::Steps((0..self.byte() % 5).map(|_| self.time()).collect()),
        };
        Schedule {
            shape,
            factor: self.one_in(3).then(|| self.ratio()),
            jitter: self.one_in(2).then(|| self.jitter()),
            take: self.one_in(3).then(|| self.count()),
            reset_after: self.one_in(5).then(|| self.time()),
            seed: self.one_in(7).then(|| self.word()),
            then: self.one_in(3).then(|| Box::new(self.schedule())),
        }
    }

    pub fn settings(&mut self) -> Settings {
        Settings {
            every: self.some_time(),
            backoff: self.one_in(2).then(|| self.schedule()),
            attempt_timeout: self.some_time(),
            start_within: self.some_time(),
            finish_within: self.some_time(),
            max_attempts: self.one_in(3).then(|| self.count()),
            final_try: self.one_in(2),
            delay_first: self.one_in(3),
            on_cut: if self.one_in(2) { self.says() } else { Says::Retry },
            max_retry_after: self.one_in(3).then(|| self.time()),
            random_phase: self.one_in(4),
        }
    }

    pub fn says(&mut self) -> Says {
        match self.byte() % 16 {
            0 => Says::Fatal,
            1..4 => Says::RetryAfter(self.time()),
            _ => Says::Retry,
        }
    }

    pub fn call(&mut self) -> Call {
        let late = if self.one_in(6) { self.time() } else { Duration::ZERO };
        Call { takes: self.time(), says: self.says(), random: self.random(), late }
    }
}
