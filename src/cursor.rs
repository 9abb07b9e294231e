//! The loop form of a retry, for operations that need `&mut` of a local.

use std::{
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
    policy::{
        Policy,
        attempts::{Attempt, Decision},
        bounds::CutBy,
        nanos::duration,
    },
    run::Core,
    shared::{Shared, Ties},
    time::Timer,
};

impl Policy {
    /// Begins a run whose loop is your own: for operations that borrow a local mutably, which no closure can hand out.
    ///
    /// It decides exactly as [`retry`](crate::retry()) does. The clock starts at the first [`next`](Run::next).
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
    ///     let turn = run.next().await?;
    ///     if let Some(sent) = turn.attempt(connection.send(&mut line)).await {
    ///         break Ok(sent);
    ///     }
    /// }
    /// # }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { assert_eq!(example(Connection).await.unwrap(), 3); }
    /// ```
    pub fn begin<E>(&self) -> Run<E> {
        Run {
            core: Core::new(self.clone(), ()),
            when: RetryAll,
            listener: (),
            error: None,
            stop: None,
            heard: Heard::Begun,
        }
    }
}

/// A run driven by hand: made by [`Policy::begin`].
#[derive(Debug)]
#[must_use = "a run does nothing unless you call `next`"]
pub struct Run<E, W = RetryAll, L = (), G: Ties = ()> {
    core: Core<G>,
    when: W,
    listener: L,
    error: Option<E>,
    /// Why the run is over, until `next` says so.
    stop: Option<Stop>,
    heard: Heard,
}

/// What the listener heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing, or the end of an attempt.
    Begun,
    /// The start of an attempt.
    Started,
    /// The end of the run.
    Over,
}

impl<E, W, L, G: Ties> Run<E, W, L, G> {
    /// What follows an error: `bool` (true is retry) or a [`Decision`]. Default: retry them all.
    pub fn when<F, D>(self, when: F) -> Run<E, F, L, G>
    where
        F: FnMut(&E) -> D,
        D: Into<Decision>,
    {
        let Self { core, listener, error, stop, heard, .. } = self;
        Run { core, when, listener, error, stop, heard }
    }

    /// Hears of attempts, waits and the end.
    pub fn notify<N: Listener<E>>(self, listener: N) -> Run<E, W, (L, N), G> {
        let Self { core, when, listener: before, error, stop, heard } = self;
        Run { core, when, listener: (before, listener), error, stop, heard }
    }
}

impl<E, W, L, G: Ties + Into<Shared>> Run<E, W, L, G> {
    /// Stops now when the token is cancelled: in a wait, in the limiter, in the attempt.
    pub fn cancel_on(self, token: CancellationToken) -> Run<E, W, L, Shared> {
        self.share(|shared| shared.cancel_on(token))
    }

    /// Takes a permit before each attempt.
    pub fn throttle(self, limiter: &Limiter) -> Run<E, W, L, Shared> {
        self.share(|shared| shared.throttle(limiter.clone()))
    }

    /// Asks this budget, shared with other runs, before each retry.
    pub fn budget(self, budget: &Budget) -> Run<E, W, L, Shared> {
        self.share(|shared| shared.budget(budget.clone()))
    }

    fn share(self, set: impl FnOnce(Shared) -> Shared) -> Run<E, W, L, Shared> {
        let Self { core, when, listener, error, stop, heard } = self;
        Run { core: core.share(set), when, listener, error, stop, heard }
    }
}

impl<E, W, L, G> Run<E, W, L, G>
where
    W: Classify<E>,
    L: Listener<E>,
    G: Ties,
{
    /// Waits until the next attempt may start.
    ///
    /// An attempt that was taken and then dropped, before or while it ran, counts as one that was cut.
    ///
    /// # Errors
    /// [`GaveUp`] when there is no next attempt. Asked again, it says so again, without the error it gave away.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it can be called again and waits for the same instant.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with time enabled.
    pub async fn next(&mut self) -> Result<Turn<'_, E, W, L, G>, GaveUp<E>> {
        let Self { core, listener, error, stop, heard, .. } = self;
        if *heard == Heard::Started {
            *heard = Heard::Begun;
            // The attempt was dropped by its owner.
            tell_end(core, listener, Ending::Cut(CutBy::Cancelled), error.as_ref());
        }
        let mut alarm = pin!(Timer::default());
        let start = poll_fn(|cx| match stop.take() {
            Some(stop) => Poll::Ready(Err(stop)),
            None => core.poll_start(cx, alarm.as_mut(), |wait| listener.on_event(&Event::Waiting(wait))),
        });
        match start.await {
            Ok(attempt) => {
                listener.on_event(&Event::Started(attempt));
                *heard = Heard::Started;
                Ok(Turn { run: self, attempt })
            }
            Err(why) => {
                let gave_up = core.give_up(why.clone(), error.take());
                *stop = Some(why);
                if *heard != Heard::Over {
                    *heard = Heard::Over;
                    listener.on_event(&Event::GaveUp(&gave_up));
                }
                Err(gave_up)
            }
        }
    }

    /// Notes how an attempt ended.
    fn end(&mut self, ending: Ending, decision: Decision) {
        let Self { core, listener, error, stop, heard, .. } = self;
        *heard = Heard::Begun;
        tell_end(core, listener, ending, error.as_ref());
        *stop = core.end::<Timer>(ending, decision, &mut |wait| listener.on_event(&Event::Waiting(wait))).err();
    }
}

fn tell_end<E, L: Listener<E>, G: Ties>(core: &Core<G>, listener: &mut L, ending: Ending, error: Option<&E>) {
    if !L::SILENT {
        let (attempt, elapsed) = (core.attempts(), duration(core.elapsed()));
        let last = ending.last(error, core.cut_after(ending, elapsed));
        listener.on_event(&Event::Ended { attempt, elapsed, last });
    }
}

/// The right to one attempt, now.
#[derive(Debug)]
#[must_use = "an attempt that is not used counts as one that was cut"]
pub struct Turn<'r, E, W, L, G: Ties> {
    run: &'r mut Run<E, W, L, G>,
    attempt: Attempt,
}

impl<E, W, L, G> Turn<'_, E, W, L, G>
where
    W: Classify<E>,
    L: Listener<E>,
    G: Ties,
{
    /// Which attempt this is, and what time it has.
    #[must_use]
    pub fn info(&self) -> Attempt {
        self.attempt
    }

    /// Runs the attempt. `None`: it failed or was cut, and [`next`](Run::next) knows what follows.
    ///
    /// # Cancel safety
    /// Dropped before it ends, the attempt counts as one that was cut.
    ///
    /// # Panics
    /// If the operation has to wait and is bounded, outside a tokio runtime with time enabled. A panic of the operation
    /// goes through.
    pub async fn attempt<T>(self, operation: impl Future<Output = Result<T, E>>) -> Option<T> {
        let Self { run, .. } = self;
        let answer = {
            let mut alarm = pin!(Timer::default());
            let mut operation = pin!(operation);
            poll_fn(|cx| match operation.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => Poll::Ready(Err(ready!(run.core.poll_cut(cx, alarm.as_mut())))),
            })
            .await
        };
        match answer {
            Ok(Ok(value)) => {
                run.core.over();
                run.heard = Heard::Over;
                if !L::SILENT {
                    let (attempts, elapsed) = (run.core.attempts(), duration(run.core.elapsed()));
                    run.listener.on_event(&Event::Succeeded { attempts, elapsed });
                }
                Some(value)
            }
            Ok(Err(error)) => {
                let decision = run.when.classify(&error);
                run.error = Some(error);
                run.end(Ending::Failed, decision);
                None
            }
            Err(by) => {
                let decision = run.core.policy.after_cut();
                run.end(Ending::Cut(by), decision);
                None
            }
        }
    }
}
