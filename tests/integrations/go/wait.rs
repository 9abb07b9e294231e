//! `k8s.io/apimachinery/pkg/util/wait`.

use std::{cell::RefCell, time::Duration};

use relent::{Backoff, CancellationToken, Check, GaveUp, Jitter, Ratio, Stop, poll, retry};
use tokio::time::{Instant, sleep};

use super::{MS, SECOND};

/// When a condition was called, and when the loop ended.
#[derive(Debug, PartialEq)]
struct Course {
    starts: Vec<Duration>,
    ended: Duration,
}

/// `PollUntilContextTimeout`, of a condition that takes so long and is never true: the ticker keeps one tick that came
/// during a call, and drops the rest; after each tick the context is looked at before the condition; a call is waited
/// for.
fn poll_until_context_timeout(interval: Duration, timeout: Duration, immediate: bool, call: Duration) -> Course {
    let (mut starts, mut now) = (Vec::new(), Duration::ZERO);
    let mut next_tick = interval;
    if immediate {
        starts.push(now);
        now += call;
    }
    loop {
        let tick = now.max(next_tick);
        if tick >= timeout {
            return Course { starts, ended: now.max(timeout) };
        }
        // The one after it in the ticker's own row.
        while next_tick <= tick {
            next_tick += interval;
        }
        starts.push(tick);
        now = tick + call;
    }
}

/// A check that takes so long, and what became of it.
async fn ours(
    interval: Duration,
    timeout: Duration,
    immediate: bool,
    call: Duration,
) -> (Course, GaveUp<&'static str>) {
    let (began, starts) = (Instant::now(), RefCell::new(Vec::new()));
    let run = poll(async |_| {
        starts.borrow_mut().push(began.elapsed());
        sleep(call).await;
        Ok::<_, &str>(Check::<(), &str>::NotYet)
    });
    let run = run.every(interval).finish_within(timeout);
    let gave_up = if immediate { run.await } else { run.delay_first().await }.unwrap_err();
    let ended = began.elapsed();
    (Course { starts: starts.into_inner(), ended }, gave_up)
}

#[tokio::test(start_paused = true)]
async fn a_check_is_made_at_the_same_instants() {
    for interval in [10 * MS, 50 * MS, SECOND] {
        for timeout in [interval / 2, 3 * interval, 7 * interval, 7 * interval + interval / 2, 40 * interval] {
            for immediate in [true, false] {
                for call in [Duration::ZERO, interval / 5, interval - MS] {
                    let go = poll_until_context_timeout(interval, timeout, immediate, call);
                    let (own, gave_up) = ours(interval, timeout, immediate, call).await;
                    let told = format!(
                        "every {interval:?} for {timeout:?}, {immediate}, {call:?} each: {}",
                        gave_up.sentence()
                    );
                    assert_eq!(own.starts, go.starts, "{told}");
                    // Where another check cannot start in time it ends now; and a call in flight is cut at the bound.
                    let last = own.starts.last().map_or(Duration::ZERO, |start| *start + call);
                    assert_eq!(own.ended, last.min(timeout), "{told}");
                    assert_eq!(go.ended, last.max(timeout), "{told}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_a_long_call_missed_is_skipped() {
    let go = poll_until_context_timeout(100 * MS, 900 * MS, true, 250 * MS);
    assert_eq!(go.starts, [0, 250, 500, 750].map(|at| at * MS), "the ticker keeps one");
    let (own, _) = ours(100 * MS, 900 * MS, true, 250 * MS).await;
    assert_eq!(own.starts, [0, 300, 600].map(|at| at * MS));
}

/// Go waits for a condition that does not look at its context.
#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_cut_at_the_bound() {
    assert_eq!(poll_until_context_timeout(SECOND, 3 * SECOND, true, 60 * SECOND).ended, 60 * SECOND);
    let (own, gave_up) = ours(SECOND, 3 * SECOND, true, 60 * SECOND).await;
    assert_eq!((own.ended, gave_up.stop()), (3 * SECOND, &Stop::Deadline));
    // With a window for starts, it is left to finish.
    let began = Instant::now();
    let check = async |_: relent::Attempt| {
        sleep(60 * SECOND).await;
        Ok::<_, &str>(Check::<_, &str>::Ready(7))
    };
    assert_eq!(poll(check).every(SECOND).start_within(3 * SECOND).await.unwrap(), 7);
    assert_eq!(began.elapsed(), 60 * SECOND);
}

/// `(false, nil)`, `(true, nil)`, `(false, err)`, and the error that Go's callers keep in a variable of their own.
#[tokio::test(start_paused = true)]
async fn what_a_condition_says_has_the_same_effect() {
    let began = Instant::now();
    let third = async |attempt: relent::Attempt| {
        Ok::<_, &str>(if attempt.number() == 3 { Check::<_, &str>::Ready("up") } else { Check::NotYet })
    };
    assert_eq!(poll(third).every(SECOND).finish_within(9 * SECOND).await.unwrap(), "up");
    assert_eq!(began.elapsed(), 2 * SECOND);

    let began = Instant::now();
    let fatal = poll(async |_| Ok::<_, &str>(Check::<(), &str>::Fatal("no such host"))).every(SECOND);
    let gave_up = fatal.finish_within(9 * SECOND).await.unwrap_err();
    assert_eq!((gave_up.stop(), gave_up.last_error(), gave_up.attempts()), (&Stop::Fatal, Some(&"no such host"), 1));
    assert_eq!(began.elapsed(), Duration::ZERO);

    let kept = poll(async |_| Ok::<_, &str>(Check::<(), &str>::NotYetBecause("replica 2 of 3"))).every(SECOND);
    let gave_up = kept.finish_within(3 * SECOND).await.unwrap_err();
    assert_eq!(gave_up.last_error(), Some(&"replica 2 of 3"));
    let text = gave_up.sentence().to_string();
    assert!(text.contains("replica 2 of 3"), "{text}");
}

/// Go's immediate poll calls its condition once with a context that is done.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_cancelled_beforehand_stops_the_first_check() {
    let token = CancellationToken::new();
    token.cancel();
    let run = poll(async |_| -> Result<Check<(), &str>, &str> { panic!("a check") });
    let gave_up = run.every(SECOND).finish_within(9 * SECOND).cancel_on(token).await.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.is_cancelled()), (0, true));

    // And one that is cancelled in a pause ends it there, as there.
    let (token, began) = (CancellationToken::new(), Instant::now());
    let cancels = async {
        sleep(1500 * MS).await;
        token.cancel();
    };
    let run = poll(async |_| Ok::<_, &str>(Check::<(), &str>::NotYet)).every(SECOND).cancel_on(token.clone());
    let (ended, ()) = tokio::join!(run, cancels);
    let gave_up = ended.unwrap_err();
    assert_eq!((gave_up.attempts(), gave_up.is_cancelled(), began.elapsed()), (2, true, 1500 * MS));
}

/// `wait.Backoff`, and its `Step`: `random` is from 0 to 1, without it.
struct GoBackoff {
    duration: Duration,
    factor: f64,
    jitter: f64,
    steps: u32,
    cap: Duration,
}

impl GoBackoff {
    fn step(&mut self, random: f64) -> Duration {
        let duration = self.duration;
        if self.steps > 0 {
            self.steps -= 1;
            self.duration = duration.mul_f64(self.factor);
            if !self.cap.is_zero() && self.duration > self.cap {
                (self.duration, self.steps) = (self.cap, 0);
            }
        }
        duration + duration.mul_f64(random * self.jitter)
    }

    /// `ExponentialBackoff`, of a condition that takes no time and is never true.
    fn exponential_backoff(mut self) -> Course {
        let (mut starts, mut now) = (Vec::new(), Duration::ZERO);
        while self.steps > 0 {
            starts.push(now);
            if self.steps == 1 {
                break;
            }
            now += self.step(0.0);
        }
        Course { starts, ended: now }
    }
}

async fn retried(backoff: Backoff, attempts: u32) -> Course {
    let (began, starts) = (Instant::now(), RefCell::new(Vec::new()));
    let fails = async |_| {
        starts.borrow_mut().push(began.elapsed());
        Err::<(), _>("no")
    };
    let gave_up = retry(fails).backoff(backoff).max_attempts(attempts).await.unwrap_err();
    assert_eq!(gave_up.last_error(), Some(&"no"));
    let ended = began.elapsed();
    Course { starts: starts.into_inner(), ended }
}

#[tokio::test(start_paused = true)]
async fn steps_are_attempts_at_the_same_instants() {
    for duration in [10 * MS, 250 * MS, SECOND] {
        for steps in 1..12 {
            // A cap that is not reached.
            let cap = duration * 4096;
            let go = GoBackoff { duration, factor: 2.0, jitter: 0.0, steps, cap };
            let own = retried(Backoff::exponential(duration, cap).jitter(Jitter::None), steps).await;
            assert_eq!(own, go.exponential_backoff(), "{duration:?}, {steps} steps");
        }
    }
}

/// W06, W07 and W11 of its tests, and E16.
#[tokio::test(start_paused = true)]
async fn a_cap_bounds_delays_and_never_ends_a_run() {
    let delays = |duration, cap, jitter| Backoff::exponential(duration, cap).jitter(jitter);
    let steps = |duration, cap, jitter, random| {
        let mut go = GoBackoff { duration, factor: 2.0, jitter, steps: 9, cap };
        std::array::from_fn::<_, 6, _>(|_| go.step(random))
    };
    let first = |backoff: Backoff| std::array::from_fn::<_, 6, _>(|at| backoff.iter().nth(at).unwrap());
    let seconds = |all: [u32; 6]| all.map(|each| each * SECOND);
    let hour = 3600 * SECOND;
    assert_eq!(steps(SECOND, hour, 0.0, 0.0), seconds([1, 2, 4, 8, 16, 32]));
    assert_eq!(first(delays(SECOND, hour, Jitter::None)), seconds([1, 2, 4, 8, 16, 32]));
    assert_eq!(steps(SECOND, 3 * SECOND, 0.0, 0.0), seconds([1, 2, 3, 3, 3, 3]));
    assert_eq!(first(delays(SECOND, 3 * SECOND, Jitter::None)), seconds([1, 2, 3, 3, 3, 3]));
    // Go's first delay may exceed its cap, and so may its jitter.
    assert_eq!(steps(10 * SECOND, 3 * SECOND, 0.0, 0.0), seconds([10, 3, 3, 3, 3, 3]));
    assert_eq!(first(delays(10 * SECOND, 3 * SECOND, Jitter::None)), seconds([3; 6]));
    let most = steps(SECOND, 3 * SECOND, 0.1, 1.0);
    assert_eq!(most[2], 3300 * MS);
    for seed in 0..200 {
        let own = first(delays(SECOND, 3 * SECOND, Jitter::Plus(Ratio::percent(10))).seed(seed));
        let least = steps(SECOND, 3 * SECOND, 0.0, 0.0);
        for ((own, least), most) in own.into_iter().zip(least).zip(most) {
            // Near the cap the range, as wide as before, slides down.
            assert!((least * 9 / 10..=most.min(3 * SECOND)).contains(&own), "{own:?} of {least:?}");
            assert!(own >= least || most > 3 * SECOND, "{own:?} of {least:?}");
        }
    }
    // There it makes two attempts, pauses for two seconds and ends without a third.
    let go = GoBackoff { duration: SECOND, factor: 2.0, jitter: 0.0, steps: 10, cap: 3 * SECOND };
    let ended = go.exponential_backoff();
    assert_eq!(ended, Course { starts: vec![Duration::ZERO, SECOND], ended: 3 * SECOND });
    let own = retried(delays(SECOND, 3 * SECOND, Jitter::None), 10).await;
    assert_eq!((own.starts.len(), own.ended), (10, 24 * SECOND));
}
