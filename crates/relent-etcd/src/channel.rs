//! The way of calls to one endpoint, as etcd-client makes them and with two things mended.
//!
//! A list of members asks to be agreed upon, which etcd-client does not (servers before 3.5 do not know the field). And
//! what a server says before it closes a connection is heard: one that refuses a client's certificate says so and
//! closes, under TLS 1.3 while the client already sends, and a write that fails then must not hide it.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use etcd_client::{BalancedChannelBuilder, Channel, Client, ConnectOptions};
use http_body_util::Full;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc::{Receiver, Sender, channel},
};
use tonic::{
    body::Body,
    transport::{Endpoint, Uri, channel::Change},
};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// Does not send anything yet, unless the options name a user.
pub(super) async fn connect(endpoint: &str, options: &ConnectOptions) -> Result<Client, etcd_client::Error> {
    Client::connect_with_balanced_channel([endpoint], Some(options.clone()), Mended).await
}

struct Mended;

impl BalancedChannelBuilder for Mended {
    type Error = tonic::transport::Error;

    fn balanced_channel(self, buffer: usize) -> Result<(Channel, Sender<Change<Uri, Endpoint>>), Self::Error> {
        let (sender, changes) = channel(buffer);
        let shared = Shared { changes: Mutex::new(changes), channel: OnceLock::new() };
        let way = Way { shared: Arc::new(shared), own: None };
        Ok((Channel::Custom(BoxCloneSyncService::new(way)), sender))
    }
}

/// The one endpoint, which etcd-client tells right after it has got the channel.
struct Shared {
    changes: Mutex<Receiver<Change<Uri, Endpoint>>>,
    channel: OnceLock<tonic::transport::Channel>,
}

impl Shared {
    fn channel(&self) -> Option<&tonic::transport::Channel> {
        if let Some(channel) = self.channel.get() {
            return Some(channel);
        }
        let change = self.changes.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        let Ok(Change::Insert(_, endpoint)) = change else { return self.channel.get() };
        Some(self.channel.get_or_init(|| endpoint.connect_with_connector_lazy(connector(&endpoint))))
    }
}

/// As tonic does it itself, but for the wrapping.
fn connector(
    endpoint: &Endpoint,
) -> impl Service<Uri, Response = TokioIo<Heard<TcpStream>>, Error = BoxError, Future: Send> + Send + 'static {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(endpoint.get_tcp_nodelay());
    http.set_keepalive(endpoint.get_tcp_keepalive());
    http.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
    http.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
    http.set_connect_timeout(endpoint.get_connect_timeout());
    let wrap = |stream: TokioIo<TcpStream>| TokioIo::new(Heard { stream: stream.into_inner(), broken: false });
    http.map_response(wrap).map_err(BoxError::from)
}

/// One client's way there.
struct Way {
    shared: Arc<Shared>,
    own: Option<tonic::transport::Channel>,
}

impl Way {
    fn channel(&mut self) -> Result<&mut tonic::transport::Channel, BoxError> {
        if self.own.is_none() {
            self.own = self.shared.channel().cloned();
        }
        self.own.as_mut().ok_or_else(|| "no endpoint was given".into())
    }
}

impl Clone for Way {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), own: None }
    }
}

type Answer = http::Response<Body>;

impl Service<http::Request<Body>> for Way {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.channel()?.poll_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        /// A frame of gRPC: not compressed, two bytes; the first field is true.
        const AGREED: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];
        if request.uri().path() == "/etcdserverpb.Cluster/MemberList" {
            *request.body_mut() = Body::new(Full::new(Bytes::from_static(AGREED)));
        }
        let answer = self.channel().map(|channel| channel.call(request));
        Box::pin(async move { Ok(answer?.await?) })
    }
}

/// A connection where what can still be read comes before the news that nothing can be written any more.
#[derive(Debug)]
struct Heard<S> {
    stream: S,
    broken: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.broken {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)) {
                Err(error) if is_gone(&error) => self.broken = true,
                written => return Poll::Ready(written),
            }
        }
        // The next read ends it.
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
            Err(error) if is_gone(&error) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The other side has closed the connection.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}
