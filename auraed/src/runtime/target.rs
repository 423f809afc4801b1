//! Whom a call is about: a container of the pod engine or of the executive, and what can be done with both.

use super::Sandboxes;
use crate::schedule::{Change, Engine};
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::Sandbox;
use auraed_types::status::{ContainerState, ContainerStatus, PodStatus};
use auraed_types::{ContainerId, ContainerName, PodId};

/// Everything that runs on the node.
#[derive(Clone)]
pub(super) struct Targets {
    engine: Engine,
    sandboxes: Sandboxes,
}

/// A container that runs.
pub(super) struct Target {
    /// Its sandbox.
    pub(super) sandbox: Sandbox,
    /// Its name there.
    pub(super) name: String,
    /// For people: the pod as the caller named it, or the sandbox.
    pub(super) pod: String,
    /// Its input ends with the first client.
    pub(super) stdin_once: bool,
    run: Run,
}

/// Which run of a container, and who knows how it ends.
enum Run {
    Pod {
        engine: Engine,
        pod: PodId,
        container: ContainerName,
        id: Option<ContainerId>,
    },
    Sandbox {
        sandboxes: Sandboxes,
        id: String,
    },
}

impl Targets {
    pub(super) fn new(engine: Engine, sandboxes: Sandboxes) -> Self {
        Self { engine, sandboxes }
    }

    /// The container that a request is about.
    pub(super) fn container(&self, reference: Option<api::ContainerReference>) -> Result<Target, Failure> {
        let reference = reference.unwrap_or_default();
        if !reference.pod.is_empty() {
            return self.of_pod(reference);
        }
        if reference.container.is_empty() {
            let rule = "must be an id, namespace/name or a unique name; or empty, with a container's id";
            return Err(Failure::argument("container.pod", rule));
        }
        let running = self.sandboxes.running(&reference.container)?;
        Ok(Target {
            pod: running.sandbox.id().to_owned(),
            stdin_once: running.spec.stdin_once,
            run: Run::Sandbox {
                sandboxes: self.sandboxes.clone(),
                id: running.name.clone(),
            },
            sandbox: running.sandbox,
            name: running.name,
        })
    }

    fn of_pod(&self, reference: api::ContainerReference) -> Result<Target, Failure> {
        let found = self.engine.exec_target(&reference.pod, &reference.container)?;
        Ok(Target {
            name: found.container.to_string(),
            pod: reference.pod,
            stdin_once: found.stdin_once,
            sandbox: found.sandbox,
            run: Run::Pod {
                engine: self.engine.clone(),
                pod: found.pod,
                container: found.container,
                id: found.run,
            },
        })
    }

    /// The sandbox of a pod, or one of the executive's by its id.
    pub(super) fn sandbox(&self, reference: &str) -> Result<Sandbox, Failure> {
        if reference.is_empty() {
            let rule = "must be the id of a pod or of a sandbox";
            return Err(Failure::argument("start.pod", rule));
        }
        if self.sandboxes.has(reference) {
            return Ok(self.sandboxes.sandbox(reference)?);
        }
        Ok(self.engine.sandbox_of(reference)?)
    }
}

impl Target {
    /// What goes wrong with it.
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(auraed_sandbox::Error) -> Failure + use<> {
        let (pod, container) = (self.pod.clone(), self.name.clone());
        move |source| Failure::Sandbox {
            action,
            pod: pod.clone(),
            container: container.clone(),
            source: Box::new(source),
        }
    }

    /// Waits until this run is over, and tells its exit code; absent if nobody knows it.
    pub(super) async fn ended(&self) -> Option<i32> {
        match &self.run {
            Run::Sandbox { sandboxes, id } => sandboxes.ended(id).await,
            Run::Pod {
                engine,
                pod,
                container,
                id,
            } => {
                let mut watch = engine.watch(pod.as_str()).ok()?;
                loop {
                    match watch.next().await? {
                        Change::Status(status) => {
                            if let Some(end) = end_of(&status, container, id.as_ref()) {
                                return end;
                            }
                        }
                        Change::Synced => {}
                        Change::Removed(_) => return None,
                    }
                }
            }
        }
    }
}

/// How a run ended, if it has: its exit code where that is known.
fn end_of(status: &PodStatus, container: &ContainerName, run: Option<&ContainerId>) -> Option<Option<i32>> {
    let mut all = status.init_containers.iter().chain(&status.containers);
    let Some(container) = all.find(|one| one.name == *container) else {
        return Some(None);
    };
    let ContainerStatus {
        state, last_state, ..
    } = container;
    if matches!(state, ContainerState::Running { .. }) && container.container_id.as_ref() == run {
        return None;
    }
    let ends = [
        match state {
            ContainerState::Terminated(end) => Some(end),
            _ => None,
        },
        last_state.as_ref(),
    ];
    let end = ends
        .into_iter()
        .flatten()
        .find(|end| end.container_id.as_ref() == run);
    Some(end.map(|end| end.exit_code))
}
