//! Exec: a program in a running container, with its streams.
//!
//! ```text
//!  requests ─► input task ─► stdin, terminal size          (ends with the client's stream or the program)
//!  stdout ─► output task ─┐
//!  stderr ─► output task ─┴─ bounded channel ─► answers    (exit code last)
//! ```
//!
//! A slow client slows the program down, and nothing else. A client that goes away before the end takes the program
//! with it, and what that started; so a caller that waits no longer than it wants to leaves nothing behind.

use super::output::{self, Answers, WAITING};
use super::target::{Target, Targets};
use super::terminal_size;
use crate::descriptor::Descriptor;
use crate::server::status::Failure;
use api::exec_request::Event as Input;
use api::exec_response::Event as Output;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Exec, ExecSpec, TerminalSize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Starts the program; its output, then its exit code, arrive on the stream.
pub(super) async fn exec(
    targets: &Targets,
    mut requests: Streaming<api::ExecRequest>,
) -> Result<ReceiverStream<Result<api::ExecResponse, Status>>, Status> {
    let first = requests.message().await?.and_then(|message| message.event);
    let Some(Input::Start(start)) = first else {
        return Err(Failure::argument("start", "must be the first message").into_status());
    };
    let (answers, stream) = mpsc::channel(WAITING);
    let (told, started) = oneshot::channel();
    let targets = targets.clone();
    // A task of its own, so that a program whose client goes away while it is being started is killed, too.
    tokio::spawn(async move {
        match start_program(&targets, start).await {
            Ok(running) => {
                let _ = told.send(Ok(()));
                running.serve(requests, answers).await;
            }
            Err(failure) => drop(told.send(Err(failure))),
        }
    });
    started.await.map_err(|_| Failure::Stopping)??;
    Ok(ReceiverStream::new(stream))
}

/// A program with its streams, and where it runs.
struct Running {
    target: Target,
    exec: Exec,
    /// When it is killed.
    deadline: Option<Instant>,
    stdin: Option<Descriptor>,
    stdout: Descriptor,
    stderr: Option<Descriptor>,
}

async fn start_program(targets: &Targets, start: api::ExecStart) -> Result<Running, Failure> {
    if start.command.is_empty() {
        return Err(Failure::argument("start.command", "must name a program"));
    }
    if start.command.iter().any(|argument| argument.contains('\0')) {
        return Err(Failure::argument("start.command", "must not hold a zero byte"));
    }
    let target = targets.container(start.container)?;
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
    let failed = target.failed("run a program");
    let mut exec = target.sandbox.exec(&target.name, spec).await.map_err(&failed)?;
    // None also for a time that no clock reaches.
    let deadline = match start.timeout_seconds {
        0 => None,
        seconds => Instant::now().checked_add(Duration::from_secs(seconds)),
    };
    let open = |descriptor| {
        Descriptor::new(descriptor).map_err(|source| {
            failed(auraed_sandbox::Error::Step {
                step: "open a stream",
                id: target.pod.clone(),
                source,
            })
        })
    };
    let stdin = exec.stdin.take().map(open).transpose()?;
    let stderr = exec.stderr.take().map(open).transpose()?;
    let stdout = exec.stdout.try_clone().map_err(|source| {
        failed(auraed_sandbox::Error::Step {
            step: "open a stream",
            id: target.pod.clone(),
            source,
        })
    })?;
    Ok(Running {
        deadline,
        stdin,
        stdout: open(stdout)?,
        stderr,
        exec,
        target,
    })
}

impl Running {
    async fn serve(self, requests: Streaming<api::ExecRequest>, answers: Answers<api::ExecResponse>) {
        let Self {
            target,
            mut exec,
            deadline,
            stdin,
            stdout,
            stderr,
        } = self;
        let mut overdue = false;
        let (ended, has_ended) = watch::channel(false);
        let mut outputs = JoinSet::new();
        let stdout = output::copy(
            stdout,
            |bytes| answer(Output::Stdout(bytes)),
            answers.clone(),
            has_ended.clone(),
        );
        outputs.spawn(stdout);
        if let Some(stderr) = stderr {
            let message = |bytes| answer(Output::Stderr(bytes));
            outputs.spawn(output::copy(stderr, message, answers.clone(), has_ended));
        }
        let (sizes, mut new_sizes) = mpsc::channel(1);
        let feeding = tokio::spawn(feed(requests, stdin, sizes));
        let code = loop {
            tokio::select! {
                code = exec.wait() => break code,
                Some(size) = new_sizes.recv() => {
                    if let Err(error) = exec.resize(size) {
                        tracing::debug!(pod = target.pod, container = target.name, %error, "cannot resize a terminal");
                    }
                }
                () = answers.closed() => {
                    tracing::debug!(pod = target.pod, container = target.name, "a client went away: its program is killed");
                    break kill(&target, &mut exec).await;
                }
                () = until(deadline) => {
                    overdue = true;
                    break kill(&target, &mut exec).await;
                }
            }
        };
        feeding.abort();
        ended.send_replace(true);
        outputs.join_all().await;
        let last = match code {
            Ok(_) if overdue => Err(Status::deadline_exceeded(
                "the command did not end in time and was killed",
            )),
            Ok(code) => Ok(answer(Output::ExitCode(code))),
            Err(source) => Err(target.failed("wait for a program")(source).into_status()),
        };
        let _ = answers.send(last).await;
    }
}

/// Kills a program, and waits until it is gone.
async fn kill(target: &Target, exec: &mut Exec) -> Result<i32, auraed_sandbox::Error> {
    if let Err(error) = exec.kill().await {
        tracing::debug!(pod = target.pod, container = target.name, %error, "its program had ended");
    }
    exec.wait().await
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
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

fn answer(event: Output) -> api::ExecResponse {
    api::ExecResponse { event: Some(event) }
}
