//! How to choose, combine, test and migrate: every example here is compiled and run.
//!
//! To copy: [`recipes`]. What an error means: [`errors`]. What rustc means: [`slips`]. From other libraries, and from
//! Go: [`migration`].
//!
//! # Choosing the settings
//!
//! Four times, and none stands in for another:
//!
//! | setting | it answers | unless set |
//! |---|---|---|
//! | `every` or `backoff` | how long between attempts? | 100 ms to 10 s with full jitter; `poll`: every 1 s |
//! | `attempt_timeout` | how long may one call take? | as long as it likes: one hung call hangs the run |
//! | `start_within` | until when may an attempt start? | without end |
//! | `finish_within` | when must all be over, whatever runs? | without end |
//!
//! - Set `attempt_timeout` always, well below the other two, so that a call that hangs gets a second try.
//! - `start_within` lets the last call finish: the run may take as long as the window and one `attempt_timeout`
//!   together. `finish_within` cuts it: use it where your caller has a deadline of its own.
//! - `max_attempts` is for what costs something each time, not for what takes long.
//! - `every` is for asking about a state at a steady pace. `backoff` is for a server that may be overloaded; keep its
//!   jitter on where many do the same at the same time.
//! - `when` says which errors repeating cannot mend. Without it a wrong password is tried until the end.
//!
//! Ask the plan before you ship the numbers. It says when attempts start, what they may take at worst, and which
//! settings defeat each other:
//!
//! ```
//! use relent::Policy;
//!
//! let policy: Policy = "every 50ms, start_within 350ms, attempt_timeout 10s".parse()?;
//! let plan = policy.plan();
//! assert_eq!(
//!     plan.warnings()[0].to_string(),
//!     "a call that hangs gets no second try: attempt_timeout 10s outlasts start_within 350ms; \
//!      an attempt_timeout of at most 350ms would give it one"
//! );
//!
//! let better: Policy = "every 50ms, start_within 350ms, attempt_timeout 100ms".parse()?;
//! assert_eq!(better.plan().warnings(), []);
//! assert_eq!(better.plan().worst_total(), Some(std::time::Duration::from_millis(450)));
//! # Ok::<(), relent::ConfigError>(())
//! ```
//!
//! # The words of every builder
//!
//! | word | meaning |
//! |---|---|
//! | `backoff(Backoff)` | the pause from the end of one attempt to the start of the next |
//! | `every(d)`, `random_phase()` | attempts start on a grid of this period; each run on a grid of its own |
//! | `delay_first()` | a step of the cadence before the first attempt |
//! | `attempt_timeout(d)` | the per-call deadline: a call that still runs then is cut |
//! | `start_within(d)`, `final_try()` | attempts may start up to then; one last attempt at its end |
//! | `finish_within(d)` | the hard bound on everything |
//! | `max_attempts(n)` | at most so many attempts; of an `ensure`, acts |
//! | `when(\|&e\| ..)`, `classify(rule)` | what follows an error, `bool` or [`Decision`](crate::Decision): a closure, a type |
//! | `by_failure()` | the operation says it itself, by [`Failure`](crate::Failure) |
//! | `on_cut(Decision)` | what follows an attempt without an answer: cut by its own deadline, or dropped |
//! | `max_retry_after(d)`, `share_retry_after()` | the cap on what a server may ask for; it holds for all that share the limiter |
//! | `throttle(&Limiter)`, `budget(&Budget)` | a permit before each attempt; leave for each retry. Given twice they add up |
//! | `cancel_on(token)`, `cancel_when(future)` | stop now. Given twice, either stops it |
//! | `notify(\|event\| ..)`, `listen(listener)` | hear attempts, waits and the end: a closure, a type |
//! | `policy(&Policy)` | all of it that is data. Cadence, `attempt_timeout`, `on_cut` and `max_retry_after` stay where the policy has none; the bounds are replaced as one set |
//! | `profile(&Profile)` | all that the calls of one client have in common: [`Profile`](crate::Profile). Before `when`, which may say another rule |
//! | `with_report()`, `boxed()`, `chained()` | the last words, on threads too: a value with its attempts and time; an error that is one; an error with a source |
//!
//! # Retry in one place
//!
//! Retries multiply: three layers of four attempts are 64 calls to a server that is in trouble. Let the layer retry
//! that knows what the caller can still wait for, and turn the others off. Many clients retry inside a call: a
//! `kube::Client` does by default, for minutes, and no window of yours sees it. `relent_k8s::client` makes one that
//! does not.
//!
//! A layer below that must retry should do so within what is left to the attempt above:
//!
//! ```
//! use std::time::Duration;
//! use relent::{Stop, retry};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let gave_up = retry(async |attempt| {
//!     let left = attempt.timeout().unwrap_or(Duration::MAX);
//!     // A little less than is left, so that the inner reason is heard before the outer cut.
//!     let inner = left.saturating_sub(Duration::from_millis(10));
//!     retry(async |_| Err::<(), _>(std::io::Error::other("no route"))).finish_within(inner).await
//! })
//! .attempt_timeout(Duration::from_secs(1))
//! .max_attempts(2)
//! .await
//! .unwrap_err();
//! assert_eq!(*gave_up.stop(), Stop::Attempts);
//! assert_eq!(*gave_up.last_error().unwrap().stop(), Stop::Deadline);
//! assert!(gave_up.to_string().ends_with("no route"));
//! # }
//! ```
//!
//! # Limiter and budget together
//!
//! A [`Limiter`](crate::Limiter) spaces out the calls of this process: it protects the server from its speed. A
//! [`Budget`](crate::Budget) bounds how many of the calls are retries: it protects a server that is failing from being
//! asked several times as often as when it is well. Make one of each for a server, and give both to every run.
//!
//! | budget | for |
//! |---|---|
//! | `Budget::ratio` | steady traffic, and where the load on the server has to be known: so many retries per first attempt |
//! | `Budget::in_flight` | traffic in bursts: at most a share of what is under way may be retrying |
//! | either with `.min_retries(rate)` | little traffic, which a ratio alone starves: a floor by time |
//!
//! A limiter's law holds in real time: in any window `w` at most `burst + rate * (w + catch-up)` permits come out, also
//! where the process was stopped or a thread blocked for long. The catch-up is what timers need, 10 ms unless
//! [`catch_up`](crate::Limiter::catch_up) says otherwise: permits whose time is longer ago and that no caller was there
//! to take are made up for only as far as the burst holds them. Where timers are later than that, set it, or the rate
//! is not reached.
//!
//! Given twice they add up: a run takes a permit of every limiter together or of none, and every budget has to allow a
//! retry.
//!
//! ```
//! use std::{cell::Cell, time::Duration};
//! use relent::{Budget, Limiter, Ratio, Stop, retry};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let limiter = Limiter::per_second(100).burst(20);
//! let budget = Budget::ratio(Ratio::percent(10)).reserve(2);
//! let calls = Cell::new(0);
//! for _ in 0..50 {
//!     let gave_up = retry(async |_| {
//!         calls.set(calls.get() + 1);
//!         Err::<(), _>("unavailable")
//!     })
//!     .throttle(&limiter)
//!     .budget(&budget)
//!     .start_within(Duration::from_secs(30))
//!     .max_attempts(5)
//!     .await
//!     .unwrap_err();
//!     assert_ne!(*gave_up.stop(), Stop::Attempts);
//! }
//! assert!(calls.get() <= 50 + 5 + 2, "not 250");
//! # }
//! ```
//!
//! The run ends with [`Stop::Budget`](crate::Stop::Budget) or [`Stop::Limiter`](crate::Stop::Limiter) and still holds
//! the real error. [`Plan::throttled`](crate::plan::Plan::throttled) and
//! [`Plan::budgeted`](crate::plan::Plan::budgeted) say beforehand what both do to a policy.
//!
//! # When an attempt may start
//!
//! - The first starts at once, or a step of the cadence later with `delay_first`. It starts whatever the window is,
//!   unless the run is cancelled, `max_attempts` is 0 or the limiter refuses.
//! - The next is planned when one ends: `every` at the first tick from then on, `backoff` the delay later, `RetryAfter`
//!   not before what the server asked for (`max_retry_after` at most). It is admitted if it is planned up to the end of
//!   `start_within` and before `finish_within`; if not, the run stops now, and does not wait to no purpose.
//! - A timer that fires late takes nothing away from an admission by `start_within`. By `finish_within` it does: at
//!   that instant, by the clock, or later nothing starts, nor once the run is cancelled.
//!
//! # Words for the log
//!
//! "failed with E, retrying in D" is one line, since [`Event::Ended`](crate::events::Event::Ended) has both: what the
//! attempt did, and in `again` how long the run pauses before the next
//! ([`Event::Waiting`](crate::events::Event::Waiting) tells the waits one by one):
//!
//! ```
//! use relent::{retry, events::Event};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let fetch = async || Err::<(), _>(std::io::Error::other("no route"));
//! let answer = retry(async |_| fetch().await)
//!     .notify(|event| {
//!         if let Event::Ended { last, again: Some(pause), .. } = event {
//!             println!("failed with {last}, retrying in {pause:?}");
//!         }
//!     })
//!     .max_attempts(2)
//!     .await;
//! # assert!(answer.is_err()); }
//! ```
//!
//! # Errors of others
//!
//! The text of a [`GaveUp`](crate::GaveUp) ends with the error and every cause below it, "A: B: C", and its `source()`
//! is `None`: no reporter prints a cause twice.
//!
//! | I want to | say |
//! |---|---|
//! | print it, log it, `?` into `anyhow`, `Box<dyn Error + Send + Sync>` or a `#[from]` of `thiserror` | nothing |
//! | the same where the operation's error is `anyhow::Error`, a boxed error or a string | `.boxed()` before `.await` or `.call()`, or `.map_err(GaveUp::boxed)?` |
//! | only print such a one | `gave_up.sentence()`; of an event `last.sentence()` |
//! | an error whose `source()` is the operation's: tonic and tower look for their own there | `.chained()` before `.await`, or `.map_err(GaveUp::chained)?` |
//! | the operation's own error | `last_error()`, `into_error()`, `error_or_else(..)` |
//! | the sentence without the error | `summary()` |
//! | another text where the client's own is a dump: tonic's `Status` with a source, `kube::Error` | `.map_err(\|gave_up\| gave_up.map_error(..))`; for kube with `relent_k8s::ApiError::from` |
//!
//! # Calls that may have worked
//!
//! A call that was cut, or whose connection broke, has an unknown outcome. Where the call may be repeated safely, retry
//! it. Where it must not run twice, say `.on_cut(Decision::Fatal)`: that holds for calls that their own deadline cuts,
//! and for those that are dropped (of the cursor, of a queue whose run is dropped). Where the state can be observed,
//! use [`ensure`](crate::ensure()): it observes, acts, and observes again, and only an observation counts as success.
//!
//! ```
//! use std::{cell::Cell, time::Duration};
//! use relent::{Change, ensure};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let members = Cell::new(2);
//! let ensured = ensure(
//!     async |_| Ok::<_, std::io::Error>((members.get() == 3).then_some(())),
//!     async |()| {
//!         members.set(3);
//!         std::future::pending::<Result<(), std::io::Error>>().await // applied, and never answered
//!     },
//! )
//! .attempt_timeout(Duration::from_secs(2))
//! .finish_within(Duration::from_secs(10))
//! .await
//! .unwrap();
//! assert_eq!((ensured.change, members.get()), (Change::AppliedDespiteError, 3));
//! # }
//! ```
//!
//! # Testing your code
//!
//! All waiting goes through tokio's clock. Under a paused clock hours pass at once, and instants are exact:
//!
//! ```
//! use std::time::Duration;
//! use relent::{Check, poll};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)] // in tests: #[tokio::test(start_paused = true)]
//! async fn main() {
//!     let began = tokio::time::Instant::now();
//!     let up = poll(async |attempt| if attempt.number() < 100 { Check::<_, std::io::Error>::NotYet } else { Check::Ready("up") })
//!         .every(Duration::from_secs(60))
//!         .await;
//!     assert_eq!(up.unwrap(), "up");
//!     assert_eq!(began.elapsed(), Duration::from_secs(99 * 60));
//! }
//! ```
//!
//! - A paused clock stands still while something is ready to run: a run without pauses is ended there by
//!   `max_attempts`, or by an operation that waits, and not by a window.
//! - Where the clock cannot be paused (a multi-thread runtime, real sockets) `policy.skip_pauses()` (feature
//!   `test-util`) makes the same decisions, and counts the pauses without waiting for them.
//! - Jitter is random. In a test say `.seed(1)` on the backoff, or assert bounds.
//! - For [`blocking::retry`](crate::blocking::retry()) there is `testing::VirtualClock` (feature `test-util`).
//! - Against servers: [relent-apiserver](https://docs.rs/relent-apiserver) is a Kubernetes API in this process,
//!   `relent_etcd::model` one of etcd's membership, `testing::proxy` a proxy that delays, cuts and loses.
//! - To see what a run did, give it a listener: a closure, or [`events`](crate::events) for `tracing` and `metrics`.
//!
//! ```
//! # #[cfg(feature = "test-util")] {
//! use std::time::Duration;
//! use relent::{Backoff, blocking, testing::VirtualClock};
//!
//! let clock = VirtualClock::new();
//! let answer = blocking::retry(|attempt| {
//!     clock.advance(Duration::from_secs(5)); // the call takes five seconds
//!     if attempt.number() < 3 { Err("busy") } else { Ok(()) }
//! })
//! .backoff(Backoff::fixed(Duration::from_secs(60)))
//! .call();
//! assert!(answer.is_ok());
//! assert_eq!(clock.elapsed(), Duration::from_secs(3 * 5 + 2 * 60));
//! # }
//! ```

pub mod errors;
pub mod migration;
pub mod recipes;
pub mod slips;
