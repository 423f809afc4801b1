//! A pull: from a reference to a manifest of this platform, then to an image.

use std::sync::Arc;

use super::Inner;
use super::assemble::assemble;
use super::fetch::Remote;
use crate::catalog::NewName;
use crate::credentials::{Entry, read_docker_config};
use crate::document::{self, Document, DocumentError, Manifest};
use crate::error::Failure;
use crate::progress::Hub;
use crate::registry::{RawDocument, Source};
use crate::{Credentials, Digest, Image, LayerState, Reference};

/// An index may point to an index, but not for ever.
const INDEXES: usize = 4;

pub(super) async fn pull(
    inner: Arc<Inner>,
    reference: Reference,
    credentials: Vec<Credentials>,
    hub: Arc<Hub>,
) -> Result<Arc<Image>, Failure> {
    let unresolved = |source| Failure::Resolve {
        reference: reference.to_string(),
        source,
    };
    let given: Vec<Entry> = credentials.iter().filter_map(Option::from).collect();
    let configured = configured(&inner).await?;
    let source = inner
        .registries
        .source(&reference, &[&given, &configured])
        .map_err(unresolved)?;
    let named = source.document(&reference).await.map_err(unresolved)?;
    let names = names(&reference, &named.digest);
    let manifest = manifest(&source, named).await?;

    if let Some((image, pin)) = inner.whole(manifest.config.digest.as_str()) {
        for layer in &image.layers {
            hub.report(layer, layer.size_bytes, LayerState::Present);
        }
        return inner.commit((*image).clone(), names, pin).await;
    }
    let digest = manifest.config.digest.clone();
    let config = source.config(&digest).await;
    let config = config.map_err(|source| Failure::Fetch {
        what: "configuration",
        digest,
        source,
    })?;
    let (config, diff_ids) = document::parse_config(&manifest, &config)?;
    let image = Image::new(&manifest, &config, &diff_ids);
    assemble(&inner, image, names, &Remote { source: &source }, &hub).await
}

async fn configured(inner: &Inner) -> Result<Vec<Entry>, Failure> {
    let Some(path) = inner.docker_config.clone() else {
        return Ok(Vec::new());
    };
    let read = tokio::task::spawn_blocking(move || read_docker_config(&path));
    Ok(read.await.map_err(|_| Failure::Stopped)??)
}

/// What the image is called afterwards. Pulled by digest it gets no tag, whatever stands before the digest.
fn names(reference: &Reference, digest: &Digest) -> Vec<NewName> {
    let name = reference.name();
    let mut names = vec![NewName::Digest(format!("{name}@{digest}"))];
    if let (None, Some(tag)) = (reference.digest(), reference.tag()) {
        names.push(NewName::Tag(format!("{name}:{tag}")));
    }
    names
}

/// Goes from an index to the manifest of this platform.
async fn manifest(source: &Source, mut raw: RawDocument) -> Result<Manifest, Failure> {
    for _ in 0..INDEXES {
        match document::parse(&raw.digest, &raw.bytes)? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => {
                let chosen = document::choose(&raw.digest, &index)?;
                let fetched = source.document_by_digest(&chosen.digest).await;
                raw = fetched.map_err(|source| Failure::Fetch {
                    what: "manifest",
                    digest: chosen.digest,
                    source,
                })?;
            }
        }
    }
    Err(DocumentError::Refused {
        digest: raw.digest,
        reason: "too many indexes lead to it".to_owned(),
    }
    .into())
}
