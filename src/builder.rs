//! The builders of the verbs and their futures. They are named only where a run has to stand in a struct or in a
//! signature.

use crate::blocking::{BlockingPolling, BlockingRetry};
pub use crate::{
    cursor::{AttemptLoop, NextAttempt},
    ensure::{Ensure, EnsureFuture},
    failure::{Said, WithFailure, WithFailureFuture},
    mapped::{Boxed, BoxedFuture, WithSource, WithSourceFuture},
    poll::{Polling, PollingFuture},
    profile::{BoxClassify, BoxListener, ErasedProfile},
    report::{Reported, Reports, WithReport, WithReportFuture},
    retry::{Retry, RetryFuture},
    run::{
        cancel::CancelWait,
        controls::{Admission, Control, Controls, Queued, Share, Until},
        retries::{Counted, Retries},
    },
    settle::{Settle, SettleFuture},
};

/// What may be said last, on every verb and on its form for threads.
macro_rules! last_words {
    ($($builder:ident),+) => {$(
        impl<O, W, L, G> $builder<O, W, L, G> {
            /// For errors that are no [`Error`](std::error::Error), such as `anyhow::Error`, boxed errors and strings:
            /// the error of the run is one. Only `with_report` and `chained` may follow. See
            /// [`GaveUp::boxed`](crate::GaveUp::boxed).
            pub fn boxed(self) -> Boxed<Self> {
                Boxed(self)
            }

            /// The value with a report: how many attempts it took, and how long. Only `boxed` and `chained` may follow.
            /// See [`Reported`].
            pub fn with_report(self) -> WithReport<Self> {
                WithReport(self)
            }

            /// The error as the source of what is returned, and not in its text: for code that looks for an error of
            /// its own in the sources. The last word of the builder. See [`GaveUp::chained`](crate::GaveUp::chained).
            pub fn chained(self) -> WithSource<Self> {
                WithSource(self)
            }
        }
    )+};
}

last_words!(Retry, Polling, Settle, Ensure, BlockingRetry, BlockingPolling);
