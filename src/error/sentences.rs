//! Every sentence of a [`GaveUp`], in `tests/sentences.txt`, for a person to read.
//!
//! After a change, `RENEW=1 cargo test --lib sentences` writes it anew.

use std::{env, fmt::Write, fs, io, path::Path, time::Duration};

use super::{Detail, End, Ending, GaveUp, Stop};
use crate::limiter::{Lapse, Standing};
use crate::policy::{
    nanos::{FOREVER, nanos},
    schedule::bounds::CutBy,
};

const SECOND: Duration = Duration::from_secs(1);

fn stops() -> Vec<Stop> {
    let limiter = |ready_in, allowed| Stop::Limiter { ready_in, allowed };
    let no_share = |standing, trouble: Option<&str>| Stop::NoShare {
        lapsed: 12 * SECOND,
        why: Lapse::new("limits/api".to_owned(), standing, trouble.map(str::to_owned)),
    };
    // `Debug` of `Stop` names each: a new one fails to compile there, and belongs here, too.
    vec![
        Stop::Fatal,
        Stop::Attempts,
        Stop::BackoffEnded,
        Stop::StartWindow,
        Stop::Deadline,
        Stop::Cancelled,
        Stop::Budget,
        limiter(SECOND, 7 * SECOND / 10),
        limiter(SECOND, Duration::ZERO),
        limiter(Duration::MAX, Duration::MAX),
        limiter(Duration::from_nanos(FOREVER - 7), SECOND),
        no_share(Standing::New, None),
        no_share(Standing::Member, Some("key limits/api: no answer within 1.5s")),
        no_share(Standing::Without, None),
        no_share(Standing::Gone, None),
        Stop::Stalled,
        Stop::Unobservable,
    ]
}

/// How the last attempt ended, whether there is an error, and whether attempts only observe.
type Ended = (Ending, bool, bool);

fn endings() -> Vec<Ended> {
    let mut endings = vec![
        (Ending::NotStarted, false, false),
        (Ending::Failed, true, false),
        (Ending::Failed, false, false),
        (Ending::NotReady, false, false),
        (Ending::NotReady, true, false),
        (Ending::NotReadyBecause, true, false),
        (Ending::NotCalled, false, false),
        (Ending::NotCalled, true, false),
    ];
    for by in [CutBy::AttemptTimeout, CutBy::Deadline, CutBy::Cancelled] {
        endings.extend([
            (Ending::Cut(by), false, false),
            (Ending::Cut(by), true, false),
            (Ending::Cut(by), false, true),
        ]);
    }
    endings
}

fn details() -> Vec<Option<Detail>> {
    let settle = Detail::Settle { on: "2 of 3 replicas ready".to_owned(), unchanged_for: 40 * SECOND };
    let unseen = Detail::Settle { on: String::new(), unchanged_for: 40 * SECOND };
    let ensure = |acts, outcome_unknown| Some(Detail::Ensure { acts, outcome_unknown });
    let read = Detail::Read { of: "configmaps \"kube-proxy\"".to_owned() };
    vec![None, Some(settle), Some(unseen), ensure(0, false), ensure(1, false), ensure(2, true), Some(read)]
}

/// Whether a run can end so.
fn can_be(stop: &Stop, (ending, has_error, observes): Ended, detail: Option<&Detail>) -> bool {
    let nothing = ending == Ending::NotStarted;
    let handed_out = ending == Ending::Failed && !has_error;
    let earlier = has_error && !matches!(ending, Ending::Failed | Ending::NotReadyBecause);
    let cut = matches!(ending, Ending::Cut(_));
    let of_stop = match stop {
        Stop::Fatal => ending == Ending::Failed || cut,
        Stop::Budget => !nothing,
        Stop::Stalled | Stop::Unobservable => matches!(detail, Some(Detail::Settle { .. })) && !nothing,
        _ => true,
    };
    let of_detail = match detail {
        // A read may be cut in any verb; errors are handed out by the cursor alone.
        None => true,
        // Errors before the last attempt are told as above.
        Some(_) if handed_out || earlier => false,
        Some(Detail::Settle { .. }) => !nothing && (observes || !cut),
        Some(Detail::Ensure { acts: 0, .. }) => observes || !cut,
        // What was observed last tells the outcome.
        Some(Detail::Ensure { outcome_unknown: true, .. }) => {
            matches!(ending, Ending::Failed | Ending::NotCalled) || cut
        }
        Some(Detail::Ensure { .. }) => !nothing,
        // An error names the object itself.
        Some(Detail::Read { .. }) => nothing || observes || ending == Ending::NotCalled,
    };
    let of_cut = match ending {
        Ending::Cut(CutBy::Deadline) => *stop == Stop::Deadline,
        Ending::NotCalled => matches!(stop, Stop::Deadline | Stop::Cancelled),
        _ => true,
    };
    of_stop && of_detail && of_cut
}

fn gave_up(stop: Stop, (ending, has_error, observes): Ended, detail: Option<Detail>) -> GaveUp<io::Error> {
    let acts = if let Some(Detail::Ensure { acts, .. }) = detail { acts } else { 3 };
    let attempts = if ending == Ending::NotStarted { 0 } else { acts.max(1) };
    let elapsed = if ending == Ending::NotStarted && stop != Stop::Cancelled { 0 } else { nanos(60 * SECOND) };
    let (bound, cut_after) = (nanos(60 * SECOND), nanos(SECOND / 2));
    let end = End { stop, attempts, elapsed, bound, cut_after, ending, observes };
    GaveUp::new(end, has_error.then(|| io::Error::other("no route to host")), detail)
}

#[test]
fn sentences_are_read_by_a_person() {
    let mut text = String::from("Every sentence of a run that gave up. RENEW=1 cargo test --lib sentences\n");
    for detail in details() {
        match &detail {
            None => text.push_str("\n# retry and poll\n"),
            Some(detail) => writeln!(text, "\n# {detail:?}").unwrap(),
        }
        for stop in stops() {
            let possible: Vec<_> =
                endings().into_iter().filter(|&ending| can_be(&stop, ending, detail.as_ref())).collect();
            // "never" is told as above.
            let never = matches!(stop, Stop::Limiter { ready_in, .. } if ready_in > Duration::from_secs(1 << 33));
            if possible.is_empty() || never && detail.is_some() {
                continue;
            }
            text.push('\n');
            for ending in possible {
                let gave_up = gave_up(stop.clone(), ending, detail.clone());
                check(&gave_up);
                let line = format!("{gave_up}\n");
                if !text.ends_with(&line) {
                    text.push_str(&line);
                }
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentences.txt");
    if env::var_os("RENEW").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    for (line, (kept, now)) in (1..).zip(kept.lines().zip(text.lines())) {
        assert_eq!(kept, now, "tests/sentences.txt:{line} differs; if it should, RENEW=1 writes it anew");
    }
    assert_eq!(kept.len(), text.len(), "tests/sentences.txt is not complete; RENEW=1 writes it anew");
}

/// What holds of each of them.
fn check(gave_up: &GaveUp<io::Error>) {
    let text = gave_up.to_string();
    let (summary, debug) = (gave_up.summary().to_string(), format!("{gave_up:?}"));
    assert!(
        text.starts_with("gave up ") && !text.ends_with('.') && !text.contains("  ") && !text.contains(": :"),
        "{text}"
    );
    assert_eq!(text.ends_with("no route to host"), gave_up.last_error().is_some(), "{text}");
    assert!(!summary.contains("no route") && !summary.ends_with([':', ';', ' ']), "{summary}");
    assert!(!(text.contains("before the first attempt") && text.contains("last attempt")), "{text}");
    assert!(!(text.contains("never acted") && text.contains("applied")), "{text}");
    let observes = gave_up.detail().is_some() || gave_up.observes();
    assert!(!(observes && text.contains("outcome unknown")), "{text}");
    // What the last attempt did stands in the sentence in the same words, unless the owner cancelled it.
    let last = gave_up.last().to_string();
    assert!(text.contains(&last) || gave_up.is_cancelled() && last.starts_with("dropped"), "{text}\n{last}");
    for sentinel in ["18446744073", "5124095h"] {
        assert!(!text.contains(sentinel) && !debug.contains(sentinel), "{text}\n{debug}");
    }
}
