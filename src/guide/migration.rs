//! From a loop of your own, from other crates and from Go's packages: what is equivalent, and what differs.
//!
//! Where a table says that delays, instants or permits are the same, a test of this repository compares them: with the
//! other library (`tests/clients`), or with the rules of Go's sources (`tests/integrations/go`), where each difference
//! that is named is seen too.
//!
//! # From a loop of your own
//!
//! ```
//! use std::time::Duration;
//! use relent::{Backoff, retry};
//!
//! # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
//! // let mut tries = 0;
//! // loop {
//! //     match timeout(Duration::from_secs(2), fetch()).await {
//! //         Ok(Ok(value)) => return Ok(value),
//! //         _ if tries == 4 => return Err("failed after 5 tries"), // of what?
//! //         _ => sleep(Duration::from_millis(500)).await,
//! //     }
//! //     tries += 1;
//! // }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let value = retry(async |_| fetch().await)
//!     .attempt_timeout(Duration::from_secs(2))
//!     .backoff(Backoff::fixed(Duration::from_millis(500)))
//!     .max_attempts(5)
//!     .await?; // the error has the last cause, and why it stopped
//! # assert_eq!(value, 7); Ok(()) }
//! ```
//!
//! A loop that needs `&mut` of a local stays a loop: [`Policy::begin`](crate::Policy::begin).
//!
//! # From backoff
//!
//! The crate `backoff` is unmaintained (RUSTSEC-2025-0012). Its default waits from 500 ms to a minute, each time half
//! as long again, half up or down, for 15 minutes:
//!
//! ```
//! use std::time::Duration;
//! use relent::{Backoff, Failure, Jitter, Ratio, retry};
//!
//! # async fn fetch() -> Result<u32, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! // backoff::future::retry(ExponentialBackoff::default(), || async {
//! //     fetch().await.map_err(backoff::Error::transient)
//! // }).await?
//! let backoff = Backoff::exponential(Duration::from_millis(500), Duration::from_secs(60))
//!     .factor(Ratio::new(3, 2)?)
//!     .jitter(Jitter::PlusMinus(Ratio::percent(50)));
//! let value = retry(async |_| fetch().await.map_err(Failure::transient))
//!     .by_failure() // an operation that says itself what is permanent
//!     .backoff(backoff)
//!     .start_within(Duration::from_secs(15 * 60))
//!     .await?;
//! # assert_eq!(value, 7); Ok(()) }
//! ```
//!
//! | there | here |
//! |---|---|
//! | `Error::permanent(e)`, `Error::transient(e)`, `?` | `Failure::permanent(e)`, `Failure::transient(e)`, `?`, with `.by_failure()` |
//! | `Error::retry_after(e, d)` | `Failure::retry_after(e, d)` |
//! | `max_elapsed_time` | `start_within`: a pause that would end later ends the run at once |
//! | `retry_notify(.., \|e, d\| ..)` | `.notify(\|event\| if let Event::Ended { last: Last::Failed(e), again: Some(d), .. } = event { .. })` |
//! | `reset()` in a long-lived loop | `.reset_after(d)` |
//! | `ExponentialBackoff` by hand | [`Backoff`](crate::Backoff) is an iterator of durations |
//!
//! The delays are the same; but theirs are up to half as long again as `max_interval`, and ours never exceed the cap:
//! near it the range slides down, as wide as before.
//!
//! # From backon
//!
//! | there | here |
//! |---|---|
//! | `f.retry(ExponentialBuilder::default()).await` | `retry(async \|_\| f().await).backoff(Backoff::exponential(1s, 60s).jitter(Jitter::None)).max_attempts(4).await` |
//! | `ConstantBuilder::default()` | `Backoff::fixed(1s)`, `.max_attempts(4)` |
//! | `FibonacciBuilder::default()` | `Backoff::fibonacci(1s, 60s).jitter(Jitter::None)`; theirs goes past `max_delay` by a step |
//! | `.with_max_times(n)`: so many retries | `.max_attempts(n + 1)`: so many attempts |
//! | `.with_jitter()`: up to the whole of the delay on top | `Jitter::Plus(Ratio::percent(100))`; `Jitter::Full` spreads better |
//! | `.when(\|e\| ..)` | the same word |
//! | `.adjust(\|e, d\| ..)` | `.when(\|e\| Decision::RetryAfter(d))` |
//! | `.notify(\|e, d\| ..)` | `.notify(\|event\| if let Event::Ended { last: Last::Failed(e), again: Some(d), .. } = event { .. })` |
//!
//! It gives back the last error alone. To get there step by step,
//! [`GaveUp::error_or_else`](crate::GaveUp::error_or_else) gives the error without its reason, or one that is made of
//! the reason where no attempt gave any.
//!
//! # From tokio-retry
//!
//! | there | here |
//! |---|---|
//! | `ExponentialBackoff::from_millis(10)`: 10 ms, 100 ms, 1 s, .. | `Backoff::exponential(10ms, cap).factor(10).jitter(Jitter::None)` |
//! | `ExponentialBackoff::from_millis(2).factor(500)`: 1 s, 2 s, 4 s, .. | `Backoff::exponential(1s, cap).jitter(Jitter::None)` |
//! | `FibonacciBackoff::from_millis(10)` | `Backoff::fibonacci(10ms, cap).jitter(Jitter::None)` |
//! | `FixedInterval::new(d)` | `Backoff::fixed(d)` |
//! | `.map(jitter)` | `Jitter::Full`, the default |
//! | `.take(n)`: so many retries | `.max_attempts(n + 1)` |
//! | `RetryIf::spawn(strategy, f, condition)` | `.when(condition)` |
//!
//! # From reqwest-retry
//!
//! `ExponentialBackoff::builder().build_with_max_retries(n)` is `Backoff::exponential(1s, 30min)` with its full jitter
//! and `max_attempts(n + 1)`; `build_with_total_retry_duration(d)` is `.start_within(d)`. Their middleware decides by
//! the response what is transient; here the operation answers with the status, and `when` decides.
//!
//! # From tower
//!
//! `tower::retry::Policy` decides by the response and has no clock: pauses, deadlines and bounds are left to you. Its
//! `TpsBudget` is [`Budget::ratio`](crate::Budget::ratio) with [`min_retries`](crate::Budget::min_retries), but over a
//! window of time; ours counts attempts, exactly. `tower::limit::RateLimit` lets a whole burst through at the start of
//! each period; a [`Limiter`](crate::Limiter) spreads them, and its line is first come, first served.
//!
//! # From governor
//!
//! `Quota::per_second(n).allow_burst(b)` is `Limiter::per_second(n).burst(b)`, and grants the same permits at the same
//! instants.
//!
//! | there | here |
//! |---|---|
//! | `check()` | `try_acquire(1)` |
//! | `check_n(n)` | `try_acquire(n)` |
//! | `until_ready().await` | `acquire(1).await`: in order, and with `.within(d)` it refuses at once what would take longer |
//! | `RateLimiter::keyed(quota)`, `retain_recent()` | [`KeyedLimiter`](crate::KeyedLimiter), which forgets by itself |
//! | `until_ready_with_jitter(..)` | not needed: waiters are granted one by one |
//!
//! # From Go
//!
//! ## `k8s.io/apimachinery/pkg/util/wait`
//!
//! | Go | here |
//! |---|---|
//! | `PollUntilContextTimeout(ctx, i, t, true, f)` | `poll(f).every(i).finish_within(t).cancel_on(token)` |
//! | the same with `immediate` false | and `.delay_first()` |
//! | `return false, nil` / `true, nil` / `false, err` | `Check::NotYet` / `Check::Ready(..)` / `Check::Fatal(err)` |
//! | `lastErr = err; return false, nil` | `Check::NotYetBecause(err)`, and it is in the error |
//! | `Backoff{Duration: d, Factor: 2, Jitter: 0.1, Steps: n, Cap: c}` | `Backoff::exponential(d, c).jitter(Jitter::Plus(Ratio::percent(10)))` and `max_attempts(n)` |
//!
//! What differs:
//! - A call in flight is cut at `finish_within`, whether or not it looks at a context.
//! - Reaching the cap never ends a run (Go's `Steps` becomes 0 there), and no delay exceeds the cap, jitter included.
//! - A token that is cancelled beforehand stops a run before its first attempt; Go's immediate poll still calls once.
//! - A tick that is missed because a call took longer is skipped; Go's ticker keeps one and calls at once.
//! - A pause or a permit that cannot end before the bound ends the run now; Go waits for it until the context is done.
//! - With `start_within` a check that is in flight at the end of the window is left to finish.
//!
//! ## `k8s.io/client-go/util/retry`
//!
//! | Go | here |
//! |---|---|
//! | `RetryOnConflict(DefaultRetry, f)`: 5 attempts, 10 to 11 ms between them | `retry(f).when(is_conflict).backoff(Backoff::fixed(10ms).jitter(Jitter::Plus(Ratio::percent(10)))).max_attempts(5)` |
//! | `DefaultBackoff`: 4 attempts; 10, 50, 250 ms | `Backoff::exponential(10ms, cap).factor(5).jitter(Jitter::Plus(Ratio::percent(10)))`, `max_attempts(4)` |
//!
//! What differs: a final error after a conflict comes out; Go returns the conflict instead where that error is a
//! context's.
//!
//! ## `golang.org/x/time/rate` and client-go's `flowcontrol`
//!
//! | Go | here |
//! |---|---|
//! | `rate.NewLimiter(r, b)`, `NewTokenBucketRateLimiter(qps, burst)` | `Limiter::new(rate, burst)` |
//! | `Allow()`, `AllowN(now, n)`, `TryAccept()` | `try_acquire(n)` |
//! | `Wait(ctx)`: "would exceed context deadline" | `acquire(n).within(d)`: refused at once, with how long it would take |
//! | `Reserve()`, `Delay()`, `Cancel()` | `reserve(n)`, `ready_in()`, drop |
//! | `SetLimit`, `SetBurst` | `set_rate`, `set_burst` |
//! | `flowcontrol.NewBackOff(d, max)`: `Next`, `Get`, `Reset` | `KeyedBackoff` with `Backoff::exponential(d, max).jitter(Jitter::None)`: `failed`, `last_delay`, `forget` |
//!
//! What differs:
//! - Waiters are granted in order, first come, first served; Go's are as many timers.
//! - One that is dropped moves those behind up. Go's others keep their instants, and its permits are lost unless it was
//!   the last.
//! - A new rate is for those that wait too.
//! - `flowcontrol.Backoff` forgets a key twice the longest pause after its last failure; `KeyedBackoff` a set time
//!   after the end of its last pause.
//!
//! ## `k8s.io/client-go/util/workqueue`
//!
//! | Go | here |
//! |---|---|
//! | `NewTypedItemExponentialFailureRateLimiter(5ms, 1000s)`: `When`, `NumRequeues`, `Forget` | `KeyedBackoff` with `Backoff::exponential(5ms, 1000s).jitter(Jitter::None)`: `failed`, `failures`, `forget` |
//! | `Add` | [`schedule(key, value, Duration::ZERO)`](crate::queue::QueueHandle::schedule): while the key runs, it follows |
//! | `AddAfter`: the earlier instant is kept | [`bring_forward`](crate::queue::QueueHandle::bring_forward) |
//! | `AddRateLimited` after an error, `Forget` after a success, `Done` | the worker's `Err` and `Ok`, with [`backoff`](crate::TimedQueue::backoff) |
//!
//! What differs:
//! - A key fires once: Go hands out an item twice that is added directly while a later instant is set.
//! - [`reschedule`](crate::queue::QueueHandle::reschedule) and [`cancel`](crate::queue::QueueHandle::cancel) put off
//!   and take out what waits, which Go cannot.
//! - What waits for another try is not brought forward into its pause;
//!   [`begin_anew`](crate::queue::QueueHandle::begin_anew) does that.
//!
//! ## client-go's `leaderelection`, controller-runtime's Manager
//!
//! | Go | here |
//! |---|---|
//! | `LeaseDuration`, `RenewDeadline`, `RetryPeriod`: 15 s, 10 s, 2 s | the three times of [`leader::Timing`](crate::leader::Timing), with the same defaults |
//! | `OnStartedLeading(ctx)`, `OnStoppedLeading` | the work is a future with its term; it is told, then cut, before another may lead |
//! | `ReleaseOnCancel` | a cancelled campaign releases by itself |
//! | `mgr.Add(runnable)`; with `NeedLeaderElection() false` | [`add_leader`](crate::leader::Manager::add_leader); [`add`](crate::leader::Manager::add) |
//! | `GracefulShutdownTimeout`: 30 s | [`grace`](crate::leader::Manager::grace), with the same default; what did not stop is named |
//!
//! What differs:
//! - Times that do not fit are refused where they are made, and not when the election runs: all that Go refuses, and
//!   those by which two could lead at once (11 s, 10 s, 2 s).
//! - The lock is given back when the work has ended; Go frees it first.
//! - A candidate that watches the lock is told of a release; Go's reads again after up to 2.2 retry periods, as ours
//!   does without a watch.
//!
//! # What kubeadm's read of a ConfigMap becomes
//!
//! kubeadm fetches its ConfigMaps every 50 ms for 350 ms with one deadline of 10 s for everything, behind a shared
//! limiter of 5 per second. What a drained limiter or the deadline says then hides what the server said. Here the three
//! are three settings (`relent_k8s::get_config_map` has them), and a refusal stands beside the real error:
//!
//! ```
//! use relent::{Limiter, Policy, Stop, retry};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let limiter = Limiter::per_second(5).burst(10);
//! limiter.try_acquire(9).unwrap(); // others were here before
//! let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 10s".parse().unwrap();
//! let gave_up = retry(async |_| Err::<(), _>("configmaps \"kubeadm-config\" not found"))
//!     .policy(&policy)
//!     .throttle(&limiter)
//!     .await
//!     .unwrap_err();
//! assert!(matches!(gave_up.stop(), Stop::Limiter { .. }));
//! assert_eq!(*gave_up.last_error().unwrap(), "configmaps \"kubeadm-config\" not found");
//! # }
//! ```
