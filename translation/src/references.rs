//! What must be fetched before a pod can be translated.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

use crate::objects::TokenKey;
use crate::pod::containers;

/// What a pod refers to, all of its own namespace but for the service `kubernetes` of `default`, which every pod wants.
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
    /// The services of the pod's namespace become environment variables.
    pub services: bool,
}

/// Lists what `pod` refers to.
pub fn references(pod: &Pod) -> References {
    let Some(spec) = &pod.spec else {
        return References::default();
    };
    let mut found = References {
        service_account: service_account(spec),
        services: spec.enable_service_links.unwrap_or(true),
        ..References::default()
    };
    for (_, _, container) in containers(spec) {
        found.of_container(container);
    }
    for volume in spec.volumes.iter().flatten() {
        found.of_volume(volume);
    }
    for secret in spec
        .image_pull_secrets
        .iter()
        .flatten()
        .filter(|secret| !secret.name.is_empty())
    {
        if !found.pull_secrets.contains(&secret.name) {
            found.pull_secrets.push(secret.name.clone());
        }
    }
    found
}

fn service_account(spec: &PodSpec) -> String {
    let given = spec
        .service_account_name
        .as_deref()
        .filter(|name| !name.is_empty());
    given.unwrap_or("default").to_owned()
}

impl References {
    fn of_container(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            if let Some(reference) = &from.config_map_ref {
                note(&mut self.config_maps, &reference.name, reference.optional);
            }
            if let Some(reference) = &from.secret_ref {
                note(&mut self.secrets, &reference.name, reference.optional);
            }
        }
        for from in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            if let Some(reference) = &from.config_map_key_ref {
                note(&mut self.config_maps, &reference.name, reference.optional);
            }
            if let Some(reference) = &from.secret_key_ref {
                note(&mut self.secrets, &reference.name, reference.optional);
            }
        }
    }

    fn of_volume(&mut self, volume: &Volume) {
        if let Some(source) = &volume.config_map {
            note(&mut self.config_maps, &source.name, source.optional);
        }
        if let Some(source) = &volume.secret {
            note(
                &mut self.secrets,
                source.secret_name.as_deref().unwrap_or_default(),
                source.optional,
            );
        }
        let projected = volume
            .projected
            .as_ref()
            .and_then(|projected| projected.sources.as_ref());
        for source in projected.into_iter().flatten() {
            if let Some(source) = &source.config_map {
                note(&mut self.config_maps, &source.name, source.optional);
            }
            if let Some(source) = &source.secret {
                note(&mut self.secrets, &source.name, source.optional);
            }
            if let Some(source) = &source.service_account_token {
                let key = TokenKey::of(source);
                if !self.tokens.contains(&key) {
                    self.tokens.push(key);
                }
            }
        }
    }
}

fn note(list: &mut BTreeMap<String, bool>, name: &str, optional: Option<bool>) {
    if !name.is_empty() {
        *list.entry(name.to_owned()).or_insert(true) &= optional == Some(true);
    }
}
