//! What `docker save` wrote before it wrote OCI image layouts: `manifest.json`, configurations by their digest, and
//! layers as plain tar streams without one.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::spool::Spool;
use super::{ArchiveError, Found, document_error, file_error};
use crate::catalog::NewName;
use crate::digest::Hasher;
use crate::document::{self, Blob, Manifest};
use crate::error::Failure;
use crate::{Digest, Reference};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

pub(super) fn images(spool: &Spool, default: Option<&Reference>) -> Result<Vec<Found>, Failure> {
    let path = "manifest.json";
    let json = |source| ArchiveError::Json {
        path: path.to_owned(),
        source,
    };
    let saved: Vec<Saved> = serde_json::from_slice(&spool.read(path)?).map_err(json)?;
    let only = saved.len() == 1;
    saved
        .into_iter()
        .map(|image| found(spool, image, default.filter(|_| only)))
        .collect()
}

fn found(spool: &Spool, image: Saved, default: Option<&Reference>) -> Result<Found, Failure> {
    let config = spool.read(&image.config)?;
    let wanted = image.layers.unwrap_or_default();
    // Before each of them is digested.
    document::check_count(&Digest::sha256(&config), wanted.len()).map_err(document_error)?;
    let mut layers = Vec::new();
    let mut blobs = Vec::new();
    for layer in wanted {
        let (path, size) = spool.find(&layer)?;
        layers.push(Blob {
            digest: digest_of(path).map_err(file_error(path))?,
            size,
        });
        blobs.push(path.to_owned());
    }
    let config_blob = Blob {
        digest: Digest::sha256(&config),
        size: config.len() as u64,
    };
    let manifest = Manifest {
        config: config_blob,
        layers,
    };
    let (config, diff_ids) = document::parse_config(&manifest, &config).map_err(document_error)?;

    let mut references = image
        .repo_tags
        .unwrap_or_default()
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<Vec<Reference>, _>>();
    if let (Ok(references), Some(default)) = (&mut references, default)
        && references.is_empty()
    {
        references.push(default.clone());
    }
    let references = references.map_err(ArchiveError::Reference)?;
    let tag =
        |reference: &Reference| Some(NewName::Tag(format!("{}:{}", reference.name(), reference.tag()?)));
    let names = references.iter().filter_map(tag).collect();
    Ok(Found {
        manifest,
        config,
        diff_ids,
        names,
        blobs,
    })
}

fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
