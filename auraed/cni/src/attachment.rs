//! What is said to plugins about one attachment: parameters of the environment, and capabilities by convention.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::config::is_name;

/// Names of capabilities that plugins know (CONVENTIONS.md beside the specification).
pub mod capability {
    /// Ports of the host that lead to the container; [`super::PortMapping`] each.
    pub const PORT_MAPPINGS: &str = "portMappings";
    /// Limits of traffic; [`super::Bandwidth`].
    pub const BANDWIDTH: &str = "bandwidth";
    /// What the container resolves names with; [`super::Dns`].
    pub const DNS: &str = "dns";
    /// Addresses that are asked for, each with or without a prefix.
    pub const IPS: &str = "ips";
    /// The hardware address that is asked for.
    pub const MAC: &str = "mac";
}

/// One attachment: what in the specification is the tuple of container and interface, with its parameters.
#[derive(Clone, Debug, Default)]
pub struct Attachment {
    /// CNI_CONTAINERID.
    pub id: String,
    /// CNI_IFNAME: the name of the interface inside.
    pub interface: String,
    /// CNI_NETNS: a path that leads to the network namespace for as long as the call takes.
    pub namespace: String,
    /// CNI_ARGS, in this order.
    pub arguments: Vec<(String, String)>,
    /// By capability.
    pub capabilities: BTreeMap<String, Value>,
}

/// One of [`capability::PORT_MAPPINGS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// On the host.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// tcp, udp or sctp.
    pub protocol: String,
    /// The host's address; every one if empty.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_address: String,
}

/// [`capability::BANDWIDTH`], in bits and bits a second. A rate of 0 is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// To the container.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress_rate: u64,
    /// At once.
    #[serde(skip_serializing_if = "is_zero")]
    pub ingress_burst: u64,
    /// From the container.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_rate: u64,
    /// At once.
    #[serde(skip_serializing_if = "is_zero")]
    pub egress_burst: u64,
}

/// [`capability::DNS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// As in resolv.conf(5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Attachment {
    /// # Errors
    /// [`Error::Unusable`] for the first parameter that plugins could not read.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_key(&self.id, &self.interface)?;
        for (key, value) in &self.arguments {
            // Plugins split at both, and know no way to write them otherwise.
            let plain = |text: &str| !text.contains([';', '=']) && !text.contains(char::is_control);
            if key.is_empty() || !plain(key) || !plain(value) {
                return Err(unusable("the argument", &format!("{key}={value}")));
            }
        }
        Ok(())
    }

    /// CNI_ARGS.
    pub(crate) fn argument_text(&self) -> String {
        let pairs = self.arguments.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(";")
    }
}

/// What the specification asks of an id, and the kernel of an interface's name (dev_valid_name in net/core/dev.c).
pub(crate) fn check_key(id: &str, interface: &str) -> Result<(), Error> {
    if !is_name(id) || id.len() > 200 {
        return Err(unusable("the id", id));
    }
    let valid = (1..16).contains(&interface.len())
        && !matches!(interface, "." | "..")
        && interface
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    match valid {
        true => Ok(()),
        false => Err(unusable("the interface", interface)),
    }
}

fn unusable(what: &'static str, value: &str) -> Error {
    Error::Unusable {
        what,
        value: value.chars().take(64).collect(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            id: "a-1".to_owned(),
            interface: "eth0".to_owned(),
            arguments: vec![
                ("IgnoreUnknown".to_owned(), "1".to_owned()),
                ("A".to_owned(), "b".to_owned()),
            ],
            ..Attachment::default()
        }
    }

    #[test]
    fn what_plugins_cannot_read_is_refused() {
        attachment().check().unwrap();
        assert_eq!(attachment().argument_text(), "IgnoreUnknown=1;A=b");
        for id in ["", "-a", "../x", "a/b", "a b"] {
            let bad = Attachment {
                id: id.to_owned(),
                ..attachment()
            };
            assert!(bad.check().is_err(), "{id}");
        }
        for interface in ["", "..", "a/b", "a:b", "sixteen-letters-"] {
            let bad = Attachment {
                interface: interface.to_owned(),
                ..attachment()
            };
            assert!(bad.check().is_err(), "{interface}");
        }
        for (key, value) in [
            ("", "x"),
            ("a", "b;C=d"),
            ("a=b", "c"),
            ("a", "b\n"),
            ("a", "b\0"),
        ] {
            let bad = Attachment {
                arguments: vec![(key.to_owned(), value.to_owned())],
                ..attachment()
            };
            assert!(bad.check().is_err(), "{key}={value}");
        }
    }

    #[test]
    fn capabilities_are_written_as_plugins_read_them() {
        let mapping = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "tcp".to_owned(),
            host_address: String::new(),
        };
        assert_eq!(
            serde_json::to_value(&mapping).unwrap(),
            json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
        );
        let bandwidth = Bandwidth {
            ingress_rate: 1000,
            ingress_burst: 10,
            ..Bandwidth::default()
        };
        assert_eq!(
            serde_json::to_value(bandwidth).unwrap(),
            json!({"ingressRate": 1000, "ingressBurst": 10})
        );
        let dns = Dns {
            servers: vec!["192.0.2.1".to_owned()],
            ..Dns::default()
        };
        assert_eq!(
            serde_json::to_value(&dns).unwrap(),
            json!({"servers": ["192.0.2.1"]})
        );
    }
}
