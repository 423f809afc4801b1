//! Sandboxes and containers, one verb at a time.

mod ahead;
mod confinement;
mod exits;
mod figures;
mod files;
mod life;
mod races;
mod recovery;
mod refusals;

use crate::archive::BUSYBOX;
use crate::machine::PATIENCE;
use crate::node::Node;
use auraed_api::runtime::v0 as api;
use std::path::PathBuf;
use tonic::{Status, Streaming};

/// A sandbox of the least kind.
pub(crate) fn sandbox(id: &str) -> api::SandboxSpec {
    api::SandboxSpec {
        id: id.into(),
        name: id.into(),
        namespace: "tests".into(),
        uid: format!("uid-of-{id}"),
        ..api::SandboxSpec::default()
    }
}

/// A container of the least kind that runs a script.
pub(crate) fn container(id: &str, sandbox: &str, script: &str) -> api::ContainerSpec {
    api::ContainerSpec {
        id: id.into(),
        sandbox: sandbox.into(),
        name: id.into(),
        image: BUSYBOX.into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..api::ContainerSpec::default()
    }
}

/// What happens on a node.
struct Events(Streaming<api::WatchSandboxesResponse>);

impl Events {
    /// The next event: what happened, and to which container.
    async fn next(&mut self) -> (api::RuntimeEventKind, String) {
        let event = self.event().await;
        (event.kind(), event.container)
    }

    async fn event(&mut self) -> api::RuntimeEvent {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        message.unwrap().unwrap().unwrap().event.unwrap()
    }

    /// Waits for an event of a container, or of a sandbox itself.
    async fn until(&mut self, kind: api::RuntimeEventKind, container: &str) -> api::RuntimeEvent {
        loop {
            let event = self.event().await;
            if event.kind() == kind && event.container == container {
                return event;
            }
        }
    }
}

impl Node {
    pub(crate) async fn make(&self, spec: api::SandboxSpec) -> Result<api::SandboxStatus, Status> {
        let request = api::CreateSandboxRequest { spec: Some(spec) };
        let made = self.client.sandboxes().create_sandbox(request).await?;
        Ok(made.into_inner().sandbox.unwrap())
    }

    async fn get_sandbox(&self, id: &str) -> Result<(api::SandboxStatus, Vec<api::ContainerStatus>), Status> {
        let request = api::GetSandboxRequest { id: id.into() };
        let found = self.client.sandboxes().get_sandbox(request).await?.into_inner();
        Ok((found.sandbox.unwrap(), found.containers))
    }

    async fn sandboxes(&self, request: api::ListSandboxesRequest) -> Vec<String> {
        let found = self.client.sandboxes().list_sandboxes(request).await.unwrap();
        let found = found.into_inner().sandboxes.into_iter();
        found.map(|status| status.spec.unwrap().id).collect()
    }

    async fn end(&self, id: &str) {
        let request = api::StopSandboxRequest { id: id.into() };
        self.client.sandboxes().stop_sandbox(request).await.unwrap();
    }

    async fn discard(&self, id: &str) {
        let request = api::RemoveSandboxRequest { id: id.into() };
        self.client.sandboxes().remove_sandbox(request).await.unwrap();
    }

    pub(crate) async fn make_container(&self, spec: api::ContainerSpec) -> Result<(), Status> {
        let request = api::CreateContainerRequest { spec: Some(spec) };
        self.client.containers().create_container(request).await.map(drop)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), Status> {
        let request = api::StartContainerRequest { id: id.into() };
        self.client.containers().start_container(request).await.map(drop)
    }

    /// Makes and starts.
    async fn launch(&self, spec: api::ContainerSpec) {
        let id = spec.id.clone();
        self.make_container(spec).await.unwrap();
        self.start_container(&id).await.unwrap();
    }

    async fn stop_container(&self, id: &str, grace_seconds: u64) {
        let request = api::StopContainerRequest {
            id: id.into(),
            grace_seconds,
        };
        self.client.containers().stop_container(request).await.unwrap();
    }

    async fn remove_container(&self, id: &str) {
        let request = api::RemoveContainerRequest { id: id.into() };
        self.client.containers().remove_container(request).await.unwrap();
    }

    pub(crate) async fn get_container(&self, id: &str) -> Result<api::ContainerStatus, Status> {
        let request = api::GetContainerRequest { id: id.into() };
        let found = self.client.containers().get_container(request).await?;
        Ok(found.into_inner().container.unwrap())
    }

    async fn containers(&self, request: api::ListContainersRequest) -> Vec<String> {
        let found = self.client.containers().list_containers(request).await.unwrap();
        let found = found.into_inner().containers.into_iter();
        found.map(|status| status.spec.unwrap().id).collect()
    }

    /// Watches from now on.
    async fn events(&self) -> Events {
        let request = api::WatchSandboxesRequest {};
        let watch = self.client.sandboxes().watch_sandboxes(request).await.unwrap();
        let mut watch = watch.into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().event, None);
        Events(watch)
    }

    /// Waits until a container has exited.
    async fn until_exited(&self, id: &str) -> api::ContainerStatus {
        let mut events = self.events().await;
        let status = self.get_container(id).await.unwrap();
        if status.state() == api::ContainerState::Exited {
            return status;
        }
        events.until(api::RuntimeEventKind::Stopped, id).await;
        self.get_container(id).await.unwrap()
    }

    /// A log file's place, and the content of what was written there without the times.
    fn log_path(&self, name: &str) -> PathBuf {
        self.machine.path("sandbox-logs").join(name)
    }

    fn logged(&self, name: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.log_path(name)).unwrap();
        let content = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
        text.lines().map(content).collect()
    }
}
