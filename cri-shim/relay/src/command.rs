//! Exec and attach: a client's input to the call, and what the call answers to the client.

use std::pin::pin;

use api::attach_request::Event as ToContainer;
use api::attach_response::Event as FromContainer;
use api::exec_request::Event as ToProgram;
use api::exec_response::Event as FromProgram;
use auraed_api::runtime::v0 as api;
use auraed_client::Client;
use cri_shim_streaming::{Disconnected, Input, Options, Outcome, Output};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::reason;

/// Messages to auraed under way.
const QUEUE: usize = 8;

/// A call that is under way, of either kind.
pub(crate) trait Call: Send {
    /// What goes to auraed.
    type Request: Send;

    /// Where it goes.
    fn requests(&self) -> mpsc::Sender<Self::Request>;

    /// A message for auraed.
    fn request(event: FromClient) -> Self::Request;

    /// What auraed says next; the end comes once.
    fn next(&mut self) -> impl Future<Output = Told> + Send;
}

/// What a client says.
pub(crate) enum FromClient {
    Stdin(Vec<u8>),
    Close,
    Resize(api::TerminalSize),
}

/// What auraed says.
pub(crate) enum Told {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Nothing,
    End(Outcome),
}

/// A program that runs.
pub(crate) struct Exec {
    requests: mpsc::Sender<api::ExecRequest>,
    answers: Streaming<api::ExecResponse>,
}

impl Exec {
    pub(crate) async fn start(
        client: &Client,
        container: api::ContainerReference,
        options: &Options,
    ) -> Result<Self, Status> {
        let start = ToProgram::Start(api::ExecStart {
            container: Some(container),
            command: options.command.clone(),
            tty: options.tty,
            stdin: options.stdin,
            ..api::ExecStart::default()
        });
        let (requests, queue) = begin(api::ExecRequest { event: Some(start) });
        let answers = client.runtime().exec(queue).await?.into_inner();
        Ok(Self { requests, answers })
    }
}

impl Call for Exec {
    type Request = api::ExecRequest;

    fn requests(&self) -> mpsc::Sender<Self::Request> {
        self.requests.clone()
    }

    fn request(event: FromClient) -> Self::Request {
        let event = match event {
            FromClient::Stdin(data) => ToProgram::Stdin(data),
            FromClient::Close => ToProgram::CloseStdin(api::CloseStdin {}),
            FromClient::Resize(size) => ToProgram::Resize(size),
        };
        api::ExecRequest { event: Some(event) }
    }

    async fn next(&mut self) -> Told {
        match self.answers.message().await {
            Ok(Some(api::ExecResponse { event })) => match event {
                Some(FromProgram::Stdout(data)) => Told::Stdout(data),
                Some(FromProgram::Stderr(data)) => Told::Stderr(data),
                Some(FromProgram::ExitCode(code)) => Told::End(Outcome::Exited(code)),
                None => Told::Nothing,
            },
            Ok(None) => Told::End(Outcome::Failed(
                "auraed did not tell how the program ended".to_owned(),
            )),
            Err(status) => Told::End(Outcome::Failed(format!(
                "error executing command in container: {}",
                reason(&status)
            ))),
        }
    }
}

/// A container that is attached to.
pub(crate) struct Attach {
    requests: mpsc::Sender<api::AttachRequest>,
    answers: Streaming<api::AttachResponse>,
}

impl Attach {
    pub(crate) async fn start(
        client: &Client,
        container: api::ContainerReference,
        options: &Options,
    ) -> Result<Self, Status> {
        let start = ToContainer::Start(api::AttachStart {
            container: Some(container),
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            size: None,
        });
        let (requests, queue) = begin(api::AttachRequest { event: Some(start) });
        let answers = client.runtime().attach(queue).await?.into_inner();
        Ok(Self { requests, answers })
    }
}

impl Call for Attach {
    type Request = api::AttachRequest;

    fn requests(&self) -> mpsc::Sender<Self::Request> {
        self.requests.clone()
    }

    fn request(event: FromClient) -> Self::Request {
        let event = match event {
            FromClient::Stdin(data) => ToContainer::Stdin(data),
            FromClient::Close => ToContainer::CloseStdin(api::CloseStdin {}),
            FromClient::Resize(size) => ToContainer::Resize(size),
        };
        api::AttachRequest { event: Some(event) }
    }

    async fn next(&mut self) -> Told {
        match self.answers.message().await {
            Ok(Some(api::AttachResponse { event })) => match event {
                Some(FromContainer::Stdout(data)) => Told::Stdout(data),
                Some(FromContainer::Stderr(data)) => Told::Stderr(data),
                Some(FromContainer::Ready(_)) | None => Told::Nothing,
                // Being attached went well, however the container ended: kubelet says nothing of that either.
                Some(FromContainer::ExitCode(_)) => Told::End(Outcome::Exited(0)),
            },
            Ok(None) => Told::End(Outcome::Exited(0)),
            Err(status) => Told::End(Outcome::Failed(format!(
                "error attaching to container: {}",
                reason(&status)
            ))),
        }
    }
}

/// A queue whose first message is there.
fn begin<T>(start: T) -> (mpsc::Sender<T>, ReceiverStream<T>) {
    let (requests, queue) = mpsc::channel(QUEUE);
    // It is empty, so this neither waits nor fails.
    let _ = requests.try_send(start);
    (requests, ReceiverStream::new(queue))
}

/// Carries both directions until the call has ended or the client is gone; dropping the call then ends it at auraed.
pub(crate) async fn relay<C: Call>(mut call: C, input: Input, output: Output) {
    let client = output.clone();
    let requests = call.requests();
    let sending = pin!(send::<C>(input, requests));
    let receiving = pin!(receive(&mut call, output));
    tokio::select! {
        () = receiving => {}
        () = client.closed() => {}
        () = sending => {}
    }
}

/// Resolves only when auraed takes no more.
async fn send<C: Call>(input: Input, requests: mpsc::Sender<C::Request>) {
    let Input { mut stdin, mut sizes } = input;
    let (mut stdin_open, mut sizes_open) = (true, true);
    while stdin_open || sizes_open {
        let event = tokio::select! {
            data = stdin.recv(), if stdin_open => match data {
                Some(data) => FromClient::Stdin(data.into()),
                None => {
                    stdin_open = false;
                    FromClient::Close
                }
            },
            changed = sizes.changed(), if sizes_open => {
                sizes_open = changed.is_ok();
                let Some(size) = *sizes.borrow_and_update() else { continue };
                FromClient::Resize(api::TerminalSize { width: size.width.into(), height: size.height.into() })
            }
        };
        if requests.send(C::request(event)).await.is_err() {
            break;
        }
    }
    // The call ends when its requests do; the program's end decides that, not the input's.
    std::future::pending().await
}

async fn receive<C: Call>(call: &mut C, output: Output) {
    let outcome = loop {
        let sent = match call.next().await {
            Told::Stdout(data) => output.stdout(data).await,
            Told::Stderr(data) => output.stderr(data).await,
            Told::Nothing => Ok(()),
            Told::End(outcome) => break outcome,
        };
        if sent == Err(Disconnected) {
            return;
        }
    };
    // A client that is gone needs no end.
    let _ = output.finish(&outcome).await;
}
