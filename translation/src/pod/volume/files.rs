//! Content of configMap, secret, downwardAPI and projected volumes.

use std::collections::BTreeMap;

use auraed_api::schedule::v0::{File, Files};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection,
};

use crate::objects::TokenKey;
use crate::pod::{Scope, field, security};
use crate::problem::Problems;

const DEFAULT_MODE: i32 = 0o644;
/// What the owning group of a volume may do with each file.
const GROUP_MODE: u32 = 0o440;

/// The files of one volume as they are found; a later one of the same path takes an earlier one's place.
pub(super) struct Found<'a> {
    scope: Scope<'a>,
    path: &'a str,
    volume: &'a str,
    problems: &'a mut Problems,
    files: BTreeMap<String, File>,
    sensitive: bool,
    mode: i32,
    user: Option<i64>,
}

/// A config map's or a secret's data, whichever it is kept as.
type Data<'a> = BTreeMap<&'a str, &'a [u8]>;

impl<'a> Found<'a> {
    pub(super) fn new(
        scope: Scope<'a>,
        path: &'a str,
        volume: &'a str,
        problems: &'a mut Problems,
    ) -> Found<'a> {
        Found {
            scope,
            path,
            volume,
            problems,
            files: BTreeMap::new(),
            sensitive: false,
            mode: DEFAULT_MODE,
            user: None,
        }
    }

    pub(super) fn finish(self) -> Files {
        Files {
            files: self.files.into_values().collect(),
            sensitive: self.sensitive,
        }
    }

    pub(super) fn config_map_volume(&mut self, source: &ConfigMapVolumeSource) {
        self.defaults(source.default_mode, source.default_user);
        self.config_map(
            "configMap",
            &source.name,
            source.items.as_deref(),
            source.optional,
        );
    }

    pub(super) fn secret_volume(&mut self, source: &SecretVolumeSource) {
        self.defaults(source.default_mode, source.default_user);
        let name = source.secret_name.as_deref().unwrap_or_default();
        self.secret("secret", name, source.items.as_deref(), source.optional);
    }

    pub(super) fn downward_api_volume(&mut self, source: &DownwardAPIVolumeSource) {
        self.defaults(source.default_mode, source.default_user);
        self.downward_api("downwardAPI", source.items.as_deref());
    }

    pub(super) fn projected_volume(&mut self, source: &ProjectedVolumeSource) {
        self.defaults(source.default_mode, source.default_user);
        for (index, one) in source.sources.iter().flatten().enumerate() {
            let path = format!("projected.sources[{index}]");
            if let Some(source) = &one.secret {
                self.secret(
                    &format!("{path}.secret"),
                    &source.name,
                    source.items.as_deref(),
                    source.optional,
                );
            }
            if let Some(source) = &one.config_map {
                let path = format!("{path}.configMap");
                self.config_map(&path, &source.name, source.items.as_deref(), source.optional);
            }
            if let Some(source) = &one.downward_api {
                self.downward_api(&format!("{path}.downwardAPI"), source.items.as_deref());
            }
            if let Some(source) = &one.service_account_token {
                self.token(&format!("{path}.serviceAccountToken"), source);
            }
        }
    }

    fn defaults(&mut self, mode: Option<i32>, user: Option<i64>) {
        self.mode = mode.unwrap_or(DEFAULT_MODE);
        self.user = user;
    }

    fn config_map(&mut self, path: &str, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>) {
        let optional = optional == Some(true);
        let objects = self.scope.objects;
        let map = objects
            .config_maps
            .get(&(self.scope.namespace().to_owned(), name.to_owned()));
        if map.is_none() && !optional {
            self.wait(path, &format!("configmap {name:?} not found"));
            return;
        }
        let binary = map.and_then(|map| map.binary_data.as_ref()).into_iter().flatten();
        let mut data: Data<'_> = binary
            .map(|(key, value)| (key.as_str(), value.0.as_slice()))
            .collect();
        let texts = map.and_then(|map| map.data.as_ref()).into_iter().flatten();
        data.extend(texts.map(|(key, value)| (key.as_str(), value.as_bytes())));
        self.keys(
            path,
            "configmap references non-existent config key",
            &data,
            items,
            optional,
        );
    }

    fn secret(&mut self, path: &str, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>) {
        self.sensitive = true;
        let optional = optional == Some(true);
        let objects = self.scope.objects;
        let secret = objects
            .secrets
            .get(&(self.scope.namespace().to_owned(), name.to_owned()));
        if secret.is_none() && !optional {
            self.wait(path, &format!("secret {name:?} not found"));
            return;
        }
        let data = secret
            .and_then(|secret| secret.data.as_ref())
            .into_iter()
            .flatten();
        let data = data
            .map(|(key, value)| (key.as_str(), value.0.as_slice()))
            .collect();
        self.keys(path, "references non-existent secret key", &data, items, optional);
    }

    fn keys(
        &mut self,
        path: &str,
        missing: &str,
        data: &Data<'_>,
        items: Option<&[KeyToPath]>,
        optional: bool,
    ) {
        let items = items.unwrap_or_default();
        if items.is_empty() {
            for (key, value) in data {
                self.add(path, key, value, None, None);
            }
        }
        for item in items {
            match data.get(item.key.as_str()) {
                Some(value) => self.add(path, &item.path, value, item.mode, item.user),
                None if optional => {}
                None => {
                    let message = format!("{missing}: {}", item.key);
                    self.wait(path, &message);
                }
            }
        }
    }

    fn downward_api(&mut self, path: &str, items: Option<&[DownwardAPIVolumeFile]>) {
        for (index, item) in items.unwrap_or_default().iter().enumerate() {
            let path = format!("{path}.items[{index}]");
            let value = if let Some(reference) = &item.field_ref {
                field::of_metadata(self.scope, &reference.field_path)
            } else if let Some(reference) = &item.resource_field_ref {
                field::of_resources(self.scope, None, reference)
            } else {
                Ok(String::new())
            };
            match value {
                Ok(value) => self.add(&path, &item.path, value.as_bytes(), item.mode, item.user),
                Err(message) => self.wait(&path, &message),
            }
        }
    }

    fn token(&mut self, path: &str, source: &ServiceAccountTokenProjection) {
        self.sensitive = true;
        let Some(token) = self.scope.objects.tokens.get(&TokenKey::of(source)) else {
            let account = self
                .scope
                .spec
                .service_account_name
                .as_deref()
                .unwrap_or("default");
            self.wait(
                path,
                &format!("failed to fetch token: no token of service account {account:?} was given"),
            );
            return;
        };
        let user = source
            .user
            .or(self.user)
            .or_else(|| security::common_user(self.scope));
        let grouped = self
            .scope
            .spec
            .security_context
            .as_ref()
            .is_some_and(|context| context.fs_group.is_some());
        let mode = if user.is_some() || grouped {
            Some(0o600)
        } else {
            None
        };
        self.add(path, &source.path, token.as_bytes(), mode, user);
    }

    fn add(&mut self, field: &str, path: &str, content: &[u8], mode: Option<i32>, user: Option<i64>) {
        let path = path.trim_start_matches("./");
        if let Some(reason) = bad_path(path) {
            let field = format!("{}.{field}", self.path);
            self.problems
                .refuse(field, format!("{path:?} cannot be a file of a volume: {reason}"));
            return;
        }
        let group = self
            .scope
            .spec
            .security_context
            .as_ref()
            .and_then(|context| context.fs_group);
        let mode = u32::try_from(mode.unwrap_or(self.mode)).unwrap_or(0o644) & 0o777;
        let file = File {
            path: path.to_owned(),
            content: content.to_vec().into(),
            mode: if group.is_some() { mode | GROUP_MODE } else { mode },
            owner: user.or(self.user).and_then(|user| u32::try_from(user).ok()),
        };
        self.files.insert(path.to_owned(), file);
    }

    fn wait(&mut self, field: &str, message: &str) {
        let message = format!(
            "MountVolume.SetUp failed for volume {:?} : {message}",
            self.volume
        );
        self.problems
            .wait("FailedMount", format!("{}.{field}", self.path), message);
    }
}

/// Why files cannot be written under this name next to the links that switch versions.
fn bad_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("it is empty")
    } else if path.starts_with('/') {
        Some("it is absolute")
    } else if path.split('/').any(|part| part == "..") || path.starts_with("..") {
        Some("it begins with or holds \"..\"")
    } else if path.len() > 4096 || path.split('/').any(|part| part.len() > 255) {
        Some("it is too long")
    } else {
        None
    }
}
