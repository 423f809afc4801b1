//! A machine with a daemon, a client and an image; what the tests of pods say in a line each.

use crate::archive::{self, BUSYBOX};
use crate::machine::{Machine, PATIENCE, skipped};
use auraed_api::observe::v0::{GetTimelineRequest, LogsRequest, LogsResponse};
use auraed_api::runtime::v0::{
    CloseStdin, Container, ContainerReference, ExecRequest, ExecResponse, ExecStart, ImagePullPolicy,
    ImportImageRequest, RestartPolicy, VolumeMount, exec_request, exec_response,
};
use auraed_api::schedule::v0::{
    ContainerStatus, GetRequest, HostPath, NowRequest, Pod, PodStatus, RemoveRequest, StopRequest,
    Terminated, Volume, WatchRequest, container_state, volume, watch_response,
};
use auraed_client::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

/// A machine with a daemon, a client and an image.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) client: Client,
}

/// A program's input.
pub(crate) type Input = mpsc::Sender<ExecRequest>;

/// What became of a program.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Node {
    /// `None`, with a message, where the test cannot run.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let mut machine = Machine::new(test)?;
        machine.start().await;
        Self::on(machine).await
    }

    /// On a machine whose daemon runs.
    pub(crate) async fn on(machine: Machine) -> Option<Self> {
        let Some(archive) = archive::busybox() else {
            let required = std::env::var_os("AURAE_E2E_REQUIRED").is_some();
            assert!(
                !required,
                "these tests need a static busybox: apt-get install busybox-static"
            );
            skipped("a test of pods", "needs a static busybox");
            machine.finish().await;
            return None;
        };
        let client = machine.client().await;
        let chunks: Vec<_> = archive
            .chunks(1 << 20)
            .map(|chunk| ImportImageRequest {
                chunk: chunk.to_vec(),
                reference: String::new(),
            })
            .collect();
        let imported = client
            .images()
            .import_image(tokio_stream::iter(chunks))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(imported.images[0].tags, [BUSYBOX]);
        Some(Self { machine, client })
    }

    /// Starts the daemon again, and connects to it.
    pub(crate) async fn restart(&mut self) {
        self.machine.start().await;
        self.client = self.machine.client().await;
    }

    pub(crate) async fn finish(self) {
        self.machine.finish().await;
    }

    pub(crate) async fn run(&self, pod: Pod) {
        self.client
            .schedule()
            .now(NowRequest { pod: Some(pod) })
            .await
            .unwrap();
    }

    pub(crate) async fn stop(&self, pod: &str, grace_period_seconds: Option<u64>) {
        let request = StopRequest {
            pod: pod.into(),
            grace_period_seconds,
        };
        self.client.schedule().stop(request).await.unwrap();
    }

    pub(crate) async fn remove(&self, pod: &str) {
        let request = RemoveRequest {
            pod: pod.into(),
            grace_period_seconds: Some(0),
        };
        self.client.schedule().remove(request).await.unwrap();
    }

    /// Waits for a pod's status to become what is wanted.
    pub(crate) async fn until(&self, pod: &str, wanted: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let watch = self
            .client
            .schedule()
            .watch(WatchRequest { pod: pod.into() })
            .await
            .unwrap();
        let mut watch = watch.into_inner();
        let waiting = async {
            while let Some(message) = watch.message().await.unwrap() {
                if let Some(watch_response::Event::Changed(status)) = message.event
                    && wanted(&status)
                {
                    return status;
                }
            }
            panic!("the watch ended");
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => {
                let status = self.client.schedule().get(GetRequest { pod: pod.into() }).await;
                let status = status.map(|answer| answer.into_inner().status);
                let timeline = self
                    .client
                    .observe()
                    .get_timeline(GetTimelineRequest { pod: pod.into() })
                    .await;
                let steps = timeline.map(|answer| answer.into_inner().steps);
                panic!("pod {pod} does not become what is wanted: {status:#?}\n{steps:#?}")
            }
        }
    }

    pub(crate) async fn until_running(&self, pod: &str) -> PodStatus {
        let running = |status: &ContainerStatus| {
            let state = status.state.as_ref().and_then(|state| state.state.as_ref());
            matches!(state, Some(container_state::State::Running(_)))
        };
        self.until(pod, |status| {
            !status.containers.is_empty() && status.containers.iter().all(running)
        })
        .await
    }

    pub(crate) fn reference(&self, pod: &str, container: &str) -> ContainerReference {
        ContainerReference {
            pod: pod.into(),
            container: container.into(),
        }
    }

    async fn lines(&self, request: LogsRequest) -> Result<Vec<String>, Status> {
        collect(self.client.observe().logs(request).await?.into_inner()).await
    }

    pub(crate) async fn try_log(&self, pod: &str, container: &str) -> Result<Vec<String>, Status> {
        self.lines(LogsRequest {
            container: Some(self.reference(pod, container)),
            ..LogsRequest::default()
        })
        .await
    }

    pub(crate) async fn log(&self, pod: &str, container: &str) -> Vec<String> {
        self.try_log(pod, container).await.unwrap()
    }

    pub(crate) async fn previous_log(&self, pod: &str, container: &str) -> Result<Vec<String>, Status> {
        let container = Some(self.reference(pod, container));
        self.lines(LogsRequest {
            container,
            previous: true,
            ..LogsRequest::default()
        })
        .await
    }

    pub(crate) async fn tail(&self, pod: &str, container: &str, lines: u64) -> Vec<String> {
        let container = Some(self.reference(pod, container));
        self.lines(LogsRequest {
            container,
            tail_lines: Some(lines),
            ..LogsRequest::default()
        })
        .await
        .unwrap()
    }

    /// Follows a log to its end.
    pub(crate) fn follow(
        &self,
        pod: &str,
        container: &str,
        tail_lines: Option<u64>,
    ) -> JoinHandle<Vec<String>> {
        let container = Some(self.reference(pod, container));
        let request = LogsRequest {
            container,
            follow: true,
            tail_lines,
            ..LogsRequest::default()
        };
        let client = self.client.clone();
        tokio::spawn(async move {
            let following =
                async { collect(client.observe().logs(request).await.unwrap().into_inner()).await };
            tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap()
        })
    }

    /// Waits for a line.
    pub(crate) async fn until_log(&self, pod: &str, container: &str, wanted: &str) {
        self.until_running_or_ended(pod, container).await;
        let container = Some(self.reference(pod, container));
        let request = LogsRequest {
            container,
            follow: true,
            ..LogsRequest::default()
        };
        let mut stream = self.client.observe().logs(request).await.unwrap().into_inner();
        let waiting = async {
            while let Some(message) = stream.message().await.unwrap() {
                if message.lines.iter().any(|line| line.content == wanted.as_bytes()) {
                    return;
                }
            }
            panic!("the log ended without {wanted:?}");
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn until_running_or_ended(&self, pod: &str, container: &str) {
        let begun = |status: &ContainerStatus| status.name == container && !status.container_id.is_empty();
        self.until(pod, |status| status.containers.iter().any(begun))
            .await;
    }

    /// Starts a program whose input stays open. Both ends must be dropped for the client to be gone.
    pub(crate) async fn start_exec(&self, pod: &str, command: &[&str]) -> (Input, Streaming<ExecResponse>) {
        let (input, requests) = mpsc::channel(1);
        input
            .send(self.exec_start(pod, command, false, true))
            .await
            .unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        (
            input,
            self.client.runtime().exec(requests).await.unwrap().into_inner(),
        )
    }

    pub(crate) async fn exec(&self, pod: &str, command: &[&str]) -> Done {
        self.try_exec(pod, command).await.unwrap()
    }

    pub(crate) async fn try_exec(&self, pod: &str, command: &[&str]) -> Result<Done, Status> {
        let request = self.exec_start(pod, command, false, false);
        outcome(
            self.client
                .runtime()
                .exec(tokio_stream::iter([request]))
                .await?
                .into_inner(),
        )
        .await
    }

    pub(crate) async fn exec_with(&self, pod: &str, command: &[&str], input: &[u8], tty: bool) -> Done {
        let input = input
            .chunks(32 * 1024)
            .map(|chunk| exec_request::Event::Stdin(chunk.to_vec()));
        let input = input.chain([exec_request::Event::CloseStdin(CloseStdin {})]);
        let input = input.map(|event| ExecRequest { event: Some(event) });
        let requests: Vec<_> = std::iter::once(self.exec_start(pod, command, tty, true))
            .chain(input)
            .collect();
        let answers = self
            .client
            .runtime()
            .exec(tokio_stream::iter(requests))
            .await
            .unwrap()
            .into_inner();
        tokio::time::timeout(PATIENCE, outcome(answers))
            .await
            .unwrap()
            .unwrap()
    }

    fn exec_start(&self, pod: &str, command: &[&str], tty: bool, stdin: bool) -> ExecRequest {
        let start = ExecStart {
            container: Some(self.reference(pod, "")),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            tty,
            stdin,
            ..ExecStart::default()
        };
        ExecRequest {
            event: Some(exec_request::Event::Start(start)),
        }
    }

    /// A directory of the machine as a volume.
    pub(crate) fn shared_directory(&self, name: &str) -> Volume {
        let path = self.machine.path(name);
        fs_err::create_dir_all(&path).unwrap();
        let source = HostPath {
            path: path.display().to_string(),
            r#type: 0,
        };
        Volume {
            name: name.into(),
            source: Some(volume::Source::HostPath(source)),
        }
    }

    pub(crate) fn mount(&self, volume: &str, path: &str) -> VolumeMount {
        VolumeMount {
            volume: volume.into(),
            path: path.into(),
            ..VolumeMount::default()
        }
    }
}

/// A pod whose id is its name.
pub(crate) fn pod(name: &str, restart_policy: RestartPolicy, containers: Vec<Container>) -> Pod {
    Pod {
        id: name.into(),
        name: name.into(),
        containers,
        restart_policy: restart_policy.into(),
        ..Pod::default()
    }
}

/// A container that runs a script.
pub(crate) fn shell(name: &str, script: &str) -> Container {
    Container {
        name: name.into(),
        image: BUSYBOX.into(),
        image_pull_policy: ImagePullPolicy::Never.into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..Container::default()
    }
}

/// What a test wants to know of a container.
pub(crate) trait Known {
    fn terminated(&self) -> Terminated;
    fn waiting_reason(&self) -> Option<String>;
}

impl Known for ContainerStatus {
    fn terminated(&self) -> Terminated {
        match self.state.as_ref().and_then(|state| state.state.clone()) {
            Some(container_state::State::Terminated(terminated)) => terminated,
            other => panic!("{} has not ended: {other:?}", self.name),
        }
    }

    fn waiting_reason(&self) -> Option<String> {
        match self.state.as_ref().and_then(|state| state.state.clone()) {
            Some(container_state::State::Waiting(waiting)) => Some(waiting.reason),
            _ => None,
        }
    }
}

async fn collect(mut stream: Streaming<LogsResponse>) -> Result<Vec<String>, Status> {
    let mut lines = Vec::new();
    while let Some(message) = stream.message().await? {
        lines.extend(
            message
                .lines
                .into_iter()
                .map(|line| String::from_utf8(line.content).unwrap()),
        );
    }
    Ok(lines)
}

async fn outcome(mut answers: Streaming<ExecResponse>) -> Result<Done, Status> {
    let (mut stdout, mut stderr, mut code) = (Vec::new(), Vec::new(), None);
    while let Some(answer) = answers.message().await? {
        match answer.event.unwrap() {
            exec_response::Event::Stdout(bytes) => stdout.extend(bytes),
            exec_response::Event::Stderr(bytes) => stderr.extend(bytes),
            exec_response::Event::ExitCode(exit) => code = Some(exit),
        }
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok(Done {
        stdout: text(stdout),
        stderr: text(stderr),
        code: code.unwrap(),
    })
}
