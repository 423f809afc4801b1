//! Port-forward: each connection that a client wants is a call of its own.

use api::port_forward_request::Event as ToPort;
use api::port_forward_response::Event as FromPort;
use auraed_api::runtime::v0 as api;
use auraed_client::Client;
use cri_shim_streaming::Disconnected;
use cri_shim_streaming::port_forward::{Forward, Forwards, Reader, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Pod, reason};

/// Messages to auraed under way.
const QUEUE: usize = 8;

/// Serves a client until it is gone, or wants no more and has what it wanted.
pub(crate) async fn relay(client: Client, pod: Pod, mut forwards: Forwards) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            forward = forwards.next() => match forward {
                Some(forward) => drop(connections.spawn(serve(client.clone(), pod.clone(), forward))),
                None => break,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
    forwards.close().await;
}

async fn serve(client: Client, pod: Pod, forward: Forward) {
    let Forward {
        port,
        reader,
        mut writer,
        presence,
    } = forward;
    let carried = tokio::select! {
        biased;
        carried = carry(client, &pod, port, reader, &mut writer) => carried,
        () = presence.over() => Ok(()),
    };
    let error = carried.err().map(|status| {
        let Pod { name, uid, .. } = &pod;
        format!(
            "error forwarding port {port} to pod {name}, uid {uid}: {}",
            reason(&status)
        )
    });
    if let Some(error) = &error {
        tracing::debug!(pod = pod.id, port, "{error}");
    }
    writer.end(error.as_deref()).await;
}

/// Carries both directions until both have ended, or the client has given the connection up.
async fn carry(
    client: Client,
    pod: &Pod,
    port: u16,
    reader: Reader,
    writer: &mut Writer,
) -> Result<(), Status> {
    let (requests, queue) = mpsc::channel(QUEUE);
    let start = ToPort::Start(api::PortForwardStart {
        pod: pod.id.clone(),
        port: port.into(),
    });
    // The queue is empty, so this neither waits nor fails.
    let _ = requests.try_send(api::PortForwardRequest { event: Some(start) });
    let answers = client.runtime().port_forward(ReceiverStream::new(queue)).await?;
    tokio::select! {
        received = receive(answers.into_inner(), writer) => received,
        Disconnected = send(reader, requests) => Ok(()),
    }
}

/// Resolves only when the client has given the connection up.
async fn send(mut reader: Reader, requests: mpsc::Sender<api::PortForwardRequest>) -> Disconnected {
    loop {
        let (event, ends) = match reader.read().await {
            Ok(Some(data)) => (ToPort::Data(data.into()), false),
            Ok(None) => (ToPort::Close(api::CloseWrite {}), true),
            Err(disconnected) => return disconnected,
        };
        let sent = requests
            .send(api::PortForwardRequest { event: Some(event) })
            .await;
        if ends || sent.is_err() {
            // The other direction decides when the call is over.
            return std::future::pending().await;
        }
    }
}

async fn receive(
    mut answers: Streaming<api::PortForwardResponse>,
    writer: &mut Writer,
) -> Result<(), Status> {
    while let Some(answer) = answers.message().await? {
        match answer.event {
            Some(FromPort::Data(data)) => {
                if writer.write(data.into()).await == Err(Disconnected) {
                    return Ok(());
                }
            }
            Some(FromPort::Close(_)) => writer.finish().await,
            Some(FromPort::Ready(_)) | None => {}
        }
    }
    Ok(())
}
