//! Attach: a container's own streams, for any number of clients at once.
//!
//! ```text
//!  requests ─► input task ─► the container's input, its terminal's size
//!  a copy of stdout ─► output task ─┐
//!  a copy of stderr ─► output task ─┴─ bounded channel ─► answers    (exit code last)
//! ```
//!
//! The container waits for nobody: a client that does not keep up is cut off, and told so. A client that goes away leaves
//! the container as it is, but for an input that ends with its first client.

use super::output::{self, Answers, WAITING};
use super::target::{Target, Targets};
use super::terminal_size;
use crate::descriptor::Descriptor;
use crate::server::status::Failure;
use api::attach_request::Event as Input;
use api::attach_response::Event as Output;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Attachment, TerminalSize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// How long the end of a container may lag behind that of its output.
const END_AFTER_OUTPUT: Duration = Duration::from_secs(1);

/// How long a client that has nothing more to say is told what it caused.
const AFTER_INPUT: Duration = Duration::from_millis(100);

type Answer = Result<api::AttachResponse, Status>;

/// Connects the client; the container's output, then its exit code, arrive on the stream.
pub(super) async fn attach(
    targets: &Targets,
    mut requests: Streaming<api::AttachRequest>,
) -> Result<ReceiverStream<Answer>, Status> {
    let first = requests.message().await?.and_then(|message| message.event);
    let Some(Input::Start(start)) = first else {
        return Err(Failure::argument("start", "must be the first message").into_status());
    };
    let (answers, stream) = mpsc::channel(WAITING);
    let session = Session::open(targets, start).await?;
    tokio::spawn(session.serve(requests, answers));
    Ok(ReceiverStream::new(stream))
}

/// A client's part in a container's streams. Streams that it does not want are absent.
struct Session {
    target: Target,
    tty: bool,
    stdin: Option<Descriptor>,
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
}

/// Why a session is over.
enum End {
    /// The container has ended; its exit code where it is known.
    Container(Option<i32>),
    /// The client was too slow.
    Behind,
    /// The client has nothing more to say.
    Input,
    /// The client is gone.
    Client,
}

impl Session {
    async fn open(targets: &Targets, start: api::AttachStart) -> Result<Self, Failure> {
        if !(start.stdin || start.stdout || start.stderr) {
            return Err(Failure::argument(
                "start",
                "must name at least one of stdin, stdout, stderr",
            ));
        }
        let target = targets.container(start.container)?;
        let failed = target.failed("attach");
        let attached = target.sandbox.attach(&target.name, start.stdin).await;
        let Attachment {
            stdin,
            stdout,
            stderr,
        } = attached.map_err(&failed)?;
        let tty = stderr.is_none();
        if let (true, Some(size)) = (tty, start.size) {
            resize(&target, terminal_size(size)).await;
        }
        let open = |descriptor| {
            Descriptor::new(descriptor).map_err(|source| {
                failed(auraed_sandbox::Error::Step {
                    step: "open a stream",
                    id: target.pod.clone(),
                    source,
                })
            })
        };
        Ok(Self {
            tty,
            stdin: stdin.filter(|_| start.stdin).map(open).transpose()?,
            stdout: Some(stdout).filter(|_| start.stdout).map(open).transpose()?,
            stderr: stderr.filter(|_| start.stderr).map(open).transpose()?,
            target,
        })
    }

    async fn serve(self, requests: Streaming<api::AttachRequest>, answers: Answers<api::AttachResponse>) {
        let Self {
            target,
            tty,
            stdin,
            stdout,
            stderr,
        } = self;
        if answers
            .send(Ok(answer(Output::Ready(api::AttachReady { tty }))))
            .await
            .is_err()
        {
            return;
        }
        let (ended, has_ended) = watch::channel(false);
        let mut outputs = JoinSet::new();
        for (stream, kind) in [
            (stdout, Output::Stdout as fn(Vec<u8>) -> Output),
            (stderr, Output::Stderr),
        ] {
            if let Some(stream) = stream {
                let message = move |bytes| answer(kind(bytes));
                outputs.spawn(output::copy(stream, message, answers.clone(), has_ended.clone()));
            }
        }
        let (sizes, new_sizes) = mpsc::channel(1);
        let (said, has_said) = oneshot::channel();
        let goes_on = stdin.is_none() || (target.stdin_once && !tty);
        let feeding = tokio::spawn(feed(requests, stdin, sizes, said));
        let input = async {
            // The input of a container that ends with this client, or that has none, does not end the session.
            if goes_on || has_said.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(AFTER_INPUT).await;
        };
        let end = tokio::select! {
            code = target.ended() => End::Container(code),
            () = answers.closed() => End::Client,
            () = input => End::Input,
            () = fell_behind(&mut outputs) => End::Behind,
            () = resize_to(&target, new_sizes) => End::Client,
        };
        feeding.abort();
        ended.send_replace(true);
        let last = match end {
            End::Container(code) => {
                outputs.join_all().await;
                code.map(|code| Ok(answer(Output::ExitCode(code))))
            }
            End::Behind => Some(Err(Failure::TooSlow.into_status())),
            End::Input | End::Client => None,
        };
        if let Some(last) = last {
            let _ = answers.send(last).await;
        }
    }
}

/// Resolves if output that was filled faster than it was read has ended before its container.
async fn fell_behind(outputs: &mut JoinSet<bool>) {
    let mut was_full = false;
    while let Some(ended) = outputs.join_next().await {
        was_full |= ended.unwrap_or(false);
        if was_full {
            tokio::time::sleep(END_AFTER_OUTPUT).await;
            return;
        }
    }
    std::future::pending().await
}

/// Hands the client's messages to the container until either ends.
async fn feed(
    mut requests: Streaming<api::AttachRequest>,
    mut stdin: Option<Descriptor>,
    sizes: mpsc::Sender<TerminalSize>,
    said: oneshot::Sender<()>,
) {
    let mut said = Some(said);
    while let Ok(Some(message)) = requests.message().await {
        match message.event {
            Some(Input::Stdin(bytes)) => {
                let Some(open) = &stdin else { continue };
                // The container closed its input: what else comes for it is dropped, and its output still matters.
                if open.write_all(&bytes).await.is_err() {
                    stdin = None;
                }
            }
            Some(Input::CloseStdin(_)) => {
                stdin = None;
                if let Some(said) = said.take() {
                    let _ = said.send(());
                }
            }
            Some(Input::Resize(size)) => {
                let _ = sizes.send(terminal_size(size)).await;
            }
            Some(Input::Start(_)) | None => {}
        }
    }
    drop(stdin);
    // Kept open: that nothing more comes does not mean that the session is over.
    sizes.closed().await;
}

async fn resize_to(target: &Target, mut sizes: mpsc::Receiver<TerminalSize>) {
    while let Some(size) = sizes.recv().await {
        resize(target, size).await;
    }
}

async fn resize(target: &Target, size: TerminalSize) {
    if let Err(error) = target.sandbox.resize(&target.name, size).await {
        tracing::debug!(pod = target.pod, container = target.name, %error, "cannot resize a terminal");
    }
}

fn answer(event: Output) -> api::AttachResponse {
    api::AttachResponse { event: Some(event) }
}
