//! Probes and hooks.

use std::time::Duration;

/// A question asked again and again. All defaults are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How it is asked; never [`Handler::Sleep`].
    pub handler: Handler,
    /// Not asked before this long after the start.
    pub initial_delay: Duration,
    /// No answer within this time is a failure; at least 1 s.
    pub timeout: Duration,
    /// From one asking to the next; at least 1 s.
    pub period: Duration,
    /// Answers in a row until it counts as passed; at least 1.
    pub success_threshold: u32,
    /// Failures in a row until it counts as failed; at least 1.
    pub failure_threshold: u32,
    /// Instead of the pod's grace period, where the probe's failure stops the container.
    pub termination_grace: Option<Duration>,
}

/// One act on or towards a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Run a program inside; exit code 0 is success.
    Exec {
        /// Program and arguments, not empty.
        command: Vec<String>,
    },
    /// GET a page.
    Http(HttpGet),
    /// Open a connection.
    Tcp {
        /// Absent means the pod's address.
        host: Option<String>,
        /// Not 0.
        port: u16,
    },
    /// Wait.
    Sleep(Duration),
}

/// A page to GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGet {
    /// Absent means the pod's address.
    pub host: Option<String>,
    /// Not 0.
    pub port: u16,
    /// Begins with `/`; may have a query.
    pub path: String,
    /// Over TLS, without a check of the certificate.
    pub https: bool,
    /// Name and value.
    pub headers: Vec<(String, String)>,
}
