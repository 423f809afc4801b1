//! The private certificate authority: one key and one self-signed certificate, made at the first start.

use crate::files;
use crate::leaf::lifetime;
use crate::{IdentityError, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Twenty years: ending it means to issue every client's certificate again.
const LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// The authority. Its key stays on the disk and is read only while something is signed.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
    pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Reads the authority, or makes it. The caller holds the directory's lock.
    pub(crate) fn load_or_create(directory: &Path, domain: &TrustDomain) -> Result<Self, IdentityError> {
        let stored = files::read(&certificate_path(directory))?;
        // The key is written first: a key without a certificate was never used, and is replaced.
        let pem = match stored {
            Some(pem) => pem,
            None => create(directory, domain)?,
        };
        let malformed = || malformed(directory, certificate_path(directory), "certificate");
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|_| malformed())?;
        if parsed.validity().not_after.timestamp() <= seconds_since_1970() {
            return Err(IdentityError::Expired {
                directory: directory.to_owned(),
            });
        }
        if !key_path(directory).exists() {
            return Err(IdentityError::KeyMissing {
                path: key_path(directory),
                directory: directory.to_owned(),
            });
        }
        Ok(Self {
            directory: directory.to_owned(),
            pem,
            certificate,
        })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a certificate for `key`.
    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<String, IdentityError> {
        let path = key_path(&self.directory);
        let malformed = || malformed(&self.directory, path.clone(), "key");
        let pem = files::read(&path)?.ok_or_else(malformed)?;
        let own_key = KeyPair::from_pem(&pem).map_err(|_| malformed())?;
        let make = |source| IdentityError::Make {
            what: "certificate",
            source,
        };
        let issuer = Issuer::from_ca_cert_der(&self.certificate, own_key).map_err(make)?;
        params
            .signed_by(key, &issuer)
            .map(|certificate| certificate.pem())
            .map_err(make)
    }
}

pub(crate) fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn certificate_path(directory: &Path) -> PathBuf {
    directory.join("ca.crt")
}

fn key_path(directory: &Path) -> PathBuf {
    directory.join("ca.key")
}

fn malformed(directory: &Path, path: PathBuf, what: &'static str) -> IdentityError {
    IdentityError::Malformed {
        path,
        directory: directory.to_owned(),
        what,
    }
}

fn create(directory: &Path, domain: &TrustDomain) -> Result<String, IdentityError> {
    tracing::info!(directory = %directory.display(), "making a certificate authority");
    let make = |source| IdentityError::Make {
        what: "certificate authority",
        source,
    };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let mut params = CertificateParams::default();
    // The name differs between authorities, so that a stranger's certificate is one of an unknown issuer.
    let mark: String = params
        .key_identifier(&key)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut name = DistinguishedName::new();
    name.push(
        DnType::CommonName,
        format!("Aurae node authority {mark}, {domain}"),
    );
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params, LIFETIME);
    let certificate = params.self_signed(&key).map_err(make)?;
    files::write(&key_path(directory), &key.serialize_pem(), 0o600, None)?;
    files::write(&certificate_path(directory), &certificate.pem(), 0o644, None)?;
    Ok(certificate.pem())
}
