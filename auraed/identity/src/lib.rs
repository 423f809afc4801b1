//! Who you are: the daemon's private certificate authority, its certificates, SPIFFE ids.
//!
//! ```text
//!  <state>/identity/ca.{crt,key}            made at the first start; the key is read only while something is signed
//!                   server.{crt,key}        the daemon's own
//!                   admin/{ca,tls}.crt tls.key   the administrator's, for the command line
//! ```
//!
//! The daemon calls this at start and once a day, `auraed identity issue` beside it; a lock on the directory orders the
//! two. Files are replaced atomically and reach the disk before they are used, keys are readable for their owner alone,
//! and no key is ever part of a `Debug`, an error or a log line. What somebody may do is decided elsewhere.

mod authority;
mod error;
mod files;
mod leaf;
mod owner;
mod server;
mod spiffe;

pub use error::IdentityError;
pub use leaf::Credentials;
pub use owner::{InvalidOwner, Owner};
pub use spiffe::{ClientId, ClientName, InvalidClientId, InvalidName, Tenant, TrustDomain};

use authority::Authority;
use files::DirectoryLock;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use server::ServerCertificate;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The daemon's identity and its power to give out others.
#[derive(Debug)]
pub struct Identity {
    directory: PathBuf,
    trust_domain: TrustDomain,
    authority: Authority,
    server: Arc<ServerCertificate>,
}

impl Identity {
    /// Reads the identity below `directory`, making what is absent and renewing what nears its end.
    ///
    /// # Errors
    /// [`IdentityError`] for a file that cannot be read or written, a damaged one, or an authority whose key is gone or
    /// whose time is over; files that clients rely on are never replaced silently.
    pub fn load_or_create(directory: &Path, trust_domain: TrustDomain) -> Result<Self, IdentityError> {
        files::make_private_directory(directory)?;
        let _lock = DirectoryLock::take(directory)?;
        let authority = Authority::load_or_create(directory, &trust_domain)?;
        let server = ServerCertificate::load_or_issue(directory, &authority, &trust_domain)?;
        let identity = Self {
            directory: directory.to_owned(),
            trust_domain,
            authority,
            server: Arc::new(server),
        };
        identity.renew_administrator()?;
        Ok(identity)
    }

    /// Renews the daemon's and the administrator's certificates if they near their end. Connections made from now on
    /// use the new ones. `true` if the daemon's was renewed.
    ///
    /// # Errors
    /// As [`Identity::load_or_create`]; the old certificate stays in use.
    pub fn renew(&self) -> Result<bool, IdentityError> {
        let _lock = DirectoryLock::take(&self.directory)?;
        self.renew_administrator()?;
        self.server
            .renew(&self.directory, &self.authority, &self.trust_domain)
    }

    /// What the daemon's listener needs: TLS 1.3 alone, and a client certificate of this authority is mandatory.
    ///
    /// # Errors
    /// [`IdentityError::Tls`] if the authority's certificate is of no use to rustls.
    pub fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        server::config(&self.authority, Arc::clone(&self.server))
    }

    /// Makes a key and a certificate for a client. Nothing is kept.
    ///
    /// # Errors
    /// [`IdentityError`] if the authority's key cannot be read.
    pub fn issue(&self, client: &ClientId) -> Result<Credentials, IdentityError> {
        leaf::issue_client(&self.authority, &self.trust_domain, client)
    }

    /// Who the owner of a client certificate is. TLS has verified that this authority signed it.
    ///
    /// # Errors
    /// [`InvalidClientId`] if it names nobody, or somebody of another trust domain.
    pub fn client_of(&self, certificate: &CertificateDer<'_>) -> Result<ClientId, InvalidClientId> {
        ClientId::of_certificate(certificate, &self.trust_domain)
    }

    /// The trust domain of every id that this identity gives out.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The directory of the administrator's credentials.
    #[must_use]
    pub fn administrator_directory(&self) -> PathBuf {
        self.directory.join("admin")
    }

    fn renew_administrator(&self) -> Result<(), IdentityError> {
        let directory = self.administrator_directory();
        if leaf::is_fresh(
            &directory.join("tls.crt"),
            &directory.join("tls.key"),
            &self.authority,
        ) {
            return Ok(());
        }
        let administrator = ClientId {
            tenant: Tenant::system(),
            name: ClientName::administrator(),
        };
        tracing::info!(directory = %directory.display(), "issuing the administrator's certificate");
        self.issue(&administrator)?.write(&directory, None)
    }
}
