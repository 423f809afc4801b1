//! Exec: a program in a running container, with its streams.
//!
//! ```text
//!  requests ─► input task ─► stdin, terminal size          (ends with the client's stream or the program)
//!  stdout ─► output task ─┐
//!  stderr ─► output task ─┴─ bounded channel ─► answers    (exit code last)
//! ```
//!
//! A slow client slows the program down, and nothing else. A client that goes away before the end takes the program
//! with it.

use super::named;
use crate::descriptor::Descriptor;
use crate::schedule::Engine;
use crate::server::status::Failure;
use api::exec_request::Event as Input;
use api::exec_response::Event as Output;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Exec, ExecSpec, TerminalSize};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Bytes of one message.
const CHUNK: usize = 32 * 1024;

/// Messages that wait for a slow client.
const WAITING: usize = 8;

/// How long output may lag behind the program's end. What it wrote is in the pipe already; only a terminal's driver
/// takes a moment. A process that it left in the background keeps the pipe open, and must not keep the client.
const LINGER: Duration = Duration::from_millis(50);

const SIGKILL: i32 = 9;

type Answers = mpsc::Sender<Result<api::ExecResponse, Status>>;

/// Starts the program; its output, then its exit code, arrive on the stream.
pub(super) async fn exec(
    engine: &Engine,
    mut requests: Streaming<api::ExecRequest>,
) -> Result<ReceiverStream<Result<api::ExecResponse, Status>>, Status> {
    let first = requests.message().await?.and_then(|message| message.event);
    let Some(Input::Start(start)) = first else {
        return Err(Failure::argument("start", "must be the first message").into_status());
    };
    let running = start_program(engine, start).await?;
    let (answers, stream) = mpsc::channel(WAITING);
    tokio::spawn(running.serve(requests, answers));
    Ok(ReceiverStream::new(stream))
}

/// A program with its streams, and for errors where it runs.
struct Running {
    exec: Exec,
    stdin: Option<Descriptor>,
    stdout: Descriptor,
    stderr: Option<Descriptor>,
    pod: String,
    container: String,
}

async fn start_program(engine: &Engine, start: api::ExecStart) -> Result<Running, Failure> {
    let reference = named(start.container)?;
    if start.command.is_empty() {
        return Err(Failure::argument("start.command", "must name a program"));
    }
    if start.command.iter().any(|argument| argument.contains('\0')) {
        return Err(Failure::argument("start.command", "must not hold a zero byte"));
    }
    let size = start.size.unwrap_or(api::TerminalSize {
        width: 80,
        height: 24,
    });
    let spec = ExecSpec {
        args: start.command,
        stdin: start.stdin,
        terminal: start.tty.then(|| terminal_size(size)),
        ..ExecSpec::default()
    };
    let target = engine.exec_target(&reference.pod, &reference.container)?;
    let container = target.container.to_string();
    let failed = |source| Failure::Sandbox {
        action: "run a program",
        pod: reference.pod.clone(),
        container: container.clone(),
        source: Box::new(source),
    };
    let mut exec = target.sandbox.exec(&container, spec).await.map_err(failed)?;
    let streams = |source| {
        failed(auraed_sandbox::Error::Step {
            step: "open a stream",
            id: reference.pod.clone(),
            source,
        })
    };
    let stdin = exec
        .stdin
        .take()
        .map(Descriptor::new)
        .transpose()
        .map_err(streams)?;
    let stderr = exec
        .stderr
        .take()
        .map(Descriptor::new)
        .transpose()
        .map_err(streams)?;
    let stdout = exec
        .stdout
        .try_clone()
        .and_then(Descriptor::new)
        .map_err(streams)?;
    Ok(Running {
        exec,
        stdin,
        stdout,
        stderr,
        pod: reference.pod.clone(),
        container,
    })
}

impl Running {
    async fn serve(self, requests: Streaming<api::ExecRequest>, answers: Answers) {
        let Self {
            mut exec,
            stdin,
            stdout,
            stderr,
            pod,
            container,
        } = self;
        let (ended, has_ended) = watch::channel(false);
        let mut outputs = JoinSet::new();
        outputs.spawn(copy(stdout, Output::Stdout, answers.clone(), has_ended.clone()));
        if let Some(stderr) = stderr {
            outputs.spawn(copy(stderr, Output::Stderr, answers.clone(), has_ended));
        }
        let (sizes, mut new_sizes) = mpsc::channel(1);
        let feeding = tokio::spawn(feed(requests, stdin, sizes));
        let code = loop {
            tokio::select! {
                code = exec.wait() => break code,
                Some(size) = new_sizes.recv() => {
                    if let Err(error) = exec.resize(size) {
                        tracing::debug!(pod, container, %error, "cannot resize a terminal");
                    }
                }
                () = answers.closed() => {
                    tracing::debug!(pod, container, "a client went away: its program is killed");
                    if let Err(error) = exec.signal(SIGKILL).await {
                        tracing::debug!(pod, container, %error, "its program had ended");
                    }
                    break exec.wait().await;
                }
            }
        };
        feeding.abort();
        ended.send_replace(true);
        outputs.join_all().await;
        let last = match code {
            Ok(code) => Ok(answer(Output::ExitCode(code))),
            Err(source) => Err(Failure::Sandbox {
                action: "wait for a program",
                pod,
                container,
                source: Box::new(source),
            }
            .into_status()),
        };
        let _ = answers.send(last).await;
    }
}

/// Hands the client's messages to the program until either ends.
async fn feed(
    mut requests: Streaming<api::ExecRequest>,
    mut stdin: Option<Descriptor>,
    sizes: mpsc::Sender<TerminalSize>,
) {
    while let Ok(Some(message)) = requests.message().await {
        match message.event {
            Some(Input::Stdin(bytes)) => {
                let Some(open) = &stdin else { continue };
                // The program closed its input: what else comes for it is dropped, and its output still matters.
                if open.write_all(&bytes).await.is_err() {
                    stdin = None;
                }
            }
            Some(Input::CloseStdin(_)) => stdin = None,
            Some(Input::Resize(size)) => {
                let _ = sizes.send(terminal_size(size)).await;
            }
            Some(Input::Start(_)) | None => {}
        }
    }
}

/// Copies one stream of the program to the client, until it ends or nothing more comes after the program's end.
async fn copy(
    stream: Descriptor,
    kind: fn(Vec<u8>) -> Output,
    answers: Answers,
    mut has_ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read,
            () = linger(&mut has_ended) => return,
        };
        let bytes = match read {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
        };
        if answers.send(Ok(answer(kind(bytes)))).await.is_err() {
            return;
        }
    }
}

/// Waits for the program's end, and then a little.
async fn linger(has_ended: &mut watch::Receiver<bool>) {
    // A closed channel means that it ended, too.
    let _ = has_ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(LINGER).await;
}

fn answer(event: Output) -> api::ExecResponse {
    api::ExecResponse { event: Some(event) }
}

/// A terminal's size is 16 bits in the kernel.
fn terminal_size(size: api::TerminalSize) -> TerminalSize {
    let clamp = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    TerminalSize {
        columns: clamp(size.width),
        rows: clamp(size.height),
    }
}
