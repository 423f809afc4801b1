//! The daemon's configuration: a TOML file, overridden by flags, every default working.
//!
//! `main` reads it once, here; what the subsystems get are plain values without defaults. A field that is not known is
//! an error with its line, never silence.

mod file;
mod flags;

pub use file::File;
pub use flags::Flags;

use crate::network::Mode;
use auraed_identity::TrustDomain;
use auraed_image::Pinned;
use auraed_sandbox::network::{Ipv4Subnet, NetworkError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the file is looked for; its absence is no error.
pub const DEFAULT_FILE: &str = "/etc/aurae/auraed.toml";

/// Where CNI plugins are looked for: their own installers' place, and distributions'.
const CNI_BIN_DIRS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// The embedded network's addresses where none are named and none were assigned.
const DEFAULT_SUBNET: &str = "10.88.0.0/16";

/// Everything that can be set, with every value decided and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What outlives a boot: the state file, identity, images, volumes on disk.
    pub state_dir: PathBuf,
    /// What does not: the socket, the pod inits' sockets, values that may not reach a disk.
    pub run_dir: PathBuf,
    /// The containers' logs.
    pub log_dir: PathBuf,
    /// The API's Unix socket.
    pub socket: PathBuf,
    /// The directory below each cgroup hierarchy, relative.
    pub cgroup_root: String,
    /// The trust domain of all SPIFFE ids.
    pub trust_domain: TrustDomain,
    /// The pod network.
    pub network: Network,
    /// Images, registries and their credentials.
    pub images: Images,
    /// Sandboxes.
    pub runtime: Runtime,
    /// Rotation of the containers' logs.
    pub container_logs: ContainerLogs,
    /// The daemon's own log.
    pub log: Log,
}

/// The pod network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Who makes it.
    pub mode: Mode,
    /// Where configurations of CNI plugins are.
    pub cni_config_dir: PathBuf,
    /// Where CNI plugins are, in the order of looking.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Name of the embedded network's bridge, 1 to 15 bytes.
    pub bridge: String,
    /// The embedded network's addresses; the first is the bridge's own. None: those that the cluster assigns to the node,
    /// and before that [`Network::default_subnet`]. One that is named counts, whatever is assigned.
    pub subnet: Option<Ipv4Subnet>,
    /// 10.88.0.0/16.
    pub default_subnet: Ipv4Subnet,
    /// Name of the nftables table.
    pub table: String,
    /// In bytes; the kernel's default if absent.
    pub mtu: Option<u32>,
}

/// Images, registries and their credentials.
#[derive(Clone, Debug)]
pub struct Images {
    /// A docker `config.json` with credentials.
    pub docker_config: Option<PathBuf>,
    /// Images that who tidies up is to leave alone.
    pub pinned: Pinned,
    /// Layers of one pull that are fetched and unpacked side by side, at least 1.
    pub parallel_layers: u32,
    /// Layers of all pulls that are, at least 1.
    pub parallel_layers_of_all: u32,
    /// Bytes that parts of large layers may take together, so that an interrupted pull goes on where it was. None are
    /// kept with 0.
    pub partial_layers_bytes: u64,
    /// How long a part is kept that no pull asks for.
    pub partial_layers_age: Duration,
    /// Registries that need something said about them.
    pub registries: Vec<Registry>,
}

/// What is to know about one registry.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `host[:port]`, as in a reference.
    pub host: String,
    /// Asked first, in order; the registry itself comes last.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// HTTP instead of HTTPS; absent means: on loopback alone.
    pub plain_http: Option<bool>,
    /// Certificates in PEM form to trust for this registry instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Sandboxes.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Names of runtime handlers that mean what the default one means. A cluster's runtime classes name handlers that other
    /// nodes need (`runc`); here there is one runtime.
    pub handlers: Vec<String>,
}

/// Rotation of the containers' logs.
#[derive(Clone, Copy, Debug)]
pub struct ContainerLogs {
    /// Bytes of one file before it is rotated.
    pub max_bytes: u64,
    /// Files kept of one container, the current one among them.
    pub max_files: u32,
}

/// The daemon's own log, on standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// A filter in the form of tracing's `EnvFilter`: `info`, `debug`, `auraed=trace,info`.
    pub level: String,
    /// Its form.
    pub format: LogFormat,
}

/// The form of the daemon's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has an unknown field or a value of a wrong type. The reason names line and column.
    #[error("the configuration {} cannot be used:\n{}", path.display(), reason.trim_end())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's finding, several lines long.
        reason: String,
    },
    /// A value cannot be used.
    #[error("{field}: {value:?} {rule}")]
    Value {
        /// The field as in the file.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with it.
        rule: String,
    },
}

impl Config {
    /// Reads the file that the flags name, else the default one, and puts the flags over it.
    ///
    /// # Errors
    /// [`ConfigError`]; a file that was named must be there.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut file = match &flags.config {
            Some(path) => read(path)?.ok_or_else(|| ConfigError::Read {
                path: path.clone(),
                source: io::ErrorKind::NotFound.into(),
            })?,
            None => read(Path::new(DEFAULT_FILE))?.unwrap_or_default(),
        };
        flags.put_over(&mut file);
        Self::build(file)
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first that cannot be used.
    pub fn build(file: File) -> Result<Self, ConfigError> {
        let state_dir = directory("state_dir", file.state_dir, "/var/lib/aurae")?;
        let run_dir = directory("run_dir", file.run_dir, "/run/aurae")?;
        let log_dir = directory("log_dir", file.log_dir, "/var/log/pods")?;
        let socket = socket(file.socket.unwrap_or_else(|| run_dir.join("aurae.sock")))?;
        Ok(Self {
            cgroup_root: cgroup_root(file.cgroup_root.unwrap_or_else(|| "aurae".into()))?,
            trust_domain: trust_domain(file.trust_domain.as_deref().unwrap_or("aurae.local"))?,
            network: Network::build(file.network)?,
            images: Images::build(file.images)?,
            runtime: Runtime::build(file.runtime)?,
            container_logs: ContainerLogs::build(&file.container_logs)?,
            log: Log {
                level: file.log.level.unwrap_or_else(|| "info".into()),
                format: file.log.format.unwrap_or(LogFormat::Text),
            },
            state_dir,
            run_dir,
            log_dir,
            socket,
        })
    }
}

impl Network {
    fn build(file: file::Network) -> Result<Self, ConfigError> {
        let mode = match (file.mode, file.enabled) {
            (mode, None | Some(true)) => mode.unwrap_or(Mode::Auto),
            (None | Some(Mode::None), Some(false)) => Mode::None,
            (Some(_), Some(false)) => {
                return Err(ConfigError::Value {
                    field: "network.enabled",
                    value: "false".into(),
                    rule: "contradicts network.mode: leave it out".into(),
                });
            }
        };
        let bin_dirs = file
            .cni_bin_dirs
            .unwrap_or_else(|| CNI_BIN_DIRS.map(PathBuf::from).to_vec());
        let bin_dirs = bin_dirs
            .into_iter()
            .map(plugin_directory)
            .collect::<Result<_, _>>()?;
        let bridge = file.bridge.unwrap_or_else(|| "aurae0".into());
        // dev_valid_name() in the kernel's net/core/dev.c.
        let valid = (1..16).contains(&bridge.len())
            && !matches!(bridge.as_str(), "." | "..")
            && bridge
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
        check(
            "network.bridge",
            &bridge,
            valid,
            "must be an interface's name of 1 to 15 characters",
        )?;
        let table = file.table.unwrap_or_else(|| "aurae".into());
        let valid = (1..32).contains(&table.len())
            && table
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        check(
            "network.table",
            &table,
            valid,
            "must be 1 to 31 letters, digits, '_' and '-'",
        )?;
        let subnet = file.subnet.map(subnet).transpose()?;
        // 68 is IPv4's least (RFC 791), 65535 the longest packet.
        let mtu = file.mtu;
        let valid = mtu.is_none_or(|mtu| (68..=65535).contains(&mtu));
        check(
            "network.mtu",
            &mtu.unwrap_or_default().to_string(),
            valid,
            "must be between 68 and 65535",
        )?;
        Ok(Self {
            mode,
            cni_config_dir: directory("network.cni_config_dir", file.cni_config_dir, "/etc/cni/net.d")?,
            cni_bin_dirs: bin_dirs,
            bridge,
            subnet,
            default_subnet: self::subnet(DEFAULT_SUBNET.to_owned())?,
            table,
            mtu,
        })
    }
}

impl Images {
    fn build(file: file::Images) -> Result<Self, ConfigError> {
        let parallel = |field, value: Option<u32>, default| {
            let value = value.unwrap_or(default);
            let valid = (1..=64).contains(&value);
            check(field, &value.to_string(), valid, "must be between 1 and 64").map(|()| value)
        };
        let parallel_layers = parallel("images.parallel_layers", file.parallel_layers, 3)?;
        let of_all = parallel("images.parallel_layers_of_all", file.parallel_layers_of_all, 6)?;
        let pinned = Pinned::parse(&file.pinned).map_err(|error| ConfigError::Value {
            field: "images.pinned",
            value: file.pinned.join(", "),
            rule: format!("cannot be used: {error}"),
        })?;
        Ok(Self {
            docker_config: file.docker_config,
            pinned,
            parallel_layers,
            parallel_layers_of_all: of_all,
            partial_layers_bytes: file.partial_layers_bytes.unwrap_or(8 * 1024 * 1024 * 1024),
            partial_layers_age: Duration::from_secs(file.partial_layers_seconds.unwrap_or(24 * 3600)),
            registries: file.registries,
        })
    }
}

impl Runtime {
    fn build(file: file::Runtime) -> Result<Self, ConfigError> {
        for (index, name) in file.handlers.iter().enumerate() {
            // RuntimeClass.handler is a DNS label (RFC 1123) to the API server.
            let valid = (1..=63).contains(&name.len())
                && !name.starts_with('-')
                && !name.ends_with('-')
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            check(
                "runtime.handlers",
                name,
                valid,
                "must be 1 to 63 lower-case letters, digits and '-', and begin and end with none of the last",
            )?;
            let once = file.handlers.iter().position(|other| other == name) == Some(index);
            check("runtime.handlers", name, once, "is there twice")?;
        }
        Ok(Self {
            handlers: file.handlers,
        })
    }
}

impl ContainerLogs {
    fn build(file: &file::ContainerLogs) -> Result<Self, ConfigError> {
        let logs = Self {
            max_bytes: file.max_bytes.unwrap_or(10 * 1024 * 1024),
            max_files: file.max_files.unwrap_or(5),
        };
        let long_enough = logs.max_bytes >= 4096;
        check(
            "container_logs.max_bytes",
            &logs.max_bytes.to_string(),
            long_enough,
            "must be at least 4096",
        )?;
        check(
            "container_logs.max_files",
            &logs.max_files.to_string(),
            logs.max_files >= 1,
            "must be at least 1",
        )?;
        Ok(logs)
    }
}

fn subnet(text: String) -> Result<Ipv4Subnet, ConfigError> {
    text.parse().map_err(|error: NetworkError| ConfigError::Value {
        field: "network.subnet",
        value: text,
        rule: format!("is no subnet: {error}"),
    })
}

fn read(path: &Path) -> Result<Option<File>, ConfigError> {
    let text = match std::fs::File::open(path).and_then(io::read_to_string) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let parsed = toml::from_str(&text);
    parsed.map(Some).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn check(field: &'static str, value: &str, valid: bool, rule: &str) -> Result<(), ConfigError> {
    if valid {
        return Ok(());
    }
    Err(ConfigError::Value {
        field,
        value: value.to_owned(),
        rule: rule.to_owned(),
    })
}

fn directory(field: &'static str, value: Option<PathBuf>, default: &str) -> Result<PathBuf, ConfigError> {
    let path = value.unwrap_or_else(|| default.into());
    let text = path.display().to_string();
    check(field, &text, path.is_absolute(), "must be an absolute path")?;
    check(
        field,
        &text,
        path.parent().is_some(),
        "must not be the root directory",
    )?;
    Ok(path)
}

/// They are one text to the plugins, with a colon between them.
fn plugin_directory(path: PathBuf) -> Result<PathBuf, ConfigError> {
    let text = path.display().to_string();
    let valid = path.is_absolute() && !text.contains(':');
    check(
        "network.cni_bin_dirs",
        &text,
        valid,
        "must be an absolute path without a colon",
    )?;
    Ok(path)
}

fn socket(path: PathBuf) -> Result<PathBuf, ConfigError> {
    let text = path.display().to_string();
    check("socket", &text, path.is_absolute(), "must be an absolute path")?;
    // sun_path in unix(7): 108 bytes with the terminating zero.
    check(
        "socket",
        &text,
        path.as_os_str().len() < 108,
        "must be shorter than 108 bytes: give another --socket",
    )?;
    Ok(path)
}

fn cgroup_root(text: String) -> Result<String, ConfigError> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let rule = "must be a relative path of letters, digits, '.', '_' and '-', no part beginning with a dot";
    check("cgroup_root", &text, text.split('/').all(part), rule)?;
    Ok(text)
}

fn trust_domain(text: &str) -> Result<TrustDomain, ConfigError> {
    text.parse()
        .map_err(|error: auraed_identity::InvalidName| ConfigError::Value {
            field: "trust_domain",
            value: text.to_owned(),
            rule: format!("cannot be used: {error}"),
        })
}

#[cfg(test)]
mod tests;
