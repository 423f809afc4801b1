//! A container's environment: services, then `envFrom`, then `env`, so that a later entry may stand on an earlier one.
//!
//! What is known here is resolved here. Two things are auraed's: references `$(NAME)` in literal values, because some
//! values come to be only there, and the pod's addresses.

use std::collections::HashMap;

use auraed_api::runtime::v0::environment_variable::Source;
use auraed_api::runtime::v0::{EnvironmentVariable, PodField};
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource};

use super::{Scope, field, services};
use crate::problem::Problems;

pub(super) fn translate(
    scope: Scope<'_>,
    path: &str,
    container: &Container,
    problems: &mut Problems,
) -> Vec<EnvironmentVariable> {
    let mut result = services::variables(scope);
    for (index, from) in container.env_from.iter().flatten().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        match whole_object(scope, from) {
            Ok(variables) => result.extend(variables),
            Err((field, message)) => {
                problems.config(&container.name, format!("{path}.{field}"), message);
            }
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        match one(scope, container, variable) {
            Ok(source) => {
                let found = source.map(|(source, sensitive)| EnvironmentVariable {
                    name: variable.name.clone(),
                    source: Some(source),
                    sensitive,
                });
                result.extend(found);
            }
            Err(message) => {
                problems.config(&container.name, format!("{path}.env[{index}].valueFrom"), message)
            }
        }
    }
    result
}

/// A value that is taken as it is.
pub(super) fn literal(name: String, value: String, sensitive: bool) -> EnvironmentVariable {
    EnvironmentVariable {
        name,
        source: Some(Source::Value(value)),
        sensitive,
    }
}

type Missing = (&'static str, String);

fn whole_object(scope: Scope<'_>, from: &EnvFromSource) -> Result<Vec<EnvironmentVariable>, Missing> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    if let Some(reference) = &from.config_map_ref {
        let key = (scope.namespace().to_owned(), reference.name.clone());
        return match scope.objects.config_maps.get(&key) {
            Some(map) => {
                let data = map.data.iter().flatten();
                Ok(data
                    .map(|(key, value)| literal(format!("{prefix}{key}"), value.clone(), false))
                    .collect())
            }
            None if reference.optional == Some(true) => Ok(Vec::new()),
            None => Err((
                "configMapRef",
                format!("configmap {:?} not found", reference.name),
            )),
        };
    }
    if let Some(reference) = &from.secret_ref {
        let key = (scope.namespace().to_owned(), reference.name.clone());
        return match scope.objects.secrets.get(&key) {
            Some(secret) => secret
                .data
                .iter()
                .flatten()
                .map(|(key, value)| {
                    let value =
                        text(&value.0, key, &reference.name).map_err(|message| ("secretRef", message))?;
                    Ok(literal(format!("{prefix}{key}"), value, true))
                })
                .collect(),
            None if reference.optional == Some(true) => Ok(Vec::new()),
            None => Err(("secretRef", format!("secret {:?} not found", reference.name))),
        };
    }
    Ok(Vec::new())
}

/// The source of one variable and whether it is sensitive; none where it is optional and missing.
fn one(scope: Scope<'_>, container: &Container, variable: &EnvVar) -> Result<Option<(Source, bool)>, String> {
    let value = variable.value.as_deref().unwrap_or_default();
    match &variable.value_from {
        Some(from) if value.is_empty() => referred(scope, container, from),
        _ if value.contains('$') => Ok(Some((Source::Template(value.to_owned()), false))),
        _ => Ok(Some((Source::Value(value.to_owned()), false))),
    }
}

fn referred(
    scope: Scope<'_>,
    container: &Container,
    from: &EnvVarSource,
) -> Result<Option<(Source, bool)>, String> {
    let plain = |value: String| Some((Source::Value(value), false));
    if let Some(reference) = &from.field_ref {
        return Ok(match field::of_pod(scope, &reference.field_path)? {
            field::Field::Text(text) => plain(text),
            field::Field::Address => Some((Source::Field(PodField::Address.into()), false)),
            field::Field::Addresses => Some((Source::Field(PodField::Addresses.into()), false)),
        });
    }
    if let Some(reference) = &from.resource_field_ref {
        return field::of_resources(scope, Some(container), reference).map(plain);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let name = (scope.namespace().to_owned(), reference.name.clone());
        let Some(map) = scope.objects.config_maps.get(&name) else {
            return absent(optional, || format!("configmap {:?} not found", reference.name));
        };
        return match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(plain(value.clone())),
            None => absent(optional, || {
                format!(
                    "couldn't find key {} in ConfigMap {}/{}",
                    reference.key, name.0, name.1
                )
            }),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let name = (scope.namespace().to_owned(), reference.name.clone());
        let Some(secret) = scope.objects.secrets.get(&name) else {
            return absent(optional, || format!("secret {:?} not found", reference.name));
        };
        return match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => {
                let value = text(&value.0, &reference.key, &reference.name)?;
                Ok(Some((Source::Value(value), true)))
            }
            None => absent(optional, || {
                format!(
                    "couldn't find key {} in Secret {}/{}",
                    reference.key, name.0, name.1
                )
            }),
        };
    }
    // The refused sources were told of already; a source without any is an empty value, as kubelet has it.
    Ok(plain(String::new()))
}

fn absent(optional: bool, message: impl FnOnce() -> String) -> Result<Option<(Source, bool)>, String> {
    if optional { Ok(None) } else { Err(message()) }
}

/// A secret's value as a variable; the value itself is never part of the message.
fn text(value: &[u8], key: &str, secret: &str) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| {
        format!("key {key} in secret {secret:?} is not text and cannot be an environment variable")
    })
}

/// Replaces `$(NAME)` by what is known; unknown names stay, `$$` is one `$`.
pub(super) fn expand(text: &str, known: &HashMap<&str, &str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        result.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => result.push_str(value),
                None => result.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let known = HashMap::from([("A", "a"), ("B", "$(A)")]);
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("-$(A)-$(B)-", "-a-$(A)-"),
            ("$(MISSING)", "$(MISSING)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$", "$"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
    }
}
