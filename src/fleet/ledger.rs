//! What a ledger is: one text that is read, and written only over the version that was read.

use std::{
    error::Error,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use crate::policy::nanos::Written;

/// A place for one text that all members of a fleet read and write: a key of etcd, a ConfigMap, a row of a database.
///
/// The rules that an implementation must keep:
/// - `compare_and_swap` writes only if the text still has the version `over` (or there is none, without one). Otherwise
///   it answers [`LedgerError::conflict`].
/// - The version grows with every write, over a deletion of the text as well.
/// - `read` answers what the last write before its begin has left, or something later. One that may answer an older
///   state is safe too, and costs conflicts.
pub trait Ledger: Send + Sync + 'static {
    /// What the ledger is called in messages.
    fn name(&self) -> String;

    /// The text as it is now; `None` when there is none.
    fn read(&self) -> impl Future<Output = Result<Option<Stored>, LedgerError>> + Send;

    /// Writes over the version that was read, `None`: creates the text. Answers the new version.
    fn compare_and_swap(
        &self,
        over: Option<u128>,
        text: String,
    ) -> impl Future<Output = Result<u128, LedgerError>> + Send;

    /// Reports changes of the text. Late, repeated and lost reports are harmless; with them a crash is noticed earlier,
    /// and shares move earlier. A stream that ends is opened again a period later. Default: one that ends at once.
    fn watch(&self) -> StoredStream {
        Box::pin(NoReports(PhantomData))
    }
}

/// What is reported of a text: its states.
pub type StoredStream = Pin<Box<dyn Stream<Item = Stored> + Send>>;

/// A text as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Grows with every write.
    pub version: u128,
    /// What was written.
    pub text: String,
}

impl Stored {
    /// A text and its version.
    #[must_use]
    pub fn new(version: u128, text: impl Into<String>) -> Self {
        Self { version, text: text.into() }
    }
}

/// Why a call of a ledger failed. It stands for its [cause](Self::cause), and its text tells the whole chain of causes;
/// so it has no source.
#[derive(Clone)]
pub struct LedgerError {
    conflict: bool,
    cause: Arc<dyn Error + Send + Sync>,
}

impl LedgerError {
    /// The text had another version.
    pub fn conflict(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { conflict: true, cause: cause.into().into() }
    }

    /// No answer, a refusal, or anything else: a write may or may not have been done.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { conflict: false, cause: cause.into().into() }
    }

    pub(super) fn timeout(after: Duration) -> Self {
        Self::unavailable(format!("no answer within {}", Written(after)))
    }

    /// Another member wrote first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.conflict
    }

    /// The error underneath.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

/// The text: `unwrap()` and `fn main() -> Result` show it.
impl fmt::Debug for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::error::chain(&*self.cause).fmt(f)
    }
}

impl Error for LedgerError {}

/// Several fleets may share one ledger's connection.
impl<L: Ledger> Ledger for Arc<L> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn read(&self) -> impl Future<Output = Result<Option<Stored>, LedgerError>> + Send {
        (**self).read()
    }

    fn compare_and_swap(
        &self,
        over: Option<u128>,
        text: String,
    ) -> impl Future<Output = Result<u128, LedgerError>> + Send {
        (**self).compare_and_swap(over, text)
    }

    fn watch(&self) -> StoredStream {
        (**self).watch()
    }
}

struct NoReports(PhantomData<fn()>);

impl Stream for NoReports {
    type Item = Stored;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Stored>> {
        Poll::Ready(None)
    }
}
