//! What a pod refers to, as it was fetched. The caller fills it from [`crate::references`]; what is absent here does
//! not exist.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};

/// The objects that a translation may look into.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By namespace and name.
    pub config_maps: BTreeMap<(String, String), ConfigMap>,
    /// By namespace and name; pull secrets are among them.
    pub secrets: BTreeMap<(String, String), Secret>,
    /// Services of the pod's namespace, and `kubernetes` of `default`; others are passed over.
    pub services: Vec<Service>,
    /// Service account tokens bound to this pod.
    pub tokens: BTreeMap<TokenKey, String>,
}

/// Which token of a pod: two requests with one key get one token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// Empty means the API server's own.
    pub audience: String,
    /// Asked for; at least 600.
    pub expiration_seconds: i64,
}
