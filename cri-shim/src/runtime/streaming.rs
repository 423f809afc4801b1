//! Exec, Attach, PortForward: a URL for each, once what it is for has been looked at.

use std::io;

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use cri_shim_streaming::Options;
use tonic::Status;

use crate::shim::Shim;

pub(super) async fn exec(shim: &Shim, request: cri::ExecRequest) -> Result<cri::ExecResponse, Status> {
    if request.cmd.is_empty() {
        return Err(Status::invalid_argument("cmd: must name a program"));
    }
    let options = Options {
        command: request.cmd,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    };
    check(&options)?;
    let id = running(shim, &request.container_id).await?;
    let url = shim
        .streams
        .exec(&id, options)
        .map_err(|error| unrandom(&error))?;
    Ok(cri::ExecResponse { url })
}

pub(super) async fn attach(shim: &Shim, request: cri::AttachRequest) -> Result<cri::AttachResponse, Status> {
    let options = Options {
        command: Vec::new(),
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    };
    check(&options)?;
    let id = running(shim, &request.container_id).await?;
    let url = shim
        .streams
        .attach(&id, options)
        .map_err(|error| unrandom(&error))?;
    Ok(cri::AttachResponse { url })
}

pub(super) async fn port_forward(
    shim: &Shim,
    request: cri::PortForwardRequest,
) -> Result<cri::PortForwardResponse, Status> {
    let mut ports = Vec::with_capacity(request.port.len());
    for (index, port) in request.port.iter().enumerate() {
        match u16::try_from(*port) {
            Ok(port) if port != 0 => ports.push(port),
            _ => {
                return Err(Status::invalid_argument(format!(
                    "port[{index}]: {port} is no port"
                )));
            }
        }
    }
    let (sandbox, _) = shim.sandbox(&request.pod_sandbox_id).await?;
    let id = sandbox
        .spec
        .as_ref()
        .map(|spec| spec.id.clone())
        .unwrap_or_default();
    if sandbox.state() != api::SandboxState::Ready {
        return Err(Status::failed_precondition(format!("sandbox {id} has stopped")));
    }
    let url = shim
        .streams
        .port_forward(&id, &ports)
        .map_err(|error| unrandom(&error))?;
    Ok(cri::PortForwardResponse { url })
}

fn check(options: &Options) -> Result<(), Status> {
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::invalid_argument(
            "one of stdin, stdout, stderr must be true",
        ));
    }
    if options.tty && options.stderr {
        return Err(Status::invalid_argument("stderr: a terminal has none of its own"));
    }
    Ok(())
}

/// The whole id of a container that runs.
async fn running(shim: &Shim, id: &str) -> Result<String, Status> {
    let container = shim.container(id).await?;
    let id = container
        .spec
        .as_ref()
        .map(|spec| spec.id.clone())
        .unwrap_or_default();
    if container.state() != api::ContainerState::Running {
        return Err(Status::failed_precondition(format!(
            "container {id} does not run"
        )));
    }
    Ok(id)
}

fn unrandom(error: &io::Error) -> Status {
    Status::internal(format!("no URL can be made: {error}"))
}
