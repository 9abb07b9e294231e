//! A stream that connects anew when it breaks off.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::{FusedStream, Stream};
use pin_project_lite::pin_project;
use tokio::task::coop;

use crate::{
    error::{Ending, GaveUp, Stop},
    events::Listener,
    operation::{Classify, ErrorOf, Operation, RetryAll, Undecided, ValueOf},
    policy::{
        nanos::{FOREVER, duration, nanos},
        schedule::{
            Policy,
            attempts::{Attempt, Decision},
            bounds::CutBy,
        },
    },
    run::{Core, alarm::Alarm, controls::Control, settings::settings},
    time::{self, Instant, Timer},
};

/// How long a connection lives to be healthy, unless `reset_after` says otherwise: three times the longest pause.
const HEALTHY: Duration = Duration::from_secs(30);

/// A stream of what `connect` connects to: watches, subscriptions, change feeds. When it breaks off or ends, it pauses,
/// connects anew, and says so.
///
/// `connect` answers a stream of `Result`s, whose first error breaks it off. The items are [`Streamed`]; an `Err` is
/// the last.
///
/// - An attempt is a connection: `attempt_timeout` bounds how long it takes to connect, and nothing but a cancellation
///   cuts one that is connected. One that breaks off has failed, with that error; one that just ended was not ready.
///   Before the next attempt there is always a step of the cadence, since all clients of a server that restarts lose
///   theirs at the same time.
/// - *After health it begins anew.* Where a connection is lost that had lived long enough to be healthy, 30 s or the
///   [`reset_after`](crate::Backoff::reset_after) of the backoff, attempts, pauses and bounds count from that loss, and
///   the connection as the first attempt. So `finish_within` bounds an outage, not the stream; and a server that takes
///   every connection and drops it again is one outage.
///
/// With nothing set it goes on for ever.
///
/// # Errors
/// The last item is `Err`, a [`GaveUp`]: why it does not connect any more. A cancellation is one, too. After it the
/// stream is over. Where the error is `anyhow::Error`, a boxed error or a string, `.map_err(GaveUp::boxed)` of
/// `TryStreamExt` makes it one that `?` takes.
///
/// # Cancel safety
/// Dropping the future of a `next()` loses nothing, and each `next()` may come from another runtime. Dropping the
/// stream leaves no timer, permit or place in a wait list behind.
///
/// # Panics
/// If it has to wait outside a tokio runtime with time enabled. A panic of `connect` or of its stream goes through.
///
/// ```
/// use std::time::Duration;
/// use futures_util::{StreamExt, TryStreamExt, stream};
/// use relent::stream::{Streamed, reconnect};
///
/// # async fn watch(number: u32) -> std::io::Result<impl futures_core::Stream<Item = std::io::Result<u32>>> {
/// #     if number == 2 { return Err(std::io::Error::other("not yet")) }
/// #     Ok(stream::iter([Ok(number), Err(std::io::Error::other("reset"))])) }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let changes = reconnect(async |attempt| watch(attempt.number()).await).finish_within(Duration::from_secs(300)).into_stream();
/// let mut changes = std::pin::pin!(changes);
/// let mut seen = vec![];
/// while let Some(item) = changes.try_next().await? {
///     match item {
///         Streamed::Item(change) => seen.push(change),
///         Streamed::Lost => println!("what is known may be out of date"),
///         Streamed::Connected(None) => println!("connected"),
///         Streamed::Connected(Some(gap)) => println!("nothing was seen for {:?}: list anew", gap.length()),
/// #       _ => {}
///     }
///     if seen.len() == 2 {
///         break;
///     }
/// }
/// assert_eq!(seen, [1, 3]);
/// # Ok(()) }
/// ```
#[inline]
pub fn reconnect<F, Fut, S, T, E>(connect: F) -> Reconnect<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<S, E>>,
    S: Stream<Item = Result<T, E>>,
{
    Reconnect::new(connect)
}

/// A stream to be: made by [`reconnect`], begun by [`into_stream`](Self::into_stream).
#[derive(Clone, Debug)]
#[must_use = "it does nothing unless it is made a stream by `.into_stream()`"]
pub struct Reconnect<O, W = RetryAll, L = (), G = ()> {
    operation: O,
    when: W,
    listener: L,
    policy: Policy,
    shared: G,
}

impl<O: Operation<Output: Undecided>> Reconnect<O> {
    /// [`reconnect`] for an operation that is a type, so that the stream can be named: see [`Operation`].
    #[inline]
    pub fn new(connect: O) -> Self {
        Self { operation: connect, when: RetryAll, listener: (), policy: Policy::new(), shared: () }
    }
}

settings!(Reconnect, Operation<Output: Undecided>, ErrorOf<O>);

impl<O, W, L, G> Reconnect<O, W, L, G>
where
    O: Operation<Output: Undecided>,
    G: Control,
{
    /// The stream. It connects when it is first polled.
    pub fn into_stream(self) -> ReconnectStream<O, W, L, G> {
        let Self { operation, when, listener, policy, shared } = self;
        ReconnectStream {
            core: Core::new(policy, shared),
            timer: Alarm::default(),
            state: State::Down,
            operation,
            when,
            listener,
            error: None,
            lost_at: None,
            attempts_before: 0,
        }
    }
}

/// What a [`ReconnectStream`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Streamed<T, E> {
    /// It is connected: with `None` for the first time, else after a gap.
    Connected(Option<Gap<E>>),
    /// An item.
    Item(T),
    /// It has broken off or ended. What happens from now on until it is connected again is missed.
    Lost,
}

/// A time of which nothing was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap<E> {
    length: Duration,
    attempts: u32,
    error: Option<E>,
}

impl<E> Gap<E> {
    /// From when the loss was seen until it was connected again. What was under way when the connection broke may be
    /// missing, too.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// How many attempts it took to connect again.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The latest error since it was connected: what it broke off with, or what an attempt to connect failed with.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// The error itself.
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        self.error
    }
}

pin_project! {
    /// The stream of [`reconnect`].
    #[must_use = "streams do nothing unless they are polled"]
    pub struct ReconnectStream<O, W = RetryAll, L = (), G = ()>
    where
        O: Operation<Output: Undecided>,
        G: Control,
    {
        core: Core<G>,
        #[pin]
        timer: Alarm<Timer, G>,
        #[pin]
        state: State<O::Future, ValueOf<O>>,
        operation: O,
        when: W,
        listener: L,
        // The latest error of this outage, until it is told.
        error: Option<ErrorOf<O>>,
        // When the last connection was lost.
        lost_at: Option<Instant>,
        // The attempts that count until then.
        attempts_before: u32,
    }
}

pin_project! {
    // In the order of the life of a connection.
    #[project = StateProj]
    enum State<F, S> {
        /// Waits for the next attempt.
        Down,
        Connecting {
            #[pin]
            connecting: F,
        },
        Connected {
            #[pin]
            stream: S,
            since: Instant,
        },
        Over,
    }
}

impl<O, W, L, G, T> Stream for ReconnectStream<O, W, L, G>
where
    O: Operation<Output: Undecided>,
    ValueOf<O>: Stream<Item = Result<T, ErrorOf<O>>>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Control,
{
    type Item = Result<Streamed<T, ErrorOf<O>>, GaveUp<ErrorOf<O>>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // A stream may outlive the runtime of its last poll.
        self.as_mut().project().timer.disarm_sleep();
        loop {
            let mut this = self.as_mut().project();
            let (ending, decision, was_connected) = match this.state.as_mut().project() {
                StateProj::Down => match ready!(this.core.poll_attempt(cx, this.timer.as_mut(), this.listener)) {
                    Ok(attempt) => {
                        // The listener may have taken its time, or cancelled the run: it does not connect then.
                        match if L::SILENT { Ok(()) } else { this.core.may_call() } {
                            Ok(()) => {
                                this.state.set(State::Connecting { connecting: this.operation.call(attempt) });
                                continue;
                            }
                            Err(stop) => {
                                let error = this.error.as_ref();
                                let stop =
                                    this.core.end_attempt_by_rule(this.listener, error, Ending::NotCalled, stop, None);
                                return self.give_up(stop);
                            }
                        }
                    }
                    Err(stop) => return self.give_up(stop),
                },
                StateProj::Connecting { connecting } => match connecting.poll(cx) {
                    Poll::Ready(answer) => {
                        // What connecting holds is let go before anything else happens. A panic from here on ends it
                        // all.
                        this.state.set(State::Over);
                        match answer.into_result() {
                            Ok(stream) => {
                                this.state.set(State::Connected { stream, since: time::now() });
                                return Poll::Ready(Some(Ok(Streamed::Connected(self.gap()))));
                            }
                            Err(error) => {
                                // `when` may take any time.
                                this.core.start_clock();
                                (Ending::Failed, this.when.classify(this.error.insert(error)), None)
                            }
                        }
                    }
                    Poll::Pending => {
                        let by = ready!(this.core.poll_cut(cx, this.timer.as_mut()));
                        (Ending::Cut(by), this.core.policy.after_cut(), None)
                    }
                },
                StateProj::Connected { stream, since } => {
                    let since = *since;
                    let progress = ready!(coop::poll_proceed(cx));
                    // First: a stream that always has an item must see it, too.
                    if this.core.poll_cut_at(cx, this.timer.as_mut(), FOREVER, CutBy::Cancelled).is_ready() {
                        (Ending::Cut(CutBy::Cancelled), this.core.policy.after_cut(), Some(since))
                    } else {
                        match ready!(stream.poll_next(cx)) {
                            Some(Ok(item)) => {
                                progress.made_progress();
                                return Poll::Ready(Some(Ok(Streamed::Item(item))));
                            }
                            Some(Err(error)) => {
                                this.state.set(State::Over);
                                (Ending::Failed, this.when.classify(this.error.insert(error)), Some(since))
                            }
                            None => (Ending::NotReady, Decision::Retry, Some(since)),
                        }
                    }
                }
                StateProj::Over => return Poll::Ready(None),
            };
            this.state.set(State::Over);
            if let Some(since) = was_connected {
                *this.lost_at = Some(time::now());
                let healthy = this.core.policy.healthy().unwrap_or(nanos(HEALTHY));
                if time::between(since, time::now()) >= healthy && ending != Ending::Cut(CutBy::Cancelled) {
                    this.core.begin_anew_with_this();
                }
                *this.attempts_before = this.core.attempts();
            }
            match this.core.end_attempt(this.listener, this.error.as_ref(), ending, decision, None) {
                Ok(()) => this.state.set(State::Down),
                Err(stop) => return self.give_up(stop),
            }
            if was_connected.is_some() {
                return Poll::Ready(Some(Ok(Streamed::Lost)));
            }
        }
    }
}

impl<O, W, L, G> ReconnectStream<O, W, L, G>
where
    O: Operation<Output: Undecided>,
    G: Control,
{
    /// The gap that is over, if there was one. Its error is told, and no longer that of the run.
    fn gap(self: Pin<&mut Self>) -> Option<Gap<ErrorOf<O>>> {
        let this = self.project();
        let error = this.error.take();
        let length = duration(time::between(this.lost_at.take()?, time::now()));
        Some(Gap { length, attempts: this.core.attempts().saturating_sub(*this.attempts_before), error })
    }

    #[cold]
    fn give_up<T>(self: Pin<&mut Self>, stop: Stop) -> Poll<Option<Result<T, GaveUp<ErrorOf<O>>>>>
    where
        L: Listener<ErrorOf<O>>,
    {
        let mut this = self.project();
        this.state.set(State::Over);
        this.core.disarm(this.timer.as_mut());
        Poll::Ready(Some(Err(this.core.give_up(this.listener, this.error.take(), stop, None, None))))
    }
}

impl<O, W, L, G, T> FusedStream for ReconnectStream<O, W, L, G>
where
    O: Operation<Output: Undecided>,
    ValueOf<O>: Stream<Item = Result<T, ErrorOf<O>>>,
    W: Classify<ErrorOf<O>>,
    L: Listener<ErrorOf<O>>,
    G: Control,
{
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

impl<O, W, L, G> fmt::Debug for ReconnectStream<O, W, L, G>
where
    O: Operation<Output: Undecided>,
    G: Control,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Down => "waiting to connect",
            State::Connecting { .. } => "connecting",
            State::Connected { .. } => "connected",
            State::Over => "over",
        };
        f.debug_struct("ReconnectStream")
            .field("state", &state)
            .field("attempts", &self.core.attempts())
            .field("policy", &self.core.policy)
            .finish_non_exhaustive()
    }
}
