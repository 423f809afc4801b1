//! Probes and lifecycle hooks. Ports by name are looked up here; auraed knows numbers alone.

use auraed_api::runtime::v0::handler::Action;
use auraed_api::runtime::v0::{
    ExecAction, Handler, HttpGetAction, HttpHeader, Probe, SleepAction, TcpSocketAction,
};
use k8s_openapi::api::core::v1::{self, Container, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::env;
use crate::problem::Problems;

/// Translates the probes and hooks of one container.
pub(super) struct Handlers<'a> {
    pub(super) path: &'a str,
    pub(super) container: &'a Container,
    pub(super) problems: &'a mut Problems,
}

impl Handlers<'_> {
    pub(super) fn probe(&mut self, name: &str, probe: Option<&v1::Probe>) -> Option<Probe> {
        let probe = probe?;
        let path = format!("{}.{name}", self.path);
        let action = if let Some(exec) = &probe.exec {
            Action::Exec(ExecAction {
                command: self.probe_command(exec),
            })
        } else if let Some(get) = &probe.http_get {
            Action::HttpGet(self.http_get(&format!("{path}.httpGet"), get))
        } else if let Some(socket) = &probe.tcp_socket {
            Action::TcpSocket(self.tcp_socket(&format!("{path}.tcpSocket"), socket))
        } else {
            if probe.grpc.is_none() {
                self.problems
                    .refuse(path, "a probe needs exec, httpGet or tcpSocket");
            }
            return None;
        };
        Some(Probe {
            handler: Some(Handler { action: Some(action) }),
            initial_delay_seconds: count(probe.initial_delay_seconds),
            timeout_seconds: count(probe.timeout_seconds),
            period_seconds: count(probe.period_seconds),
            success_threshold: count(probe.success_threshold),
            failure_threshold: count(probe.failure_threshold),
            termination_grace_seconds: super::seconds(probe.termination_grace_period_seconds),
        })
    }

    pub(super) fn hook(&mut self, name: &str, hook: Option<&LifecycleHandler>) -> Option<Handler> {
        let hook = hook?;
        let path = format!("{}.lifecycle.{name}", self.path);
        let action = if let Some(exec) = &hook.exec {
            Action::Exec(ExecAction {
                command: exec.command.clone().unwrap_or_default(),
            })
        } else if let Some(get) = &hook.http_get {
            Action::HttpGet(self.http_get(&format!("{path}.httpGet"), get))
        } else if let Some(socket) = &hook.tcp_socket {
            Action::TcpSocket(self.tcp_socket(&format!("{path}.tcpSocket"), socket))
        } else if let Some(sleep) = &hook.sleep {
            Action::Sleep(SleepAction {
                seconds: u64::try_from(sleep.seconds).unwrap_or(0),
            })
        } else {
            self.problems
                .refuse(path, "a hook needs exec, httpGet, tcpSocket or sleep");
            return None;
        };
        Some(Handler { action: Some(action) })
    }

    /// As kubelet does, a probe's command takes in the variables that the pod gives literally, and no others.
    fn probe_command(&self, exec: &v1::ExecAction) -> Vec<String> {
        let variables = self.container.env.iter().flatten();
        let known = variables
            .filter(|variable| variable.value_from.is_none())
            .map(|variable| {
                (
                    variable.name.as_str(),
                    variable.value.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        exec.command
            .iter()
            .flatten()
            .map(|word| env::expand(word, &known))
            .collect()
    }

    fn http_get(&mut self, path: &str, get: &v1::HTTPGetAction) -> HttpGetAction {
        let headers = get.http_headers.iter().flatten();
        HttpGetAction {
            host: get.host.clone().unwrap_or_default(),
            port: self.port(path, &get.port),
            path: get
                .path
                .clone()
                .filter(|path| !path.is_empty())
                .unwrap_or_else(|| "/".to_owned()),
            https: get.scheme.as_deref() == Some("HTTPS"),
            headers: headers
                .map(|header| HttpHeader {
                    name: header.name.clone(),
                    value: header.value.clone(),
                })
                .collect(),
        }
    }

    fn tcp_socket(&mut self, path: &str, socket: &v1::TCPSocketAction) -> TcpSocketAction {
        let host = socket.host.clone().unwrap_or_default();
        TcpSocketAction {
            host,
            port: self.port(path, &socket.port),
        }
    }

    fn port(&mut self, path: &str, port: &IntOrString) -> u32 {
        let found = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let ports = self.container.ports.iter().flatten();
                let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
                named
                    .next()
                    .map(|port| port.container_port)
                    .or_else(|| name.parse().ok())
            }
        };
        match found
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
        {
            Some(port) => u32::from(port),
            None => {
                let port = match port {
                    IntOrString::Int(number) => number.to_string(),
                    IntOrString::String(name) => name.clone(),
                };
                let message = format!(
                    "couldn't find port {port:?} in container {:?}",
                    self.container.name
                );
                self.problems
                    .config(&self.container.name, format!("{path}.port"), message);
                0
            }
        }
    }
}

fn count(value: Option<i32>) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
}
