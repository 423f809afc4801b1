//! Registries that speak the distribution protocol (OCI distribution specification 1.1; docker's v2 is the same).
//!
//! A pull asks a [`Source`] for documents and blobs. A source is a list of [`Session`]s, one for each mirror and the
//! last for the registry itself; a session holds what a registry was told and answered: the secret it took, and the
//! token it gave. `transport` holds the HTTP clients, shared by all pulls.
//!
//! Everything read into memory is bounded, blobs come as streams that the caller checks, and a broken stream can be
//! taken up again from where it broke. Credentials go to the registry and to the token service that it names, never
//! along with a redirect, and never in clear where the registry itself was reached over TLS.

mod authorization;
mod endpoint;
mod error;
mod session;
mod transport;

use std::sync::Arc;

use crate::config::RegistryConfig;
use crate::credentials::{Entry, matching};
use crate::document::LIMIT;
use crate::{Digest, ErrorKind, Reference};

pub(crate) use error::FetchError;
pub(crate) use session::BlobStream;

use session::Session;
use transport::Transports;

/// All registries, as configured.
pub(crate) struct Registries {
    configs: Vec<RegistryConfig>,
    transports: Arc<Transports>,
}

/// Where one pull gets its content from.
pub(crate) struct Source {
    /// Mirrors, then the registry.
    sessions: Vec<Session>,
}

/// A manifest or index as it came.
pub(crate) struct RawDocument {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Registries {
    pub(crate) fn new(configs: Vec<RegistryConfig>) -> Registries {
        Registries {
            configs,
            transports: Arc::default(),
        }
    }

    /// A source for a repository; `lists` are the credentials to choose from, those to try first first.
    pub(crate) fn source(&self, reference: &Reference, lists: &[&[Entry]]) -> Result<Source, FetchError> {
        let endpoints = endpoint::endpoints(&self.configs, reference)?;
        let mut sessions = Vec::new();
        for endpoint in endpoints {
            let secrets = matching(lists, &endpoint.host, &endpoint.repository);
            sessions.push(Session::new(endpoint, &self.transports, secrets)?);
        }
        Ok(Source { sessions })
    }
}

/// A document that is asked for.
enum Wanted<'a> {
    /// A manifest or index by tag: whatever it is now.
    Tag(&'a str),
    Manifest(&'a Digest),
    Config(&'a Digest),
}

impl Source {
    /// Fetches what a tag or digest stands for. A digest is checked.
    pub(crate) async fn document(&self, reference: &Reference) -> Result<RawDocument, FetchError> {
        match reference.digest() {
            Some(digest) => self.document_by_digest(digest).await,
            None => {
                let bytes = self
                    .fetch(&Wanted::Tag(reference.tag().unwrap_or("latest")))
                    .await?;
                Ok(RawDocument {
                    digest: Digest::sha256(&bytes),
                    bytes,
                })
            }
        }
    }

    pub(crate) async fn document_by_digest(&self, digest: &Digest) -> Result<RawDocument, FetchError> {
        let bytes = self.fetch(&Wanted::Manifest(digest)).await?;
        Ok(RawDocument {
            digest: digest.clone(),
            bytes,
        })
    }

    /// Fetches a configuration, and checks it.
    pub(crate) async fn config(&self, digest: &Digest) -> Result<Vec<u8>, FetchError> {
        self.fetch(&Wanted::Config(digest)).await
    }

    /// How many places there are to get a blob from.
    pub(crate) fn places(&self) -> usize {
        self.sessions.len()
    }

    /// The first place worth asking from this one on: one that could not be reached a moment ago is left out where
    /// another one follows.
    pub(crate) fn place_from(&self, place: usize) -> usize {
        let last = self.sessions.len().saturating_sub(1);
        let reachable = |place: &usize| self.sessions.get(*place).is_some_and(|it| !it.is_unreachable());
        (place..last).find(reachable).unwrap_or(last)
    }

    /// Begins to fetch a blob from one place, at an offset.
    pub(crate) async fn blob(
        &self,
        place: usize,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobStream, FetchError> {
        let session = self.sessions.get(place).ok_or(FetchError::NoPlace)?;
        session.blob(digest, offset).await
    }

    /// Asks one place after another. The last answer is the registry's own, and is the one that counts.
    async fn fetch(&self, wanted: &Wanted<'_>) -> Result<Vec<u8>, FetchError> {
        let mut failed = Vec::new();
        let mut place = self.place_from(0);
        while let Some(session) = self.sessions.get(place) {
            match wanted.ask(session).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed.push((session.host(), error)),
            }
            if place + 1 == self.sessions.len() {
                break;
            }
            place = self.place_from(place + 1);
        }
        let (_, error) = failed.pop().ok_or(FetchError::NoPlace)?;
        for (mirror, error) in &failed {
            tracing::warn!(mirror, error = %crate::error::chain(error), "a mirror could not serve");
        }
        // A registry that cannot be reached does not say more than a mirror that has no such image.
        if error.kind() == ErrorKind::Unavailable
            && let Some(index) = failed
                .iter()
                .position(|(_, error)| error.kind() == ErrorKind::NotFound)
        {
            let (mirror, not_found) = failed.swap_remove(index);
            let mirror = mirror.to_owned();
            return Err(FetchError::Mirrored {
                mirror,
                answer: Box::new(not_found),
                source: Box::new(error),
            });
        }
        Err(error)
    }
}

impl Wanted<'_> {
    async fn ask(&self, session: &Session) -> Result<Vec<u8>, FetchError> {
        let (what, digest, bytes) = match self {
            Wanted::Tag(tag) => return session.manifest(tag).await,
            Wanted::Manifest(digest) => ("manifest", *digest, session.manifest(digest.as_str()).await?),
            Wanted::Config(digest) => (
                "configuration",
                *digest,
                session.blob(digest, 0).await?.read_all(LIMIT).await?,
            ),
        };
        let actual = digest.of(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(FetchError::Digest {
                what,
                digest: digest.clone(),
                actual,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that nobody listens at, as long as there is the socket.
    fn nobody() -> (tokio::net::TcpSocket, String) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let host = socket.local_addr().unwrap().to_string();
        (socket, host)
    }

    #[tokio::test]
    async fn a_mirror_that_cannot_be_reached_is_asked_once() {
        // The first to come installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ((_mirror, mirror), (_registry, registry)) = (nobody(), nobody());
        let config = RegistryConfig {
            host: registry.clone(),
            mirrors: vec![mirror],
            ..RegistryConfig::default()
        };
        let reference: Reference = format!("{registry}/app:1").parse().unwrap();
        let source = Registries::new(vec![config]).source(&reference, &[]).unwrap();
        assert_eq!((source.places(), source.place_from(0)), (2, 0));
        let error = source.document(&reference).await.err().unwrap();
        assert!(error.to_string().contains(&registry), "{error}");
        // The last one is asked in any case.
        assert_eq!((source.place_from(0), source.place_from(1)), (1, 1));
    }
}
