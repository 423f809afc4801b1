//! Probes and hooks, carried out: one question or one act, its time bounded by the caller's.
//!
//! What an answer means for the pod is the machine's to decide; here is only what was answered. The words are those that
//! people know from Kubernetes' events.

mod exec;
mod http;
mod tcp;

use std::net::IpAddr;
use std::time::Duration;

use auraed_sandbox::Sandbox;
use auraed_types::pod::Handler;

use super::machine::Probed;

/// Whom a handler is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where the container runs.
    pub(crate) sandbox: Sandbox,
    /// Its name there.
    pub(crate) container: String,
    /// Where handlers without a host of their own go.
    pub(crate) address: Option<IpAddr>,
}

impl Target {
    fn host(&self, host: Option<&str>) -> Result<String, String> {
        match (host, self.address) {
            (Some(host), _) => Ok(host.to_owned()),
            (None, Some(address)) => Ok(address.to_string()),
            (None, None) => Err("the pod has no address".into()),
        }
    }
}

/// Asks a probe once. No answer within `timeout` is a failure.
pub(crate) async fn probe(target: &Target, handler: &Handler, timeout: Duration) -> Probed {
    match handler {
        Handler::Exec { command } => exec::probe(target, command, timeout).await,
        Handler::Http(get) => match target.host(get.host.as_deref()) {
            Ok(host) => http::probe(&host, get, timeout).await,
            Err(message) => Probed::Unknown(message),
        },
        Handler::Tcp { host, port } => match target.host(host.as_deref()) {
            Ok(host) => tcp::probe(&host, *port, timeout).await,
            Err(message) => Probed::Unknown(message),
        },
        Handler::Sleep(_) => Probed::Unknown("a sleep is no probe".into()),
    }
}

/// Runs a hook to its end, for `timeout` at most. Any answer of a web server is success.
///
/// # Errors
/// Why it failed, for people.
pub(crate) async fn hook(
    target: &Target,
    handler: &Handler,
    timeout: Option<Duration>,
) -> Result<(), String> {
    let run = async {
        match handler {
            Handler::Exec { command } => exec::hook(target, command).await,
            Handler::Http(get) => http::hook(&target.host(get.host.as_deref())?, get).await,
            Handler::Tcp { .. } => Err("a hook cannot open a connection: use exec or httpGet".into()),
            Handler::Sleep(duration) => {
                tokio::time::sleep(*duration).await;
                Ok(())
            }
        }
    };
    match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, run).await {
            Ok(result) => result,
            Err(_) => Err(format!("not finished within {} s", timeout.as_secs())),
        },
        None => run.await,
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Why a connection could not be made, in the words of people's other tools.
fn connect_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        _ => error.to_string(),
    }
}
