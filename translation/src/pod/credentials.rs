//! Pull secrets as credentials for registries.

use std::collections::BTreeMap;

use auraed_api::runtime::v0::RegistryCredentials;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Scope;
use crate::problem::Problems;

/// `auths` of a `config.json`, or the whole of the older `.dockercfg`.
type Entries = BTreeMap<String, Entry>;

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: Entries,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// Docker writes padding, other programs leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn translate(scope: Scope<'_>, problems: &mut Problems) -> Vec<RegistryCredentials> {
    let mut result = Vec::new();
    for (index, reference) in scope.spec.image_pull_secrets.iter().flatten().enumerate() {
        let key = (scope.namespace().to_owned(), reference.name.clone());
        let found = match scope.objects.secrets.get(&key) {
            Some(secret) => {
                let data = |key| {
                    secret
                        .data
                        .as_ref()
                        .and_then(|data| data.get(key))
                        .map(|value| value.0.as_slice())
                };
                read(data(".dockerconfigjson"), data(".dockercfg"))
            }
            None => Err("not found"),
        };
        match found {
            Ok(credentials) => result.extend(credentials),
            Err(reason) => problems.warn(
                "FailedToRetrieveImagePullSecret",
                format!("spec.imagePullSecrets[{index}]"),
                format!("Unable to use the image pull secret {:?}: {reason}; attempting to pull the image may not succeed.", reference.name),
            ),
        }
    }
    result
}

fn read(
    config_json: Option<&[u8]>,
    docker_cfg: Option<&[u8]>,
) -> Result<Vec<RegistryCredentials>, &'static str> {
    // What the parser says of a secret could hold a part of it.
    let entries = match (config_json, docker_cfg) {
        (Some(json), _) => serde_json::from_slice(json).map(|config: ConfigJson| config.auths),
        (None, Some(json)) => serde_json::from_slice(json),
        (None, None) => return Err("it has neither .dockerconfigjson nor .dockercfg"),
    };
    let entries: Entries = entries.map_err(|_| "it is not a docker configuration")?;
    entries
        .into_iter()
        .map(|(registry, entry)| credentials(registry, entry))
        .collect()
}

fn credentials(registry: String, entry: Entry) -> Result<RegistryCredentials, &'static str> {
    let Entry {
        mut username,
        mut password,
        auth,
        identitytoken,
        registrytoken,
    } = entry;
    if !auth.is_empty() {
        (username, password) = user_and_password(&auth)?;
    }
    Ok(RegistryCredentials {
        registry: host_and_path(&registry),
        username,
        password,
        identity_token: identitytoken,
        registry_token: registrytoken,
    })
}

/// What an auth field holds: name and password in one.
pub(crate) fn user_and_password(auth: &str) -> Result<(String, String), &'static str> {
    let decoded = BASE64
        .decode(auth.trim())
        .map_err(|_| "an auth field is not base64")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "an auth field is not text")?;
    let (user, secret) = decoded.split_once(':').ok_or("an auth field has no colon")?;
    // Some tools end the value with NULs.
    Ok((user.to_owned(), secret.trim_end_matches('\0').to_owned()))
}

/// Docker's own key is a whole URL.
pub(crate) fn host_and_path(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let host = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    host.trim_end_matches('/').to_owned()
}
