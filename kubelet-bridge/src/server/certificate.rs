//! The server's certificate, and whose client certificates count.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::flags::ServerSettings;

/// Why a certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file does not read as what it should be.
    #[error("{what} {} cannot be used: it must be readable and PEM", path.display())]
    File {
        /// Certificate, key or client CA.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The client CA's certificates are no authorities.
    #[error("the client CA {} cannot be used", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not fit each other.
    #[error("the certificate {} and its key cannot be used together", path.display())]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// A certificate could not be made.
    #[error("no certificate could be made")]
    Make(#[source] rcgen::Error),
    /// A certificate that was made could not be kept.
    #[error("cannot keep a certificate in --cert-dir {}", directory.display())]
    Keep {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// TLS as configured: 1.2 and newer, client certificates asked for where there is a client CA.
pub(super) fn server_config(
    settings: &ServerSettings,
    hostname: &str,
) -> Result<ServerConfig, CertificateError> {
    let (certificate, key) = match &settings.certificate {
        Some(files) => files.clone(),
        None => self_signed(&settings.directory, hostname)?,
    };
    let chain = certificates("certificate", &certificate)?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|source| CertificateError::File {
        what: "key",
        path: key.clone(),
        source,
    })?;
    let builder = ServerConfig::builder();
    let builder = match &settings.client_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|source| CertificateError::Pair {
            path: certificate,
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client_verifier(
    path: &Path,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, CertificateError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| CertificateError::ClientCa {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client CA", path)? {
        roots.add(certificate).map_err(|error| failed(Box::new(error)))?;
    }
    // Who shows no certificate may still have a token.
    let builder = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    builder.build().map_err(|error| failed(Box::new(error)))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let failed = |source| CertificateError::File {
        what,
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// The pair in `directory`, made where it is not there yet: `kubelet.crt` and `kubelet.key`, as kubelet names them.
fn self_signed(directory: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), CertificateError> {
    let (certificate, key) = (directory.join("kubelet.crt"), directory.join("kubelet.key"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let pair = KeyPair::generate().map_err(CertificateError::Make)?;
    let mut params = CertificateParams::new(vec![hostname.to_owned()]).map_err(CertificateError::Make)?;
    params.distinguished_name.push(DnType::CommonName, hostname);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(&pair).map_err(CertificateError::Make)?;
    let kept = fs_err::create_dir_all(directory)
        .and_then(|()| keep(&key, pair.serialize_pem().as_bytes(), 0o600))
        .and_then(|()| keep(&certificate, made.pem().as_bytes(), 0o644));
    kept.map_err(|source| CertificateError::Keep {
        directory: directory.to_owned(),
        source,
    })?;
    Ok((certificate, key))
}

/// Writes a file whole: a crash in the middle leaves none.
fn keep(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &Path) -> ServerSettings {
        ServerSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            certificate: None,
            directory: directory.to_owned(),
            client_ca: None,
        }
    }

    fn provider() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_the_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        provider();
        let directory = tempfile::tempdir().unwrap();
        server_config(&settings(directory.path()), "node-a").unwrap();
        let key = directory.path().join("kubelet.key");
        let first = fs_err::read(&key).unwrap();
        assert_eq!(
            fs_err::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        server_config(&settings(directory.path()), "node-a").unwrap();
        assert_eq!(fs_err::read(&key).unwrap(), first);
    }

    #[test]
    fn a_client_ca_that_is_none_is_named() {
        provider();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        fs_err::write(&path, "no certificate").unwrap();
        let settings = ServerSettings {
            client_ca: Some(path),
            ..settings(directory.path())
        };
        let error = server_config(&settings, "node-a").unwrap_err();
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }
}
