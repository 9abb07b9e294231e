//! A manager that stops on signals, in a process of its own that gets them.

use std::{error::Error, time::Duration};

use relent::leader::{Change, Manager, MemoryLock, elect};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::child::{Process, settings, tell};

const S: fn(u64) -> Duration = Duration::from_secs;

type Any = Box<dyn Error + Send + Sync>;

/// Prints in which order it stops.
#[tokio::main(flavor = "current_thread")]
async fn managed(fails: bool) {
    let (manager, lock) = (Manager::new().stop_on_signals(), MemoryLock::new());
    let held = lock.clone();
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
            tokio::time::sleep(Duration::from_millis(100)).await;
            tell(format_args!("leader task ends, the lock is {}'s", held.holder().unwrap()));
            if fails { Err("the disk is full".into()) } else { Ok::<(), Any>(()) }
        })
        .unwrap();
    let released = |change: &Change| {
        if matches!(change, Change::Holder(None)) {
            tell("the lock is nobody's");
        }
    };
    manager.elect(elect(lock.clone(), "me").on_change(released)).unwrap();
    let run = manager.run(CancellationToken::new()).await;
    let code = if run.is_ok() { 0 } else { 3 };
    let said = run.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    tell(format_args!("run returns {said}, the lock is {:?}", lock.holder().unwrap()));
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
        return managed(settings == "fails");
    }
    for signal in [Signal::TERM, Signal::INT] {
        let (mut told, status) = stopped_by(signal, "");
        // The two tasks are told at once.
        told.retain(|line| line != "plain task told");
        assert_eq!(
            told,
            [
                "the lock is nobody's",
                "leads",
                "leader task told",
                "leader task ends, the lock is me's",
                "the lock is nobody's",
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
