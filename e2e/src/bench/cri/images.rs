//! Pulling and unpacking: one image of one big layer, and one of many small ones.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::Client;
use crate::images::{Compression, Form, LayerWriter, Spec, Store};
use crate::registry::Registry;
use crate::scratch::Scratch;

/// Bytes of the big layer's files.
const BIG: usize = 240 << 20;
/// Bytes of one of its files, all in all.
const FILE: usize = 48 << 10;
/// Layers of the other image.
const LAYERS: usize = 60;
/// Files of each.
const FILES: usize = 40;
/// Each pull's tries, of which the fastest counts: a disk's mood is not a runtime's.
const TRIES: usize = 3;

/// Images to pull.
pub(super) struct Supply {
    names: [&'static str; 2],
}

/// Seconds from the request to the answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pulls {
    /// One layer of some hundred megabytes.
    pub big_s: f64,
    /// Sixty layers.
    pub many_layers_s: f64,
}

impl Supply {
    /// Makes the images and puts them into the registry.
    pub(super) fn make(scratch: &Scratch, registry: &Registry) -> anyhow::Result<Self> {
        let mut store = Store::empty(&scratch.path().join("supply"))?;
        let mut text = Text(0x9e37_79b9_7f4a_7c15);
        let mut layer = LayerWriter::new();
        for number in 0..BIG / FILE {
            // As packages have it: many directories, files of all sizes.
            let size = FILE / 4 + (number * 7919) % (FILE * 3 / 2);
            let path = format!("usr/share/package-{}/file-{number}", number % 300);
            layer.file(&path, 0o644, &text.take(size))?;
        }
        let big = layer.finish(&store, Compression::Gzip)?;
        store.add("big", &Spec::default(), &[big], Form::Oci)?;
        let mut layers = Vec::new();
        for number in 0..LAYERS {
            let mut layer = LayerWriter::new();
            for file in 0..FILES {
                let path = format!("srv/{}/layer-{number}-file-{file}", file % 5);
                layer.file(&path, 0o644, &text.take(8 << 10))?;
            }
            layers.push(layer.finish(&store, Compression::Gzip)?);
        }
        store.add("many-layers", &Spec::default(), &layers, Form::Oci)?;
        let names = ["big", "many-layers"];
        for name in names {
            registry.put(&store, store.image(name)?, name, "1")?;
        }
        Ok(Self { names })
    }
}

/// Pulls each image some times, and takes it away again.
pub(super) async fn pulls(client: &Client, supply: &Supply) -> anyhow::Result<Pulls> {
    let mut seconds = [0.0; 2];
    for (name, seconds) in supply.names.into_iter().zip(&mut seconds) {
        let reference = Registry::reference(name);
        let mut least = Duration::MAX;
        for _try in 0..TRIES {
            // What was written before is not to be written meanwhile.
            tokio::task::spawn_blocking(rustix::fs::sync).await?;
            let begun = Instant::now();
            client.pull(&reference).await?;
            least = least.min(begun.elapsed());
            client.remove_image(&reference).await?;
        }
        *seconds = least.as_secs_f64();
    }
    Ok(Pulls {
        big_s: seconds[0],
        many_layers_s: seconds[1],
    })
}

/// Bytes that compress about as programs do, the same each time.
struct Text(u64);

impl Text {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 16);
        while bytes.len() < count {
            // xorshift64
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes()[..5]);
            bytes.extend_from_slice(b"and the same again ");
        }
        bytes.truncate(count);
        bytes
    }
}
