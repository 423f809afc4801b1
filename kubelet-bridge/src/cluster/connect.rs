//! HTTP/2 connections to the API server.
//!
//! Short requests share one connection. Streams that stay open (a watch each for pods, services, and every object that a
//! pod refers to) are spread over connections of their own, because the server takes at most 100 streams on one.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Builder, Client as HttpClient};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ConfigExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{BoxError, ServiceBuilder};

use super::ClusterError;

/// Streams for one connection; the server's limit is 100.
const STREAMS: usize = 80;
const USER_AGENT: &str = concat!("kubelet-bridge/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is asked for a sign of life after this, and given up after the same again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Connections made with one set of credentials.
pub(super) struct Connections {
    pub(super) requests: kube::Client,
    config: kube::Config,
    tls: Arc<rustls::ClientConfig>,
    watches: Mutex<Vec<Arc<kube::Client>>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("server", &self.config.cluster_url)
            .finish_non_exhaustive()
    }
}

/// A client with room for one more stream.
#[derive(Clone)]
pub struct WatchClient(Arc<kube::Client>);

impl WatchClient {
    /// To make an `Api` of.
    pub fn client(&self) -> kube::Client {
        kube::Client::clone(&self.0)
    }
}

impl std::fmt::Debug for WatchClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchClient")
    }
}

impl Connections {
    /// Reads certificates and prepares; nothing is opened.
    pub(super) fn new(path: &Path, config: &kube::Config) -> Result<Connections, ClusterError> {
        let failed = |source| ClusterError::Certificates {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let mut tls = config.rustls_client_config().map_err(failed)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = Arc::new(tls);
        let requests = client(config, &tls).map_err(failed)?;
        Ok(Connections {
            requests,
            config: config.clone(),
            tls,
            watches: Mutex::new(Vec::new()),
        })
    }

    /// Takes a place on the first connection that has one.
    pub(super) fn watch_client(&self) -> WatchClient {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        // Each stream holds a reference; one is the list's own. A connection that lost its last stream is dropped.
        watches.retain(|client| Arc::strong_count(client) > 1);
        if let Some(client) = watches.iter().find(|client| Arc::strong_count(client) <= STREAMS) {
            return WatchClient(Arc::clone(client));
        }
        // The same configuration made a client before, so it does now.
        let made = client(&self.config, &self.tls).unwrap_or_else(|_| self.requests.clone());
        let made = Arc::new(made);
        watches.push(Arc::clone(&made));
        WatchClient(made)
    }
}

/// A client with a pool of its own, so with connections of its own.
fn client(config: &kube::Config, tls: &Arc<rustls::ClientConfig>) -> kube::Result<kube::Client> {
    let connector = Connector {
        tls: Arc::clone(tls),
        server_name: config.tls_server_name.as_deref().map(Arc::from),
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE);
    let http: HttpClient<Connector, Body> = builder.build(connector);
    let mut config = config.clone();
    config
        .headers
        .push((http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Opens connections: TCP, then TLS with our certificate.
#[derive(Clone)]
struct Connector {
    tls: Arc<rustls::ClientConfig>,
    server_name: Option<Arc<str>>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, connector.open(&uri)).await;
            opened
                .map_err(|_| format!("no connection to {uri} in time"))?
                .map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn open(self, uri: &Uri) -> Result<Stream, BoxError> {
        let https = uri.scheme_str() == Some("https");
        let host = uri
            .host()
            .ok_or("the server's address has no host")?
            .trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !https {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(self.server_name.as_deref().unwrap_or(host).to_owned())?;
        let stream = TlsConnector::from(self.tls).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// One connection.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Stream::Tls(_) | Stream::Plain(_) => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
