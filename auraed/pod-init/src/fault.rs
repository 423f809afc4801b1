//! Why something in a pod could not be done: a sentence, and who is to blame for it.
//!
//! It crosses from the container's first process to the pod init and on to the daemon, so it is text by then.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Whom to blame, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The container's own description or image.
    Container(String),
    /// The node.
    Node(String),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// Makes a [`Fault`] of an error and of what was tried.
pub(crate) trait Blame<T> {
    /// The container is to blame.
    fn blame_container(self, tried: impl Display) -> Result<T>;
    /// The node is to blame.
    fn blame_node(self, tried: impl Display) -> Result<T>;
}

impl<T, E: Display> Blame<T> for std::result::Result<T, E> {
    fn blame_container(self, tried: impl Display) -> Result<T> {
        self.map_err(|error| Fault::Container(format!("{tried}: {error}")))
    }

    fn blame_node(self, tried: impl Display) -> Result<T> {
        self.map_err(|error| Fault::Node(format!("{tried}: {error}")))
    }
}

impl From<Fault> for crate::protocol::Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Container(text) => Self::Refused(text),
            Fault::Node(text) => Self::Failed(text),
        }
    }
}
