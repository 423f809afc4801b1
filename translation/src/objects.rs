//! What a pod refers to, as it was fetched. The caller fills it from [`crate::references`]; what is absent here does
//! not exist.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccountTokenProjection};

/// The objects that a translation may look into.
#[derive(Clone, Default)]
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

/// Names alone: secrets and tokens do not belong in a log.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("config_maps", &self.config_maps.keys())
            .field("secrets", &self.secrets.keys())
            .field("services", &self.services.len())
            .field("tokens", &self.tokens.keys())
            .finish()
    }
}

/// Which token of a pod: two requests with one key get one token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// Empty means the API server's own.
    pub audience: String,
    /// Asked for; at least 600.
    pub expiration_seconds: i64,
}

impl TokenKey {
    /// The key of what a volume asks for.
    pub fn of(source: &ServiceAccountTokenProjection) -> TokenKey {
        TokenKey {
            audience: source.audience.clone().unwrap_or_default(),
            expiration_seconds: source.expiration_seconds.unwrap_or(3600).max(600),
        }
    }
}
