//! Operations to be retried, and the loops that people write around them.

use std::{
    future::{poll_fn, ready},
    hint::black_box,
    io,
    mem::replace,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

pub const PAUSE: Duration = Duration::from_millis(100);
pub const ATTEMPT: Duration = Duration::from_secs(5);
pub const WHOLE: Duration = Duration::from_secs(60);
const TRIES: u32 = 10;

#[inline(never)]
pub async fn op(answer: u32) -> Result<u32, u32> {
    Ok(black_box(answer))
}

pub async fn fallible(fails: bool) -> Result<u32, u32> {
    if fails { Err(1) } else { Ok(2) }
}

pub async fn always_fails() -> Result<u32, u32> {
    ready(Err(black_box(1))).await
}

/// Is pending once, as a call over a network is.
pub async fn waits() -> Result<u32, u32> {
    let mut polled = false;
    poll_fn(|_| if replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    Ok(black_box(2))
}

/// Keeps 256 bytes across a wait.
pub async fn large() -> Result<u32, io::Error> {
    let bytes = [0_u8; 256];
    tokio::task::yield_now().await;
    black_box(&bytes);
    Ok(1)
}

/// What people write: some attempts, doubled pauses.
pub async fn by_hand<T, E, F, S>(
    tries: u32,
    mut operation: impl FnMut() -> F,
    pause: impl Fn(Duration) -> S,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    S: Future<Output = ()>,
{
    let mut delay = PAUSE;
    for _ in 1..tries {
        if let Ok(value) = operation().await {
            return Ok(value);
        }
        pause(delay).await;
        delay = (delay * 2).min(WHOLE);
    }
    operation().await
}

/// The same, and a failure of the other kind is for good.
pub async fn by_hand_if<T, E, F, S>(
    mut operation: impl FnMut() -> F,
    pause: impl Fn(Duration) -> S,
    transient: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    S: Future<Output = ()>,
{
    let mut delay = PAUSE;
    for _ in 1..TRIES {
        match operation().await {
            Err(error) if transient(&error) => {}
            answer => return answer,
        }
        pause(delay).await;
        delay = (delay * 2).min(WHOLE);
    }
    operation().await
}

/// Attempts of bounded length in a bounded time, by the thrifty loop: one timeout, at the nearer of both deadlines, and
/// the clock is read once an attempt. The error is that of the last attempt that had one.
pub async fn by_hand_in_time<T, E, F>(mut operation: impl FnMut() -> F) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut now = Instant::now();
    let end = now + WHOLE;
    let mut delay = PAUSE;
    let mut last = None;
    for left in (0..TRIES).rev() {
        match timeout_at(end.min(now + ATTEMPT), operation()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        now = Instant::now();
        if left == 0 || now + delay >= end {
            break;
        }
        sleep_until(now + delay).await;
        now += delay;
        delay = (delay * 2).min(WHOLE);
    }
    Err(last)
}

/// A loop that looks until it is so.
pub async fn by_hand_until<T, F>(mut look: impl FnMut() -> F) -> Result<T, ()>
where
    F: Future<Output = Option<T>>,
{
    for _ in 0..TRIES {
        if let Some(value) = look().await {
            return Ok(value);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(())
}
