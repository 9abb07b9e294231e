//! The loop form of a retry, for operations that need `&mut` of a local.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
};

use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    error::{Ending, GaveUp, Stop},
    events::{Event, Listener},
    limiter::Limiter,
    operation::{Classify, RetryAll},
    policy::schedule::{
        Policy,
        attempts::{Attempt, Decision},
        bounds::CutBy,
    },
    profile::Profile,
    run::Core,
    run::{
        alarm::Alarm,
        controls::{Control, Controls, Share, Until},
    },
    time::{Sleeper, Timer},
};

impl Policy {
    /// Begins a run whose loop is your own: for operations that borrow a local mutably, which no closure can hand out.
    ///
    /// It decides exactly as [`retry`](crate::retry()) does. The clock starts at the first [`next`](AttemptLoop::next).
    ///
    /// ```
    /// use relent::{GaveUp, Policy};
    ///
    /// # struct Connection; impl Connection {
    /// #     async fn send(&mut self, line: &mut String) -> Result<usize, std::io::Error> { line.push('.'); if line.len() < 3 { Err(std::io::Error::other("reset")) } else { Ok(line.len()) } } }
    /// # async fn example(mut connection: Connection) -> Result<usize, GaveUp<std::io::Error>> {
    /// let policy = Policy::new().max_attempts(5);
    /// let mut line = String::new();
    /// let mut run = policy.begin();
    /// loop {
    ///     let next = run.next().await?;
    ///     if let Some(sent) = next.run(connection.send(&mut line)).await {
    ///         break Ok(sent);
    ///     }
    /// }
    /// # }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { assert_eq!(example(Connection).await.unwrap(), 3); }
    /// ```
    pub fn begin<E>(&self) -> AttemptLoop<E> {
        AttemptLoop {
            core: Core::new(self.clone(), ()),
            when: RetryAll,
            listener: (),
            error: None,
            cut_after: 0,
            end: None,
        }
    }
}

impl<E, W: Clone, L: Clone> Profile<E, W, L> {
    /// Begins a run whose loop is your own, with all that the calls of this client have in common. See
    /// [`Policy::begin`].
    ///
    /// ```
    /// use relent::{GaveUp, Limiter, Policy, Profile};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), GaveUp<&'static str>> {
    /// let calls = Profile::new(Policy::new()).throttle(&Limiter::per_second(10)).when(|error: &&str| *error == "busy");
    /// let (mut run, mut answers) = (calls.begin(), ["busy", "busy"].into_iter());
    /// while let None = run.next().await?.run(async { answers.next().map_or(Ok(()), Err) }).await {}
    /// # Ok(()) }
    /// ```
    pub fn begin(&self) -> AttemptLoop<E, W, L, Controls> {
        let Self { policy, when, listener, shared, .. } = self;
        let core = Core::new(policy.clone(), shared.clone());
        AttemptLoop { core, when: when.clone(), listener: listener.clone(), error: None, cut_after: 0, end: None }
    }
}

/// A run driven by hand: made by [`Policy::begin`] or [`Profile::begin`].
///
/// Whatever is set on it after it began holds from then on: counts, clock and errors go on as they were.
#[derive(Debug)]
#[must_use = "a run does nothing unless you call `next`"]
pub struct AttemptLoop<E, W = RetryAll, L = (), G: Control = ()> {
    core: Core<G>,
    when: W,
    listener: L,
    error: Option<E>,
    /// How long the last attempt had run when it was cut.
    cut_after: u64,
    end: Option<RunEnded>,
}

/// How a run has ended.
#[derive(Debug)]
enum RunEnded {
    /// With a value: asked again, a new one begins.
    Succeeded,
    /// Without one, and `next` has to say so.
    Stopped(Stop),
    /// Without one, and `next` has said so: to be said again, without the error that it gave away.
    GaveUp(GaveUp<Infallible>),
}

impl<E, W, L, G: Control> AttemptLoop<E, W, L, G> {
    /// What follows an error: `bool` (true is retry) or a [`Decision`]. Default: retry them all. Of two rules the later
    /// counts alone.
    pub fn when<F, D>(self, when: F) -> AttemptLoop<E, F, L, G>
    where
        F: FnMut(&E) -> D,
        D: Into<Decision>,
    {
        self.classify(when)
    }

    /// [`when`](Self::when) for a rule that is a type.
    pub fn classify<C: Classify<E>>(self, when: C) -> AttemptLoop<E, C, L, G> {
        let Self { core, listener, error, cut_after, end, .. } = self;
        AttemptLoop { core, when, listener, error, cut_after, end }
    }

    /// Hears of attempts, waits and the end: a closure, whose type is inferred. A second listener hears after the
    /// first.
    pub fn notify<N>(self, listener: N) -> AttemptLoop<E, W, (L, N), G>
    where
        N: FnMut(&Event<'_, E>),
    {
        self.listen(listener)
    }

    /// [`notify`](Self::notify) for a listener that is a type, as those in [`events`](crate::events) are.
    pub fn listen<N: Listener<E>>(self, listener: N) -> AttemptLoop<E, W, (L, N), G> {
        let Self { core, when, listener: before, error, cut_after, end } = self;
        AttemptLoop { core, when, listener: (before, listener), error, cut_after, end }
    }
}

impl<E, W, L, G: Share> AttemptLoop<E, W, L, G> {
    /// Stops now when the token is cancelled: in a wait, in the limiter, in the attempt. Given twice, either stops it.
    pub fn cancel_on(self, token: CancellationToken) -> AttemptLoop<E, W, L, G::With> {
        self.with(|ties| ties.share(|shared| shared.cancel_on(token)))
    }

    /// Stops now when the future is done, as [`cancel_on`](Self::cancel_on) does.
    pub fn cancel_when<F: Future>(self, until: F) -> AttemptLoop<E, W, L, Until<G, F>> {
        self.with(|ties| Until::new(ties, until))
    }

    /// Takes a permit before each attempt.
    pub fn throttle(self, limiter: &Limiter) -> AttemptLoop<E, W, L, G::With> {
        self.with(|ties| ties.share(|shared| shared.throttle(limiter.clone())))
    }

    /// Asks this budget, shared with other runs, before each retry. Of two, both must allow it.
    pub fn budget(self, budget: &Budget) -> AttemptLoop<E, W, L, G::With> {
        self.with(|ties| ties.share(|shared| shared.budget(budget.clone())))
    }

    fn with<H: Control>(self, change: impl FnOnce(G) -> H) -> AttemptLoop<E, W, L, H> {
        let Self { core, when, listener, error, cut_after, end } = self;
        AttemptLoop { core: core.with(change), when, listener, error, cut_after, end }
    }
}

impl<E, W, L, G> AttemptLoop<E, W, L, G>
where
    W: Classify<E>,
    L: Listener<E>,
    G: Control,
{
    /// Waits until the next attempt may start.
    ///
    /// An attempt that was taken and then dropped, before or while it ran, counts as one that was cut, and the policy's
    /// [`on_cut`](Policy::on_cut) says what follows.
    ///
    /// Called after the run has given its value, it begins a new one: counts, clock and backoff start over.
    ///
    /// # Errors
    /// [`GaveUp`] when there is no next attempt. Asked again, it says so again, with
    /// [`Last::FailedBefore`](crate::Last::FailedBefore) in place of the error that it gave away.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves nothing behind, neither a timer nor a place before the limiter. It can be
    /// called again: a pause lasts until the same instant as before, and a permit is asked for anew.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with time enabled.
    pub async fn next(&mut self) -> Result<NextAttempt<'_, E, W, L, G>, GaveUp<E>> {
        if self.core.is_attempting() {
            self.end_attempt(Ending::Cut(CutBy::Cancelled), self.core.policy.after_cut());
        }
        if let Some(RunEnded::GaveUp(_)) = &self.end {
            // A loop that does not heed the end lets others run.
            poll_fn(Timer::poll_yield).await;
        }
        match &self.end {
            None => {}
            Some(RunEnded::Succeeded) => {
                self.core.begin_anew();
                (self.error, self.end) = (None, None);
            }
            Some(RunEnded::Stopped(stop)) => {
                let stop = stop.clone();
                return Err(self.give_up(stop));
            }
            Some(RunEnded::GaveUp(gave_up)) => return Err(gave_up.without_error()),
        }
        self.core.start_clock();
        let started = {
            let mut alarm = pin!(Alarm::<Timer, G>::default());
            let waiting = Waiting(&mut self.core);
            let listener = &mut self.listener;
            poll_fn(|cx| waiting.0.poll_attempt(cx, alarm.as_mut(), listener)).await
        };
        match started {
            Ok(attempt) => Ok(NextAttempt { run: self, attempt }),
            Err(stop) => Err(self.give_up(stop)),
        }
    }

    /// An attempt has ended without a value. What follows is noted before the listener hears of it.
    fn end_attempt(&mut self, ending: Ending, decision: Decision) {
        let next = self.core.end(ending, decision);
        let pause = next.ok();
        self.cut_after = self.core.cut_after(ending, self.core.ended(pause.unwrap_or(0)));
        if let Err(stop) = next {
            self.end = Some(RunEnded::Stopped(stop.into()));
        }
        self.core.tell_end(&mut self.listener, self.error.as_ref(), ending, pause, Some(self.cut_after));
    }

    /// The run has ended before the call of its attempt was begun.
    fn end_without_call(&mut self, stop: Stop) {
        self.core.end_by_rule(Ending::NotCalled);
        self.end = Some(RunEnded::Stopped(stop));
        self.core.tell_end(&mut self.listener, self.error.as_ref(), Ending::NotCalled, None, None);
    }

    fn give_up(&mut self, stop: Stop) -> GaveUp<E> {
        self.core.disarm(pin!(Alarm::<Timer, G>::default()));
        let gave_up = GaveUp::new(self.core.stop(stop, Some(self.cut_after)), self.error.take(), None);
        self.end = Some(RunEnded::GaveUp(gave_up.without_error()));
        self.listener.on_event(&Event::GaveUp(&gave_up));
        gave_up
    }
}

/// A run that waits for its next attempt: dropped, no waiter stays behind.
struct Waiting<'r, G: Control>(&'r mut Core<G>);

impl<G: Control> Drop for Waiting<'_, G> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The right to one attempt, now.
#[derive(Debug)]
#[must_use = "an attempt that is not used counts as one that was cut"]
pub struct NextAttempt<'r, E, W, L, G: Control> {
    run: &'r mut AttemptLoop<E, W, L, G>,
    attempt: Attempt,
}

impl<E, W, L, G> NextAttempt<'_, E, W, L, G>
where
    W: Classify<E>,
    L: Listener<E>,
    G: Control,
{
    /// Which attempt this is, and what time it has.
    #[must_use]
    pub fn info(&self) -> Attempt {
        self.attempt
    }

    /// Runs the attempt. `None`: it failed or was cut, and [`next`](AttemptLoop::next) knows what follows.
    ///
    /// If the run was cancelled, or its [`finish_within`](Policy::finish_within) is over, since `next` gave this
    /// attempt, the operation is not begun ([`Last::NotCalled`](crate::Last::NotCalled)), and the run ends.
    ///
    /// # Cancel safety
    /// Dropped before it ends, the attempt counts as one that was cut.
    ///
    /// # Panics
    /// If the operation has to wait and is bounded, outside a tokio runtime with time enabled. A panic of the operation
    /// goes through.
    pub async fn run<T>(self, operation: impl Future<Output = Result<T, E>>) -> Option<T> {
        let Self { run, .. } = self;
        if let Err(stop) = run.core.may_call() {
            run.end_without_call(stop);
            return None;
        }
        let answer = {
            let mut alarm = pin!(Alarm::<Timer, G>::default());
            // What it holds is let go before anything else happens.
            let mut operation = pin!(operation);
            poll_fn(|cx| match operation.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => Poll::Ready(Err(ready!(run.core.poll_cut(cx, alarm.as_mut())))),
            })
            .await
        };
        match answer {
            Ok(Ok(value)) => {
                run.end = Some(RunEnded::Succeeded);
                run.core.succeed(&mut run.listener);
                Some(value)
            }
            Ok(Err(error)) => {
                // `when` may take any time.
                run.core.start_clock();
                // Kept first, so that a panic of `when` does not lose it.
                let decision = run.when.classify(run.error.insert(error));
                run.end_attempt(Ending::Failed, decision);
                None
            }
            Err(by) => {
                run.end_attempt(Ending::Cut(by), run.core.policy.after_cut());
                None
            }
        }
    }
}
