//! The HTTP clients: one for each way to trust a server, made when it is first needed and shared by all pulls.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::FetchError;
use super::endpoint::Trust;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two reads, not for a whole blob.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 10;

#[derive(Default)]
pub(super) struct Transports {
    clients: Mutex<HashMap<(Trust, Redirects), Client>>,
}

/// Where redirects are followed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Redirects {
    /// As registries send blobs from elsewhere. What is in a header for the registry does not go along.
    Anywhere,
    /// The same server, because there is a secret in the body, which goes along.
    SameServer,
}

impl Transports {
    pub(super) fn client(&self, trust: &Trust, redirects: Redirects) -> Result<Client, FetchError> {
        // Nothing in here panics with the lock held, and a map of finished clients is whole anyhow.
        let mut clients = self
            .clients
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (trust.clone(), redirects);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(trust, redirects)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn build(trust: &Trust, redirects: Redirects) -> Result<Client, FetchError> {
    // The client builder panics without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(FetchError::NoProvider);
    }
    let builder = || {
        Client::builder()
            .user_agent(concat!("aurae/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(policy(redirects))
            // An address may hold a signature.
            .referer(false)
    };
    let built = match trust {
        // A plain registry may redirect to a server with TLS; but it must also work on a machine that has no
        // certificates, where a client that wants them cannot be built.
        Trust::None => builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build()),
        Trust::System => builder().build(),
        Trust::File(path) => builder().tls_certs_only(certificates(path)?).build(),
    };
    built.map_err(|source| FetchError::Client { source })
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, FetchError> {
    let failed = |source| FetchError::Certificates {
        path: path.to_owned(),
        source,
    };
    let pem = fs_err::read(path).map_err(failed)?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(io::Error::other(error)))?;
    if certificates.is_empty() {
        return Err(failed(io::Error::other("no certificate in it")));
    }
    Ok(certificates)
}

/// Follows redirects, but never from TLS to clear text.
fn policy(redirects: Redirects) -> Policy {
    Policy::custom(move |attempt| {
        let previous = attempt.previous();
        if previous.len() > REDIRECTS {
            return attempt.error("too many redirects");
        }
        let downgrade =
            previous.last().is_some_and(|url| url.scheme() == "https") && attempt.url().scheme() != "https";
        if downgrade {
            attempt.error("a redirect from https to http")
        } else if redirects == Redirects::SameServer
            && previous.last().map(|url| url.origin()) != Some(attempt.url().origin())
        {
            attempt.error("a redirect of a secret to another server")
        } else {
            attempt.follow()
        }
    })
}
