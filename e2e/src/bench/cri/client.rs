//! The calls that a kubelet makes, with the least that each needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{
    ContainerConfig, ContainerEventResponse, ContainerMetadata, CreateContainerRequest, ExecSyncRequest,
    GetEventsRequest, ImageSpec, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata,
    PullImageRequest, RemoveContainerRequest, RemoveImageRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StatusRequest, StopContainerRequest, StopPodSandboxRequest,
};
use hyper_util::rt::TokioIo;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::registry::Registry;
use crate::scratch::Scratch;
use crate::wait;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of one runtime; clones share the connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    logs: PathBuf,
    cgroup: String,
}

/// A sandbox with what it was made of, which later calls name again.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) id: String,
    config: PodSandboxConfig,
}

impl Client {
    pub(super) async fn connect(socket: &Path, scratch: &Scratch, name: &str) -> anyhow::Result<Self> {
        let socket = socket.to_owned();
        // The address is not looked at: the connector knows where.
        let channel = Endpoint::from_static("http://localhost")
            .timeout(PATIENCE)
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
            .context("connecting to the runtime")?;
        let word: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            logs: scratch.path().join("cri-logs").join(&word),
            cgroup: format!("/{}-{word}", scratch.name()),
        })
    }

    /// Waits until both conditions hold.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        wait::until(PATIENCE, "the runtime is ready", async || {
            let mut runtime = self.runtime.clone();
            let status = runtime.status(StatusRequest { verbose: false }).await?;
            let conditions = status.into_inner().status.unwrap_or_default().conditions;
            if let Some(not) = conditions.iter().find(|condition| !condition.status) {
                bail!("{}: {}", not.r#type, not.message);
            }
            Ok((!conditions.is_empty()).then_some(()))
        })
        .await
    }

    pub(super) async fn pull(&self, reference: &str) -> anyhow::Result<()> {
        let request = PullImageRequest {
            image: Some(image(reference)),
            ..PullImageRequest::default()
        };
        self.images.clone().pull_image(request).await.context("pulling")?;
        Ok(())
    }

    pub(super) async fn remove_image(&self, reference: &str) -> anyhow::Result<()> {
        let request = RemoveImageRequest {
            image: Some(image(reference)),
        };
        self.images
            .clone()
            .remove_image(request)
            .await
            .context("removing an image")?;
        Ok(())
    }

    pub(super) async fn run_sandbox(&self, name: &str) -> anyhow::Result<Sandbox> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.logs.join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/{name}", self.cgroup),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let answer = self
            .runtime
            .clone()
            .run_pod_sandbox(request)
            .await
            .context("RunPodSandbox")?;
        Ok(Sandbox {
            id: answer.into_inner().pod_sandbox_id,
            config,
        })
    }

    pub(super) async fn create_container(
        &self,
        sandbox: &Sandbox,
        name: &str,
        command: &[&str],
    ) -> anyhow::Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: name.to_owned(),
                    attempt: 0,
                }),
                image: Some(image(&Registry::reference("busybox"))),
                command: command.iter().map(|&word| word.to_owned()).collect(),
                log_path: format!("{name}.log"),
                ..ContainerConfig::default()
            }),
            sandbox_config: Some(sandbox.config.clone()),
        };
        let answer = self
            .runtime
            .clone()
            .create_container(request)
            .await
            .context("CreateContainer")?;
        Ok(answer.into_inner().container_id)
    }

    pub(super) async fn start_container(&self, id: &str) -> anyhow::Result<()> {
        let request = StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime
            .clone()
            .start_container(request)
            .await
            .context("StartContainer")?;
        Ok(())
    }

    pub(super) async fn exec_true(&self, id: &str) -> anyhow::Result<()> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: vec!["true".to_owned()],
            timeout: 30,
        };
        let answer = self
            .runtime
            .clone()
            .exec_sync(request)
            .await
            .context("ExecSync")?;
        ensure!(answer.into_inner().exit_code == 0, "true has failed");
        Ok(())
    }

    pub(super) async fn stop_container(&self, id: &str) -> anyhow::Result<()> {
        let request = StopContainerRequest {
            container_id: id.to_owned(),
            timeout: 10,
        };
        self.runtime
            .clone()
            .stop_container(request)
            .await
            .context("StopContainer")?;
        Ok(())
    }

    pub(super) async fn remove_container(&self, id: &str) -> anyhow::Result<()> {
        let request = RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime
            .clone()
            .remove_container(request)
            .await
            .context("RemoveContainer")?;
        Ok(())
    }

    /// What happens to containers from now on.
    pub(super) async fn events(&self) -> anyhow::Result<Streaming<ContainerEventResponse>> {
        let answer = self
            .runtime
            .clone()
            .get_container_events(GetEventsRequest {})
            .await
            .context("GetContainerEvents")?;
        Ok(answer.into_inner())
    }

    pub(super) async fn stop_sandbox(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let request = StopPodSandboxRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        self.runtime
            .clone()
            .stop_pod_sandbox(request)
            .await
            .context("StopPodSandbox")?;
        Ok(())
    }

    pub(super) async fn remove_sandbox(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let request = RemovePodSandboxRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        self.runtime
            .clone()
            .remove_pod_sandbox(request)
            .await
            .context("RemovePodSandbox")?;
        Ok(())
    }
}

fn image(reference: &str) -> ImageSpec {
    ImageSpec {
        image: reference.to_owned(),
        ..ImageSpec::default()
    }
}
