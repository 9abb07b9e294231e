//! What an operator can do about an error: one sentence each.

use std::{error::Error, io::ErrorKind};

use kube::{
    config::{InferConfigError, KubeconfigError},
    core::Status,
};

use super::{
    chain::{chain, io_kind, says},
    class::{has_cause, is_certificate, is_not_tls, is_unconnected, is_unknown_host},
};

/// What to do, if there is something to do.
pub(super) fn advice(error: &kube::Error) -> Option<&'static str> {
    match error {
        kube::Error::Api(status) => on_status(status),
        kube::Error::Service(error) => on_connection(&**error),
        kube::Error::HyperError(error) => on_connection(error),
        kube::Error::ReadEvents(error) => on_connection(error),
        kube::Error::Auth(_) => Some(
            "check the user's entry in the kubeconfig: its token file, or the command that it runs for credentials",
        ),
        kube::Error::InferConfig(error) => Some(on_inference(error)),
        kube::Error::InferKubeconfig(error) => Some(on_kubeconfig(error)),
        kube::Error::SerdeError(_) => {
            Some("check that the type asked for is what the server has there, in that version of the API")
        }
        kube::Error::BuildRequest(_) => Some("check the name that was asked for"),
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => Some(
            "check the proxy's address in the kubeconfig and in HTTPS_PROXY, and the features that `kube` is built with",
        ),
        kube::Error::TlsRequired => Some("build `kube` with the feature `rustls-tls` or `openssl-tls`"),
        _ if is_about_tls(error) => {
            Some("check the certificates and the key in the kubeconfig: each must be valid PEM")
        }
        _ => None,
    }
}

/// The variants for TLS depend on the features of `kube`; their texts do not.
fn is_about_tls(error: &kube::Error) -> bool {
    let text = error.to_string();
    text.starts_with("rustls tls error") || text.starts_with("openssl tls error")
}

fn on_status(status: &Status) -> Option<&'static str> {
    let message = status.message.as_str();
    let reason =
        |reason: &str, code: u16| status.reason == reason || (status.code == code && status.reason.contains(' '));
    if has_cause(status, "NamespaceTerminating") {
        Some("wait until the namespace is gone and create it anew, or use another one")
    } else if reason("Forbidden", 403) && message.contains("exceeded quota") {
        Some("raise the namespace's ResourceQuota, or delete what is not needed")
    } else if reason("Forbidden", 403) {
        Some(
            "grant this right with a Role and a RoleBinding (`kubectl auth can-i` tells who has it), or use other credentials",
        )
    } else if reason("Unauthorized", 401) {
        Some(
            "renew the token or the client certificate: the server does not know the credentials, or they have expired",
        )
    } else if reason("NotFound", 404) {
        on_missing(status)
    } else if message.contains("field is immutable when `immutable` is set") {
        Some("delete the object and create it anew, or use a new name: what is marked immutable cannot be changed")
    } else if reason("RequestEntityTooLarge", 413) || is_too_large(message) {
        Some("split the data or keep it elsewhere: a ConfigMap or Secret holds at most 1 MiB, a request at most 3 MiB")
    } else if message.contains("HTTP request to an HTTPS server") {
        Some("write https:// in the server's address in the kubeconfig")
    } else {
        None
    }
}

/// In words that depend on the server's version: "must have at most 1048576 bytes", "may not be more than 1048576
/// bytes".
fn is_too_large(message: &str) -> bool {
    message.contains("Too long: ") && message.contains(" 1048576 bytes")
}

fn on_missing(status: &Status) -> Option<&'static str> {
    match status.details.as_ref().map(|details| details.kind.as_str()) {
        Some("namespaces") => Some("create the namespace first, or check its name"),
        Some("") | None => {
            Some("check that the server has this kind of object in this version (`kubectl api-resources`)")
        }
        Some(_) => None,
    }
}

fn on_connection(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        return advice(error);
    }
    if is_not_tls(error) {
        Some("check the server's address in the kubeconfig: what listens there does not speak TLS")
    } else if says(error, "invalid peer certificate: Expired") || says(error, "certificate expired") {
        Some("renew the server's certificate, and check the clocks of both machines")
    } else if says(error, "NotValidForName") || says(error, "not valid for name") {
        Some(
            "use a name or an address that the server's certificate contains, or set tls-server-name in the kubeconfig",
        )
    } else if is_certificate(error) {
        Some("check that certificate-authority in the kubeconfig is the authority of this very cluster")
    } else if is_unknown_host(error) {
        Some("check the server's name in the kubeconfig, and that this machine's DNS can resolve it")
    } else if io_kind(error) == Some(ErrorKind::ConnectionRefused) {
        Some("check that the API server runs, and its address and port in the kubeconfig")
    } else if is_unconnected(error) {
        Some("check the network between this machine and the API server: routes, firewalls, VPN, proxy")
    } else {
        None
    }
}

fn on_inference(error: &InferConfigError) -> &'static str {
    let file = chain(error).find_map(|error| error.downcast_ref::<KubeconfigError>());
    match file {
        Some(error) if !is_absent(error) => on_kubeconfig(error),
        _ => "set KUBECONFIG to a kubeconfig, or run this in a pod that has a service account",
    }
}

/// Whether there is no file at all, rather than a broken one.
fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

fn on_kubeconfig(error: &KubeconfigError) -> &'static str {
    match error {
        KubeconfigError::CurrentContextNotSet => "set current-context (`kubectl config use-context NAME`)",
        KubeconfigError::LoadContext(_) => {
            "set current-context to a context that the file has (`kubectl config get-contexts`)"
        }
        KubeconfigError::LoadClusterOfContext(_) => {
            "add the cluster that the context names, or name one that the file has"
        }
        KubeconfigError::FindPath => "set KUBECONFIG to a kubeconfig",
        KubeconfigError::ReadConfig(..) => "check that the file exists and that this user may read it",
        KubeconfigError::Parse(_) => {
            "correct the file: it must be the YAML of a kubeconfig (`kubectl config view` checks it)"
        }
        KubeconfigError::MissingClusterUrl => "set `server` in the cluster's entry",
        KubeconfigError::ParseClusterUrl(_) => "correct `server` in the cluster's entry: https://HOST:PORT",
        KubeconfigError::ParseProxyUrl(_) => "correct `proxy-url` in the cluster's entry",
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "correct certificate-authority or certificate-authority-data in the cluster's entry: PEM, base64 in the latter"
        }
        KubeconfigError::LoadClientCertificate(_) => {
            "correct client-certificate or client-certificate-data in the user's entry: PEM, base64 in the latter"
        }
        KubeconfigError::LoadClientKey(_) => {
            "correct client-key or client-key-data in the user's entry: PEM, base64 in the latter"
        }
        _ => "correct the kubeconfig, or set KUBECONFIG to another one",
    }
}
