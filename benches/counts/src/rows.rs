//! What is counted: one function that is never inlined for each row. The operation itself (see `bare`) is included.

use std::{
    future::{Ready, poll_fn, ready},
    hint::black_box,
    pin::pin,
    task::Poll,
    time::Duration,
};

use relent::{
    Backoff, Budget, CancellationToken, Check, Decision, Limiter, Observed, Policy, Profile, blocking, ensure,
    events::Tracing, poll, retry,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::unconstrained,
};

pub struct Row {
    pub name: &'static str,
    pub run: fn(u64),
    /// Each time it does the thing so often.
    pub scale: u64,
}

const ATTEMPT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(60);
const NO_TIME: Duration = Duration::ZERO;

/// A row that awaits something over and over. What is returned as pending is polled again at once: the scheduler is not
/// counted.
macro_rules! rows {
    ($($name:literal $function:ident $(with $setup:ident = $value:expr)? => $future:expr;)*) => {
        $(
            #[inline(never)]
            fn $function(times: u64) {
                $(let $setup = $value;)?
                drive(async {
                    for _ in 0..times {
                        let mut future = pin!(IntoFuture::into_future($future));
                        let answer = poll_fn(|cx| loop {
                            if let Poll::Ready(answer) = future.as_mut().poll(cx) {
                                break Poll::Ready(answer);
                            }
                        });
                        _ = black_box(answer.await);
                    }
                });
            }
        )*

        pub fn all() -> Vec<Row> {
            let mut all = vec![$(Row { name: $name, run: $function, scale: 1 }),*];
            all.extend([
                Row { name: "by a loop: first try", run: cursor, scale: 1 },
                Row { name: "blocking: first try", run: on_a_thread, scale: 1 },
                Row { name: "blocking: three failures", run: failures_on_a_thread, scale: 1 },
            ]);
            all
        }
    };
}

/// An operation that fails so often and then gives its value.
macro_rules! failing {
    ($times:literal) => {{
        let mut left = black_box($times);
        move |_| {
            let fails = left > 0;
            left -= 1;
            fallible(black_box(fails))
        }
    }};
}

fn always() -> impl FnMut(relent::Attempt) -> Ready<Result<u32, u32>> {
    |_| ready(Err(black_box(1)))
}

fn at_once() -> Backoff {
    Backoff::fixed(NO_TIME)
}

rows! {
    "bare operation" bare => op(black_box(0));
    "by hand: first try" hand_first => by_hand(|| op(black_box(0)));
    "by hand: pending once" hand_pending => by_hand(waits);
    "by hand: three failures" hand_failures => {
        let mut op = failing!(3);
        by_hand(move || op(relent::Attempt::new(1)))
    };

    "first try" first => retry(|_| op(black_box(0)));
    "pending once" pending => retry(|_| waits());
    "attempt_timeout: ready" timeout_ready => retry(|_| op(black_box(0))).attempt_timeout(ATTEMPT);
    "both deadlines: ready" deadlines_ready => retry(|_| op(black_box(0))).attempt_timeout(ATTEMPT).finish_within(WHOLE);
    "both deadlines: pending" deadlines_pending => retry(|_| waits()).attempt_timeout(ATTEMPT).finish_within(WHOLE);

    "three failures: fixed(0)" three_fixed => retry(failing!(3)).backoff(at_once()).max_attempts(10);
    "three failures: exponential(0, 0)" three_exponential =>
        retry(failing!(3)).backoff(Backoff::exponential(NO_TIME, NO_TIME)).max_attempts(10);
    "three failures: when" three_when => retry(failing!(3)).backoff(at_once()).max_attempts(10).when(|error| *error == 1);
    "three failures: start_within" three_window => retry(failing!(3)).backoff(at_once()).start_within(WHOLE);
    "three failures: finish_within" three_whole => retry(failing!(3)).backoff(at_once()).finish_within(WHOLE);
    "three failures: both deadlines" three_deadlines =>
        retry(failing!(3)).backoff(at_once()).attempt_timeout(ATTEMPT).finish_within(WHOLE);
    "three failures: every(0)" three_every => retry(failing!(3)).every(NO_TIME).max_attempts(10);
    "three failures: listener" three_listener =>
        retry(failing!(3)).backoff(at_once()).max_attempts(10).notify(|event| _ = black_box(event));
    "three failures: budget" three_budget with budget = Budget::ratio(relent::Ratio::percent(1000)).reserve(1000) =>
        retry(failing!(3)).backoff(at_once()).max_attempts(10).budget(&budget);
    "four failures for good" four => retry(always()).backoff(at_once()).max_attempts(4);
    "fatal at once" fatal => retry(always()).when(|_| Decision::Fatal);

    "throttle: ready" throttled with limiter = Limiter::per_second(1_000_000_000).burst(u32::MAX) => retry(|_| op(black_box(0))).throttle(&limiter);
    "throttle: unlimited" unlimited with limiter = Limiter::unlimited() => retry(|_| op(black_box(0))).throttle(&limiter);
    "cancel_on: ready" token_ready with token = CancellationToken::new() => retry(|_| op(black_box(0))).cancel_on(token.clone());
    "cancel_on: pending" token_pending with token = CancellationToken::new() => retry(|_| waits()).cancel_on(token.clone());
    "cancel_when: pending" until_pending => retry(|_| waits()).cancel_when(std::future::pending::<()>());
    "tracing, no subscriber: first try" traced => retry(|_| std_op(black_box(0))).listen(Tracing::new("op"));
    "profile: first try" profiled with profile = Profile::new(Policy::new().attempt_timeout(ATTEMPT).finish_within(WHOLE)) =>
        retry(|_| op(black_box(0))).profile(&profile);

    "poll: ready" poll_ready => poll(|_| ready(black_box(Some(1_u32))));
    "poll: three times not yet" poll_not_yet => {
        let mut op = failing!(3);
        poll(move |attempt| {
            let answer = op(attempt);
            async move { answer.await.map(Check::Ready).unwrap_or(Check::<u32, u32>::NotYet) }
        })
        .every(NO_TIME)
    };
    "ensure: already so" already_so => ensure(|_| ready(Ok::<_, u32>(black_box(Observed::AsWanted(1_u32)))), |()| ready(Ok::<(), u32>(())));
}

/// A loop of one's own.
#[inline(never)]
fn cursor(times: u64) {
    let policy = Policy::new();
    drive(async {
        for _ in 0..times {
            let mut run = policy.begin::<u32>();
            let turn = run.next().await.expect("an attempt");
            _ = black_box(turn.run(op(black_box(0))).await);
        }
    });
}

#[inline(never)]
fn on_a_thread(times: u64) {
    for _ in 0..times {
        _ = black_box(blocking::retry(|_| Ok::<_, u32>(black_box(1_u32))).call());
    }
}

#[inline(never)]
fn failures_on_a_thread(times: u64) {
    for _ in 0..times {
        let mut left = black_box(3);
        let operation = move |_| {
            left -= 1;
            if left >= 0 { Err(1_u32) } else { Ok(2_u32) }
        };
        _ = black_box(blocking::retry(operation).backoff(at_once()).max_attempts(10).call());
    }
}

/// What is measured in bytes: the future beyond its operation.
pub const SIZES: [(&str, fn() -> usize); 4] = [
    ("bytes of a future beyond its operation", || beyond(&large(), &retry(|_| large()).into_future())),
    ("bytes beyond a tiny operation, all bounds", || {
        beyond(
            &op(0),
            &retry(|_| op(0)).attempt_timeout(ATTEMPT).start_within(WHOLE).finish_within(WHOLE).into_future(),
        )
    }),
    ("bytes that cancel_on adds", || {
        let cancelled = retry(|_| large()).cancel_on(CancellationToken::new()).into_future();
        size_of_val(&cancelled) - size_of_val(&retry(|_| large()).into_future())
    }),
    ("bytes of an error of io::Error", || size_of::<relent::GaveUp<std::io::Error>>()),
];

fn beyond<A, B>(operation: &A, future: &B) -> usize {
    size_of_val(future) - size_of_val(operation)
}

thread_local! {
    /// Made once: what an allocator does for a new one depends on all that was before.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Within a runtime with a clock, whose share of the thread never ends.
pub fn drive(future: impl Future<Output = ()>) {
    RUNTIME.with(|runtime| runtime.block_on(unconstrained(future)));
}

#[inline(never)]
async fn op(answer: u32) -> Result<u32, u32> {
    Ok(black_box(answer))
}

#[inline(never)]
async fn std_op(answer: u32) -> Result<u32, std::io::Error> {
    Ok(black_box(answer))
}

async fn fallible(fails: bool) -> Result<u32, u32> {
    if fails { Err(1) } else { Ok(2) }
}

/// Is pending once.
async fn waits() -> Result<u32, u32> {
    let mut polled = false;
    poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    Ok(black_box(2))
}

/// Keeps 256 bytes across a wait.
async fn large() -> Result<u32, std::io::Error> {
    let bytes = [0_u8; 256];
    tokio::task::yield_now().await;
    black_box(&bytes);
    Ok(1)
}

/// What people write: ten attempts, and here no pause.
async fn by_hand<F: Future<Output = Result<u32, u32>>>(mut operation: impl FnMut() -> F) -> Result<u32, u32> {
    let mut delay = NO_TIME;
    for _ in 0..9 {
        if let Ok(value) = operation().await {
            return Ok(value);
        }
        ready(black_box(delay)).await;
        delay = (delay * 2).min(WHOLE);
    }
    operation().await
}
