//! Port-forward: one connection to a port, from inside a pod's network.
//!
//! ```text
//!  requests ─► input task ─► socket      a close ends this direction alone
//!  socket ─► output task ─ bounded channel ─► answers      an end of what comes is a message; both ends end the call
//! ```
//!
//! A slow side holds the other back, and nothing else. A client that goes away takes the connection with it.

mod dial;

use super::output::{Answers, CHUNK, WAITING};
use super::target::Targets;
use crate::server::status::Failure;
use api::port_forward_request::Event as Input;
use api::port_forward_response::Event as Output;
use auraed_api::runtime::v0 as api;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub(crate) use dial::DialError;

type Answer = Result<api::PortForwardResponse, Status>;

/// Connects; what comes from the port arrives on the stream.
pub(super) async fn port_forward(
    targets: &Targets,
    mut requests: Streaming<api::PortForwardRequest>,
) -> Result<ReceiverStream<Answer>, Status> {
    let first = requests.message().await?.and_then(|message| message.event);
    let Some(Input::Start(start)) = first else {
        return Err(Failure::argument("start", "must be the first message").into_status());
    };
    let connection = connect(targets, &start).await?;
    let (answers, stream) = mpsc::channel(WAITING);
    tokio::spawn(serve(connection, requests, answers));
    Ok(ReceiverStream::new(stream))
}

async fn connect(targets: &Targets, start: &api::PortForwardStart) -> Result<TcpStream, Failure> {
    let port = u16::try_from(start.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| Failure::argument("start.port", "must be between 1 and 65535"))?;
    let sandbox = targets.sandbox(&start.pod)?;
    let failed = |source| Failure::Dial {
        port,
        pod: start.pod.clone(),
        source,
    };
    let namespace = sandbox
        .network_namespace()
        .map_err(|source| failed(DialError::Namespace(source)))?;
    dial::dial(namespace, port).await.map_err(failed)
}

async fn serve(
    connection: TcpStream,
    requests: Streaming<api::PortForwardRequest>,
    answers: Answers<api::PortForwardResponse>,
) {
    let ready = answer(Output::Ready(api::PortForwardReady {}));
    if answers.send(Ok(ready)).await.is_err() {
        return;
    }
    let (from_port, to_port) = connection.into_split();
    let both = async {
        let (sent, received) = tokio::join!(send(requests, to_port), receive(from_port, &answers));
        sent.and(received)
    };
    tokio::select! {
        // One that is reset ends as any other does: nothing went wrong between here and the port.
        ended = both => if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a port broke");
        },
        () = answers.closed() => {}
    }
}

/// Hands the client's data to the port, up to its end.
async fn send(mut requests: Streaming<api::PortForwardRequest>, mut port: OwnedWriteHalf) -> io::Result<()> {
    loop {
        match requests.message().await {
            Ok(Some(api::PortForwardRequest {
                event: Some(Input::Data(bytes)),
            })) => port.write_all(&bytes).await?,
            Ok(
                Some(api::PortForwardRequest {
                    event: Some(Input::Close(_)),
                })
                | None,
            ) => return port.shutdown().await,
            Ok(Some(_)) => {}
            // The client is gone.
            Err(status) => return Err(io::Error::other(status)),
        }
    }
}

/// Hands the port's data to the client, up to its end.
async fn receive(mut port: OwnedReadHalf, answers: &Answers<api::PortForwardResponse>) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match port.read(&mut buffer).await {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "a connection to a port broke");
                0
            }
        };
        let event = match buffer.get(..count) {
            Some(bytes) if !bytes.is_empty() => Output::Data(bytes.to_vec()),
            _ => Output::Close(api::CloseWrite {}),
        };
        let ends = matches!(event, Output::Close(_));
        answers.send(Ok(answer(event))).await.map_err(gone)?;
        if ends {
            return Ok(());
        }
    }
}

fn answer(event: Output) -> api::PortForwardResponse {
    api::PortForwardResponse { event: Some(event) }
}
