//! OCI image layout (OCI image specification, image-layout.md).

use oci_spec::image::{Descriptor, ImageIndex};

use super::spool::{Spool, blob_name};
use super::{ArchiveError, Found, document_error};
use crate::catalog::NewName;
use crate::document::{self, Blob, Document, DocumentError, Manifest};
use crate::error::Failure;
use crate::{Digest, Reference, platform};

/// A whole reference, by containerd and docker.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// By the specification a tag or a reference, as its writer likes.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// An index may point to an index, but not for ever.
const INDEXES: usize = 4;

pub(super) fn images(spool: &Spool, default: Option<&Reference>) -> Result<Vec<Found>, Failure> {
    let path = "index.json";
    let bytes = spool.read(path)?;
    let json = |source| ArchiveError::Json {
        path: path.to_owned(),
        source,
    };
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(json)?;
    let index_digest = Digest::sha256(&bytes);

    let here: Vec<&Descriptor> = index
        .manifests()
        .iter()
        .filter(|descriptor| may_run_here(descriptor))
        .collect();
    if here.is_empty() {
        let platform = platform::this_platform();
        return Err(DocumentError::NoPlatform {
            digest: index_digest,
            platform,
        }
        .into());
    }
    let only = here.len() == 1;
    here.into_iter()
        .map(|descriptor| {
            let refused = |reason| ArchiveError::Refused(reason);
            let blob = document::blob(descriptor).map_err(refused)?;
            let names = names(descriptor, &blob.digest, default.filter(|_| only))?;
            found(spool, blob, names)
        })
        .collect()
}

/// Images for other platforms and signatures lie beside the one that is wanted.
fn may_run_here(descriptor: &Descriptor) -> bool {
    descriptor.platform().as_ref().is_none_or(|platform| {
        platform::runs_here(&platform.os().to_string(), &platform.architecture().to_string())
    })
}

fn names(
    descriptor: &Descriptor,
    digest: &Digest,
    default: Option<&Reference>,
) -> Result<Vec<NewName>, ArchiveError> {
    let annotation = |key: &str| {
        descriptor
            .annotations()
            .as_ref()
            .and_then(|annotations| annotations.get(key))
    };
    // A bare word is a tag of a repository that the archive does not name.
    let whole = |name: &&String| name.contains(['/', ':']);
    let named = match annotation(IMAGE_NAME).or_else(|| annotation(REFERENCE_NAME).filter(whole)) {
        Some(name) => Some(name.parse::<Reference>()?),
        None => default.cloned(),
    };
    let Some(reference) = named else {
        return Ok(Vec::new());
    };
    let name = reference.name();
    let mut names = vec![NewName::Digest(format!("{name}@{digest}"))];
    names.extend(reference.tag().map(|tag| NewName::Tag(format!("{name}:{tag}"))));
    Ok(names)
}

fn found(spool: &Spool, blob: Blob, names: Vec<NewName>) -> Result<Found, Failure> {
    let manifest = manifest(spool, blob.digest)?;
    let config = spool.document("configuration", &manifest.config.digest)?;
    let (config, diff_ids) = document::parse_config(&manifest, &config).map_err(document_error)?;
    let find = |blob: &Blob| {
        spool
            .find(&blob_name(&blob.digest))
            .map(|(path, _)| path.to_owned())
    };
    let blobs = manifest.layers.iter().map(find).collect::<Result<_, _>>()?;
    Ok(Found {
        manifest,
        config,
        diff_ids,
        names,
        blobs,
    })
}

fn manifest(spool: &Spool, mut digest: Digest) -> Result<Manifest, Failure> {
    for _ in 0..INDEXES {
        let bytes = spool.document("manifest", &digest)?;
        match document::parse(&digest, &bytes)? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => digest = document::choose(&digest, &index)?.digest,
        }
    }
    Err(DocumentError::Refused {
        digest,
        reason: "too many indexes lead to it".to_owned(),
    }
    .into())
}
