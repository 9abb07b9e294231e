//! What scenes share: the printer of timelines, and the checks that decide the exit code.
// Only the stage prints; a check takes what it is given.
#![allow(clippy::unused_self, clippy::needless_pass_by_value)]

use std::{
    error::Error,
    fmt,
    io::Write as _,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use relent::{
    Last,
    events::{Event, Wait},
};

/// A scene that could not be played to its end.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Prints a line. A reader of only the first ones (`| head`) is no reason to break off.
macro_rules! line {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Where scenes are played: prints them and counts what was checked.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    checked: u32,
    off: Vec<String>,
    part: String,
}

impl Stage {
    pub(crate) fn scene(&mut self, name: &str, title: &str) {
        line!("=== {name}: {title}");
        name.clone_into(&mut self.part);
    }

    /// A part of a scene: its title, and what the original did there.
    pub(crate) fn part(&mut self, title: &str, original: &str) {
        line!("\n--- {title}\n  the original: {original}");
        title.clone_into(&mut self.part);
    }

    /// What is worth a line.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        line!("  {text}");
    }

    /// The attempts of a run, each at its time.
    pub(crate) fn timeline(&self, timeline: &Timeline) {
        for (at, text) in timeline.lines() {
            line!("  {:>9} | {text}", written(at));
        }
    }

    /// How it ended, as an operator sees it.
    pub(crate) fn ended<T: fmt::Debug, E: fmt::Display>(&self, result: &Result<T, E>) {
        match result {
            Ok(value) => line!("  value: {value:?}"),
            Err(error) => line!("  error: {error}"),
        }
    }

    /// Something that must be so. Anything else makes the exit code 1.
    pub(crate) fn check<T: PartialEq + fmt::Debug>(&mut self, what: &str, is: T, wanted: T) {
        self.checked += 1;
        if is == wanted {
            line!("  ok: {what}: {is:?}");
        } else {
            line!("  OFF: {what}: {is:?}, not {wanted:?}");
            self.off.push(format!("{}: {what}", self.part));
        }
    }

    pub(crate) fn failed(&mut self, scene: &str, failed: &Failed) {
        line!("  OFF: the scene broke off: {failed}");
        self.off.push(format!("{scene}: {failed}"));
    }

    pub(crate) fn close(&self) -> ExitCode {
        if self.off.is_empty() && self.checked > 0 {
            line!("\nall {} checks hold", self.checked);
            return ExitCode::SUCCESS;
        }
        line!("\n{} of {} checks are off", self.off.len(), self.checked);
        for off in &self.off {
            line!("  {off}");
        }
        ExitCode::FAILURE
    }
}

/// What a run did, as it heard it itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline(Arc<Mutex<Vec<(Duration, String)>>>);

impl Timeline {
    /// For `.notify(..)`.
    pub(crate) fn listener<E: fmt::Display>(&self) -> impl FnMut(&Event<'_, E>) + Send + 'static + use<E> {
        let timeline = self.clone();
        let mut now = Duration::ZERO;
        move |event| {
            let text = match event {
                Event::Started(attempt) => {
                    now = attempt.elapsed();
                    format!("attempt {} starts", attempt.number())
                }
                Event::Ended { attempt, elapsed, last, .. } => {
                    now = *elapsed;
                    match last {
                        Last::Failed(error) => format!("attempt {attempt} fails: {error}"),
                        Last::NotReady => format!("attempt {attempt}: not yet"),
                        Last::NotReadyBecause(error) => format!("attempt {attempt}: not yet: {error}"),
                        Last::Cut { after, .. } => format!("attempt {attempt} is cut after {}", written(*after)),
                        _ => format!("attempt {attempt} ends"),
                    }
                }
                Event::Acting { attempt, elapsed, .. } => {
                    now = *elapsed;
                    format!("attempt {attempt} has looked, and acts")
                }
                Event::Acted { attempt, elapsed, failed, .. } => {
                    now = *elapsed;
                    match failed {
                        None => format!("attempt {attempt} has acted, and looks again"),
                        Some(Last::Failed(error)) => format!("attempt {attempt} looks again, the act failed: {error}"),
                        Some(_) => format!("attempt {attempt} looks again, nothing was heard of the act"),
                    }
                }
                Event::Waiting(Wait::Pause(pause)) => format!("waits {}", written(*pause)),
                Event::Waiting(Wait::Limiter(about)) => format!("waits about {} for the limiter", written(*about)),
                Event::Succeeded { attempts, elapsed, .. } => {
                    now = *elapsed;
                    format!("attempt {attempts} has the value")
                }
                Event::GaveUp(gave_up) => {
                    now = gave_up.elapsed();
                    format!("gives up: {}", gave_up.stop().as_str())
                }
                _ => return,
            };
            timeline.0.lock().unwrap_or_else(PoisonError::into_inner).push((now, text));
        }
    }

    fn lines(&self) -> Vec<(Duration, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// To the millisecond.
fn written(at: Duration) -> String {
    if at < Duration::from_secs(10) { format!("{} ms", at.as_millis()) } else { format!("{:.1} s", at.as_secs_f64()) }
}

/// Plays under a paused clock: hours pass in no time, and every instant is exact.
pub(crate) fn virtual_time<F: Future>(play: F) -> Result<F::Output, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(play))
}

/// Plays in real time, with sockets.
pub(crate) fn real_time<F: Future>(play: F) -> Result<F::Output, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(play))
}
