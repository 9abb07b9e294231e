//! The calls of [`Cluster`], made with etcd-client.

use std::{
    collections::HashMap,
    error::Error as _,
    fmt,
    sync::{Mutex, PoisonError},
};

use etcd_client::{Client, ConnectOptions, GetOptions, MemberAddOptions};
use relent::ConfigError;

use super::channel;
use crate::{CallError, CallErrorClass, Cluster, Code, Member, MemberStatus, time};

/// A cluster of etcd, reached with [`etcd_client`].
///
/// Each endpoint has a client of its own: a client of several balances over all of them, so that a read through one and
/// a list from another would prove nothing, and a dead endpoint would get its share of the calls. A client whose call
/// was cut or got no answer is not used again, so that the next call makes a new connection.
///
/// ```no_run
/// use relent_etcd::{EtcdCluster, Members};
/// use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
///
/// # async fn example(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca)).identity(Identity::from_pem(cert, key));
/// let options = ConnectOptions::new().with_tls(tls).with_user("root", "secret");
/// let cluster = EtcdCluster::new(["https://10.0.0.1:2379", "https://10.0.0.2:2379"], options)?;
/// let members = Members::new(cluster)?;
/// let added = members.ensure_learner(["https://10.0.0.3:2380"])?.await?;
/// println!("{}", added.value);
/// # Ok(())
/// # }
/// ```
pub struct EtcdCluster {
    endpoints: Vec<String>,
    options: ConnectOptions,
    idle: Mutex<HashMap<String, Client>>,
}

impl EtcdCluster {
    /// Does not connect yet. TLS and a user are taken from `options`; its timeouts are best left unset, as every call
    /// has the per-call deadline of the operation it belongs to.
    ///
    /// # Errors
    /// No endpoint, or one that is no URL.
    pub fn new<U: Into<String>>(
        endpoints: impl IntoIterator<Item = U>,
        options: ConnectOptions,
    ) -> Result<Self, ConfigError> {
        let endpoints = checked(endpoints)?;
        Ok(Self { endpoints, options, idle: Mutex::default() })
    }

    /// Makes a call with a client that is given back only if it has answered.
    async fn call<T>(
        &self,
        endpoint: &str,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, CallError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(endpoint);
        let mut client = match idle {
            Some(client) => client,
            None => Box::pin(channel::connect(endpoint, &self.options)).await.map_err(|error| why(&error))?,
        };
        // On the heap: calls of etcd-client's are futures of many KB.
        let answer = Box::pin(call(&mut client)).await.map_err(|error| why(&error));
        let alive = match &answer {
            Ok(_) => true,
            // A token that is no longer good is replaced by connecting again; and behind an address that several
            // members have, one that cannot answer by another.
            Err(error @ CallError::Answered { code, .. }) => {
                *code != Code::Unauthenticated && error.class() != CallErrorClass::Elsewhere
            }
            Err(_) => false,
        };
        if alive {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.to_owned(), client);
        }
        answer
    }
}

impl fmt::Debug for EtcdCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdCluster").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Cluster for EtcdCluster {
    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// All over one connection, so that it is one process that has caught up and lists: an address may stand for
    /// several.
    async fn agreed_members(&self, endpoint: &str) -> Result<Option<Vec<Member>>, CallError> {
        let (asked, caught_up, list) = self
            .call(endpoint, async |client| {
                let status = client.status().await?;
                let mut asked = vec![member_id(status.header())];
                let mut caught_up = None;
                if !lists_are_agreed(status.version()) {
                    let read = client.get(BARRIER, Some(GetOptions::new().with_count_only())).await?;
                    asked.push(member_id(read.header()));
                    caught_up = Some(time::now());
                }
                let list = client.member_list().await?;
                asked.push(member_id(list.header()));
                Ok((asked, caught_up, list))
            })
            .await?;
        if asked.windows(2).any(|pair| pair.first() != pair.last()) {
            return Err(CallError::NoAnswer("several members answered, one after the other".to_owned()));
        }
        caught_up.map_or(Ok(()), super::rotation::not_late)?;
        Ok(Some(list.members().iter().map(member).collect()))
    }

    async fn barrier(&self, endpoint: &str) -> Result<(), CallError> {
        let options = GetOptions::new().with_count_only();
        self.call(endpoint, async |client| client.get(BARRIER, Some(options)).await).await.map(drop)
    }

    async fn local_members(&self, endpoint: &str) -> Result<Vec<Member>, CallError> {
        let list = self.call(endpoint, async |client| client.member_list().await).await?;
        Ok(list.members().iter().map(member).collect())
    }

    async fn add(&self, endpoint: &str, peer_urls: &[String], learner: bool) -> Result<u64, CallError> {
        let options = learner.then(|| MemberAddOptions::new().with_is_learner());
        let added = self.call(endpoint, async |client| client.member_add(peer_urls, options).await).await?;
        Ok(added.member().map_or(0, etcd_client::Member::id))
    }

    async fn promote(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.call(endpoint, async |client| client.member_promote(id).await).await.map(drop)
    }

    async fn remove(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.call(endpoint, async |client| client.member_remove(id).await).await.map(drop)
    }

    async fn status(&self, endpoint: &str) -> Result<MemberStatus, CallError> {
        let status = self.call(endpoint, async |client| client.status().await).await?;
        let (id, leader) = (member_id(status.header()), status.leader());
        Ok(MemberStatus { id, leader, learner: status.is_learner(), errors: status.errors().to_vec() })
    }

    async fn status_anew(&self, endpoint: &str) -> Result<MemberStatus, CallError> {
        drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(endpoint));
        self.status(endpoint).await
    }
}

/// Any key will do. This one does not exist; only its count is asked.
const BARRIER: &str = "relent/barrier";

/// Whether this version's lists are agreed upon, if that is asked for: from 3.5 on.
fn lists_are_agreed(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(3), Some(5))
}

fn member_id(header: Option<&etcd_client::ResponseHeader>) -> u64 {
    header.map_or(0, etcd_client::ResponseHeader::member_id)
}

fn member(listed: &etcd_client::Member) -> Member {
    Member {
        id: listed.id(),
        name: listed.name().to_owned(),
        peer_urls: listed.peer_urls().to_vec(),
        client_urls: listed.client_urls().to_vec(),
        learner: listed.is_learner(),
    }
}

/// At least one, and each a URL.
pub(super) fn checked<U: Into<String>>(endpoints: impl IntoIterator<Item = U>) -> Result<Vec<String>, ConfigError> {
    let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
    if endpoints.is_empty() {
        return Err(ConfigError::new("endpoints", "[]", "there must be at least one"));
    }
    for endpoint in &endpoints {
        let url = endpoint.parse::<tonic::transport::Uri>();
        let scheme = url.as_ref().ok().and_then(|url| url.scheme_str());
        if !matches!(scheme, Some("http" | "https")) {
            return Err(ConfigError::new("endpoint", endpoint, "it must be an http:// or https:// URL"));
        }
    }
    Ok(endpoints)
}

/// What tonic says of an HTTP answer that is none of gRPC; it makes up a code, such as `Unimplemented` of a 404.
const NO_GRPC: &str = "grpc-status header missing, mapped from HTTP status code ";

/// What an error of etcd-client's says: etcd's own answer, or what became of the connection.
pub(super) fn why(error: &etcd_client::Error) -> CallError {
    let (status, first): (_, &(dyn std::error::Error + 'static)) = match error {
        etcd_client::Error::GRpcStatus(status) if status.source().is_none() => {
            if let Some(code) = status.message().strip_prefix(NO_GRPC) {
                return CallError::NoAnswer(format!(
                    "something on the way to etcd answered with the HTTP status {code}"
                ));
            }
            return CallError::Answered {
                code: Code::from(i32::from(status.code())),
                message: status.message().to_owned(),
            };
        }
        etcd_client::Error::GRpcStatus(status) => (true, status),
        etcd_client::Error::TransportError(error) => (false, error),
        other => return CallError::Untrusted(other.to_string()),
    };
    let mut texts = Vec::new();
    let (mut refused, mut untrusted) = (false, false);
    let mut next = if status { first.source() } else { Some(first) };
    while let Some(cause) = next {
        let text = cause.to_string();
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
            // What rustls says arrives inside an io error of this kind.
            untrusted |= io.kind() == std::io::ErrorKind::InvalidData && io.get_ref().is_some();
        }
        untrusted |= text.contains("invalid peer certificate") || text.contains("received fatal alert");
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = cause.source();
    }
    let text = texts.join(": ");
    match (untrusted, refused) {
        (true, _) => CallError::Untrusted(text),
        (false, true) => CallError::NotSent(text),
        (false, false) => CallError::NoAnswer(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load balancer that has no server to ask has not the last word.
    #[test]
    fn an_answer_without_grpc_is_not_of_etcd() {
        let status = |code, text: &str| why(&etcd_client::Error::GRpcStatus(tonic::Status::new(code, text)));
        for (code, http) in [
            (tonic::Code::Unimplemented, 404),
            (tonic::Code::PermissionDenied, 403),
            (tonic::Code::Unauthenticated, 401),
            (tonic::Code::Unavailable, 503),
        ] {
            let error = status(code, &format!("grpc-status header missing, mapped from HTTP status code {http}"));
            let said = format!("no answer: something on the way to etcd answered with the HTTP status {http}");
            assert_eq!((error.to_string(), error.class(), error.in_doubt()), (said, CallErrorClass::Elsewhere, true));
        }
        let own = status(tonic::Code::PermissionDenied, "etcdserver: permission denied");
        assert_eq!(own.class(), CallErrorClass::Decided);
    }

    #[test]
    fn lists_are_agreed_upon_from_3_5_on() {
        for (version, agreed) in [
            ("3.4.23", false),
            ("3.5.1", true),
            ("3.6.14", true),
            ("3.10.0", true),
            ("4.0.0", true),
            ("2.3.8", false),
            ("3.4.0-rc.1", false),
            ("3", false),
            ("", false),
            ("news", false),
        ] {
            assert_eq!(lists_are_agreed(version), agreed, "{version}");
        }
    }
}
