//! An import: the archive is spooled as it comes, then its images are assembled one after another.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Inner;
use super::assemble::{Origin, assemble};
use crate::digest::Hasher;
use crate::error::Failure;
use crate::import::{self, ArchiveError, Spool};
use crate::layer::{ChunkSender, LayerError, Plan, chunks, unpack_blob};
use crate::layers::Layers;
use crate::progress::Hub;
use crate::{Digest, Image, Layer};

/// Spooled layers by their digests.
struct Spooled {
    blobs: HashMap<Digest, PathBuf>,
}

pub(super) async fn import(
    inner: &Arc<Inner>,
    archive: impl AsyncRead + Unpin + Send,
    default_reference: Option<&str>,
) -> Result<Vec<Arc<Image>>, Failure> {
    let (sender, reader) = chunks();
    let ingest = inner.layers.ingest().clone();
    let default = default_reference.map(str::to_owned);
    let spooling = tokio::task::spawn_blocking(move || {
        let spool = Spool::receive(reader, &ingest)?;
        let found = import::images(&spool, default.as_deref())?;
        Ok::<_, Failure>((spool, found))
    });
    let sent = send(archive, sender).await;
    let spooled = spooling.await.map_err(|_| Failure::Stopped)?;
    // The reader fails when the sender does, but only the sender knows why.
    sent?;
    let (spool, found) = spooled?;

    let mut images = Vec::new();
    for found in found {
        let image = Image::new(&found.manifest, &found.config, &found.diff_ids);
        if let Some((image, pin)) = inner.whole(&image.id) {
            images.push(inner.commit((*image).clone(), found.names, pin).await?);
            continue;
        }
        let digests = found.manifest.layers.iter().map(|blob| blob.digest.clone());
        let origin = Spooled {
            blobs: digests.zip(found.blobs).collect(),
        };
        images.push(assemble(inner, image, found.names, &origin, &Hub::default()).await?);
    }
    // Removing the spool takes the disk a while.
    tokio::task::spawn_blocking(move || drop(spool));
    Ok(images)
}

/// Hands the archive to the spooling thread. One that has seen enough is no error: it says itself why.
async fn send(mut archive: impl AsyncRead + Unpin, sender: ChunkSender) -> Result<(), Failure> {
    const CHUNK: usize = 128 * 1024;
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let read = archive
            .read_buf(&mut buffer)
            .await
            .map_err(ArchiveError::Receive)?;
        if read == 0 {
            // A reader that is gone tells why itself.
            let _ = sender.end().await;
            return Ok(());
        }
        if sender.send(buffer.freeze()).await.is_err() {
            return Ok(());
        }
    }
}

impl Origin for Spooled {
    async fn fetch(&self, inner: &Arc<Inner>, layer: &Layer, _hub: &Hub) -> Result<(), Failure> {
        let stopped = || LayerError::Stopped {
            layer: layer.digest.clone(),
        };
        let blob = self.blobs.get(&layer.digest).cloned().ok_or_else(stopped)?;
        let (layers, layer) = (inner.layers.clone(), layer.clone());
        let unpacked = tokio::task::spawn_blocking(move || unpack(&layer, blob, &layers));
        Ok(unpacked.await.map_err(|_| stopped()).flatten()?)
    }
}

fn unpack(layer: &Layer, blob: PathBuf, layers: &Layers) -> Result<(), LayerError> {
    let digest = &layer.digest;
    let failed = |error| LayerError::io(digest, blob.clone(), error);
    // The plain file, whose errors keep their codes: that tells a broken disk from a broken layer.
    let (file, _) = fs_err::File::open(&blob).map_err(failed)?.into_parts();
    let mut file = Digested {
        inner: file,
        hasher: digest.hasher(),
        count: 0,
    };
    let plan = Plan {
        layer: digest.clone(),
        diff_id: layer.diff_id.clone(),
    };
    let unpacked = unpack_blob(&plan, &mut file, layers.ingest());
    // Damage is told by the digest of the whole, before what it led to.
    io::copy(&mut file, &mut io::sink()).map_err(failed)?;
    let (count, actual) = (file.count, file.hasher.finish());
    if actual != *digest {
        return Err(LayerError::Digest {
            layer: digest.clone(),
            actual,
        });
    }
    if count != layer.size_bytes {
        return Err(LayerError::Size {
            layer: digest.clone(),
            expected: layer.size_bytes,
            actual: count,
        });
    }
    let name = layer.diff_id.file_name();
    layers
        .publish(unpacked?, &name)
        .map_err(|error| LayerError::io(digest, layers.path(&name), error))
}

/// Digests what is read through it.
struct Digested<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.count += read as u64;
        Ok(read)
    }
}
