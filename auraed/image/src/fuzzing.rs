//! One call for each reader of bytes from outside, with what must hold afterwards: for fuzz targets, and for the property
//! tests of this crate. Not part of the interface.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::document::{self, Blob, Document, Manifest};
use crate::layer::{Ingest, Plan, unpack_blob};
use crate::{Digest, ErrorKind, ImageConfig, Reference};

/// An index or a manifest.
///
/// # Panics
/// What came out of it is not what it should be.
pub fn manifest(bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    match document::parse(&digest, bytes) {
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.config.size <= document::LIMIT && manifest.layers.len() < 500);
        }
        // Which one is for this node, if any.
        Ok(Document::Index(index)) => drop(document::choose(&digest, &index)),
        Err(error) => drop(error.to_string()),
    }
}

/// An image's configuration, for a manifest with as many layers as fit.
///
/// # Panics
/// What came out of it is not what it should be.
pub fn config(bytes: &[u8]) {
    let blob = Blob {
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
    };
    for layers in 0..3 {
        let manifest = Manifest {
            config: blob.clone(),
            layers: vec![blob.clone(); layers],
        };
        if let Ok((config, diff_ids)) = document::parse_config(&manifest, bytes) {
            assert_eq!(diff_ids.len(), layers);
            let image = crate::Image::new(&manifest, &config, &diff_ids);
            // It is kept as text and read again at the next start.
            let text = serde_json::to_string(&image).unwrap_or_default();
            assert_eq!(serde_json::from_str::<crate::Image>(&text).ok(), Some(image));
            let _ = ImageConfig::from(&config);
        }
    }
}

/// The name of an image.
///
/// # Panics
/// A name that was taken is another one when it is written and read again, or holds what none may.
pub fn reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    let whole = reference.to_string();
    assert_eq!(whole.parse::<Reference>().as_ref(), Ok(&reference), "{whole}");
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    assert!(reference.repository().split('/').all(part), "{whole}");
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'%' | b'?' | b'#');
    assert!(whole.bytes().all(plain), "{whole}");
    assert!(reference.tag().is_some() || reference.digest().is_some());
}

/// A layer, packed or not, unpacked below the system's directory for temporary files. As root this makes devices.
///
/// # Panics
/// Something was made beside the layer's own directory, or is left of it.
pub fn layer(bytes: &[u8]) {
    let Some(ingest) = ingest() else {
        return;
    };
    let plan = Plan {
        layer: Digest::sha256(bytes),
        diff_id: Digest::sha256(bytes),
    };
    match unpack_blob(&plan, bytes, ingest) {
        Ok(staging) => drop(staging),
        Err(error) => {
            // The disk may fail a fuzzer; nothing else of this machine may.
            let harmless = error.kind() != ErrorKind::Internal || !rustix::process::geteuid().is_root();
            assert!(harmless, "{}", crate::error::chain(&error));
        }
    }
    let left = fs_err::read_dir(ingest.path()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "something is left");
    let outside = ingest.path().parent().map(fs_err::read_dir);
    assert_eq!(
        outside.and_then(Result::ok).map_or(1, Iterator::count),
        1,
        "something got out"
    );
}

/// One for each thread, so that each knows what is its own.
fn ingest() -> Option<&'static Ingest> {
    thread_local! {
        static INGEST: OnceLock<Option<&'static Ingest>> = const { OnceLock::new() };
    }
    INGEST.with(|ingest| {
        *ingest.get_or_init(|| {
            let ingest = Ingest::open(directory().join("ingest")).ok()?;
            Some(Box::leak(Box::new(ingest)))
        })
    })
}

fn directory() -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    std::env::temp_dir().join(format!("auraed-image-fuzzing-{}-{thread}", std::process::id()))
}

/// Removes what [`layer`] made for this thread.
#[cfg(test)]
pub(crate) fn clean() {
    let _ = fs_err::remove_dir_all(directory());
}

#[cfg(test)]
mod tests;
