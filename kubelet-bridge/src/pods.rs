//! The pods of this node: one table, and one worker a pod that brings auraed and the API server to agree about it.
//!
//! ```text
//!  API watch ─┐                        ┌─ run lane ───► auraed: Now, UpdateFiles, Stop, Remove
//!  manifests ─┼─Input─► table ─Inbox─► worker (one a UID)
//!  auraed ────┘           │            └─ write lane ─► API: PATCH status, DELETE, mirror pods
//!                         └─► Directory (what the kubelet API shows)
//! ```
//!
//! The table owns which pods there are; a worker owns one pod's state ([`state::State`]), decides from it alone
//! ([`decide`], pure) and does at most one thing in each lane at a time. Nothing of it is kept: what should run is in the
//! API and in auraed, so a bridge that was killed finds everything again. A worker that panics is started again and harms
//! no other.

use std::path::Path;
use std::sync::Arc;

use auraed_api::schedule::v0::PodStatus;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};

pub mod decide;
pub mod directory;
pub mod run;
#[cfg(test)]
mod simulation;
pub mod state;
pub mod status;
pub mod table;
mod worker;
pub mod write;

pub use directory::Directory;

use crate::aurae::Aurae;
use crate::cluster::Cluster;
use crate::node::NodeViews;
use crate::report::Recorder;
use crate::resolve::Resolver;

/// `aurae.schedule.v0.Pod.source` of pods from the API server: the bridge removes no other pod that it does not know.
pub const API_SOURCE: &str = "kubernetes";

/// What the sources tell the table.
#[derive(Debug)]
pub enum Input {
    /// The API server's pods follow, all of them.
    ApiBegins,
    /// A pod as it is.
    ApiPod(Arc<Pod>),
    /// A pod that is gone.
    ApiGone(Arc<Pod>),
    /// All were told; what was not is gone.
    ApiComplete,
    /// All static pods.
    Manifests(Vec<StaticPod>),
    /// auraed's pods follow, all of them.
    AuraeBegins,
    /// A pod as auraed sees it.
    AuraeStatus(Arc<PodStatus>),
    /// A pod that auraed forgot.
    AuraeRemoved(String),
    /// All were told.
    AuraeComplete,
    /// auraed is away.
    AuraeLost,
}

/// To the table.
pub type Inputs = mpsc::Sender<Input>;

/// A pod from a manifest.
#[derive(Clone, Debug)]
pub struct StaticPod {
    /// The file.
    pub path: Arc<Path>,
    /// With its name, uid and annotations.
    pub pod: Arc<Pod>,
}

/// What a worker is told. Each field is the latest; what was missed in between does not matter.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// What should run: the API's pod, or the manifest's.
    pub pod: Arc<Pod>,
    /// It is there no more.
    pub gone: bool,
    /// Of a static pod, its mirror in the API.
    pub mirror: Option<Arc<Pod>>,
    /// auraed's view.
    pub observed: Option<Arc<PodStatus>>,
    /// How often auraed said that it forgot the pod.
    pub forgotten: u32,
    /// Counts auraed's connections: what was said in another may be lost.
    pub session: u64,
    /// `observed` is what auraed has now; else it is what it had.
    pub synced: bool,
}

/// Where a pod comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The API server.
    Api,
    /// This file.
    Manifest(Arc<Path>),
}

/// What all workers share.
#[derive(Debug)]
pub struct Context {
    /// auraed.
    pub aurae: Aurae,
    /// The API server; none: manifests alone.
    pub cluster: Option<Cluster>,
    /// For pods of the API.
    pub resolver: Option<Resolver>,
    /// For static pods.
    pub local: Resolver,
    /// The node.
    pub node: NodeViews,
    /// Events.
    pub recorder: Recorder,
}

/// What others may see of a worker.
#[derive(Clone, Debug)]
pub struct View {
    /// What should run.
    pub pod: Arc<Pod>,
    /// The status last reported, or to be.
    pub status: Arc<k8s_openapi::api::core::v1::PodStatus>,
}

/// A worker's latest view.
pub type Views = watch::Receiver<View>;
