//! What a lock is: one record that is read, and written only over the version that was read.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use crate::error::ConfigError;

/// A record that candidates contend for.
///
/// The rules that an implementation must keep:
/// - `write` changes the record only if it still has the version of `over` (or is missing, without one). Otherwise it
///   answers [`LockError::conflict`], and has written nothing.
/// - The version grows with every write, over a deletion of the lock as well.
/// - The heartbeat changes with every write that takes or renews and with every creation of the record, even one that
///   brings back what was there before a deletion; and with nothing else.
/// - A duration is never written shorter than it was asked for.
///
/// # Which record is its own
/// A record that bears this identity need not be this candidate's: another process may have the same one. An election
/// takes a record for its own only if a write of its own was confirmed with that version, or if the record shows the
/// [mark](Record::mark) of a write whose outcome is unknown. Without marks the election is as safe, but each answer
/// that is lost while the write was done costs it a term, or a lease of waiting. So a lock that can keep a number
/// beside the holder should override [`prepare`](Self::prepare): it draws a random mark for each write, stores it with
/// the record, and gives it back with each [`Record`]. Where there is no room for a number, one that is computed of
/// what the write leaves will do (a Lease's times), if no two writes leave the same. A lock that wraps another passes
/// `prepare` and `watch` on as well.
pub trait Lock: Send + Sync + 'static {
    /// What has to be kept from a read for the next write.
    type Object: Clone + Send + Sync + 'static;

    /// What the lock is called in messages.
    fn name(&self) -> String;

    /// Whether the lock can hold a lease of this length.
    ///
    /// # Errors
    /// A lease that the record has no room for.
    fn admits(&self, lease: Duration) -> Result<(), ConfigError> {
        let _ = lease;
        Ok(())
    }

    /// The record as it is now; `None` when there is none. It must not come from a cache.
    fn read(&self) -> impl Future<Output = Result<Option<Record<Self::Object>>, LockError>> + Send;

    /// Writes over the record that was read, and answers what is there now.
    fn write(
        &self,
        over: Option<&Record<Self::Object>>,
        write: Write<'_>,
    ) -> impl Future<Output = Result<Record<Self::Object>, LockError>> + Send;

    /// The same write, not begun yet, with the mark by which a later read will know it. Default: none.
    fn prepare(&self, over: Option<&Record<Self::Object>>, write: Write<'_>) -> Option<Prepared<Self::Object>> {
        let _ = (over, write);
        None
    }

    /// Reports changes of the record, so that a release is noticed at once; a leader does not listen. Late, repeated
    /// and lost reports are harmless. While reports come in, a candidate hardly reads by itself; so a stream that can
    /// report nothing any more should end. It is opened again, a retry period later. Default: one that ends at once.
    fn watch(&self) -> RecordStream<Self::Object> {
        Box::pin(NoWatch(std::marker::PhantomData))
    }
}

/// What is reported of a record: its states, `None` where it was deleted.
pub type RecordStream<O> = Pin<Box<dyn Stream<Item = Option<Record<O>>> + Send>>;

/// A record as it was read: made by [`new`](Self::new) and [`held_by`](Self::held_by).
///
/// ```
/// use std::time::Duration;
/// use relent::leader::Record;
///
/// let record = Record::new(7, "the row").held_by("worker-7f3a", Duration::from_secs(15), 3);
/// assert_eq!((record.version, record.holder.as_str()), (7, "worker-7f3a"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<O> {
    /// Grows with every write.
    pub version: u128,
    /// Changes with every write that takes or renews, and with every creation.
    pub heartbeat: u128,
    /// The identity of the holder; empty when it was released.
    pub holder: String,
    /// How long others have to leave it alone after they saw its heartbeat change. Of a record without a holder: zero
    /// if it was released, and any candidate may take it at once. Otherwise it was emptied by hand, perhaps under a
    /// leader, and it is left alone for a lease.
    pub lease: Duration,
    /// The mark of the write that left holder and heartbeat as they are, as it was [prepared](Lock::prepare); `None` if
    /// it had none.
    pub mark: Option<u64>,
    /// What the lock needs in order to write over it.
    pub object: O,
}

impl<O> Record<O> {
    /// A record without a holder.
    #[must_use]
    pub fn new(version: u128, object: O) -> Self {
        Self { version, heartbeat: 0, holder: String::new(), lease: Duration::ZERO, mark: None, object }
    }

    /// The same, left by the write with this mark.
    #[must_use]
    pub fn marked(mut self, mark: u64) -> Self {
        self.mark = Some(mark);
        self
    }

    /// The same, held by this holder; for how long others have to leave it alone, and the heartbeat.
    #[must_use]
    pub fn held_by(mut self, holder: impl Into<String>, lease: Duration, heartbeat: u128) -> Self {
        (self.holder, self.lease, self.heartbeat) = (holder.into(), lease, heartbeat);
        self
    }
}

/// A write that was not begun yet: made by [`Lock::prepare`].
#[must_use = "a write does nothing until it is awaited"]
pub struct Prepared<O> {
    mark: u64,
    write: Pin<Box<dyn Future<Output = Result<Record<O>, LockError>> + Send>>,
}

impl<O> Prepared<O> {
    /// `write` leaves a record that is read back with this mark, until another write has changed it.
    pub fn new(mark: u64, write: impl Future<Output = Result<Record<O>, LockError>> + Send + 'static) -> Self {
        Self { mark, write: Box::pin(write) }
    }

    /// By which mark a later read will know it.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// The write itself.
    #[must_use]
    pub fn into_write(self) -> Pin<Box<dyn Future<Output = Result<Record<O>, LockError>> + Send>> {
        self.write
    }
}

impl<O> fmt::Debug for Prepared<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a lock must know every write")]
pub enum Write<'a> {
    /// The record becomes this holder's.
    Take {
        /// Its identity.
        holder: &'a str,
        /// For how long others have to leave it alone.
        lease: Duration,
    },
    /// The holder goes on.
    Renew {
        /// Its identity.
        holder: &'a str,
        /// For how long others have to leave it alone.
        lease: Duration,
    },
    /// The record has no holder any more.
    Release,
}

/// Why a call of a lock failed. It stands for its [cause](Self::cause), and its text tells the whole chain of causes;
/// so it has no source.
#[derive(Clone)]
pub struct LockError {
    kind: Kind,
    cause: Arc<dyn Error + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Conflict,
    Unavailable,
    Fatal,
}

#[derive(Debug)]
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Text {}

impl LockError {
    /// The record had another version: nothing was written.
    pub fn conflict(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Conflict, cause.into())
    }

    /// No answer, or one that may pass: a write may or may not have been done.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Unavailable, cause.into())
    }

    /// A refusal: no right, no such place, a record that cannot be read. Servers that have just started refuse what
    /// they will allow a moment later, so it ends a campaign only if no call of the run has ever succeeded, and it has
    /// lasted for a whole lease.
    pub fn fatal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Fatal, cause.into())
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        let after = crate::policy::nanos::Written(after);
        Self::unavailable(Text(format!("no answer within {after}")))
    }

    fn new(kind: Kind, cause: Box<dyn Error + Send + Sync>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// Another writer was faster.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }

    /// The lock refuses: as things stand, the same call will get the same answer.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.kind == Kind::Fatal
    }

    /// The error underneath.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

/// The text: `unwrap()` and `fn main() -> Result` show it.
impl fmt::Debug for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::error::chain(&*self.cause).fmt(f)
    }
}

impl Error for LockError {}

/// Several candidates, or a candidate and a [`watch`](super::watch()), may share one lock.
impl<L: Lock> Lock for Arc<L> {
    type Object = L::Object;

    fn name(&self) -> String {
        (**self).name()
    }

    fn admits(&self, lease: Duration) -> Result<(), ConfigError> {
        (**self).admits(lease)
    }

    fn read(&self) -> impl Future<Output = Result<Option<Record<Self::Object>>, LockError>> + Send {
        (**self).read()
    }

    fn write(
        &self,
        over: Option<&Record<Self::Object>>,
        write: Write<'_>,
    ) -> impl Future<Output = Result<Record<Self::Object>, LockError>> + Send {
        (**self).write(over, write)
    }

    fn prepare(&self, over: Option<&Record<Self::Object>>, write: Write<'_>) -> Option<Prepared<Self::Object>> {
        (**self).prepare(over, write)
    }

    fn watch(&self) -> RecordStream<Self::Object> {
        (**self).watch()
    }
}

struct NoWatch<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Stream for NoWatch<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(None)
    }
}
