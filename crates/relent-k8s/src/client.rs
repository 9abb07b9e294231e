//! Clients that do what they are asked once, and leave the retries to the caller.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{error::ApiError, retry_after::RetryAfterLayer};

/// The most that making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client without retries of its own.
///
/// - `default_retry` is off: a `kube::Client` otherwise repeats 429, 503 and 504 up to 15 times *inside* a call, for
///   minutes.
/// - A connection is given up after 5 s, or sooner if `config` says so; `kube`'s own default is 30 s.
/// - The header `Retry-After` is kept, see [`RetryAfterLayer`].
/// - There is still no limit for an answer, because watches are answers too: give each call an
///   [`attempt_timeout`](relent::builder::Retry::attempt_timeout). [`get`](super::get()) does.
///
/// # Errors
/// When the configuration cannot be used: a certificate or a key that is no PEM, a proxy that is not supported.
///
/// # Panics
/// Outside of a tokio runtime: `kube::Client` runs a task.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), relent_k8s::ApiError> {
/// let config = kube::Config::new(http::Uri::from_static("http://127.0.0.1:8080"));
/// let client = relent_k8s::client(config)?;
/// # drop(client); Ok(()) }
/// ```
pub fn client(mut config: Config) -> Result<Client, ApiError> {
    config.default_retry = false;
    config.connect_timeout = Some(config.connect_timeout.unwrap_or(CONNECT).min(CONNECT));
    Ok(ClientBuilder::try_from(config)?.with_layer(&RetryAfterLayer).build())
}

/// A client as of [`client`], for the cluster that `KUBECONFIG` or `~/.kube/config` names, or else the one that this
/// pod runs in.
///
/// # Errors
/// When there is no configuration or it is broken: the error says what is wrong with it and what to do.
///
/// # Panics
/// As [`client`].
///
/// ```no_run
/// # async fn example() -> Result<(), relent_k8s::ApiError> {
/// let client = relent_k8s::inferred_client().await?;
/// # drop(client); Ok(()) }
/// ```
pub async fn inferred_client() -> Result<Client, ApiError> {
    client(Config::infer().await.map_err(kube::Error::InferConfig)?)
}

/// A client as of [`client`], for the current context of this kubeconfig.
///
/// # Errors
/// When the file cannot be read or is broken: the error names the file, says what is wrong with it and what to do.
///
/// # Panics
/// As [`client`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let error = relent_k8s::client_from("/no/such/file").await.err().unwrap();
/// assert!(error.to_string().starts_with("kubeconfig /no/such/file: "));
/// assert!(error.to_string().ends_with("check that the file exists and that this user may read it"));
/// # }
/// ```
pub async fn client_from(kubeconfig: impl AsRef<Path>) -> Result<Client, ApiError> {
    let path = kubeconfig.as_ref();
    let about = |error: kube::Error| ApiError::in_file(error, path.to_owned());
    let file = Kubeconfig::read_from(path).map_err(|error| about(error.into()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    client(config.map_err(|error| about(error.into()))?).map_err(|error| about(error.into_inner()))
}
