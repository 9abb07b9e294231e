//! The error of a call to an API server, for an operator.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    advice::advice,
    chain::{chain, root},
    class::{Class, retry_after},
};

/// A `kube::Error` that an operator can act on.
///
/// Its text says what happened in the server's words or those of the connection's root cause, and ends with what to do, where
/// there is something to do. [`source`](std::error::Error::source) is the `kube::Error`.
///
/// ```
/// let missing = kube::core::Status::failure("configmaps \"kube-proxy\" is forbidden", "Forbidden").with_code(403);
/// let error = relent::k8s::Error::from(kube::Error::Api(missing.boxed()));
/// assert!(error.is_forbidden());
/// assert_eq!(
///     error.to_string(),
///     "configmaps \"kube-proxy\" is forbidden: grant this right with a Role and a RoleBinding \
///      (`kubectl auth can-i` tells who has it), or use other credentials",
/// );
/// ```
#[derive(Debug)]
pub struct Error {
    cause: kube::Error,
    about: About,
}

/// What the `kube::Error` does not know.
#[derive(Debug)]
enum About {
    Nothing,
    /// A call in this namespace.
    Namespace(Box<str>),
    /// This kubeconfig.
    File(PathBuf),
}

impl Error {
    pub(super) fn in_namespace(cause: kube::Error, namespace: Option<&str>) -> Self {
        Self { cause, about: namespace.map_or(About::Nothing, |namespace| About::Namespace(namespace.into())) }
    }

    pub(super) fn in_file(cause: kube::Error, file: PathBuf) -> Self {
        Self { cause, about: About::File(file) }
    }

    /// What it means for the next call.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::of(&self.cause)
    }

    /// How long the server asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.cause)
    }

    /// What an operator can do about it, if there is something to do.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        let place = matches!(self.about, About::Namespace(_));
        advice(&self.cause).or_else(|| {
            self.is_not_found().then_some(if place {
                "check the name, and that the namespace exists"
            } else {
                "check the name"
            })
        })
    }

    /// Whether the object is not there: 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&self.cause, kube::Error::Api(status) if status.is_not_found())
    }

    /// Whether the caller is known and may not do this: 403.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.cause, kube::Error::Api(status) if status.is_forbidden())
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

impl From<kube::Error> for Error {
    fn from(cause: kube::Error) -> Self {
        Self { cause, about: About::Nothing }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let About::File(path) = &self.about {
            write!(f, "kubeconfig {}: ", path.display())?;
        }
        write_cause(f, &self.cause)?;
        if let About::Namespace(namespace) = &self.about
            && self.is_not_found()
            && !says_namespace(&self.cause)
        {
            write!(f, " in the namespace \"{namespace}\"")?;
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
fn write_cause(f: &mut fmt::Formatter<'_>, cause: &kube::Error) -> fmt::Result {
    match cause {
        kube::Error::Api(status) if status.message.is_empty() => {
            write!(f, "the server answered {} {}", status.code, status.reason)
        }
        kube::Error::Api(status) => {
            // A server's sentence may have a full stop; this one goes on.
            f.write_str(status.message.trim_end_matches('.'))?;
            // Where the text is no `Status`, what it is worth is in the code.
            if kube::core::response::reason::is_known(&status.reason) {
                Ok(())
            } else {
                write!(f, " ({})", status.code)
            }
        }
        kube::Error::Service(error) => write_connection(f, &**error),
        kube::Error::HyperError(error) => write_connection(f, error),
        // Of a file that cannot be parsed it would show a whole piece.
        kube::Error::InferKubeconfig(error) => f.write_str(error.to_string().lines().next().unwrap_or_default()),
        other => write!(f, "{other}"),
    }
}

/// A connection's error is said by its root, which may need the words around it: `dns error: failed to lookup ..`.
fn write_connection(f: &mut fmt::Formatter<'_>, error: &(dyn std::error::Error + 'static)) -> fmt::Result {
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        return write_cause(f, error);
    }
    let root = root(error);
    if !chain(error).any(|error| error.to_string().starts_with("client error (Connect)")) {
        return write!(f, "no answer from the server: {root}");
    }
    write!(f, "no connection to the server: {root}")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
