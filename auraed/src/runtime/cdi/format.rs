//! A spec file as it is written (CDI's SPEC.md). A field that is not known makes it another version's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEdits {
    #[serde(default)]
    pub(super) env: Option<Vec<String>>,
    #[serde(default)]
    pub(super) device_nodes: Option<Vec<DeviceNode>>,
    #[serde(default)]
    pub(super) net_devices: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    pub(super) hooks: Option<Vec<Hook>>,
    #[serde(default)]
    pub(super) mounts: Option<Vec<Mount>>,
    #[serde(default)]
    pub(super) intel_rdt: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) additional_gids: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    #[serde(default)]
    pub(super) host_path: Option<String>,
    /// `b`, `c`, `u` (as `c`) or `p`.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) major: Option<u32>,
    #[serde(default)]
    pub(super) minor: Option<u32>,
    #[serde(default)]
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: Option<String>,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
}

/// Only to say which one is refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    #[serde(default)]
    pub(super) hook_name: String,
    #[serde(default)]
    pub(super) path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Option<Vec<String>>,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
}
