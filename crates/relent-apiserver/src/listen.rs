//! The server on a loopback port, for `kubectl` and other processes.

use std::{io, net::SocketAddr};

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

/// An [`ApiServer`] that listens. Dropping this closes the port and all connections.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Listening {
    address: SocketAddr,
    token: Option<String>,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Listens on a free port of 127.0.0.1: plain HTTP/1.1.
    ///
    /// # Errors
    /// When the port cannot be opened.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn listen(&self) -> io::Result<Listening> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, self.clone()));
        Ok(Listening { address, token: self.known_token(), task })
    }
}

async fn accept(listener: TcpListener, server: ApiServer) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let service = TowerToHyperService::new(server.clone());
        connections.spawn(async move {
            // A connection that breaks is the caller's to notice.
            let _ = auto::Builder::new(TokioExecutor::new())
                .http1_only()
                .serve_connection(TokioIo::new(stream), service)
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

    /// A kubeconfig for it, as text: the context `relent`, the namespace `default`, and the first user's token if users are known.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let user = self.token.as_ref().map_or("{}".to_owned(), |token| format!("{{ token: {token:?} }}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: relent\n\
             clusters:\n- name: relent\n  cluster: {{ server: \"{}\" }}\n\
             users:\n- name: relent\n  user: {user}\n\
             contexts:\n- name: relent\n  context: {{ cluster: relent, user: relent, namespace: default }}\n",
            self.url()
        )
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
