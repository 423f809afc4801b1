//! Dials the daemon: Unix socket, then TLS 1.3 with the client's certificate.

use crate::{ClientConfig, ConnectError};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig as TlsConfig, RootCertStore};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;

/// How long a handshake may take: the daemon is on the same machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The name in the daemon's certificate.
const SERVER_NAME: &str = "auraed";

/// Buffered so that its first bytes can be waited for and still be read.
type Stream = BufReader<TlsStream<UnixStream>>;

/// What tonic asks for a new connection.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    /// A connection that was made ahead, for the first who asks.
    ahead: Arc<Mutex<Option<Stream>>>,
}

impl Connector {
    pub(crate) fn new(config: ClientConfig) -> Self {
        Self {
            config: Arc::new(config),
            ahead: Arc::default(),
        }
    }

    /// Dials now, so that the caller sees the error itself and not tonic's wrapping of it.
    pub(crate) async fn dial_ahead(&self) -> Result<(), ConnectError> {
        let stream = dial(&self.config).await?;
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        Ok(())
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let config = Arc::clone(&self.config);
        Box::pin(async move {
            match ahead {
                Some(stream) => Ok(TokioIo::new(stream)),
                None => dial(&config).await.map(TokioIo::new),
            }
        })
    }
}

async fn dial(config: &ClientConfig) -> Result<Stream, ConnectError> {
    let tls = tls_config(config)?;
    let stream = UnixStream::connect(&config.socket)
        .await
        .map_err(|source| ConnectError::socket(config.socket.clone(), source))?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| ConnectError::Handshake {
        socket: config.socket.clone(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let handshake = TlsConnector::from(Arc::new(tls)).connect(name, stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => greeted(BufReader::new(stream), config).await,
        Ok(Err(source)) => Err(ConnectError::handshake(config, source)),
        Err(_) => Err(ConnectError::Silent {
            socket: config.socket.clone(),
        }),
    }
}

/// Waits for the daemon's first bytes: in TLS 1.3 it judges the client's certificate after the client's handshake is
/// over, and only then says anything.
async fn greeted(mut stream: Stream, config: &ClientConfig) -> Result<Stream, ConnectError> {
    let greeting = match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.fill_buf()).await {
        Ok(read) => read.map(|bytes| !bytes.is_empty()),
        Err(_) => {
            return Err(ConnectError::Silent {
                socket: config.socket.clone(),
            });
        }
    };
    match greeting {
        Ok(true) => Ok(stream),
        Ok(false) => Err(ConnectError::handshake(
            config,
            io::ErrorKind::UnexpectedEof.into(),
        )),
        Err(source) => Err(ConnectError::handshake(config, source)),
    }
}

/// Reads the three files at each dial, so that renewed certificates are used without a restart.
fn tls_config(config: &ClientConfig) -> Result<TlsConfig, ConnectError> {
    let authority = certificates(config.identity.join("ca.crt"))?;
    let chain = certificates(config.identity.join("tls.crt"))?;
    let key_path = config.identity.join("tls.key");
    let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?).map_err(|_| ConnectError::Malformed {
        path: key_path.clone(),
        what: "private key",
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in authority {
        roots.add(certificate).map_err(|_| ConnectError::Malformed {
            path: config.identity.join("ca.crt"),
            what: "certificate authority",
        })?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = TlsConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
        })
        .map_err(|_| ConnectError::Malformed {
            path: key_path,
            what: "key for the certificate beside it",
        })?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(tls)
}

fn certificates(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let text = read(&path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ConnectError::Malformed {
            path,
            what: "certificate in PEM form",
        }),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ConnectError> {
    // fs-err would name the path a second time in the chain.
    std::fs::File::open(path)
        .and_then(|mut file| {
            let mut content = Vec::new();
            io::Read::read_to_end(&mut file, &mut content)?;
            Ok(content)
        })
        .map_err(|source| ConnectError::Identity {
            path: path.clone(),
            source,
        })
}
