//! How a command fails: a sentence for people, what led to it, and what to do about it.

use crate::printer;
use std::error::Error;
use std::process::ExitCode;
use tonic::{Code, Status};

/// Why a command did not do what was asked. Ends the program with 1, or 2 for wrong usage.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    usage: bool,
    /// Who reads the output has gone away, as with `| head`: there is nobody to tell, and nothing wrong.
    unread: bool,
}

impl Failure {
    /// It did not work.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            usage: false,
            unread: false,
        }
    }

    /// What was typed cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            usage: true,
            unread: false,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        if self.unread {
            return ExitCode::SUCCESS;
        }
        printer::note(&format!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            printer::note(&format!("\nhint: {hint}"));
        }
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The error and its sources, joined with colons.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = inner.source();
    }
    message
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self {
            unread: error.kind() == std::io::ErrorKind::BrokenPipe,
            ..Self::new(chain(&error))
        }
    }
}

impl From<auraed_client::ConnectError> for Failure {
    fn from(error: auraed_client::ConnectError) -> Self {
        Self::new(chain(&error))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let failure = Self::new(status.message());
        match status.code() {
            Code::NotFound if status.message().contains("pod") => failure.hint("`aurae ps` lists the pods"),
            Code::PermissionDenied => {
                failure.hint("this identity may not do that; name another with --identity")
            }
            Code::Unavailable if status.message().is_empty() => Self::new("auraed went away"),
            Code::Unimplemented => failure.hint("this auraed is older than this command line"),
            _ => failure,
        }
    }
}
