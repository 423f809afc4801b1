//! A node with auraed and the shim, a client of it, and what tests say in a line each.

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cri_api::v1 as cri;
use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use e2e::node::{Agent, Node, Options};
use e2e::registry::Registry;
use e2e::skip::{everything_required, skipped};
use e2e::suite;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// For a shim that is told to end while a test is not through with it.
pub(crate) const PATIENT: [&str; 2] = ["--drain-seconds", "60"];

/// A client of the CRI, as kubelet is one.
#[derive(Clone)]
pub(crate) struct Cri {
    pub(crate) runtime: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Connects with the first call, and again when the connection broke.
    pub(crate) fn of(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        let limit = 16 * 1024 * 1024;
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(limit),
            images: ImageServiceClient::new(channel).max_decoding_message_size(limit),
        }
    }
}

/// Runs a test on the node that all share.
pub(crate) fn on_node<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Cri) -> F) {
    if !possible(test) {
        return;
    }
    static NODE: OnceLock<Node> = OnceLock::new();
    let node = NODE.get_or_init(|| start("shim"));
    run(async { body(Cri::of(&node.cri_socket())).await });
}

/// Runs a test on a node of its own, which is stopped in order and cleaned up afterwards.
pub(crate) fn on_own_node(test: &str, name: &str, body: impl AsyncFnOnce(&Node, Cri)) {
    if !possible(test) {
        return;
    }
    let node = start(name);
    run(async { body(&node, Cri::of(&node.cri_socket())).await });
    node.stop().unwrap();
    node.cleanup().unwrap();
}

fn start(name: &str) -> Node {
    let ground = suite::ground();
    let options = Options::new(name).with(Agent::Kubelet);
    let node = Node::start(&ground.scratch, &ground.network, options).unwrap();
    node.start_shim().unwrap();
    node
}

fn possible(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped(test, "needs root");
        return false;
    }
    if let Err(error) = e2e::images::Store::open() {
        assert!(!everything_required(), "{error:#}");
        skipped(test, &format!("{error:#}"));
        return false;
    }
    true
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// A name that no other test of the run has.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The suite's busybox.
pub(crate) fn busybox() -> String {
    Registry::reference("busybox")
}

/// A sandbox's configuration, with logs in a directory of its own.
pub(crate) fn sandbox_config(name: &str) -> cri::PodSandboxConfig {
    let name = unique(name);
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.clone(),
            uid: format!("uid-{name}"),
            namespace: "default".into(),
            attempt: 0,
        }),
        hostname: "shim".into(),
        log_directory: format!("{}/log/{name}", suite::ground().scratch.path().display()),
        labels: [("test".to_owned(), name)].into(),
        annotations: [("a.b/c".to_owned(), "kept as it is".to_owned())].into(),
        linux: Some(cri::LinuxPodSandboxConfig::default()),
        ..Default::default()
    }
}

/// A container that runs a script.
pub(crate) fn container_config(name: &str, script: &str) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: name.into(),
            attempt: 0,
        }),
        image: Some(cri::ImageSpec {
            image: busybox(),
            user_specified_image: "busybox".into(),
            ..Default::default()
        }),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: format!("{name}/0.log"),
        labels: [("test".to_owned(), name.to_owned())].into(),
        ..Default::default()
    }
}

/// A script that runs until it is told to end.
pub(crate) const FOREVER: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

/// A script that handles a signal as it says, and runs on. [`Cri::prepared`] returns once it does.
pub(crate) fn prepared(trap: &str) -> String {
    format!("trap {trap}; echo > /prepared; while true; do sleep 0.1; done")
}

impl Cri {
    pub(crate) async fn pull(&mut self, image: &str) -> String {
        let request = cri::PullImageRequest {
            image: Some(cri::ImageSpec {
                image: image.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.images
            .pull_image(request)
            .await
            .unwrap()
            .into_inner()
            .image_ref
    }

    pub(crate) async fn run_sandbox(&mut self, config: &cri::PodSandboxConfig) -> String {
        self.try_sandbox(config).await.unwrap()
    }

    pub(crate) async fn try_sandbox(&mut self, config: &cri::PodSandboxConfig) -> Result<String, Status> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        let answer = self.runtime.run_pod_sandbox(request).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn sandbox_status(&mut self, id: &str) -> Result<cri::PodSandboxStatusResponse, Status> {
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        self.runtime
            .pod_sandbox_status(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn stop_sandbox(&mut self, id: &str) {
        let request = cri::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime.stop_pod_sandbox(request).await.unwrap();
    }

    pub(crate) async fn remove_sandbox(&mut self, id: &str) {
        let request = cri::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime.remove_pod_sandbox(request).await.unwrap();
    }

    pub(crate) async fn try_create(
        &mut self,
        sandbox: &str,
        config: &cri::ContainerConfig,
        sandbox_config: &cri::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let answer = self.runtime.create_container(request).await?;
        Ok(answer.into_inner().container_id)
    }

    pub(crate) async fn try_start(&mut self, id: &str) -> Result<(), Status> {
        let request = cri::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime.start_container(request).await.map(drop)
    }

    /// Pulls the image, creates a container and starts it.
    pub(crate) async fn run_container(
        &mut self,
        sandbox: &str,
        config: &cri::ContainerConfig,
        sandbox_config: &cri::PodSandboxConfig,
    ) -> String {
        self.pull(&busybox()).await;
        let id = self.try_create(sandbox, config, sandbox_config).await.unwrap();
        self.try_start(&id).await.unwrap();
        id
    }

    /// Waits until a container that runs [`prepared`] is.
    pub(crate) async fn prepared(&mut self, id: &str) {
        let wait = "until test -e /prepared; do sleep 0.02; done";
        let done = self.exec(id, &["sh", "-c", wait], 60).await.unwrap();
        assert_eq!(done.exit_code, 0, "{done:?}");
    }

    pub(crate) async fn stop_container(&mut self, id: &str, timeout: i64) {
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        self.runtime.stop_container(request).await.unwrap();
    }

    pub(crate) async fn remove_container(&mut self, id: &str) {
        let request = cri::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.runtime.remove_container(request).await.unwrap();
    }

    pub(crate) async fn container_status(
        &mut self,
        id: &str,
    ) -> Result<cri::ContainerStatusResponse, Status> {
        let request = cri::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        self.runtime
            .container_status(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Waits until a container has ended.
    pub(crate) async fn ended(&mut self, id: &str) -> cri::ContainerStatus {
        let ended = async {
            loop {
                let status = self.container_status(id).await.unwrap().status.unwrap();
                if status.state() == cri::ContainerState::ContainerExited {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap()
    }

    pub(crate) async fn exec(
        &mut self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<cri::ExecSyncResponse, Status> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        self.runtime
            .exec_sync(request)
            .await
            .map(tonic::Response::into_inner)
    }
}
