//! The daemon's own certificate and its TLS configuration.

use crate::authority::Authority;
use crate::{IdentityError, TrustDomain, files, leaf};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// What clients expect the daemon to be called.
const SERVER_NAME: &str = "auraed";

/// The daemon's certificate, replaced while it serves. Debug of rustls' keys shows no key material.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// Reads the daemon's certificate, or issues one. The caller holds the directory's lock.
    pub(crate) fn load_or_issue(
        directory: &Path,
        authority: &Authority,
        domain: &TrustDomain,
    ) -> Result<Self, IdentityError> {
        let (certificate, key) = paths(directory);
        let stored = match (files::read(&certificate)?, files::read(&key)?) {
            (Some(certificate), Some(key)) => leaf::certified_key(&certificate, &key),
            _ => None,
        };
        let current = match stored.filter(|certified| leaf::is_ours_and_young(certified, authority)) {
            Some(certified) => certified,
            None => issue(directory, authority, domain)?,
        };
        Ok(Self {
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// Replaces the certificate if it nears its end. The caller holds the directory's lock.
    pub(crate) fn renew(
        &self,
        directory: &Path,
        authority: &Authority,
        domain: &TrustDomain,
    ) -> Result<bool, IdentityError> {
        if leaf::is_ours_and_young(&self.get(), authority) {
            return Ok(false);
        }
        let renewed = Arc::new(issue(directory, authority, domain)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(true)
    }

    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

pub(crate) fn config(
    authority: &Authority,
    certificate: Arc<ServerCertificate>,
) -> Result<ServerConfig, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.certificate().clone())
        .map_err(|error| IdentityError::Tls(error.into()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| IdentityError::Tls(error.into()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| IdentityError::Tls(error.into()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive the certificate that it began with.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn issue(
    directory: &Path,
    authority: &Authority,
    domain: &TrustDomain,
) -> Result<CertifiedKey, IdentityError> {
    tracing::info!(directory = %directory.display(), "issuing the daemon's certificate");
    let issued = leaf::issue_server(authority, domain, SERVER_NAME)?;
    let (certificate, key) = paths(directory);
    files::write(&key, issued.key_pem(), 0o600, None)?;
    files::write(&certificate, issued.certificate_pem(), 0o644, None)?;
    leaf::certified_key(issued.certificate_pem(), issued.key_pem())
        .ok_or_else(|| IdentityError::Tls("a certificate just issued does not fit its key".into()))
}

fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("server.crt"), directory.join("server.key"))
}
