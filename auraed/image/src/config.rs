//! What the store is told at start; read once by the daemon.

use std::path::PathBuf;
use std::time::Duration;

/// Where images are kept and where they come from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `layers/` and `ingest/`; made with mode 0700 where it is missing. On one file system, which must take
    /// device nodes and `trusted.*` attributes.
    pub directory: PathBuf,
    /// Registries that need more than their name.
    pub registries: Vec<RegistryConfig>,
    /// A docker `config.json` with credentials that every pull may use. It is read at each pull, so that it may change;
    /// a missing file is none. Credential helpers are not run.
    pub docker_config: Option<PathBuf>,
    /// Layers of one pull that are fetched and unpacked side by side, at least 1.
    pub parallel_layers: usize,
    /// Layers of all pulls that are, at least 1.
    pub parallel_layers_of_all: usize,
    /// Bytes that the parts of interrupted large layers may take together; none are kept with 0.
    pub partial_layers_bytes: u64,
    /// How long such a part is kept that no pull asks for.
    pub partial_layers_age: Duration,
}

impl Config {
    /// A store in a directory, with nothing said about registries.
    #[must_use]
    pub fn new(directory: PathBuf) -> Config {
        Config {
            directory,
            registries: Vec::new(),
            docker_config: None,
            parallel_layers: 3,
            parallel_layers_of_all: 6,
            partial_layers_bytes: 8 * 1024 * 1024 * 1024,
            partial_layers_age: Duration::from_secs(24 * 3600),
        }
    }
}

/// How one registry is reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// `host[:port]` as it stands in references: `docker.io`, `registry.example:5000`.
    pub host: String,
    /// Tried in order before the registry itself: `[http://|https://]host[:port][/prefix]`. A prefix goes before the
    /// repository, as the proxies of Harbor and others want it.
    pub mirrors: Vec<String>,
    /// Plain HTTP or not; `None` means plain for loopback and HTTPS for everything else.
    pub plain_http: Option<bool>,
    /// Certificates in PEM to trust for this registry instead of the system's.
    pub ca_file: Option<PathBuf>,
}
