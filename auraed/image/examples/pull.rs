//! Pulls one image into a directory, and says how long it took: for looking at what a pull does.
//!
//! ```text
//! cargo run --release -p auraed-image --example pull -- 127.0.0.1:5000/app:1 /var/tmp/images
//! ```

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::sync::Arc;
use std::time::Instant;

use auraed_image::{Config, Image, Index, IndexError, Store};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// Keeps nothing: the next run begins anew.
struct Forgetful;

impl Index for Forgetful {
    fn put<'a>(&'a self, _: &'a Image) -> BoxFuture<'a, Result<(), IndexError>> {
        async { Ok(()) }.boxed()
    }

    fn remove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), IndexError>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(reference), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("which image, and where to?".into());
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::new(directory.into());
    let store = Store::open(config, Vec::new(), Arc::new(Forgetful)).await?;
    let begun = Instant::now();
    let (progress, _) = tokio::sync::mpsc::unbounded_channel();
    let image = store.pull(&reference.parse()?, &[], progress).await?;
    let (took, usage) = (begun.elapsed(), store.usage());
    println!(
        "{} layers, {} bytes fetched, {} bytes and {} inodes made: {} ms",
        image.layers.len(),
        image.size_bytes,
        usage.bytes,
        usage.inodes,
        took.as_millis()
    );
    Ok(())
}
