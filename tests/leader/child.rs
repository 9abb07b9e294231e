//! This test binary, started again as a process of its own: one that can really be frozen, killed, and told to stop.

use std::{
    env,
    fmt::Display,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};

const SETTINGS: &str = "RELENT_TEST_CHILD";
const MARK: &str = "@ ";

/// In a child: what it was started with. In the test itself: nothing.
pub(crate) fn settings() -> Option<String> {
    env::var(SETTINGS).ok()
}

/// In a child: tells the test.
pub(crate) fn tell(text: impl Display) {
    // One write: what was told before a kill -9 arrives.
    let _ = std::io::stdout().write_all(format!("{MARK}{text}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

/// In a child: returns when the test closes its side, which it does by dying, too.
pub(crate) fn wait_for_close() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The one monotonic clock of this machine, the same in all processes.
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A child: gone when it is dropped, also by a panic, and also when it is frozen.
pub(crate) struct Process {
    child: Arc<Mutex<Child>>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    told: Vec<String>,
    /// It can tell no more: it has ended.
    ended: bool,
}

impl Process {
    /// Starts `test` of this binary again, with these settings.
    pub(crate) fn start(test: &str, settings: &str) -> Self {
        Self::start_and_kill(test, settings, |_| None)
    }

    /// The same; it is killed so long after the line for which `doomed` says so.
    pub(crate) fn start_and_kill(
        test: &str,
        settings: &str,
        mut doomed: impl FnMut(&str) -> Option<Duration> + Send + 'static,
    ) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(SETTINGS, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Self { child: Arc::new(Mutex::new(child)), told: Arc::default() };
        let (child, told) = (Arc::clone(&process.child), Arc::clone(&process.told));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test harness writes into the same line before a test has ended.
                let Some((_, line)) = line.split_once(MARK) else { continue };
                let doom = doomed(line);
                told.change(|lines| lines.told.push(line.to_owned()));
                if let Some(after) = doom {
                    // The one sleep: so long after, whatever it does then. There is no event to wait for: it tells no
                    // more.
                    std::thread::sleep(after);
                    let _ = lock(&child).kill();
                }
            }
            told.change(|lines| lines.ended = true);
        });
        process
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told_since(0)
    }

    /// What it told from this line on.
    pub(crate) fn told_since(&self, line: usize) -> Vec<String> {
        lock(&self.told.lines).told.iter().skip(line).cloned().collect()
    }

    /// Waits until it has told this.
    pub(crate) fn tells(&self, line: &str, within: Duration) {
        self.told.wait(within, line, |lines| lines.told.iter().any(|told| told == line));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&lock(&self.child)), signal).unwrap();
    }

    /// Closes our side of it.
    pub(crate) fn close(&self) {
        drop(lock(&self.child).stdin.take());
    }

    /// Waits until it has ended by itself. All that it told is there then.
    pub(crate) fn ended(&self, within: Duration) -> ExitStatus {
        self.told.wait(within, "it ends", |lines| lines.ended);
        lock(&self.child).wait().unwrap()
    }

    /// How it has ended, if it has. All that it told is there then.
    pub(crate) fn try_ended(&self) -> Option<ExitStatus> {
        lock(&self.told.lines).ended.then(|| lock(&self.child).wait().unwrap())
    }

    pub(crate) fn kill(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Told {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut lock(&self.lines));
        self.more.notify_all();
    }

    fn wait(&self, within: Duration, what: &str, mut holds: impl FnMut(&Lines) -> bool) {
        let lines = lock(&self.lines);
        let (lines, waited) =
            self.more.wait_timeout_while(lines, within, |lines| !holds(lines)).unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "not within {within:?}: {what}; it told {:?}", lines.told);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
