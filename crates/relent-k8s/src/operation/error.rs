//! Why an operation is not under way, or has not finished.

use relent::Decision;

use crate::ApiError;

/// Why an operation is not under way, or has not finished.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LongOperationError {
    /// The API server could not be asked, or refused.
    #[error("{call} {name}: {error}")]
    Api {
        /// `get` or `patch`.
        call: &'static str,
        /// The name of the object.
        name: String,
        /// What came of it, and what to do about it.
        error: Box<ApiError>,
    },
    /// There is an earlier trigger that the controller has not taken away.
    #[error("{name}: annotation {annotation}={value} of another operation is still set")]
    #[non_exhaustive]
    Occupied {
        /// The name of the object.
        name: String,
        /// The annotation.
        annotation: String,
        /// Its value.
        value: String,
    },
    /// Another operation was triggered since, or the token was taken away.
    #[error("{name}: {}", match found {
        Some(found) => format!("another operation was triggered since: {annotation} is {found:?}, not {expected:?}"),
        None => format!("the token was taken away: {annotation} is not there any more, it was {expected:?}"),
    })]
    #[non_exhaustive]
    Superseded {
        /// The name of the object.
        name: String,
        /// The annotation or field with the token.
        annotation: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Option<String>,
    },
    /// The controller says that it has failed: [`Contract::fails_on`](super::Contract::fails_on).
    #[error("the operation on {name} has failed: {why}")]
    #[non_exhaustive]
    Failed {
        /// The name of the object.
        name: String,
        /// The condition that says so.
        why: String,
    },
    /// The object is being deleted.
    #[error("{0} is being deleted")]
    Deleting(String),
    /// The object was deleted since the trigger.
    #[error("{0} was deleted since the operation was triggered")]
    Deleted(String),
    /// The object was deleted and created anew since the trigger, which is gone with it.
    #[error("{0} was deleted and created anew since the operation was triggered")]
    Replaced(String),
}

debug_as_display!(LongOperationError);

impl LongOperationError {
    /// Whether a later try may mend it: by [`ApiError::decision`], save that what has changed under the patch is looked
    /// at again.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            Self::Api { error, .. } if is_failed_test(error) => Decision::Retry,
            Self::Api { error, .. } => error.decision_with_a_look(),
            Self::Occupied { .. } => Decision::Retry,
            Self::Superseded { .. }
            | Self::Failed { .. }
            | Self::Deleting(_)
            | Self::Deleted(_)
            | Self::Replaced(_) => Decision::Fatal,
        }
    }
}

/// A JSON patch one of whose tests failed: 422, and unlike an object that is not valid it names none.
fn is_failed_test(error: &ApiError) -> bool {
    let kube::Error::Api(status) = error.get_ref() else { return false };
    status.code == 422
        && status.reason == "Invalid"
        && status.details.as_ref().is_none_or(|details| details.name.is_empty() && details.causes.is_empty())
}
