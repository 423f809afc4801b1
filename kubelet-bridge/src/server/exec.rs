//! `/exec`: a program in a container, over WebSocket.

use std::sync::Arc;

use auraed_api::runtime::v0::exec_request::Event as ToProgram;
use auraed_api::runtime::v0::exec_response::Event as FromProgram;
use auraed_api::runtime::v0::{
    CloseStdin, ContainerReference, ExecRequest, ExecResponse, ExecStart, TerminalSize,
};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use cri_shim_streaming::{Input, Options, Outcome, Output, negotiate, session};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Shared;
use super::logs::has_container;
use super::refusal::Refusal;
use crate::aurae;

/// Messages to auraed under way.
const QUEUE: usize = 8;

pub(super) async fn exec(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, None), container, request).await
}

pub(super) async fn exec_with_uid(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, Some(&uid)), container, request).await
}

/// Starts the program, then takes the connection over. What goes wrong before that is an HTTP answer.
async fn start(
    shared: &Shared,
    (namespace, name, uid): (&str, &str, Option<&str>),
    container: String,
    request: Request,
) -> Result<Response, Refusal> {
    let pod = shared
        .pods
        .find(namespace, name, uid)
        .ok_or_else(|| Refusal::not_found("pod does not exist"))?;
    if !has_container(&pod, &container) {
        let message = format!("container not found (\"{container}\")");
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    let (mut parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let options = Options::from_query(query).map_err(|error| Refusal::bad_request(error.to_string()))?;
    if options.command.is_empty() {
        return Err(Refusal::bad_request("a command is needed"));
    }
    let accepted =
        negotiate(&parts).map_err(|rejection| Refusal::new(rejection.status, rejection.message))?;
    let upgrade: OnUpgrade = parts
        .extensions
        .remove()
        .ok_or_else(|| Refusal::bad_request("this connection cannot be upgraded: HTTP/1.1 is needed"))?;
    let (requests, receiver) = mpsc::channel(QUEUE);
    // The queue is empty, so this neither waits nor fails.
    let _ = requests.try_send(message(ToProgram::Start(program(&pod, container, &options))));
    let answers = shared
        .aurae
        .streams
        .runtime()
        .exec(ReceiverStream::new(receiver))
        .await;
    let answers =
        answers.map_err(|status| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, aurae::reason(&status)))?;
    let protocol = accepted.protocol;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let (input, output) = session::open(TokioIo::new(upgraded), protocol, &options).await;
                relay(input, output, requests, answers.into_inner()).await;
            }
            Err(error) => tracing::debug!(%error, "exec's connection was not upgraded"),
        }
    });
    Ok(accepted.response::<Body>())
}

fn program(pod: &Pod, container: String, options: &Options) -> ExecStart {
    ExecStart {
        container: Some(ContainerReference {
            pod: pod.metadata.uid.clone().unwrap_or_default(),
            container,
        }),
        command: options.command.clone(),
        tty: options.tty,
        stdin: options.stdin,
        size: None,
    }
}

fn message(event: ToProgram) -> ExecRequest {
    ExecRequest { event: Some(event) }
}

/// Carries both directions until the program has ended or the client is gone; dropping the call then ends it at auraed.
async fn relay(
    input: Input,
    output: Output,
    requests: mpsc::Sender<ExecRequest>,
    answers: Streaming<ExecResponse>,
) {
    let client_gone = output.clone();
    let sending = tokio::spawn(send(input, requests));
    tokio::select! {
        () = receive(answers, output) => {}
        () = client_gone.closed() => {}
    }
    sending.abort();
}

async fn send(input: Input, requests: mpsc::Sender<ExecRequest>) {
    let Input { mut stdin, mut sizes } = input;
    let (mut stdin_open, mut sizes_open) = (true, true);
    while stdin_open || sizes_open {
        let event = tokio::select! {
            data = stdin.recv(), if stdin_open => match data {
                Some(data) => ToProgram::Stdin(data.to_vec()),
                None => {
                    stdin_open = false;
                    ToProgram::CloseStdin(CloseStdin {})
                }
            },
            changed = sizes.changed(), if sizes_open => {
                sizes_open = changed.is_ok();
                let Some(size) = *sizes.borrow_and_update() else { continue };
                ToProgram::Resize(TerminalSize { width: size.width.into(), height: size.height.into() })
            }
        };
        if requests.send(message(event)).await.is_err() {
            return;
        }
    }
    // The call ends when its requests do; the program's end decides that, not the input's.
    requests.closed().await;
}

async fn receive(mut answers: Streaming<ExecResponse>, output: Output) {
    let outcome = loop {
        let sent = match answers.message().await {
            Ok(Some(ExecResponse {
                event: Some(FromProgram::Stdout(data)),
            })) => output.stdout(data).await,
            Ok(Some(ExecResponse {
                event: Some(FromProgram::Stderr(data)),
            })) => output.stderr(data).await,
            Ok(Some(ExecResponse {
                event: Some(FromProgram::ExitCode(code)),
            })) => break Outcome::Exited(code),
            Ok(Some(ExecResponse { event: None })) => Ok(()),
            Ok(None) => break Outcome::Failed("auraed did not tell how the program ended".into()),
            Err(status) => break Outcome::Failed(aurae::reason(&status)),
        };
        if sent.is_err() {
            return;
        }
    };
    // A client that is gone needs no end.
    let _ = output.finish(&outcome).await;
}
