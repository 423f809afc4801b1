//! Does what a pod's machine asks, and tells it what came of that.
//!
//! The driver knows [`Executor`] alone, so that it can be tested without a kernel. [`NodeExecutor`] is the real one: each
//! action is a task of its own that ends with inputs; writes to SQLite go through one more task, in order. The tasks end
//! with the executor, at whatever point they are: that is the same as a killed daemon, and is recovered from the same way.

mod clean;
mod image;
mod node;
mod recorder;
mod runs;
mod sandbox;
mod start;
mod volumes;

use std::sync::Arc;

use auraed_state::PodRow;
use auraed_types::pod::Files;
use auraed_types::{Pod, VolumeName};
use tokio::sync::{mpsc, watch};

use super::error::RecordError;
use super::machine::{Action, Input};
use super::record::Marks;

pub(crate) use node::{Cell, Node, NodeExecutor};
pub(crate) use recorder::settled;
pub(crate) use runs::found_runs;
pub(crate) use sandbox::{Adopted, ports, qos};

/// Where inputs go.
pub(crate) type Inputs = mpsc::UnboundedSender<Input>;

/// What came of a write to SQLite.
pub(crate) type Outcome = Result<(), Arc<RecordError>>;

/// A write that is under way, for as many as want to wait for it.
pub(crate) type Recorded = watch::Receiver<Option<Outcome>>;

/// The same of a write to memory.
pub(crate) type Kept = tokio::task::JoinHandle<std::io::Result<()>>;

/// Does what a machine asks.
pub(crate) trait Executor: Send + 'static {
    /// Begins an action of `pod` as it is now. [`Action::Event`] and [`Action::Record`] are the driver's.
    fn perform(&mut self, pod: &Arc<Pod>, action: Action);

    /// Writes what a crash must not lose. Later writes replace earlier ones that wait.
    fn record(&mut self, row: PodRow) -> Recorded;

    /// The pod is another one from now on.
    fn set_pod(&mut self, pod: &Arc<Pod>);

    /// Writes the whole pod, with its secret values, to memory.
    fn keep_message(&mut self, pod: &Arc<Pod>) -> Kept;

    /// Writes what probes have found to memory.
    fn keep_marks(&mut self, marks: Marks);

    /// Ends all that is under way, at whatever point it is.
    fn shut_down(self) -> impl Future<Output = ()> + Send;

    /// Replaces the content of a volume of files; `pod` has the new content. `false` if it was that already.
    fn update_files(
        &mut self,
        pod: &Arc<Pod>,
        volume: &VolumeName,
        files: &Files,
    ) -> impl Future<Output = std::io::Result<bool>> + Send;
}
