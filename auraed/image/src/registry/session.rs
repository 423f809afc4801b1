//! One pull's talk with one place: requests, who it is there, and the streams it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::FetchError;
use super::authorization::{answer, challenge};
use super::endpoint::Endpoint;
use super::transport::{Redirects, Transports};
use crate::Digest;
use crate::credentials::Secret;
use crate::document::{LIMIT, MANIFEST_TYPES};

pub(super) struct Session {
    endpoint: Endpoint,
    transports: Arc<Transports>,
    client: Client,
    /// To be tried one after another; without any, one goes as nobody.
    secrets: Vec<Option<Secret>>,
    identity: Mutex<Identity>,
    unreachable: AtomicBool,
}

/// Which secret is used, and what the registry made of it.
#[derive(Default)]
struct Identity {
    secret: usize,
    authorization: Option<HeaderValue>,
    /// Changes with every new authorization, so that of many requests that are refused at once one asks anew.
    generation: u64,
}

/// A blob as it arrives, unchecked.
pub(crate) struct BlobStream {
    response: Response,
    url: Url,
    received: u64,
    /// The offset of the first byte that comes; 0 where the registry does not know ranges.
    pub(crate) offset: u64,
}

impl Session {
    pub(super) fn new(
        endpoint: Endpoint,
        transports: &Arc<Transports>,
        secrets: Vec<Secret>,
    ) -> Result<Session, FetchError> {
        let client = transports.client(&endpoint.trust, Redirects::Anywhere)?;
        let mut secrets: Vec<_> = secrets.into_iter().map(Some).collect();
        if secrets.is_empty() {
            secrets.push(None);
        }
        Ok(Session {
            endpoint,
            transports: Arc::clone(transports),
            client,
            secrets,
            identity: Mutex::default(),
            unreachable: AtomicBool::new(false),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// Whether no connection could be made when this one was last asked.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Fetches a manifest or index by tag or digest. It is not checked.
    pub(super) async fn manifest(&self, tag_or_digest: &str) -> Result<Vec<u8>, FetchError> {
        let url = self.url("manifests", tag_or_digest)?;
        let response = self.get(&url, Some(MANIFEST_TYPES), 0).await?;
        read_bounded(response, &url, LIMIT).await
    }

    /// Begins to fetch a blob, at an offset where the registry can; else at its beginning.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobStream, FetchError> {
        let url = self.url("blobs", digest.as_str())?;
        let (response, offset) = match self.get(&url, None, offset).await {
            Ok(response) if offset > 0 && response.status() == StatusCode::PARTIAL_CONTENT => {
                if starts_at(response.headers(), offset) {
                    (response, offset)
                } else {
                    (self.get(&url, None, 0).await?, 0)
                }
            }
            Err(error) if offset > 0 && error.is_range() => (self.get(&url, None, 0).await?, 0),
            response => (response?, 0),
        };
        Ok(BlobStream {
            response,
            url,
            received: 0,
            offset,
        })
    }

    fn url(&self, kind: &str, name: &str) -> Result<Url, FetchError> {
        let path = format!("{}/{kind}/{name}", self.endpoint.repository);
        let mut url = self.endpoint.base.join(&path).map_err(|_| FetchError::Address {
            text: path.chars().take(300).collect(),
        })?;
        if let Some(registry) = &self.endpoint.stands_for {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// A request, with as much proof of who is asking as it takes. Answers with 200 or 206.
    async fn get(
        &self,
        url: &Url,
        accept: Option<&'static str>,
        offset: u64,
    ) -> Result<Response, FetchError> {
        // The authorization that was made for this very request: if it is refused, its secret is not the one.
        let mut made_here = None;
        loop {
            let (authorization, generation) = {
                let identity = self.identity.lock().await;
                (identity.authorization.clone(), identity.generation)
            };
            let response = self.send(url, accept, offset, authorization).await?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                StatusCode::UNAUTHORIZED if response.url().origin() == url.origin() => {}
                // Who the registry redirects to is not the registry, and gets nothing that is for it.
                StatusCode::UNAUTHORIZED => return Err(elsewhere(url)),
                _ => return Err(status_error(response, url).await),
            }
            let refused = made_here == Some(generation);
            made_here = Some(self.identify(&response, generation, refused, url).await?);
        }
    }

    async fn send(
        &self,
        url: &Url,
        accept: Option<&'static str>,
        offset: u64,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, FetchError> {
        let mut request = self.client.get(url.clone());
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let sent = request.send().await;
        let unreachable = sent.as_ref().is_err_and(reqwest::Error::is_connect);
        self.unreachable.store(unreachable, Ordering::Relaxed);
        sent.map_err(|error| FetchError::request(url, error))
    }

    /// Makes the authorization for a request that was refused, with the next secret if that refuted the current one.
    /// Returns the generation to try with.
    async fn identify(
        &self,
        refusal: &Response,
        generation: u64,
        refuted: bool,
        url: &Url,
    ) -> Result<u64, FetchError> {
        let mut identity = self.identity.lock().await;
        if identity.generation != generation {
            // Somebody else was faster.
            return Ok(identity.generation);
        }
        if refuted {
            identity.secret += 1;
        }
        let challenge = challenge(refusal.headers());
        let mut last = None;
        while let Some(secret) = self.secrets.get(identity.secret) {
            match answer(&self.transports, &self.endpoint, &challenge, secret.as_ref()).await {
                Ok(authorization) => {
                    identity.authorization = Some(authorization);
                    identity.generation += 1;
                    return Ok(identity.generation);
                }
                Err(error @ FetchError::Unauthorized { .. }) => {
                    last = Some(error);
                    identity.secret += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // The next request of this session begins anew with the first secret.
        identity.secret = 0;
        identity.authorization = None;
        identity.generation += 1;
        Err(last.unwrap_or_else(|| FetchError::Unauthorized {
            url: url.to_string(),
            reason: "the registry refused the credentials".to_owned(),
        }))
    }
}

/// Whether a part begins where it was asked to: `bytes first-last/length` (RFC 9110, 14.4).
fn starts_at(headers: &HeaderMap, offset: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
    first.is_some_and(|(first, _)| first.parse() == Ok(offset))
}

impl BlobStream {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => {
                self.received += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                let (url, received) = (self.url.to_string(), self.offset + self.received);
                Err(FetchError::Broken {
                    url,
                    received,
                    source: Some(error.without_url()),
                })
            }
        }
    }

    /// The stream ended before the blob did.
    pub(crate) fn ended_early(&self) -> FetchError {
        FetchError::Broken {
            url: self.url.to_string(),
            received: self.offset + self.received,
            source: None,
        }
    }

    pub(super) async fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() as u64 + bytes.len() as u64 > limit {
                return Err(FetchError::TooLarge {
                    url: self.url.to_string(),
                    limit,
                });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

/// Reads an answer whole, if it is not too long.
pub(super) async fn read_bounded(response: Response, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
    BlobStream {
        response,
        url: url.clone(),
        received: 0,
        offset: 0,
    }
    .read_all(limit)
    .await
}

fn elsewhere(url: &Url) -> FetchError {
    FetchError::Unauthorized {
        url: url.to_string(),
        reason: "a server that it redirects to wants credentials".to_owned(),
    }
}

async fn status_error(response: Response, url: &Url) -> FetchError {
    let status = response.status();
    let shown = url.to_string();
    match status {
        StatusCode::NOT_FOUND => FetchError::NotFound { url: shown },
        StatusCode::FORBIDDEN => FetchError::Unauthorized {
            url: shown,
            reason: "403 Forbidden".to_owned(),
        },
        status => {
            let message = message(response, url).await;
            FetchError::Status {
                url: shown,
                status,
                message,
            }
        }
    }
}

/// What the registry says about it, in one line: `errors[0].message` (distribution specification, "Error Codes").
async fn message(response: Response, url: &Url) -> String {
    const SHOWN: usize = 300;
    let body = read_bounded(response, url, 64 * 1024).await.unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = value["errors"][0]["message"].as_str().unwrap_or_default();
    let text: String = text
        .chars()
        .filter(|character| !character.is_control())
        .take(SHOWN)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}
