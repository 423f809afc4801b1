//! How a command reaches the daemon and how it prints.

use crate::arguments::Connection;
use crate::failure::Failure;
use crate::printer::Output;
use auraed_client::{Client, ClientConfig};

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Session {
    config: ClientConfig,
    /// For people or for programs.
    pub(crate) output: Output,
}

impl Session {
    /// Connects to nothing yet.
    pub(crate) fn new(connection: &Connection, output: Output) -> Self {
        let config = ClientConfig {
            socket: connection.socket.clone(),
            identity: connection.identity.clone(),
        };
        Self { config, output }
    }

    /// A connection to the daemon.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.config.clone()).await?)
    }

    /// True where JSON is wanted.
    pub(crate) fn json(&self) -> bool {
        self.output == Output::Json
    }
}
