//! The builders of the verbs and their futures. They are named only where a run has to stand in a struct or in a signature.

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
        controls::{Admission, Control, Controls, Queued, Share, Until},
        retries::{Counted, Retries},
    },
    settle::{Settle, SettleFuture},
};
