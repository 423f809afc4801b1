//! How far a pull is, told to whoever asked for it.

use crate::Digest;

/// One step of one layer of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The blob's digest.
    pub digest: Digest,
    /// Bytes fetched, compressed.
    pub done_bytes: u64,
    /// Bytes of the whole blob, compressed.
    pub total_bytes: u64,
    /// What is being done.
    pub state: LayerState,
}

/// Where a layer is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Its turn has not come.
    Waiting,
    /// Being fetched and unpacked.
    Fetching,
    /// On this node, unpacked.
    Done,
    /// Was here before.
    Present,
}
