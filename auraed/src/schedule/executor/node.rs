//! The real executor: tasks on this node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auraed_image::Store;
use auraed_sandbox::{Host, Sandbox};
use auraed_state::{PodRow, State};
use auraed_types::pod::Files;
use auraed_types::{Pod, VolumeName};
use prost::Message as _;
use tokio::task::{AbortHandle, JoinSet};

use super::recorder::Recorder;
use super::{Adopted, Executor, Inputs, Kept, Recorded};
use crate::files;
use crate::mount;
use crate::network::PodNetwork;
use crate::schedule::engine::Directories;
use crate::schedule::handler::{self, Target};
use crate::schedule::machine::{Action, HookKind, Index, Input, ProbeKind, Probed};
use crate::schedule::places::Places;
use crate::schedule::record::Marks;

/// What all executors of this node share.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) state: State,
    pub(crate) images: Store,
    pub(crate) host: Arc<Host>,
    pub(crate) network: PodNetwork,
    pub(crate) directories: Directories,
    /// All memory of the node.
    pub(crate) memory_bytes: u64,
}

/// What a pod's tasks share, and others look at.
#[derive(Debug)]
pub(crate) struct Cell {
    shared: Mutex<Shared>,
    /// Held while content of volumes is written.
    pub(super) files: tokio::sync::Mutex<()>,
    /// Held while marks of probes are written: waiters come in order.
    marks: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pod: Arc<Pod>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) addresses: Vec<IpAddr>,
}

/// Does what one pod's machine asks, on this node.
pub(crate) struct NodeExecutor {
    node: Arc<Node>,
    places: Places,
    inputs: Inputs,
    cell: Arc<Cell>,
    recorder: Arc<Recorder>,
    tasks: JoinSet<()>,
    fetches: HashMap<Index, AbortHandle>,
}

/// What one action works with.
pub(super) struct Task {
    pub(super) node: Arc<Node>,
    pub(super) pod: Arc<Pod>,
    pub(super) places: Places,
    pub(super) cell: Arc<Cell>,
    pub(super) recorder: Arc<Recorder>,
    inputs: Inputs,
}

impl Cell {
    pub(crate) fn new(pod: Arc<Pod>) -> Cell {
        let shared = Shared {
            pod,
            sandbox: None,
            addresses: Vec::new(),
        };
        Cell {
            shared: Mutex::new(shared),
            files: tokio::sync::Mutex::default(),
            marks: tokio::sync::Mutex::default(),
        }
    }

    /// The pod as it is kept now.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.lock().pod)
    }

    pub(crate) fn set_pod(&self, pod: Arc<Pod>) {
        self.lock().pod = pod;
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.lock().addresses.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Each holder assigns whole values: a panic leaves old or new ones.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeExecutor {
    /// For one pod. A sandbox that an earlier daemon made is listened to from now on.
    pub(crate) fn new(
        node: Arc<Node>,
        cell: Arc<Cell>,
        inputs: Inputs,
        adopted: Option<Adopted>,
    ) -> NodeExecutor {
        let pod = cell.pod();
        let mut executor = NodeExecutor {
            places: Places::of(&pod, &node.directories),
            recorder: Arc::new(Recorder::start(node.state.clone())),
            node,
            inputs,
            cell,
            tasks: JoinSet::new(),
            fetches: HashMap::new(),
        };
        if let Some(adopted) = adopted {
            let task = executor.task(&pod);
            executor.tasks.spawn(task.listen(adopted.events));
        }
        executor
    }

    fn task(&self, pod: &Arc<Pod>) -> Task {
        Task {
            node: Arc::clone(&self.node),
            pod: Arc::clone(pod),
            places: self.places.clone(),
            cell: Arc::clone(&self.cell),
            recorder: Arc::clone(&self.recorder),
            inputs: self.inputs.clone(),
        }
    }
}

impl Executor for NodeExecutor {
    fn perform(&mut self, pod: &Arc<Pod>, action: Action) {
        while self.tasks.try_join_next().is_some() {}
        let task = self.task(pod);
        let tasks = &mut self.tasks;
        match action {
            Action::PrepareVolumes => drop(tasks.spawn(task.prepare_volumes())),
            Action::CreateSandbox { attempt } => drop(tasks.spawn(task.create_sandbox(attempt))),
            Action::DestroySandbox => drop(tasks.spawn(task.destroy_sandbox())),
            Action::FetchImage { container } => {
                let fetch = tasks.spawn(task.fetch_image(container));
                self.fetches.insert(container, fetch);
            }
            Action::CancelFetch { container } => {
                if let Some(fetch) = self.fetches.remove(&container) {
                    fetch.abort();
                }
            }
            Action::StartContainer(start) => drop(tasks.spawn(task.start_container(start))),
            Action::Signal { container, signal } => drop(tasks.spawn(task.signal(container, signal))),
            Action::Kill { container } => drop(tasks.spawn(task.kill(container))),
            Action::RunHook {
                container,
                attempt,
                hook,
                timeout,
            } => {
                drop(tasks.spawn(task.hook(container, attempt, hook, timeout)));
            }
            Action::Probe {
                container,
                attempt,
                kind,
            } => drop(tasks.spawn(task.probe(container, attempt, kind))),
            Action::CleanUp => drop(tasks.spawn(task.clean_up())),
            Action::Forget => drop(tasks.spawn(task.forget())),
            // The driver's own.
            Action::Event(_) | Action::Record => {}
        }
    }

    fn record(&mut self, row: PodRow) -> Recorded {
        self.recorder.put(row)
    }

    fn set_pod(&mut self, pod: &Arc<Pod>) {
        self.cell.set_pod(Arc::clone(pod));
    }

    fn keep_message(&mut self, pod: &Arc<Pod>) -> Kept {
        let (pod, places) = (Arc::clone(pod), self.places.clone());
        let write = move || {
            let message = auraed_api::schedule::v0::Pod::from(pod.as_ref()).encode_to_vec();
            let write = || {
                files::make_private(places.run())?;
                files::replace(&places.message(), &message, 0o600)
            };
            match write() {
                // Whoever removes the pod's dead sandbox takes the directory along while it is empty, once.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(),
                written => written,
            }
        };
        tokio::task::spawn_blocking(write)
    }

    fn keep_marks(&mut self, marks: Marks) {
        let (task, places) = (self.task(&self.cell.pod()), self.places.clone());
        self.tasks.spawn(async move {
            let _turn = task.cell.marks.lock().await;
            let write = move || files::replace(&places.marks(), &serde_json::to_vec(&marks)?, 0o600);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
                // A restarted daemon takes the containers for ready until their probes say otherwise.
                tracing::debug!(pod = %task.pod.id, %error, "what probes have found is not kept");
            }
        });
    }

    async fn shut_down(mut self) {
        self.tasks.shutdown().await;
    }

    async fn update_files(
        &mut self,
        pod: &Arc<Pod>,
        volume: &VolumeName,
        new: &Files,
    ) -> std::io::Result<bool> {
        let _turn = self.cell.files.lock().await;
        let (places, volume, new, group) = (self.places.clone(), volume.clone(), new.clone(), pod.fs_group);
        let write = move || {
            files::make_private(&places.files())?;
            mount::files::write(&places.files().join(&volume), &new, group)
        };
        let changed = tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::other)??;
        self.cell.set_pod(Arc::clone(pod));
        Ok(changed)
    }
}

impl Task {
    /// A driver that is gone needs no inputs.
    pub(super) fn tell(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    /// What does not run any more needs no signal: its end is told otherwise.
    async fn signal(self, container: Index, signal: i32) {
        let Some(sandbox) = self.cell.sandbox() else {
            return;
        };
        let name = self.container(container).name.as_str();
        if let Err(error) = sandbox.signal(name, signal).await {
            tracing::debug!(pod = %self.pod.id, container = name, signal, %error, "a signal did not arrive");
        }
    }

    async fn kill(self, container: Index) {
        let Some(sandbox) = self.cell.sandbox() else {
            return;
        };
        let name = self.container(container).name.as_str();
        if let Err(error) = sandbox.kill(name).await {
            tracing::debug!(pod = %self.pod.id, container = name, %error, "a container was not killed");
        }
    }

    async fn hook(self, index: Index, attempt: u32, hook: HookKind, timeout: Option<std::time::Duration>) {
        let container = self.container(index);
        let wanted = match hook {
            HookKind::PostStart => &container.post_start,
            HookKind::PreStop => &container.pre_stop,
        };
        let result = match (wanted, self.target(index)) {
            (Some(wanted), Some(target)) => handler::hook(&target, wanted, timeout).await,
            (None, _) => Ok(()),
            (_, None) => Err("the pod has no sandbox".to_owned()),
        };
        self.tell(Input::HookEnded {
            container: index,
            attempt,
            hook,
            result,
        });
    }

    async fn probe(self, index: Index, attempt: u32, kind: ProbeKind) {
        let outcome = match (kind.of(self.container(index)), self.target(index)) {
            (Some(probe), Some(target)) => handler::probe(&target, &probe.handler, probe.timeout).await,
            _ => Probed::Unknown("the pod has no sandbox".to_owned()),
        };
        self.tell(Input::Probed {
            container: index,
            attempt,
            kind,
            outcome,
        });
    }

    fn target(&self, index: Index) -> Option<Target> {
        let sandbox = self.cell.sandbox()?;
        // A pod on the node's network is reached on the node itself.
        let own = self.cell.addresses().first().copied();
        let address = own.or_else(|| self.pod.host_network.then_some(IpAddr::from([127, 0, 0, 1])));
        Some(Target {
            sandbox,
            container: self.container(index).name.to_string(),
            address,
        })
    }
}
