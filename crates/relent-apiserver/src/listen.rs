//! The server on a loopback port, for `kubectl` and other processes.

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::server::ApiServer;
use crate::time;

/// An [`ApiServer`] that listens. Dropping this closes the port and all connections.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Listening {
    address: SocketAddr,
    token: Option<String>,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Listens on a free port of 127.0.0.1: plain HTTP/1.1. While the server is [down](ApiServer::stop) the port is
    /// closed.
    ///
    /// # Errors
    /// When the port cannot be opened.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn listen(&self) -> io::Result<Listening> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, address, self.clone()));
        Ok(Listening { address, token: self.known_token(), task })
    }
}

/// How often a port is tried again that could not be opened.
const AGAIN: Duration = Duration::from_millis(20);

async fn accept(listener: TcpListener, address: SocketAddr, server: ApiServer) {
    let mut listener = Some(listener);
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    let mut outages = server.shared().outages();
    loop {
        let Some(open) = &listener else {
            // While the server is down, nothing listens. Then the same port again.
            time::pause(AGAIN).await;
            if !server.shared().lock().outage.is_down() {
                listener = TcpListener::bind(address).await.ok();
            }
            continue;
        };
        let accepted = tokio::select! {
            accepted = open.accept() => accepted,
            _ = outages.changed() => {
                listener = None;
                connections.abort_all();
                continue;
            }
        };
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let service = TowerToHyperService::new(server.clone());
        connections.spawn(async move {
            // A connection that breaks is the caller's to notice.
            let _ = auto::Builder::new(TokioExecutor::new())
                .http1_only()
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for it, as text: the namespace `default`, and the first user's token if users are known.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(self.token.as_deref())
    }

    /// As [`Listening::kubeconfig`], with the token of another user.
    #[must_use]
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        self.kubeconfig_of(Some(token))
    }

    fn kubeconfig_of(&self, token: Option<&str>) -> String {
        let user = token.map_or("{}".to_owned(), |token| format!("{{ token: {token:?} }}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: in-process\n\
             clusters:\n- name: in-process\n  cluster: {{ server: \"{}\" }}\n\
             users:\n- name: in-process\n  user: {user}\n\
             contexts:\n- name: in-process\n  context: {{ cluster: in-process, user: in-process, namespace: default }}\n",
            self.url()
        )
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
