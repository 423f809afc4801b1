//! Certificates that the authority signs: the daemon's and the clients'.

use crate::authority::{Authority, seconds_since_1970};
use crate::{ClientId, IdentityError, Owner, TrustDomain, files};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;

/// How long a certificate is valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A clock that lags a little must still accept a new certificate.
const SKEW: Duration = Duration::from_secs(300);

/// A client's certificate, its key and the authority that the daemon is checked against, each in PEM form.
pub struct Credentials {
    certificate: String,
    key: String,
    authority: String,
}

impl Credentials {
    /// Writes `tls.key` (0600), `tls.crt` and `ca.crt` into `directory`, which is made (0700) where it is absent, each
    /// replaced atomically. All belong to `owner`, else to the caller.
    ///
    /// # Errors
    /// [`IdentityError::Directory`] or [`IdentityError::Write`].
    pub fn write(&self, directory: &Path, owner: Option<Owner>) -> Result<(), IdentityError> {
        let made = !directory.exists();
        files::make_private_directory(directory)?;
        if let (true, Some(owner)) = (made, owner) {
            std::os::unix::fs::chown(directory, Some(owner.uid), Some(owner.gid)).map_err(|source| {
                IdentityError::Directory {
                    path: directory.to_owned(),
                    source,
                }
            })?;
        }
        files::write(&directory.join("tls.key"), &self.key, 0o600, owner)?;
        files::write(&directory.join("tls.crt"), &self.certificate, 0o644, owner)?;
        files::write(&directory.join("ca.crt"), &self.authority, 0o644, owner)
    }

    /// The certificate, in PEM form.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The private key, in PEM form. Not for logs.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// The authority's certificate, in PEM form.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

pub(crate) fn issue_client(
    authority: &Authority,
    domain: &TrustDomain,
    client: &ClientId,
) -> Result<Credentials, IdentityError> {
    issue(
        authority,
        &client.to_string(),
        &domain.client_id(client),
        None,
        ExtendedKeyUsagePurpose::ClientAuth,
    )
}

/// `server_name` is what clients expect the daemon to be called.
pub(crate) fn issue_server(
    authority: &Authority,
    domain: &TrustDomain,
    server_name: &str,
) -> Result<Credentials, IdentityError> {
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    issue(authority, "auraed", &domain.daemon_id(), Some(server_name), usage)
}

pub(crate) fn lifetime(params: &mut CertificateParams, length: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + length).into();
}

/// Whether the files hold a certificate of this authority with its key, with more than a third of its time left.
pub(crate) fn is_fresh(certificate: &Path, key: &Path, authority: &Authority) -> bool {
    let (Ok(Some(certificate)), Ok(Some(key))) = (files::read(certificate), files::read(key)) else {
        return false;
    };
    certified_key(&certificate, &key).is_some_and(|certified| is_ours_and_young(&certified, authority))
}

/// Certificate and key as rustls wants them; `None` unless they belong together.
pub(crate) fn certified_key(certificate: &str, key: &str) -> Option<CertifiedKey> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).ok()?;
    certified.keys_match().ok()?;
    Some(certified)
}

pub(crate) fn is_ours_and_young(certified: &CertifiedKey, authority: &Authority) -> bool {
    let parse =
        |der| x509_parser::parse_x509_certificate(der).map(|(_, parsed): (_, X509Certificate<'_>)| parsed);
    let (Some(leaf), Ok(issuer)) = (certified.cert.first(), parse(authority.certificate())) else {
        return false;
    };
    let Ok(leaf) = parse(leaf) else { return false };
    let validity = leaf.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let young = to - seconds_since_1970() > (to - from) / 3;
    young && leaf.verify_signature(Some(issuer.public_key())).is_ok()
}

fn issue(
    authority: &Authority,
    common_name: &str,
    spiffe_id: &str,
    dns_name: Option<&str>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Credentials, IdentityError> {
    let make = |source| IdentityError::Make {
        what: "certificate",
        source,
    };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().map_err(make)?)];
    if let Some(dns_name) = dns_name {
        params
            .subject_alt_names
            .push(SanType::DnsName(dns_name.try_into().map_err(make)?));
    }
    lifetime(&mut params, LIFETIME);
    let certificate = authority.sign(&params, &key)?;
    Ok(Credentials {
        certificate,
        key: key.serialize_pem(),
        authority: authority.pem().to_owned(),
    })
}
