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
        for session in &self.sessions {
            match wanted.ask(session).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed.push((session.host(), error)),
            }
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
