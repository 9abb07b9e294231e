//! A manager that stops on signals, in a process of its own that gets them.

use std::{error::Error, time::Duration};

use relent::leader::{ElectionEvent, Manager, MemoryLock, elect};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::child::{Process, settings, tell};

const S: fn(u64) -> Duration = Duration::from_secs;

type Any = Box<dyn Error + Send + Sync>;

/// Prints in which order it stops.
#[tokio::main(flavor = "current_thread")]
async fn managed(settings: &str) {
    let fails = settings == "fails";
    let (manager, lock) = (Manager::new().stop_on_signals(), MemoryLock::new());
    let (held, deaf) = (lock.clone(), settings == "deaf");
    manager
        .add("plain", |stop: CancellationToken| async move {
            stop.cancelled().await;
            tell("plain task told");
            Ok::<(), Any>(())
        })
        .unwrap();
    manager
        .add_leader("controller", move |term| async move {
            tell("leads");
            term.lost().await;
            tell("leader task told");
            if deaf {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            tell(format_args!("leader task ends, the lock is {}'s", held.holder().unwrap()));
            if fails { Err("the disk is full".into()) } else { Ok::<(), Any>(()) }
        })
        .unwrap();
    let released = |change: &ElectionEvent| {
        if matches!(change, ElectionEvent::Holder(None)) {
            tell("the lock is free");
        }
    };
    manager.elect(elect(lock.clone(), "me").on_event(released)).unwrap();
    let run = manager.run(CancellationToken::new()).await;
    let code = if run.is_ok() { 0 } else { 3 };
    let said = run.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    tell(format_args!("run returns {said}, the lock is {:?}", lock.holder().unwrap()));
    if settings == "stays" {
        // What comes after the run takes its time.
        tokio::time::sleep(S(3600)).await;
    }
    std::process::exit(code);
}

fn stopped_by(signal: Signal, settings: &str) -> (Vec<String>, std::process::ExitStatus) {
    let process = Process::start("signals::a_signal_stops_the_manager_in_order", settings);
    process.tells("leads", S(60));
    process.signal(signal);
    let status = process.ended(S(30));
    (process.told(), status)
}

#[test]
fn a_signal_stops_the_manager_in_order() {
    if let Some(settings) = settings() {
        return managed(&settings);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let (told, status) = stopped_by(signal, "");
        assert_eq!(
            told,
            [
                "the lock is free",
                "leads",
                "leader task told",
                "leader task ends, the lock is me's",
                "the lock is free",
                "plain task told",
                "run returns ok, the lock is \"\"",
            ],
            "{signal:?}"
        );
        assert_eq!(status.code(), Some(0), "{signal:?}");
    }
    // What goes wrong while it stops comes out all the same.
    let (told, status) = stopped_by(Signal::TERM, "fails");
    assert!(told.iter().any(|line| line == "plain task told"), "{told:?}");
    assert_eq!(told.last().unwrap(), "run returns controller failed: the disk is full, the lock is \"\"");
    assert_eq!(status.code(), Some(3));
}

/// A second signal ends the grace, and what has not stopped is named.
#[test]
fn a_second_signal_ends_the_grace() {
    if let Some(settings) = settings() {
        return managed(&settings);
    }
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)] {
        let process = Process::start("signals::a_second_signal_ends_the_grace", "deaf");
        process.tells("leads", S(60));
        process.signal(first);
        process.tells("leader task told", S(60));
        process.signal(second);
        // The grace is 30 s.
        let status = process.ended(S(15));
        assert_eq!(status.code(), Some(3));
        let told = process.told();
        let last = told.last().unwrap();
        assert!(last.starts_with("run returns did not stop within ") && last.contains("controller"), "{last}");
    }
}

/// Once the run has returned a signal ends the process, as it would have without a manager.
#[test]
fn signals_have_their_default_effect_after_the_run() {
    use std::os::unix::process::ExitStatusExt;
    if let Some(settings) = settings() {
        return managed(&settings);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start("signals::signals_have_their_default_effect_after_the_run", "stays");
        process.tells("leads", S(60));
        process.signal(signal);
        process.tells("run returns ok, the lock is \"\"", S(60));
        process.signal(signal);
        let status = process.ended(S(15));
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
    }
}
