//! Runs as counters and histograms of `metrics`.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{Event, Listener};
use crate::error::Last;

const ATTEMPTS: &str = "relent_attempts_total";
const ACTS: &str = "relent_acts_total";
const RUNS: &str = "relent_runs_total";
const SECONDS: &str = "relent_run_seconds";

/// Counts runs and their attempts.
///
/// | metric | kind | labels |
/// |---|---|---|
/// | `relent_attempts_total` | counter | `run`, `outcome`: `succeeded`, `failed`, `not_ready`, `cut`, `not_called`, `dropped` |
/// | `relent_acts_total` | counter | `run`, `outcome`: `succeeded`, `failed`, `cut`, `not_called`; of `ensure` only, whose attempts are rounds |
/// | `relent_runs_total` | counter | `run`, `stop`: `succeeded`, [`Stop::as_str`](crate::Stop::as_str), `dropped` |
/// | `relent_run_seconds` | histogram | `run`, `stop`: the same without `dropped` |
///
/// `not_called` is an attempt or act that a listener kept from being begun, by ending the run when it heard of it.
/// `run` is the name given to [`Metrics::new`]. `dropped` is a run whose future was dropped before its end, and the
/// attempt that was in flight then; how long it took is not known. The time of a run that succeeds in its first attempt
/// without ever waiting is 0 where no bound made it read the clock.
///
/// It writes to the recorder that is current where the run is polled.
///
/// ```
/// use relent::{events::Metrics, retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// Metrics::describe();
/// let answer = retry(async |_| Ok::<_, std::io::Error>(42)).listen(Metrics::new("fetch")).await;
/// assert_eq!(answer.unwrap(), 42);
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Metrics {
    run: &'static str,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Attempting,
}

impl Metrics {
    /// A listener for runs of this name. A name is a label: few and known beforehand.
    pub fn new(run: &'static str) -> Self {
        Self { run, state: State::Idle }
    }

    /// Gives the current recorder the units and descriptions. Once is enough, and nothing depends on it.
    pub fn describe() {
        describe_counter!(ATTEMPTS, Unit::Count, "attempts, by outcome");
        describe_counter!(ACTS, Unit::Count, "acts, by outcome");
        describe_counter!(RUNS, Unit::Count, "runs, by what ended them");
        describe_histogram!(SECONDS, Unit::Seconds, "how long runs took, by what ended them");
    }

    fn attempt(&self, outcome: &'static str) {
        counter!(ATTEMPTS, "run" => self.run, "outcome" => outcome).increment(1);
    }

    fn end(&mut self, stop: &'static str, elapsed: Duration) {
        self.state = State::Idle;
        counter!(RUNS, "run" => self.run, "stop" => stop).increment(1);
        histogram!(SECONDS, "run" => self.run, "stop" => stop).record(elapsed);
    }
}

/// A clone hears of another run.
impl Clone for Metrics {
    fn clone(&self) -> Self {
        Self::new(self.run)
    }
}

impl<E> Listener<E> for Metrics {
    fn on_event(&mut self, event: &Event<'_, E>) {
        match event {
            Event::Started(_) => self.state = State::Attempting,
            Event::Acting { .. } => {}
            Event::Acted { failed, .. } => counter!(
                ACTS, "run" => self.run,
                "outcome" => match failed {
                    None => "succeeded",
                    Some(Last::Cut { .. }) => "cut",
                    Some(Last::NotCalled) => "not_called",
                    Some(_) => "failed",
                }
            )
            .increment(1),
            Event::Waiting(_) => self.state = State::Waiting,
            Event::Ended { last, .. } => {
                self.state = State::Waiting;
                self.attempt(match last {
                    Last::Failed(_) => "failed",
                    Last::Cut { .. } => "cut",
                    Last::NotCalled => "not_called",
                    _ => "not_ready",
                });
            }
            Event::Succeeded { elapsed, .. } => {
                self.attempt("succeeded");
                self.end("succeeded", *elapsed);
            }
            Event::GaveUp(gave_up) => self.end(gave_up.stop().as_str(), gave_up.elapsed()),
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if self.state == State::Attempting {
            self.attempt("dropped");
        }
        if self.state != State::Idle {
            counter!(RUNS, "run" => self.run, "stop" => "dropped").increment(1);
        }
    }
}
