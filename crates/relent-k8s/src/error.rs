//! The error of a call to an API server, for an operator.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use kube::core::Status;
use relent::Decision;

use super::{
    advice::advice,
    chain::{chain, root},
    class::{ErrorClass, classify, is_no_status, retry_after},
    refusal,
    target::Target,
};

/// A `kube::Error` that an operator can act on.
///
/// Its text says of what object, where that is known, what happened in the server's words or those of the connection's
/// root cause, and ends with what to do, where there is something to do. Because it has told the causes, it has no
/// [`source`](std::error::Error::source); [`get_ref`](Self::get_ref) is the `kube::Error`.
///
/// ```
/// let missing = kube::core::Status::failure("configmaps \"kube-proxy\" is forbidden", "Forbidden").with_code(403);
/// let error = relent_k8s::ApiError::from(kube::Error::Api(missing.boxed()));
/// assert!(error.is_forbidden());
/// assert_eq!(
///     error.to_string(),
///     "configmaps \"kube-proxy\" is forbidden: grant this right with a Role and a RoleBinding \
///      (`kubectl auth can-i` tells who has it), or use other credentials",
/// );
/// ```
pub struct ApiError {
    cause: kube::Error,
    about: About,
    refused_for: Option<Duration>,
}

/// What the `kube::Error` does not know.
enum About {
    Nothing,
    /// A call about this.
    Target(Arc<Target>),
    /// This kubeconfig.
    File(PathBuf),
}

impl ApiError {
    /// The error of a call about this object: its text names it where the server's words do not.
    ///
    /// ```
    /// let cause = || kube::Error::Api(kube::core::Status::failure("the server is busy", "ServiceUnavailable").boxed());
    /// let error = relent_k8s::ApiError::of(cause(), "configmaps", "kube-proxy", Some("kube-system"));
    /// assert_eq!(error.to_string(), "configmaps \"kube-proxy\" in the namespace \"kube-system\": the server is busy");
    /// assert_eq!(relent_k8s::ApiError::from(cause()).to_string(), "the server is busy");
    /// ```
    #[must_use]
    pub fn of(cause: kube::Error, resource: &str, name: &str, namespace: Option<&str>) -> Self {
        Self::about(cause, Arc::new(Target::of(resource, name, namespace)))
    }

    pub(super) fn about(cause: kube::Error, target: Arc<Target>) -> Self {
        Self { cause, about: About::Target(target), refused_for: None }
    }

    pub(super) fn in_file(cause: kube::Error, file: PathBuf) -> Self {
        Self { cause, about: About::File(file), refused_for: None }
    }

    /// The same as the latest of refusals that have gone on for so long.
    pub(super) fn refused_since(self, lasted: Duration) -> Self {
        Self { refused_for: Some(lasted), ..self }
    }

    /// What it means for the next call.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        ErrorClass::of(&self.cause)
    }

    /// What should follow: by [`classify`], save that a [refusal](Self::is_refusal) that has not lasted for 2 s is
    /// tried again.
    ///
    /// A server that has just started refuses every user for a moment. Errors of this crate's callers know for how long
    /// their calls have been refused; one that is made from a `kube::Error` does not, and a refusal is final then.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self.refused_for.map(refusal::pause) {
            Some(Some(pause)) => Decision::RetryAfter(pause),
            Some(None) => Decision::Fatal,
            None => classify(&self.cause),
        }
    }

    /// The same where the call begins with another look: a conflict (409) is over then, and what had expired (410) is
    /// read anew.
    pub(super) fn decision_with_a_look(&self) -> Decision {
        match &self.cause {
            kube::Error::Api(status) if status.code == 410 => Decision::Retry,
            _ if self.class() == ErrorClass::Conflict => Decision::Retry,
            _ => self.decision(),
        }
    }

    /// Whether the server refuses what it may allow, or know, a moment later: 401, 403, and a 404 that does not name
    /// the object, such as that of a kind whose definition is not there yet. So may what is not the API server's own
    /// word: an answer that cannot be read as what was asked for, or another 4xx that is no `Status`, as from a proxy.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_unauthorized()
            || self.is_forbidden()
            || matches!(self.not_found(), Some(status) if !names_object(status))
            || is_not_of_the_api(&self.cause)
    }

    /// For how long by now calls of this kind had been refused, without another answer between, when this error came.
    #[must_use]
    pub fn refused_for(&self) -> Option<Duration> {
        self.refused_for
    }

    /// How long the server asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.cause)
    }

    /// What an operator can do about it, if there is something to do.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let place = matches!(&self.about, About::Target(target) if target.namespace.is_some());
        advice(&self.cause).or_else(|| {
            self.is_not_found().then_some(if place {
                "check the name, and that the namespace exists"
            } else {
                "check the name"
            })
        })
    }

    /// Whether the object is not there: a 404 that names it. One that does not is of a path, a kind or a version that
    /// the server does not know.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.not_found().is_some_and(names_object)
    }

    fn not_found(&self) -> Option<&Status> {
        match &self.cause {
            kube::Error::Api(status) if status.is_not_found() || status.code == 404 => Some(status),
            _ => None,
        }
    }

    /// Whether the caller is known and may not do this: 403.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.cause, kube::Error::Api(status) if status.is_forbidden() || status.code == 403)
    }

    /// Whether the caller is not known: 401.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(&self.cause, kube::Error::Api(status) if status.code == 401)
    }

    /// The error as `kube` gave it.
    #[must_use]
    pub fn get_ref(&self) -> &kube::Error {
        &self.cause
    }

    /// The error as `kube` gave it, by value.
    #[must_use]
    pub fn into_inner(self) -> kube::Error {
        self.cause
    }
}

impl From<kube::Error> for ApiError {
    fn from(cause: kube::Error) -> Self {
        Self { cause, about: About::Nothing, refused_for: None }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = String::new();
        write_cause(&mut words, &self.cause)?;
        match &self.about {
            About::Nothing => f.write_str(&words)?,
            About::File(path) => write!(f, "kubeconfig {}: {words}", path.display())?,
            About::Target(target) if target.is_named_in(&words) => {
                f.write_str(&words)?;
                if let Some(namespace) = &target.namespace
                    && self.is_not_found()
                    && !says_namespace(&self.cause)
                {
                    write!(f, " in the namespace \"{namespace}\"")?;
                }
            }
            About::Target(target) => write!(f, "{target}: {words}")?,
        }
        if let Some(lasted) = self.refused_for.filter(|lasted| !lasted.is_zero()) {
            write!(f, " (refused for {lasted:?})")?;
        }
        if let Some(pause) = self.retry_after() {
            write!(f, " (come back in {} s)", pause.as_secs())?;
        }
        match self.advice() {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

/// Whether it is about the namespace itself, or about a path that the server does not know.
fn says_namespace(cause: &kube::Error) -> bool {
    let kube::Error::Api(status) = cause else { return false };
    matches!(status.details.as_ref().map(|details| details.kind.as_str()), None | Some("" | "namespaces"))
}

/// What happened, without the wrappings that say nothing.
fn write_cause(f: &mut impl fmt::Write, cause: &kube::Error) -> fmt::Result {
    match cause {
        kube::Error::Api(status) => {
            f.write_str(&said(status))?;
            // Where the text is no `Status`, what it is worth is in the code.
            let is_known = kube::core::response::reason::is_known(&status.reason);
            if is_known || status.code == 0 || status.message.trim().is_empty() {
                Ok(())
            } else {
                write!(f, " ({})", status.code)
            }
        }
        kube::Error::BuildRequest(kube::core::request::Error::Validation(text)) => f.write_str(text),
        kube::Error::FromUtf8(_) => f.write_str("the server's answer is no text"),
        kube::Error::SerdeError(error) if !error.is_data() => {
            write!(f, "the server's answer is no JSON, or was cut off: {error}")
        }
        kube::Error::Service(error) => write_connection(f, &**error),
        kube::Error::HyperError(error) => write_connection(f, error),
        // Of a file that cannot be parsed it would show a whole piece.
        kube::Error::InferKubeconfig(error) => f.write_str(error.to_string().lines().next().unwrap_or_default()),
        other => write!(f, "{}", relent::error::chain(other)),
    }
}

/// How much is told of an answer that is no `Status`: it may be a whole page.
const MOST: usize = 200;

/// What a server said, on one line.
pub(super) fn said(status: &Status) -> String {
    let mut words = status.message.split_whitespace().collect::<Vec<_>>().join(" ");
    if is_no_status(status)
        && let Some((end, _)) = words.char_indices().nth(MOST)
    {
        words.truncate(end);
        words.push_str(" ..");
        return words;
    }
    // A server's sentence may have a full stop; this one goes on.
    words.truncate(words.trim_end_matches('.').len());
    match (words.is_empty(), status.code, status.reason.as_str()) {
        (false, ..) => words,
        // Any JSON object is a `Status` to `kube`, which leaves the code out then.
        (true, 0, _) => "the server answered with an error that is no Status".to_owned(),
        (true, code, "") => format!("the server answered {code} without a word"),
        (true, code, _) if is_no_status(status) => format!("the server answered {code} without a word"),
        (true, code, reason) => format!("the server answered {code} {reason}"),
    }
}

/// Whether an answer is none of an API server's: plain text, a page, nothing that can be read.
fn is_not_of_the_api(cause: &kube::Error) -> bool {
    match cause {
        kube::Error::Api(status) => {
            is_no_status(status) && (200..500).contains(&status.code) && !matches!(status.code, 408 | 429)
        }
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => true,
        _ => false,
    }
}

/// Whether a status says which object it is about.
fn names_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// A connection's error is said by its root, which may need the words around it: `dns error: failed to lookup ..`.
fn write_connection(f: &mut impl fmt::Write, error: &(dyn std::error::Error + 'static)) -> fmt::Result {
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        return write_cause(f, error);
    }
    let root = root(error);
    if !chain(error).any(|error| error.to_string().starts_with("client error (Connect)")) {
        return write!(f, "no answer from the server: {root}");
    }
    write!(f, "no connection to the server: {root}")
}

debug_as_display!(ApiError);

impl std::error::Error for ApiError {}
