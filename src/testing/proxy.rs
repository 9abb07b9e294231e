//! A TCP proxy on the loopback that misbehaves on request, for any protocol. It runs in real time.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::time;

/// What a [`Proxy`] does to the bytes that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// Lets everything through.
    #[default]
    Pass,
    /// Lets everything through, each piece so much later.
    Delay(Duration),
    /// Lets this many bytes of the client's through, then cuts the connection. With 0 the request never arrives.
    CutRequest {
        /// Counted from when this was set, or the connection was made.
        after: u64,
    },
    /// Lets the request through and keeps the answer: once the server has sent this many bytes, or one if it is 0, none
    /// of which arrive, the connection is cut. The client never learns what came of it. (On HTTP/2 the first bytes may
    /// be pings and windows: ask for more than those.)
    CutAnswer {
        /// Counted from when this was set, or the connection was made.
        after: u64,
    },
    /// Lets this many bytes of the server's through, then cuts the connection: the client has the beginning of an
    /// answer.
    CutInAnswer {
        /// Counted from when this was set, or the connection was made.
        after: u64,
    },
    /// Takes everything and lets nothing through: the connection stays, and is dead.
    Blackhole,
    /// Closes new connections at once and lets the old ones live.
    Refuse,
}

/// A listener on 127.0.0.1 in front of a server. Dropped, it closes every connection through it.
///
/// ```
/// use relent::testing::proxy::{Proxy, Wire};
/// use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = Proxy::start(server.local_addr()?).await?;
/// proxy.plan([Wire::CutAnswer { after: 0 }]);
///
/// let mut client = TcpStream::connect(proxy.address()).await?;
/// client.write_all(b"do it").await?;
/// let (mut served, _) = server.accept().await?;
/// let mut request = [0; 5];
/// served.read_exact(&mut request).await?;
/// served.write_all(b"done").await?;
///
/// let mut answer = Vec::new();
/// let _ = client.read_to_end(&mut answer).await;
/// assert_eq!((&request, answer.len()), (b"do it", 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    wire: watch::Sender<Wire>,
    /// What is planned for the next connections. Held for a push or a pop, never across an await.
    plan: Mutex<VecDeque<Wire>>,
    /// These two only grow, and nothing else hangs on them.
    connections: AtomicU64,
    cuts: AtomicU64,
}

// ===== impl Proxy =====

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes connections on to `server`.
    ///
    /// # Errors
    /// The listener could not be made.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Shared {
            server,
            wire: watch::Sender::new(Wire::Pass),
            plan: Mutex::default(),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        };
        let (shared, end) = (Arc::new(shared), CancellationToken::new());
        tokio::spawn(end.clone().run_until_cancelled_owned(accept(listener, Arc::clone(&shared), end.clone())));
        Ok(Self { address, shared, _end: end.drop_guard() })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for every connection, those that stand included; counting begins anew.
    pub fn set(&self, wire: Wire) {
        self.shared.wire.send_replace(wire);
    }

    /// For the next connections, one each; those after them go by [`set`](Self::set). It holds until the next `set`.
    pub fn plan(&self, wires: impl IntoIterator<Item = Wire>) {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner).extend(wires);
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections were cut or refused by the proxy.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // It may last: no descriptors are left, say.
            time::pause(Duration::from_millis(10)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut set = shared.wire.subscribe();
        let set_now = *set.borrow_and_update();
        let planned = shared.plan.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let wire = planned.unwrap_or(set_now);
        if wire == Wire::Refuse {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            if let Ok(Some(mut server)) = carry(client, &shared, set, wire).await {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                // What was let through must arrive: to close with the server's answer unread would reset the
                // connection.
                let _ = server.shutdown().await;
                let mut unread = [0; 1024];
                while server.read(&mut unread).await.is_ok_and(|read| read > 0) {}
            }
        }));
    }
}

/// Carries bytes until one of the two closes; gives back the connection to the server if the cut is ours.
async fn carry(
    mut client: TcpStream,
    shared: &Shared,
    mut set: watch::Receiver<Wire>,
    mut wire: Wire,
) -> io::Result<Option<TcpStream>> {
    let mut server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let (mut passed, mut answered) = (0_u64, 0_u64);
    let mut client_open = true;
    loop {
        tokio::select! {
            biased;
            Ok(()) = set.changed() => {
                wire = *set.borrow_and_update();
                (passed, answered) = (0, 0);
            }
            read = client.read(&mut from_client), if client_open => {
                let piece = from_client.get(..read?).unwrap_or_default();
                if piece.is_empty() {
                    client_open = false;
                    server.shutdown().await?;
                    continue;
                }
                match wire {
                    Wire::Blackhole => {}
                    Wire::CutRequest { after } => {
                        let room = usize::try_from(after.saturating_sub(passed)).unwrap_or(usize::MAX);
                        let piece = piece.get(..room).unwrap_or(piece);
                        server.write_all(piece).await?;
                        passed = passed.saturating_add(piece.len() as u64);
                        if passed >= after {
                            return Ok(Some(server));
                        }
                    }
                    Wire::Delay(by) => {
                        time::pause(by).await;
                        server.write_all(piece).await?;
                    }
                    _ => server.write_all(piece).await?,
                }
            }
            read = server.read(&mut from_server) => {
                let piece = from_server.get(..read?).unwrap_or_default();
                if piece.is_empty() {
                    return Ok(None);
                }
                match wire {
                    Wire::Blackhole => {}
                    Wire::CutAnswer { after } => {
                        answered = answered.saturating_add(piece.len() as u64);
                        if answered >= after {
                            return Ok(Some(server));
                        }
                    }
                    Wire::CutInAnswer { after } => {
                        let room = usize::try_from(after.saturating_sub(answered)).unwrap_or(usize::MAX);
                        let piece = piece.get(..room).unwrap_or(piece);
                        client.write_all(piece).await?;
                        answered = answered.saturating_add(piece.len() as u64);
                        if answered >= after {
                            return Ok(Some(server));
                        }
                    }
                    Wire::Delay(by) => {
                        time::pause(by).await;
                        client.write_all(piece).await?;
                    }
                    _ => client.write_all(piece).await?,
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "real time, with sockets")]
mod tests {
    use super::*;

    /// A server that answers every byte with the same byte, and counts what it got.
    async fn echo() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        counted.fetch_add(1, Ordering::SeqCst);
                        if stream.write_all(&byte).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, got)
    }

    async fn ask(stream: &mut TcpStream, what: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(what).await?;
        let mut answer = vec![0; what.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn by_connection() {
        let (server, got) = echo().await;
        let proxy = Proxy::start(server).await.unwrap();
        proxy.plan([
            Wire::Pass,
            Wire::CutRequest { after: 0 },
            Wire::CutRequest { after: 3 },
            Wire::CutAnswer { after: 0 },
            Wire::Refuse,
            Wire::Delay(Duration::from_millis(20)),
        ]);
        for (number, (fine, arrived)) in
            [(true, 5), (false, 5), (false, 8), (false, 9), (false, 9), (true, 10)].into_iter().enumerate()
        {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            let what: &[u8] = if number == 0 || number == 2 { b"hello" } else { b"x" };
            assert_eq!(ask(&mut stream, what).await.is_ok(), fine, "connection {number}");
            let arrives = async {
                while got.load(Ordering::SeqCst) < arrived {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(5), arrives).await;
            assert_eq!(got.load(Ordering::SeqCst), arrived, "connection {number}");
        }
        assert_eq!(proxy.connections(), 6);
        assert!(proxy.cuts() >= 4, "{}", proxy.cuts());
    }

    #[tokio::test]
    async fn a_connection_that_stands() {
        let (server, got) = echo().await;
        let proxy = Proxy::start(server).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Wire::Blackhole);
        stream.write_all(b"two").await.unwrap();
        let mut byte = [0];
        let silence = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(got.load(Ordering::SeqCst), 3);
        proxy.set(Wire::CutAnswer { after: 2 });
        assert!(ask(&mut stream, b"three").await.is_err());
        proxy.set(Wire::CutInAnswer { after: 2 });
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"four").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"fo", "the beginning of it");
        drop(proxy);
        assert!(TcpStream::connect(server).await.is_ok());
    }
}
