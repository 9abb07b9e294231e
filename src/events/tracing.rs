//! Runs as spans and events of `tracing`.

use std::{fmt, marker::PhantomData};

use ::tracing::{Level, Span, event, field, level_filters::LevelFilter};

use super::{Event, Listener, Wait};
use crate::{
    error::{Last, Reason, reason::AsError},
    policy::nanos::{Measured, Short},
};

/// A span for each run, and an event for each attempt, each wait and the end. Target `relent`.
///
/// The span is `run`, at `INFO`, a child of the span that is current when the run is first polled. Its fields:
///
/// | field | value |
/// |---|---|
/// | `what` | the name given to [`Tracing::new`] |
/// | `attempts` | how many were made; recorded at the end |
/// | `elapsed` | how long the run took, as text (`352ms`); recorded at the end |
/// | `stop` | why it gave up: [`Stop::as_str`](crate::Stop::as_str), or `succeeded`; recorded at the end |
///
/// The events in it:
///
/// | message | level | fields |
/// |---|---|---|
/// | `attempt started` | `TRACE` | `attempt` |
/// | `attempt failed` | `INFO` | `attempt`, `elapsed`, `error`; `again`: the pause before the next one, if there is one |
/// | `attempt cut` | `INFO` | `attempt`, `elapsed`, `after`, `again` |
/// | `not ready` | `DEBUG` | `attempt`, `elapsed`, `error`: why, if it was said |
/// | `acting`, `acted` | `DEBUG` | `attempt`, `elapsed`: an `ensure` acts between two observations |
/// | `act failed` | `INFO` | `attempt`, `elapsed`, `error` |
/// | `act cut` | `INFO` | `attempt`, `elapsed`, `after` |
/// | `waiting` | `DEBUG` | `delay`, `reason`: `pause` or `limiter` |
/// | `succeeded` | `DEBUG` | `attempts`, `elapsed` |
/// | the sentence of [`GaveUp`](crate::GaveUp) | `WARN` | `stop`, `attempts`, `elapsed`, `error`, if there was one |
/// | `dropped before its end` | `DEBUG` | none: a run that was dropped closes its span all the same |
///
/// The span is never entered: what the operation itself writes is not inside it. Where it should be, `.instrument(..)`
/// the whole run with a span of your own; this one is then a child of it too.
///
/// Errors are told with every cause below them, whatever their kind: an error, a boxed one, `anyhow::Error`, a string
/// (see [`Reason`]; `K` is inferred).
///
/// A clone starts without a span, so that every run of a cloned builder has its own.
///
/// ```
/// use relent::{Backoff, events::Tracing, retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let gave_up = retry(async |_| Err::<(), _>("no route"))
///     .backoff(Backoff::fixed(std::time::Duration::ZERO))
///     .max_attempts(3)
///     .listen(Tracing::new("fetch config map"))
///     .await
///     .unwrap_err();
/// assert_eq!(gave_up.stop().as_str(), "attempts");
/// # }
/// ```
#[must_use]
pub struct Tracing<K = AsError> {
    what: &'static str,
    /// Of the run that goes on.
    span: Option<Span>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Tracing<K> {
    /// A listener for runs of this name. What differs from run to run belongs into a span around it.
    pub fn new(what: &'static str) -> Self {
        Self { what, span: None, kind: PhantomData }
    }

    /// The span of a run that begins.
    #[inline(never)]
    fn begin(&mut self) -> &Span {
        let (what, nothing) = (self.what, field::Empty);
        self.span.insert(
            ::tracing::info_span!(target: "relent", "run", what, attempts = nothing, elapsed = nothing, stop = nothing),
        )
    }

    fn end(&mut self, stop: &str, attempts: u32, elapsed: std::time::Duration) {
        if let Some(span) = self.span.take() {
            span.record("stop", stop).record("attempts", attempts).record("elapsed", field::display(Measured(elapsed)));
        }
    }
}

impl<K> Clone for Tracing<K> {
    fn clone(&self) -> Self {
        Self::new(self.what)
    }
}

impl<K> fmt::Debug for Tracing<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("what", &self.what).field("span", &self.span).finish()
    }
}

/// The text of an error, to its first cause.
struct Told<'a, E, K>(&'a E, PhantomData<fn() -> K>);

impl<E: Reason<K>, K> fmt::Display for Told<'_, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.tell(f)
    }
}

/// Whether nothing at all is heard of a run with this span: there is no subscriber, or it takes no event of any level,
/// and nothing goes to `log` either, for which `tracing` (feature `log`) makes spans that are not none.
#[inline]
fn is_unheard(span: &Span) -> bool {
    span.is_none() && LevelFilter::current() == LevelFilter::OFF
}

impl<E: Reason<K>, K: 'static> Listener<E> for Tracing<K> {
    #[inline]
    fn on_event(&mut self, told: &Event<'_, E>) {
        let span = match &self.span {
            Some(span) => span,
            None => self.begin(),
        };
        if !is_unheard(span) {
            self.tell(told);
        } else if matches!(told, Event::Succeeded { .. } | Event::GaveUp(_)) {
            self.span = None;
        }
    }
}

impl<K: 'static> Tracing<K> {
    /// A subscriber or `log` may hear it.
    #[inline(never)]
    fn tell<E: Reason<K>>(&mut self, told: &Event<'_, E>) {
        let Some(span) = &self.span else { return };
        match told {
            Event::Started(attempt) => {
                event!(target: "relent", parent: span, Level::TRACE, attempt = attempt.number(), "attempt started");
            }
            Event::Ended { attempt, elapsed, last, again } => {
                let elapsed = field::display(Measured(*elapsed));
                let again = again.map(|pause| field::display(Short(pause)));
                match last {
                    Last::Failed(error) => {
                        event!(
                            target: "relent", parent: span, Level::INFO,
                            attempt, elapsed, error = %Told(*error, self.kind), again, "attempt failed"
                        );
                    }
                    Last::Cut { after, .. } => {
                        let after = field::display(Measured(*after));
                        event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, after, again, "attempt cut");
                    }
                    Last::NotCalled => {
                        event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, "attempt not called");
                    }
                    Last::NotReadyBecause(error) => {
                        let error = field::display(Told(*error, self.kind));
                        event!(target: "relent", parent: span, Level::DEBUG, attempt, elapsed, error, "not ready");
                    }
                    _ => event!(target: "relent", parent: span, Level::DEBUG, attempt, elapsed, "not ready"),
                }
            }
            Event::Acting { attempt, elapsed } => {
                let elapsed = field::display(Measured(*elapsed));
                event!(target: "relent", parent: span, Level::DEBUG, attempt, elapsed, "acting");
            }
            Event::Acted { attempt, elapsed, failed } => {
                let elapsed = field::display(Measured(*elapsed));
                match failed {
                    None => event!(target: "relent", parent: span, Level::DEBUG, attempt, elapsed, "acted"),
                    Some(Last::Cut { after, .. }) => {
                        let after = field::display(Measured(*after));
                        event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, after, "act cut");
                    }
                    Some(Last::Failed(error)) => {
                        event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, error = %Told(*error, self.kind), "act failed");
                    }
                    Some(Last::NotCalled) => {
                        event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, "act not called");
                    }
                    Some(_) => event!(target: "relent", parent: span, Level::INFO, attempt, elapsed, "act failed"),
                }
            }
            Event::Waiting(wait) => {
                let (delay, reason) = match *wait {
                    Wait::Pause(delay) => (delay, "pause"),
                    Wait::Limiter(delay) => (delay, "limiter"),
                };
                event!(
                    target: "relent", parent: span, Level::DEBUG,
                    delay = %Short(delay), reason, "waiting"
                );
            }
            Event::Succeeded { attempts, elapsed } => {
                let shown = field::display(Measured(*elapsed));
                event!(target: "relent", parent: span, Level::DEBUG, attempts, elapsed = shown, "succeeded");
                self.end("succeeded", *attempts, *elapsed);
            }
            Event::GaveUp(gave_up) => {
                event!(
                    target: "relent", parent: span, Level::WARN,
                    stop = gave_up.stop().as_str(),
                    attempts = gave_up.attempts(),
                    elapsed = %Measured(gave_up.elapsed()),
                    error = gave_up.last_error().map(|error| field::display(Told(error, self.kind))),
                    "{}", gave_up.sentence()
                );
                self.end(gave_up.stop().as_str(), gave_up.attempts(), gave_up.elapsed());
            }
        }
    }
}

impl<K> Drop for Tracing<K> {
    fn drop(&mut self) {
        if let Some(span) = self.span.as_ref().filter(|span| !is_unheard(span)) {
            event!(target: "relent", parent: span, Level::DEBUG, "dropped before its end");
        }
    }
}
