//! This test binary, started again as a process of its own: one that can really be frozen, killed, and told to stop.

use std::{
    env,
    fmt::Display,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
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
    child: Child,
    told: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `test` of this binary again, with these settings.
    pub(crate) fn start(test: &str, settings: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(SETTINGS, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::<Mutex<Vec<_>>>::default();
        let (lines, tells) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&told));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test harness writes into the same line before a test has ended.
                if let Some(at) = line.find(MARK) {
                    lock(&tells).push(line[at + MARK.len()..].to_owned());
                }
            }
        });
        Self { child, told }
    }

    pub(crate) fn told(&self) -> Vec<String> {
        lock(&self.told).clone()
    }

    /// What it told from this line on.
    pub(crate) fn told_since(&self, line: usize) -> Vec<String> {
        lock(&self.told).iter().skip(line).cloned().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes our side of it.
    pub(crate) fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < within, "it still runs, and told {:?}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
