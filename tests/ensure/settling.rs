//! `settle`: movement, stalls, stability, tolerated errors.

use std::{cell::Cell, future::pending, time::Duration};

use proptest::prelude::*;
use relent::{Progress, Stop, error::Detail, settle};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Shown {
    Done,
    Moving(u8),
    Waiting(u8),
    Error,
    Hang,
}

/// What a run over a history gives, by the rules read literally: when it ends, and how.
fn reference(history: &[Shown], stall: Option<u64>, stable: u32, tolerate: Option<u64>) -> (u64, &'static str) {
    let (mut row, mut moved, mut text, mut failing) = (0, 0, String::new(), None);
    let mut at = 0;
    for shown in history {
        // An observation that hangs is cut half a second after it began; the next is on the grid of a second.
        let now = at * 2 + u64::from(matches!(shown, Shown::Hang));
        let failed = matches!(shown, Shown::Error | Shown::Hang);
        if failed {
            row = 0;
            let since = *failing.get_or_insert(now);
            if tolerate.is_some_and(|span| now - since >= span * 2) {
                return (now, "unobservable");
            }
        } else {
            failing = None;
        }
        match shown {
            Shown::Done => {
                row += 1;
                if row >= stable {
                    return (now, "settled");
                }
                if row == 1 {
                    moved = now;
                }
                text = "done".into();
            }
            Shown::Moving(number) => {
                row = 0;
                let new = format!("step {number}");
                if new != text {
                    moved = now;
                }
                text = new;
            }
            Shown::Waiting(number) => {
                row = 0;
                text = format!("step {number}");
            }
            _ => {}
        }
        if !matches!(shown, Shown::Done) && stall.is_some_and(|stall| now - moved >= stall * 2) {
            return (now, "stalled");
        }
        at += 1;
    }
    (at * 2, "settled")
}

fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![
        3 => Just(Shown::Done),
        4 => (0_u8..3).prop_map(Shown::Moving),
        3 => (0_u8..3).prop_map(Shown::Waiting),
        3 => Just(Shown::Error),
        1 => Just(Shown::Hang),
    ]
}

/// 1500, or as many as `PROPTEST_CASES` says.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(1500),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Against the rules read literally, in half seconds of virtual time. After the history it is done for good.
    #[test]
    fn as_the_rules_say(
        history in prop::collection::vec(shown(), 0..30),
        stall in prop::option::of(1_u32..8),
        stable in 1_u32..4,
        tolerate in prop::option::of(1_u32..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let padded: Vec<_> = history.iter().copied().chain([Shown::Done; 4]).collect();
        let (ends, how) = reference(&padded, stall.map(u64::from), stable, tolerate.map(u64::from));
        let (half_seconds, ended) = runtime.block_on(async {
            let next = Cell::new(0);
            let start = Instant::now();
            let observe = |_| {
                let shown = padded[next.get().min(padded.len() - 1)];
                next.set(next.get() + 1);
                async move {
                    match shown {
                        Shown::Done => Ok(Progress::Done(())),
                        Shown::Moving(number) => Ok(Progress::Moving(format!("step {number}"))),
                        Shown::Waiting(number) => Ok(Progress::Waiting(format!("step {number}"))),
                        Shown::Error => Err("blip"),
                        Shown::Hang => pending().await,
                    }
                }
            };
            let mut run = settle(observe).every(S).attempt_timeout(S / 2).stable_for(stable);
            if let Some(stall) = stall {
                run = run.stall_after(stall * S);
            }
            if let Some(tolerate) = tolerate {
                run = run.tolerate_errors_for(tolerate * S);
            }
            let ended = run.await;
            (start.elapsed().as_millis() / 500, ended)
        });
        let said = match &ended {
            Ok(()) => "settled",
            Err(gave_up) => gave_up.stop().as_str(),
        };
        prop_assert_eq!((half_seconds, said), (u128::from(ends), how), "{:?} of {:?}", ended, history);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_says_since_when_and_on_what() {
    let start = Instant::now();
    let observe = |_| async {
        Progress::<(), std::io::Error>::Moving(format!("{} of 3 ready", start.elapsed().as_secs().min(2)))
    };
    let gave_up = settle(observe).stall_after(10 * S).finish_within(60 * S).await.unwrap_err();
    assert_eq!(*gave_up.stop(), Stop::Stalled);
    let Some(Detail::Settle { on, unchanged_for, .. }) = gave_up.detail() else { panic!("{gave_up}") };
    assert_eq!((on.as_str(), *unchanged_for, gave_up.elapsed()), ("2 of 3 ready", 10 * S, 12 * S));
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_kept_where_it_stalls() {
    let start = Instant::now();
    let observe = |_| async {
        if start.elapsed() < 3 * S { Ok(Progress::<(), _>::Waiting("annotation".into())) } else { Err("no route") }
    };
    let gave_up = settle(observe).stall_after(5 * S).await.unwrap_err();
    assert!(gave_up.is_stalled());
    assert_eq!(gave_up.last_error(), Some(&"no route"));
    assert!(
        gave_up.sentence().to_string().contains("(last seen: annotation, unchanged for 5s); last attempt: no route"),
        "{gave_up:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_final() {
    let observe = |_| async {
        sleep(S / 4).await;
        Progress::<(), _>::Failed("quota")
    };
    let gave_up = settle(observe).await.unwrap_err();
    assert!(gave_up.is_fatal() && gave_up.attempts() == 1, "{gave_up:?}");
}
