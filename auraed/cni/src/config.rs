//! A network's configuration (section 1 of the specification), and what of it a plugin is given (section 3).
//!
//! What this crate does not know of a plugin's configuration is kept byte for byte and handed on.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::Version;
use crate::version::UnknownVersion;

/// Bytes of a file. What is longer is no configuration.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Plugins of one network.
const MOST_PLUGINS: usize = 64;

/// Keys that are not the administrator's to set: they are made for each call.
const RESERVED: [&str; 3] = ["runtimeConfig", "prevResult", "capabilities"];

/// A network: a name and the plugins that make it.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    name: String,
    /// Not empty.
    versions: BTreeSet<Version>,
    disable_check: bool,
    disable_gc: bool,
    only_inlined: bool,
    plugins: Vec<PluginConfig>,
}

/// One plugin of a network.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    kind: String,
    capabilities: BTreeSet<String>,
    fields: Fields,
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// Why a file is no configuration that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is longer than any configuration is.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// It is not a JSON object.
    #[error("it is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is of another type.
    #[error("{field} is not {wanted}")]
    Type {
        /// The field.
        field: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A name holds what it may not.
    #[error("{field} {value:?} is not made of letters, digits, '_', '.' and '-', a letter or digit first")]
    Name {
        /// The field.
        field: &'static str,
        /// The name, its beginning at least.
        value: String,
    },
    /// None of its versions is spoken here.
    #[error("no version of it can be used")]
    Version(#[source] UnknownVersion),
    /// It has no plugin, or too many.
    #[error("it has {0} plugins, not 1 to {MOST_PLUGINS}")]
    Plugins(usize),
}

/// What is said to a plugin beside its configuration.
pub(crate) enum Occasion<'a> {
    /// ADD, CHECK and DEL.
    Attachment {
        capabilities: &'a BTreeMap<String, Value>,
        previous: Option<&'a Value>,
    },
    /// STATUS.
    Status,
    /// GC: the attachments that are still valid.
    Collection(&'a [Valid]),
}

/// An attachment that GC must not touch.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Valid {
    #[serde(rename = "containerID")]
    pub(crate) id: String,
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

impl NetworkConfig {
    /// Reads a list of plugins. It may have none yet: they may be in files beside it, see [`NetworkConfig::only_inlined`].
    ///
    /// # Errors
    /// [`ConfigError`] with the first thing that is wrong.
    pub fn parse_list(bytes: &[u8]) -> Result<NetworkConfig, ConfigError> {
        let fields = object(bytes)?;
        let only_inlined = flag(&fields, "loadOnlyInlinedPlugins")?;
        let plugins = match fields.get("plugins") {
            None if only_inlined => return Err(ConfigError::Missing("plugins")),
            None => Vec::new(),
            Some(plugins) => {
                let plugins: Vec<Fields> = read(plugins, "plugins", "a list of objects")?;
                check_count(plugins.len())?;
                let parsed = plugins.into_iter().map(PluginConfig::from_fields);
                parsed.collect::<Result<_, _>>()?
            }
        };
        Ok(NetworkConfig {
            name: network_name(&fields)?,
            versions: versions(&fields)?,
            disable_check: flag(&fields, "disableCheck")?,
            disable_gc: flag(&fields, "disableGC")?,
            only_inlined,
            plugins,
        })
    }

    /// Reads the older form: one plugin, and the network's name and version within it.
    ///
    /// # Errors
    /// [`ConfigError`] with the first thing that is wrong.
    pub fn parse_single(bytes: &[u8]) -> Result<NetworkConfig, ConfigError> {
        let fields = object(bytes)?;
        Ok(NetworkConfig {
            name: network_name(&fields)?,
            versions: versions(&fields)?,
            disable_check: flag(&fields, "disableCheck")?,
            disable_gc: flag(&fields, "disableGC")?,
            only_inlined: true,
            plugins: vec![PluginConfig::from_fields(fields)?],
        })
    }

    /// Adds plugins of other files behind those that are there.
    ///
    /// # Errors
    /// [`ConfigError::Plugins`] where there are none at all then, or too many.
    pub fn with_plugins(mut self, plugins: Vec<PluginConfig>) -> Result<NetworkConfig, ConfigError> {
        self.plugins.extend(plugins);
        check_count(self.plugins.len())?;
        Ok(self)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The versions that it may be used with and that are spoken here; at least one.
    #[must_use]
    pub fn versions(&self) -> &BTreeSet<Version> {
        &self.versions
    }

    /// In the order of ADD.
    #[must_use]
    pub fn plugins(&self) -> &[PluginConfig] {
        &self.plugins
    }

    /// CHECK must not be called.
    #[must_use]
    pub fn disable_check(&self) -> bool {
        self.disable_check
    }

    /// GC must not be called.
    #[must_use]
    pub fn disable_gc(&self) -> bool {
        self.disable_gc
    }

    /// Plugins in files beside this one are not taken up.
    #[must_use]
    pub fn only_inlined(&self) -> bool {
        self.only_inlined
    }

    /// Whether a plugin wants to be told of it.
    #[must_use]
    pub fn has_capability(&self, capability: &str) -> bool {
        let has = |plugin: &PluginConfig| plugin.capabilities.contains(capability);
        self.plugins.iter().any(has)
    }

    /// As a list that needs no file beside it, with one version.
    pub(crate) fn to_list(&self, version: Version) -> Result<Box<RawValue>, serde_json::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct List<'a> {
            cni_version: &'a str,
            name: &'a str,
            disable_check: bool,
            #[serde(rename = "disableGC")]
            disable_gc: bool,
            load_only_inlined_plugins: bool,
            plugins: Vec<&'a Fields>,
        }
        to_raw_value(&List {
            cni_version: version.as_str(),
            name: &self.name,
            disable_check: self.disable_check,
            disable_gc: self.disable_gc,
            load_only_inlined_plugins: true,
            plugins: self.plugins.iter().map(|plugin| &plugin.fields).collect(),
        })
    }

    /// What one of its plugins is given to read.
    pub(crate) fn request(
        &self,
        plugin: &PluginConfig,
        version: Version,
        occasion: &Occasion<'_>,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let kept = plugin
            .fields
            .iter()
            .filter(|(key, _)| !RESERVED.contains(&key.as_str()) && !key.starts_with("cni.dev/"));
        let mut request: Fields = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut insert = |key: &str, value: Result<Box<RawValue>, serde_json::Error>| {
            value.map(|value| drop(request.insert(key.to_owned(), value)))
        };
        insert("cniVersion", to_raw_value(version.as_str()))?;
        insert("name", to_raw_value(&self.name))?;
        match occasion {
            Occasion::Attachment {
                capabilities,
                previous,
            } => {
                let wanted = capabilities
                    .iter()
                    .filter(|(capability, _)| plugin.capabilities.contains(*capability));
                let wanted: BTreeMap<_, _> = wanted.collect();
                if !wanted.is_empty() {
                    insert("runtimeConfig", to_raw_value(&wanted))?;
                }
                if let Some(previous) = previous {
                    insert("prevResult", to_raw_value(previous))?;
                }
            }
            Occasion::Status => {}
            Occasion::Collection(valid) => {
                insert("cni.dev/valid-attachments", to_raw_value(valid))?;
                // What the specification called it at first; plugins of that time look for it.
                insert("cni.dev/attachments", to_raw_value(valid))?;
            }
        }
        serde_json::to_vec(&request)
    }
}

impl PluginConfig {
    /// Reads one plugin's configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<PluginConfig, ConfigError> {
        Self::from_fields(object(bytes)?)
    }

    /// The name of its program.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    fn from_fields(fields: Fields) -> Result<PluginConfig, ConfigError> {
        let kind: String = required(&fields, "type", "a text")?;
        // A name of a file, and of nothing else.
        if kind.is_empty() || kind == "." || kind == ".." || kind.contains(['/', '\\', '\0']) {
            return Err(ConfigError::Type {
                field: format!("type {:?}", shortened(&kind)),
                wanted: "a program's name",
            });
        }
        let capabilities: BTreeMap<String, bool> = match fields.get("capabilities") {
            Some(value) => read::<Option<_>>(value, "capabilities", "an object of true and false")?,
            None => None,
        }
        .unwrap_or_default();
        Ok(PluginConfig {
            kind,
            capabilities: capabilities
                .into_iter()
                .filter_map(|(name, has)| has.then_some(name))
                .collect(),
            fields,
        })
    }
}

fn object(bytes: &[u8]) -> Result<Fields, ConfigError> {
    if bytes.len() as u64 > LONGEST {
        return Err(ConfigError::TooLong);
    }
    serde_json::from_slice(bytes).map_err(ConfigError::Json)
}

fn read<T: DeserializeOwned>(value: &RawValue, field: &str, wanted: &'static str) -> Result<T, ConfigError> {
    serde_json::from_str(value.get()).map_err(|_| ConfigError::Type {
        field: field.to_owned(),
        wanted,
    })
}

fn required<T: DeserializeOwned>(
    fields: &Fields,
    field: &'static str,
    wanted: &'static str,
) -> Result<T, ConfigError> {
    read(
        fields.get(field).ok_or(ConfigError::Missing(field))?,
        field,
        wanted,
    )
}

/// Also as text: administrators write it so, and everybody else bears it.
fn flag(fields: &Fields, field: &'static str) -> Result<bool, ConfigError> {
    let Some(value) = fields.get(field) else {
        return Ok(false);
    };
    match read(value, field, "true or false")? {
        Value::Bool(flag) => Ok(flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ConfigError::Type {
            field: field.to_owned(),
            wanted: "true or false",
        }),
    }
}

fn network_name(fields: &Fields) -> Result<String, ConfigError> {
    let name: String = required(fields, "name", "a text")?;
    if !is_name(&name) {
        return Err(ConfigError::Name {
            field: "name",
            value: shortened(&name),
        });
    }
    Ok(name)
}

/// Those that are spoken here. Newer ones are left to newer readers; one at least must be left.
fn versions(fields: &Fields) -> Result<BTreeSet<Version>, ConfigError> {
    let one: Option<String> = match fields.get("cniVersion") {
        Some(value) => Some(read(value, "cniVersion", "a text")?),
        None => None,
    };
    let several: Vec<String> = match fields.get("cniVersions") {
        Some(value) => read(value, "cniVersions", "a list of texts")?,
        None => Vec::new(),
    };
    let mut unknown = UnknownVersion("none".to_owned());
    let mut versions = BTreeSet::new();
    for text in one.iter().chain(&several) {
        match text.parse() {
            Ok(version) => drop(versions.insert(version)),
            Err(error) => unknown = error,
        }
    }
    match versions.is_empty() {
        true => Err(ConfigError::Version(unknown)),
        false => Ok(versions),
    }
}

fn check_count(plugins: usize) -> Result<(), ConfigError> {
    match (1..=MOST_PLUGINS).contains(&plugins) {
        true => Ok(()),
        false => Err(ConfigError::Plugins(plugins)),
    }
}

/// What the specification asks of a network's name and of a container's id.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
