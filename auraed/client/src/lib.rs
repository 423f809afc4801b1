//! Connects to auraed: a Unix socket, mTLS with the client's certificate, gRPC.
//!
//! [`Client::connect`] opens the connection and asks the daemon for its health, so that whatever stands in the way is
//! told at once and in words that say what to do. Afterwards the channel mends itself: when the daemon was restarted,
//! the next call dials again, reading the certificates anew. Nothing is cached.

mod connector;
mod error;

pub use error::{ConnectError, connect_error};

use auraed_api::mount::v0::mount_service_client::MountServiceClient;
use auraed_api::observe::v0::observe_service_client::ObserveServiceClient;
use auraed_api::runtime::v0::container_service_client::ContainerServiceClient;
use auraed_api::runtime::v0::image_service_client::ImageServiceClient;
use auraed_api::runtime::v0::runtime_service_client::RuntimeServiceClient;
use auraed_api::runtime::v0::sandbox_service_client::SandboxServiceClient;
use auraed_api::schedule::v0::schedule_service_client::ScheduleServiceClient;
use connector::Connector;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// The largest message that client and daemon accept, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Where the daemon is and who to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The daemon's Unix socket.
    pub socket: PathBuf,
    /// A directory with `tls.crt`, `tls.key` and `ca.crt`, as `auraed identity issue` writes it.
    pub identity: PathBuf,
}

impl ClientConfig {
    /// The daemon of this machine as its default configuration makes it, as its administrator.
    #[must_use]
    pub fn local() -> Self {
        Self {
            socket: "/run/aurae/aurae.sock".into(),
            identity: "/var/lib/aurae/identity/admin".into(),
        }
    }
}

/// A connection to the daemon. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects and makes sure that the daemon answers this client.
    ///
    /// # Errors
    /// [`ConnectError`], which says what is in the way. [`ConnectError::is_retryable`] tells whether waiting may help.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let connector = Connector::new(config.clone());
        connector.dial_ahead().await?;
        let client = Self {
            channel: endpoint().connect_with_connector_lazy(connector),
        };
        match client.health().check(HealthCheckRequest::default()).await {
            Ok(_) => Ok(client),
            Err(status) => Err(ConnectError::Unhealthy {
                socket: config.socket,
                source: Box::new(status),
            }),
        }
    }

    /// As [`Client::connect`], but dials at the first call. Errors then arrive as statuses; see [`connect_error`].
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn connect_lazy(config: ClientConfig) -> Self {
        Self {
            channel: endpoint().connect_with_connector_lazy(Connector::new(config)),
        }
    }

    /// `aurae.runtime`: exec and signal.
    #[must_use]
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.runtime`: images.
    #[must_use]
    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.runtime`: sandboxes.
    #[must_use]
    pub fn sandboxes(&self) -> SandboxServiceClient<Channel> {
        SandboxServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.runtime`: containers in sandboxes.
    #[must_use]
    pub fn containers(&self) -> ContainerServiceClient<Channel> {
        ContainerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.schedule`: pods.
    #[must_use]
    pub fn schedule(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.mount`: content of volumes.
    #[must_use]
    pub fn mount(&self) -> MountServiceClient<Channel> {
        MountServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `aurae.observe`: facts, logs, events, timelines.
    #[must_use]
    pub fn observe(&self) -> ObserveServiceClient<Channel> {
        ObserveServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The channel itself, for services that this crate has no method for.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// gRPC health of the daemon.
    #[must_use]
    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }
}

fn endpoint() -> Endpoint {
    // The name is that of the daemon's certificate; the connector alone knows the socket.
    Endpoint::from_static("http://auraed")
        // As the daemon has them: a few streams that nobody reads must not hold up the others of the connection.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(64 * 1024 * 1024)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
}
