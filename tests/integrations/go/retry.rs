//! `k8s.io/client-go/util/retry`.

use std::{cell::RefCell, time::Duration};

use relent::{Backoff, GaveUp, Jitter, Ratio, Stop, retry};
use tokio::time::Instant;

use super::MS;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Error {
    Conflict,
    Canceled,
}

fn plus_ten() -> Jitter {
    Jitter::Plus(Ratio::percent(10))
}

/// `RetryOnConflict` with a backoff: what it is given says, one answer an attempt, the last again and again.
async fn on_conflict(
    backoff: Backoff,
    steps: u32,
    answers: &[Result<u8, Error>],
) -> (Result<u8, GaveUp<Error>>, Vec<Duration>) {
    let (began, starts) = (Instant::now(), RefCell::new(Vec::new()));
    let update = async |_| {
        let number = starts.borrow().len();
        starts.borrow_mut().push(began.elapsed());
        answers[number.min(answers.len() - 1)]
    };
    let ended = retry(update).when(|error| *error == Error::Conflict).backoff(backoff).max_attempts(steps).await;
    (ended, starts.into_inner())
}

/// `DefaultRetry`: `{Steps: 5, Duration: 10ms, Factor: 1.0, Jitter: 0.1}`, and `DefaultBackoff`:
/// `{Steps: 4, Duration: 10ms, Factor: 5.0, Jitter: 0.1}`. Each pause is from its base to a tenth more; the clock of
/// the tests goes by whole milliseconds.
#[tokio::test(start_paused = true)]
async fn conflicts_are_tried_again_at_the_same_instants() {
    let retry = Backoff::fixed(10 * MS).jitter(plus_ten());
    let backoff = Backoff::exponential(10 * MS, Duration::from_secs(10)).factor(5).jitter(plus_ten());
    for (backoff, bases, least, most) in [(retry, vec![10; 4], 40, 44), (backoff, vec![10, 50, 250], 310, 341)] {
        for seed in 0..50 {
            let steps = bases.len() as u32 + 1;
            let (ended, starts) = on_conflict(backoff.clone().seed(seed), steps, &[Err(Error::Conflict)]).await;
            let gave_up = ended.unwrap_err();
            assert_eq!((gave_up.attempts(), gave_up.last_error()), (steps, Some(&Error::Conflict)));
            assert_eq!(*gave_up.stop(), Stop::Attempts);
            for (pair, base) in starts.windows(2).zip(&bases) {
                let pause = pair[1] - pair[0];
                assert!((*base * MS..=*base * MS * 11 / 10 + MS).contains(&pause), "{pause:?} of {base} ms");
            }
            let exact: Duration = backoff.clone().seed(seed).iter().take(bases.len()).sum();
            assert!((least * MS..=most * MS).contains(&exact), "{exact:?}");
        }
    }
}

/// The outcomes of its tests: C02 to C05, C07.
#[tokio::test(start_paused = true)]
async fn what_is_no_conflict_ends_it() {
    let backoff = || Backoff::fixed(10 * MS).jitter(Jitter::None);
    let (ended, starts) = on_conflict(backoff(), 5, &[Ok(1)]).await;
    assert_eq!((ended.unwrap(), starts.len()), (1, 1));
    let conflict = Err(Error::Conflict);
    let (ended, starts) = on_conflict(backoff(), 5, &[conflict, conflict, Ok(3)]).await;
    assert_eq!((ended.unwrap(), starts), (3, vec![Duration::ZERO, 10 * MS, 20 * MS]));
    let (ended, _) = on_conflict(backoff(), 5, &[Err(Error::Canceled)]).await;
    let gave_up = ended.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.attempts()), (&Stop::Fatal, 1));
    // Go returns the conflict of before in place of a final `context.Canceled`.
    let (ended, _) = on_conflict(backoff(), 5, &[conflict, Err(Error::Canceled)]).await;
    assert_eq!(ended.unwrap_err().last_error(), Some(&Error::Canceled));
}
