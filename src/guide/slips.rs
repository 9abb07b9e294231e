//! What rustc says of the usual slips, with cause and cure.
//!
//! Where a trait of this crate is not met, rustc says in words what is expected. The rest is here, under what rustc
//! says. An error that says that `Retry<..>` "is not a future" is mostly the echo of another: read the first.
//!
//! # "closure is expected to take 1 argument, but it takes 0"
//!
//! `retry(|| op())`, `retry(op)`: an operation is given its [`Attempt`](crate::Attempt). Say
//! `retry(async |_| op().await)`.
//!
//! # "expected a `FnMut(Attempt)` closure, found `impl Future`"
//!
//! `retry(op())`: a future runs once, and a retry needs a new one for each attempt. Say `retry(async |_| op().await)`.
//! For a type that implements [`Operation`](crate::Operation) it is said too: `retry` takes closures, so that their
//! types can be inferred.
//!
//! # "`Result<..>` is not a future", "to return `Result<_, _>`, but it returns `{async closure body}`"
//!
//! `retry(|_| call())` with a call that blocks: on a thread it is for [`blocking::retry`](crate::blocking::retry()),
//! and in async code for `retry(async |_| call())` if it does not block. The other way round, `blocking::retry` is
//! given a plain closure.
//!
//! # "to be a future that resolves to `Result<_, _>`, but it resolves to `Option<_>`"
//!
//! Only a `Result` says what failed. For what becomes true in time there is [`poll`](crate::poll()), which takes an
//! `Option` as it is.
//!
//! # "async block may outlive the current function, but it borrows `attempt`"
//!
//! `|attempt| async { f(attempt).await }`: the block borrows the argument of a closure that has returned by the time it
//! runs. An async closure owns it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # async fn fetch(url: &str, n: u32) -> Result<u32, std::io::Error> { Ok(n) }
//! let url = String::from("http://localhost");
//! let answer = relent::retry(async |attempt| fetch(&url, attempt.number()).await).await;
//! # assert_eq!(answer.unwrap(), 1); }
//! ```
//!
//! # "cannot move out of `url`, a captured variable in an `FnMut` closure"
//!
//! `|attempt| async move { .. }` moves what it captures with the first attempt. An async closure borrows it, as above.
//!
//! # "`url` does not live long enough", "argument requires that `url` is borrowed for `'static`", "borrowed data escapes"
//!
//! A run that is spawned outlives what it borrows. Spawn a block that takes it with `move`, and in which each attempt
//! borrows it, so that nothing is cloned. A `move` at the closure itself does not compile: its future would borrow from
//! the closure ("captures state from its environment").
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # async fn fetch(url: &str) -> Result<usize, std::io::Error> { Ok(url.len()) }
//! use relent::retry;
//!
//! let url = String::from("http://localhost");
//! let task = tokio::spawn(async move { retry(async |_| fetch(&url).await).max_attempts(2).await });
//! # assert_eq!(task.await.unwrap().unwrap(), 16); }
//! ```
//!
//! # "captured variable cannot escape `FnMut` closure body", "async closure does not implement `FnMut` because it captures state"
//!
//! Either a `move` stands at the closure (the heading before this one), or the attempt needs `&mut` of something
//! outside of it, and a future that is not finished might still hold it when the next is made. The cursor is a loop,
//! which borrows for each turn anew:
//!
//! ```
//! # #[derive(Debug, thiserror::Error)] #[error("conflict")] struct Conflict;
//! # struct Transaction(u32);
//! # impl Transaction { async fn commit(&mut self) -> Result<u32, Conflict> { self.0 += 1; if self.0 < 3 { Err(Conflict) } else { Ok(self.0) } } }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), relent::GaveUp<Conflict>> {
//! # let mut transaction = Transaction(0);
//! let policy: relent::Policy = "every 50ms, max_attempts 5".parse().unwrap();
//! let mut run = policy.begin();
//! let number = loop {
//!     let next = run.next().await?;
//!     if let Some(number) = next.run(transaction.commit()).await {
//!         break number;
//!     }
//! };
//! # assert_eq!(number, 3); Ok(()) }
//! ```
//!
//! # "`anyhow::Error: ErrorElseSayBoxed` is not satisfied", "`GaveUp<&str>` has no text"
//!
//! `anyhow::Error`, `Box<dyn Error>` and strings are no `std::error::Error`, so an error that holds one cannot be one
//! either. Say so on the builder; the text and the causes are the same:
//!
//! ```
//! # async fn op() -> anyhow::Result<u32> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! let answer = relent::retry(async |_| op().await).max_attempts(2).boxed().await?;
//! # assert_eq!(answer, 7); Ok(()) }
//! ```
//!
//! The same stands behind "`GaveUp<anyhow::Error>` doesn't satisfy `_: StdError`", at `.context(..)`. Of a
//! `GaveUp<Failure<..>>` it means that `.by_failure()` is missing.
//!
//! # "the trait `From<GaveUp<io::Error>>` is not implemented for `AppError`"
//!
//! `?` into an error of your own. Give it a variant for `#[from] GaveUp<io::Error>`, which keeps the reason, or hand on
//! the plain error with [`error_or_else`](crate::GaveUp::error_or_else).
//!
//! # "`Retry<..>` is not a future", without another error
//!
//! In `tokio::spawn`, `join!`, `select!`, `timeout`, `join_all`. A builder becomes a future by `.await` or by
//! `.into_future()`:
//!
//! ```
//! # async fn op() -> Result<u32, std::io::Error> { Ok(7) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use relent::retry;
//!
//! let (a, b) = tokio::join!(retry(async |_| op().await).into_future(), retry(async |_| op().await).into_future());
//! let c = tokio::spawn(async { retry(async |_| op().await).await }).await.unwrap();
//! # assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (7, 7, 7)); }
//! ```
//!
//! # "future cannot be sent between threads safely"
//!
//! What is spawned must be `Send`, its error too: `Box<dyn Error + Send + Sync>` rather than `Box<dyn Error>`, `Arc`
//! rather than `Rc`. "has type `RetryFuture<..>` which is not `Send`" names what is held; the line before it says why.
//!
//! # "expected `()`, found `u32`", at a worker, "expected `io::Error`, found `String`", at an `ensure`
//!
//! The worker of a queue and the tasks of a manager answer `Result<(), E>`: end with `.map(drop)`. Observation and act
//! of an [`ensure`](crate::ensure()) fail with one type of error: `.map_err(..)`.
//!
//! # "type annotations needed", at an `Ok(..)`
//!
//! An async block with `?` has no error type until one is named: `Ok::<_, io::Error>(value)`.
//!
//! # "type mismatch in closure arguments", at `.when(..)`
//!
//! `.when(..)` looks at the error, which stays in the run: `.when(|error| ..)`, or `|error: &io::Error|`.
//!
//! # "this run has a rule for its errors already"
//!
//! `.profile(..)` brings the client's rule, so it stands before `.when(..)`, which may then say another for this call.
//!
//! # "the trait bound `Decision: From<..>` is not satisfied"
//!
//! `.when(..)` answers a `bool`, true for retry, or a [`Decision`](crate::Decision).
//!
//! # "expected `CancellationToken`, found .."
//!
//! `.cancel_on(..)` is for tokens. A future that ends the run, such as `ctrl_c()` or `receiver.recv()`, is for
//! `.cancel_when(future)`.
//!
//! # "the trait bound `anyhow::Error: std::error::Error` is not satisfied", at `{last}`
//!
//! What an attempt did displays where its error is a `std::error::Error`. For others say
//! [`last.sentence()`](crate::Last::sentence).
//!
//! # "closure is expected to take 1 argument, but it takes 2", at `.notify(..)`
//!
//! A listener hears [`Event`](crate::events::Event)s. One line has the error and the pause: [words for the
//! log](super#words-for-the-log).
