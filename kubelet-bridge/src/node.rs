//! The Node object: created or adopted, its status kept, its Lease renewed.
//!
//! One task owns the Node ([`keeper`]), one the Lease ([`lease`]); both end with the program. What others need to know of
//! the node (to translate pods, to refer to it in mirror pods) they read from a [`NodeView`].
//!
//! ```text
//! auraed ─GetNode─► keeper ─┬─► Node (POST once, PATCH on change or every 5 min)
//!    link up/down ──────────┤
//!                           └─► NodeView ─► workers, server, lease task ─► Lease (PUT every 10 s)
//! ```
//!
//! While auraed is away the node is reported not ready with the reason; the Lease goes on, because the node is not lost.

use std::sync::Arc;

use tokio::sync::watch;

pub mod address;
mod adopt;
mod images;
pub mod keeper;
mod lease;
mod patch;
mod searches;
mod subnets;

/// The API that this bridge stands in for.
pub const KUBELET_VERSION: &str = concat!("v1.37.2+aurae", env!("CARGO_PKG_VERSION"));

/// What others need to know of the node.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// For translation.
    pub node: translation::Node,
    /// The Node object's, once it is there.
    pub uid: Option<String>,
}

/// The latest view; none until auraed told its facts once.
pub type NodeViews = watch::Receiver<Option<Arc<NodeView>>>;

/// Whether auraed is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not yet known.
    Unknown,
    /// Its watch of pods speaks.
    Up,
    /// It does not, because of this.
    Down(String),
}
