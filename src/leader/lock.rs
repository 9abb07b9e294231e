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

use crate::ConfigError;

/// A record that candidates contend for.
///
/// The rules that an implementation must keep:
/// - `write` changes the record only if it still has the version of `over` (or is missing, without one). Otherwise it
///   answers [`LockError::conflict`], and has written nothing.
/// - The version grows with every write, over a deletion of the lock as well.
/// - The beat changes with every write that takes or renews and with every creation of the record, even one that brings
///   back what was there before a deletion; and with nothing else.
/// - A duration is never written shorter than it was asked for.
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
    fn read(&self) -> impl Future<Output = Result<Option<Seen<Self::Object>>, LockError>> + Send;

    /// Writes over the record that was read, and answers what is there now.
    fn write(
        &self,
        over: Option<&Seen<Self::Object>>,
        put: Put<'_>,
    ) -> impl Future<Output = Result<Seen<Self::Object>, LockError>> + Send;

    /// Reports changes of the record, so that a release is noticed at once; a candidate that leads does not listen. Late,
    /// repeated and lost reports are harmless. When the stream ends it is opened again, a retry period later. Default:
    /// no reports.
    fn changes(&self) -> Reports<Self::Object> {
        Box::pin(Never(std::marker::PhantomData))
    }
}

/// What is reported of a record: its states, `None` where it was deleted.
pub type Reports<O> = Pin<Box<dyn Stream<Item = Option<Seen<O>>> + Send>>;

/// A record as it was read: made by [`new`](Self::new) and [`held`](Self::held).
///
/// ```
/// use std::time::Duration;
/// use relent::leader::Seen;
///
/// let seen = Seen::new(7, "the row").held("worker-7f3a", Duration::from_secs(15), 3);
/// assert_eq!((seen.version, seen.holder.as_str()), (7, "worker-7f3a"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen<O> {
    /// Grows with every write.
    pub version: u128,
    /// Changes with every write that takes or renews, and with every creation.
    pub beat: u128,
    /// Whose it is; empty when it was released.
    pub holder: String,
    /// How long others have to leave it alone after they saw its beat change.
    pub lease: Duration,
    /// What the lock needs in order to write over it.
    pub object: O,
}

impl<O> Seen<O> {
    /// A record that nobody holds.
    #[must_use]
    pub fn new(version: u128, object: O) -> Self {
        Self { version, beat: 0, holder: String::new(), lease: Duration::ZERO, object }
    }

    /// The same, held: by whom, for how long others have to leave it alone, and by which beat.
    #[must_use]
    pub fn held(mut self, holder: impl Into<String>, lease: Duration, beat: u128) -> Self {
        (self.holder, self.lease, self.beat) = (holder.into(), lease, beat);
        self
    }
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Put<'a> {
    /// The record becomes this holder's.
    Take {
        /// Who.
        holder: &'a str,
        /// For how long others have to leave it alone.
        lease: Duration,
    },
    /// The holder goes on.
    Renew {
        /// Who.
        holder: &'a str,
        /// For how long others have to leave it alone.
        lease: Duration,
    },
    /// The record becomes nobody's.
    Release,
}

/// Why a call of a lock failed.
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

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Text(String);

impl LockError {
    /// The record had another version: nothing was written.
    pub fn conflict(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Conflict, cause.into())
    }

    /// No answer, or one that may pass: a write may or may not have been done.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Unavailable, cause.into())
    }

    /// No campaign will ever get past this: no right, no such place, a record that cannot be read.
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

    /// Somebody else wrote first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }

    /// It will not pass.
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

impl fmt::Debug for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockError").field("kind", &self.kind).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

/// It stands for its cause, so its source is the cause's.
impl Error for LockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// Several candidates, or a candidate and a [`watch`](super::watch()), may share one lock.
impl<L: Lock> Lock for Arc<L> {
    type Object = L::Object;

    fn name(&self) -> String {
        (**self).name()
    }

    fn admits(&self, lease: Duration) -> Result<(), ConfigError> {
        (**self).admits(lease)
    }

    fn read(&self) -> impl Future<Output = Result<Option<Seen<Self::Object>>, LockError>> + Send {
        (**self).read()
    }

    fn write(
        &self,
        over: Option<&Seen<Self::Object>>,
        put: Put<'_>,
    ) -> impl Future<Output = Result<Seen<Self::Object>, LockError>> + Send {
        (**self).write(over, put)
    }

    fn changes(&self) -> Reports<Self::Object> {
        (**self).changes()
    }
}

struct Never<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Stream for Never<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Pending
    }
}
