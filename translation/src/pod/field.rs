//! Fields of the pod that containers may read: `fieldRef` and `resourceFieldRef`, in variables and in files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Scope, containers, name};
use crate::quantity::{Amount, divide_up};

/// A field's value, or which one auraed will know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    Text(String),
    Address,
    Addresses,
}

/// The field at `path` for an environment variable.
pub(super) fn of_pod(scope: Scope<'_>, path: &str) -> Result<Field, String> {
    let spec = scope.spec;
    let text = |value: Option<&str>| Ok(Field::Text(value.unwrap_or_default().to_owned()));
    match path {
        "spec.nodeName" => text(spec.node_name.as_deref().or(Some(&scope.node.name))),
        "spec.serviceAccountName" => text(spec.service_account_name.as_deref()),
        "spec.schedulerName" => text(spec.scheduler_name.as_deref()),
        "spec.restartPolicy" => text(spec.restart_policy.as_deref().or(Some("Always"))),
        "status.hostIP" => match scope.node.addresses.first() {
            Some(address) => Ok(Field::Text(address.to_string())),
            None => Err("the node has no address".to_owned()),
        },
        "status.hostIPs" if scope.node.addresses.is_empty() => Err("the node has no address".to_owned()),
        "status.hostIPs" => Ok(Field::Text(node_addresses(scope))),
        // A pod on the node's network has the node's addresses, which auraed need not know of.
        "status.podIP" if scope.host_network() && !scope.node.addresses.is_empty() => {
            Ok(Field::Text(scope.node.addresses[0].to_string()))
        }
        "status.podIPs" if scope.host_network() && !scope.node.addresses.is_empty() => {
            Ok(Field::Text(node_addresses(scope)))
        }
        "status.podIP" => Ok(Field::Address),
        "status.podIPs" => Ok(Field::Addresses),
        _ => of_metadata(scope, path).map(Field::Text),
    }
}

/// At most one address a family, as in a pod's status.
fn node_addresses(scope: Scope<'_>) -> String {
    let addresses: Vec<String> = scope
        .node
        .addresses
        .iter()
        .take(2)
        .map(ToString::to_string)
        .collect();
    addresses.join(",")
}

/// The field at `path` for a file: metadata alone.
pub(super) fn of_metadata(scope: Scope<'_>, path: &str) -> Result<String, String> {
    let metadata = &scope.pod.metadata;
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map
            .as_ref()
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(name(scope.pod).to_owned()),
        "metadata.namespace" => Ok(scope.namespace().to_owned()),
        "metadata.uid" => Ok(metadata.uid.clone().unwrap_or_default()),
        "metadata.labels" => Ok(lines(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines(metadata.annotations.as_ref())),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// `key="value"` a line, sorted, the value quoted as Go does.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

fn quoted(value: &str) -> String {
    let mut result = String::from('"');
    for c in value.chars() {
        match c {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\x07' => result.push_str("\\a"),
            '\x08' => result.push_str("\\b"),
            '\x0c' => result.push_str("\\f"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            '\x0b' => result.push_str("\\v"),
            _ if is_printable(c) => result.push(c),
            // Writing to a String cannot fail.
            _ if u32::from(c) < 0x80 => drop(write!(result, "\\x{:02x}", u32::from(c))),
            _ if u32::from(c) < 0x1_0000 => drop(write!(result, "\\u{:04x}", u32::from(c))),
            _ => drop(write!(result, "\\U{:08x}", u32::from(c))),
        }
    }
    result.push('"');
    result
}

/// Behind another character, where marks that combine with it are not escaped for themselves.
fn is_printable(c: char) -> bool {
    let pair: String = ['a', c].into_iter().collect();
    c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && pair.escape_debug().eq(pair.chars()))
}

/// The resource that `selector` names, of `container` or of the one that it names, divided and rounded up.
pub(super) fn of_resources(
    scope: Scope<'_>,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => containers(scope.spec)
            .map(|(_, _, container)| container)
            .find(|one| one.name == name),
        None => container,
    };
    let container = container.ok_or_else(|| format!("container {} not found", named.unwrap_or_default()))?;
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let processor = resource == "cpu";
    if !matches!(resource, "cpu" | "memory" | "ephemeral-storage") && !resource.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let given = container.resources.as_ref();
    let amount = match list {
        "requests" => find(given.and_then(|given| given.requests.as_ref()), resource)?,
        "limits" => match find(given.and_then(|given| given.limits.as_ref()), resource)? {
            Some(limit) if !limit.is_zero() => Some(limit),
            // Huge pages are never shared, so a missing limit of them is none.
            _ if resource.starts_with("hugepages-") => None,
            _ => find(Some(&scope.node.allocatable), resource)?,
        },
        _ => return Err(unsupported()),
    };
    let divisor = match &selector.divisor {
        Some(divisor) => Amount::of(divisor).map_err(|error| error.to_string())?,
        None => Amount::ZERO,
    };
    let divisor = if divisor.is_zero() {
        Amount::milli(1000)
    } else {
        divisor
    };
    let unit = |amount: Amount| {
        if processor {
            amount.to_milli()
        } else {
            amount.to_whole()
        }
    };
    let amount = unit(amount.unwrap_or(Amount::ZERO));
    Ok(divide_up(i128::from(amount), i128::from(unit(divisor).max(1))).to_string())
}

fn find(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Result<Option<Amount>, String> {
    let quantity = list.and_then(|list| list.get(resource));
    quantity
        .map(Amount::of)
        .transpose()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_go_does() {
        for (value, expected) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("line\nnext\ttab", r#""line\nnext\ttab""#),
            ("\x01\x7f", r#""\x01\x7f""#),
            ("grüß 漢 e\u{301}", "\"grüß 漢 e\u{301}\""),
            ("\u{a0}\u{200b}\u{feff}", r#""\u00a0\u200b\ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }
}
