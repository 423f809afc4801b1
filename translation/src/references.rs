//! What must be fetched before a pod can be translated.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::objects::TokenKey;

/// What a pod refers to, all of its own namespace but for the service `kubernetes` of `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Config maps by name; true where every use of it is optional.
    pub config_maps: BTreeMap<String, bool>,
    /// Secrets by name; true where every use of it is optional.
    pub secrets: BTreeMap<String, bool>,
    /// Secrets for pulling; a missing one is only a warning.
    pub pull_secrets: Vec<String>,
    /// Tokens of the pod's service account.
    pub tokens: Vec<TokenKey>,
    /// The service account that the tokens are of.
    pub service_account: String,
    /// Services are wanted for environment variables.
    pub services: bool,
}

/// Lists what `pod` refers to.
pub fn references(_pod: &Pod) -> References {
    References::default()
}
