//! A limiter whose rate follows what the server says.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    error::{ConfigError, Last},
    events::{Event, Listener},
    limiter::Limiter,
    policy::{
        limit::{adaptive::Aimd, rate::Rate},
        nanos::nanos,
        ratio::Ratio,
    },
};

/// Sets the rate of a [`Limiter`] by what the server says: down on "too many", up again on success, within bounds.
///
/// Additive increase, multiplicative decrease, as in TCP: in each interval (1 s) that brought a success the rate goes
/// up by a step (1 % of the highest rate); a "too many" takes half of it, at most once in an interval, since the calls
/// under way are refused as well. Clients that share a server so come to equal shares of what it bears, and follow when
/// that changes.
///
/// It is a listener on runs, shared by all its clones: [`listener`](Self::listener) is for `.listen(..)` on a builder
/// or on a [`Profile`](crate::Profile). Whatever else asks the limiter tells it by hand:
/// [`succeeded`](Self::succeeded), [`too_many`](Self::too_many). That a server says *when* to come back is another
/// thing and goes with it: [`share_retry_after`](crate::Policy::share_retry_after).
///
/// The bounds are numbers of permits in the span in which the limiter's rate is written: of one of 2000 in 1000 s,
/// `10..=2000`. In whole numbers of those it moves, so let them be large enough.
///
/// ```
/// use relent::{Limiter, Rate, limiter::Adaptive, retry};
///
/// # #[derive(Debug, PartialEq)] enum Error { TooMany }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::per_second(100);
/// let adaptive = Adaptive::new(&limiter, 5..=100)?;
/// let answer = retry(async |attempt| if attempt.number() == 1 { Err(Error::TooMany) } else { Ok("here") })
///     .throttle(&limiter)
///     .listen(adaptive.listener(|error| *error == Error::TooMany))
///     .await;
/// assert_eq!(answer.unwrap(), "here");
/// assert_eq!(limiter.rate(), Rate::per_second(50));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Adaptive {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limiter: Limiter,
    /// The span of the rates.
    per: Duration,
    /// The rate, and what the answers of this step have said of it. Never held while the limiter is called, which wakes
    /// waiters.
    rule: Mutex<Aimd>,
}

impl Adaptive {
    /// Sets the rate of `limiter` within these bounds, in permits per the span of its present rate, where it begins.
    ///
    /// # Errors
    /// A limiter without a limit, which has no span, and bounds of which the first is zero or above the second: at a
    /// rate of zero there is no success that could raise it.
    pub fn new(limiter: &Limiter, bounds: RangeInclusive<u32>) -> Result<Self, ConfigError> {
        let (least, most) = bounds.into_inner();
        // One part in a hundred: from half of the rate to all of it in less than a minute.
        Self::made(limiter, (least, most), ((most / 100).max(1), Ratio::percent(50)), Duration::from_secs(1))
    }

    /// The same with another step up, another share that is left by a step down, and another interval: at most one of
    /// each in it.
    ///
    /// # Errors
    /// A share of one or more, which lowers nothing.
    pub fn steps(self, up: u32, down: Ratio, interval: Duration) -> Result<Self, ConfigError> {
        if down.numerator() >= down.denominator().get() {
            return Err(ConfigError::new("down", down, "what is left of the rate must be less than all of it"));
        }
        let bounds = self.rule().bounds();
        Self::made(&self.shared.limiter, bounds, (up, down), interval)
    }

    fn made(
        limiter: &Limiter,
        (least, most): (u32, u32),
        steps: (u32, Ratio),
        interval: Duration,
    ) -> Result<Self, ConfigError> {
        let rate = limiter.rate();
        if rate.is_unlimited() || rate.permits() == 0 {
            return Err(ConfigError::new("limiter", rate, "it must have a rate, whose span the bounds are counted in"));
        }
        if least == 0 || least > most {
            let rule = "the lower bound must be 1 or more, and not above the upper one";
            return Err(ConfigError::new("bounds", format_args!("{least}..={most}"), rule));
        }
        let rule = Aimd::new(rate.permits(), (least, most), steps, nanos(interval), limiter.semaphore.now());
        let shared = Shared { limiter: limiter.clone(), per: rate.per(), rule: Mutex::new(rule) };
        let this = Self { shared: Arc::new(shared) };
        if this.rule().rate() != rate.permits() {
            this.apply();
        }
        Ok(this)
    }

    /// A listener for runs that fail with `E`. `is_too_many` says which of their errors lower the rate; others say
    /// nothing about it.
    pub fn listener<E, F>(&self, is_too_many: F) -> AdaptiveListener<F>
    where
        F: FnMut(&E) -> bool,
    {
        AdaptiveListener { adaptive: self.clone(), is_too_many }
    }

    /// A call was answered.
    pub fn succeeded(&self) {
        self.say(Aimd::succeeded);
    }

    /// The server said "too many".
    pub fn too_many(&self) {
        self.say(Aimd::too_many);
    }

    /// The limiter.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    fn say(&self, what: impl FnOnce(&mut Aimd, u64) -> bool) {
        // The limiter's clock goes on where a runtime's, which was ahead, is gone.
        let now = self.shared.limiter.semaphore.now();
        if what(&mut self.rule(), now) {
            self.apply();
        }
    }

    /// The limiter takes the rate over. Of two threads the last to set it looks again, so what stands is what was
    /// decided last.
    fn apply(&self) {
        let mut rate = self.rule().rate();
        loop {
            if let Ok(rate) = Rate::new(rate, self.shared.per) {
                self.shared.limiter.set_rate(rate);
            }
            let now = self.rule().rate();
            if now == rate {
                break;
            }
            rate = now;
        }
    }

    fn rule(&self) -> MutexGuard<'_, Aimd> {
        // It is whole after each call, and calls nothing of others.
        self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells an [`Adaptive`] what becomes of the attempts of a run: made by [`Adaptive::listener`].
///
/// A condition that is not met yet is an answer, and so a success.
#[derive(Clone, Debug)]
#[must_use = "a listener hears nothing unless it is given to `.listen(..)`"]
pub struct AdaptiveListener<F> {
    adaptive: Adaptive,
    is_too_many: F,
}

impl<E, F: FnMut(&E) -> bool> Listener<E> for AdaptiveListener<F> {
    fn on_event(&mut self, event: &Event<'_, E>) {
        match event {
            Event::Ended { last: Last::Failed(error) | Last::NotReadyBecause(error), .. }
            | Event::Acted { failed: Some(Last::Failed(error)), .. }
                if (self.is_too_many)(error) =>
            {
                self.adaptive.too_many();
            }
            Event::Succeeded { .. } | Event::Ended { last: Last::NotReady, .. } => self.adaptive.succeeded(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn of_two_threads_that_speak_at_once_the_limiter_ends_where_the_rule_does() {
        let limiter = Limiter::per_second(1000);
        let adaptive = Adaptive::new(&limiter, 1..=1000).unwrap();
        let adaptive = adaptive.steps(3, Ratio::percent(90), Duration::ZERO).unwrap();
        for _ in 0..200 {
            thread::scope(|scope| {
                for thread in 0..4 {
                    let adaptive = adaptive.clone();
                    scope.spawn(move || {
                        for call in 0..10 {
                            if (thread + call) % 3 == 0 { adaptive.too_many() } else { adaptive.succeeded() }
                        }
                    });
                }
            });
            assert_eq!(limiter.rate().permits(), adaptive.rule().rate());
        }
    }
}
