//! What plugins answer to ADD (section 5 of the specification).
//!
//! The object is kept as it came, for the plugins after it and for DEL; of it only addresses are read here, and only what
//! is between versions is changed.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Version;
use crate::version::UnknownVersion;

/// Interfaces, addresses or routes of one answer.
const MOST: usize = 1024;

/// Where a namespace was that is gone: no process has this number, so that whoever follows it finds nothing, and does not
/// take the interface for one of the host's, which have no path at all.
const GONE: &str = "/proc/0/ns/net";

/// What was added.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    object: Map<String, Value>,
    version: Version,
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// Nothing was printed.
    #[error("it is empty")]
    Empty,
    /// It is not a JSON object.
    #[error("it is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// It is of a version that is not spoken here.
    #[error("it cannot be read")]
    Version(#[source] UnknownVersion),
    /// A field is not what the specification says.
    #[error("its field {0:?} is not as the specification has it")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Address {
    address: String,
    interface: Option<usize>,
}

impl Added {
    /// Reads a plugin's answer to a request of `asked`, and converts it to that version where it is of another.
    pub(crate) fn parse(output: &[u8], asked: Version) -> Result<Added, ResultError> {
        if output.iter().all(u8::is_ascii_whitespace) {
            return Err(ResultError::Empty);
        }
        let object: Map<String, Value> = serde_json::from_slice(output).map_err(ResultError::Json)?;
        Self::from_object(object, asked)
    }

    pub(crate) fn from_object(mut object: Map<String, Value>, asked: Version) -> Result<Added, ResultError> {
        let version = match object.get("cniVersion") {
            None => asked,
            Some(Value::String(text)) if text.is_empty() => asked,
            Some(Value::String(text)) => text.parse().map_err(ResultError::Version)?,
            Some(_) => return Err(ResultError::Field("cniVersion")),
        };
        // Some plugins write what is absent as null.
        object.retain(|_, value| !value.is_null());
        let mut added = Added { object, version };
        added.check()?;
        added.convert(asked)?;
        Ok(added)
    }

    /// The version that it is in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The addresses of an interface inside of the namespace, as the plugins order them; also those that no interface is
    /// named for.
    #[must_use]
    pub fn addresses(&self, interface: &str) -> Vec<IpAddr> {
        let Ok((interfaces, addresses)) = self.read() else {
            return Vec::new();
        };
        let is_inside = |index: usize| {
            let named = interfaces.get(index);
            named.is_some_and(|named| named.name == interface && !named.sandbox.is_empty())
        };
        let inside = addresses
            .iter()
            .filter(|address| address.interface.is_none_or(is_inside));
        inside
            .filter_map(|address| Some(network(&address.address)?.0))
            .collect()
    }

    /// The object as the plugin after it, or DEL, gets it. Where the namespace is at another path than when it was made
    /// (or nowhere: `now` is none), what plugins compare it with is changed likewise.
    pub(crate) fn seen_from(&self, then: &str, now: Option<&str>) -> Value {
        let mut object = self.object.clone();
        let interfaces = object.get_mut("interfaces").and_then(Value::as_array_mut);
        for interface in interfaces.into_iter().flatten() {
            if let Some(sandbox) = interface.get_mut("sandbox")
                && sandbox.as_str() == Some(then)
            {
                *sandbox = Value::from(now.unwrap_or(GONE));
            }
        }
        Value::Object(object)
    }

    pub(crate) fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    fn read(&self) -> Result<(Vec<Interface>, Vec<Address>), ResultError> {
        let read_list = |field: &'static str| {
            let list = self.object.get(field).cloned();
            match list.unwrap_or_else(|| Value::Array(Vec::new())) {
                Value::Array(list) if list.len() <= MOST => Ok(list),
                _ => Err(ResultError::Field(field)),
            }
        };
        read_list("routes")?;
        let interfaces = read_list("interfaces")?.into_iter().map(serde_json::from_value);
        let interfaces = interfaces.collect::<Result<Vec<Interface>, _>>();
        let addresses = read_list("ips")?.into_iter().map(serde_json::from_value);
        let addresses = addresses.collect::<Result<Vec<Address>, _>>();
        Ok((
            interfaces.map_err(|_| ResultError::Field("interfaces"))?,
            addresses.map_err(|_| ResultError::Field("ips"))?,
        ))
    }

    fn check(&self) -> Result<(), ResultError> {
        let (interfaces, addresses) = self.read()?;
        for address in addresses {
            let known = address.interface.is_none_or(|index| index < interfaces.len());
            if !known || network(&address.address).is_none() {
                return Err(ResultError::Field("ips"));
            }
        }
        Ok(())
    }

    /// Between versions only what has another form changes; nothing is taken away that a later one may know.
    fn convert(&mut self, to: Version) -> Result<(), ResultError> {
        self.object
            .insert("cniVersion".to_owned(), Value::from(to.as_str()));
        if self.version.has_families() != to.has_families() {
            let addresses = self.object.get_mut("ips").and_then(Value::as_array_mut);
            for address in addresses.into_iter().flatten() {
                let address = address.as_object_mut().ok_or(ResultError::Field("ips"))?;
                let text = address.get("address").and_then(Value::as_str);
                let family = match text.and_then(network) {
                    Some((IpAddr::V4(_), _)) => "4",
                    Some((IpAddr::V6(_), _)) => "6",
                    None => return Err(ResultError::Field("ips")),
                };
                if to.has_families() {
                    address.insert("version".to_owned(), Value::from(family));
                } else {
                    address.remove("version");
                }
            }
        }
        self.version = to;
        Ok(())
    }
}

/// An address and a prefix.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= most).then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(value: &Value, asked: Version) -> Result<Added, ResultError> {
        Added::parse(value.to_string().as_bytes(), asked)
    }

    fn dual() -> Value {
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "cni0", "mac": "00:11:22:33:44:55"},
                {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/proc/1/fd/9", "mtu": 1500},
                {"name": "net1", "sandbox": "/proc/1/fd/9"}
            ],
            "ips": [
                {"address": "fd00::5/64", "interface": 1},
                {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
                {"address": "10.1.0.1/16", "interface": 0},
                {"address": "10.2.0.1/16", "interface": 2}
            ],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {},
            "vendor": {"a": [1]}
        })
    }

    #[test]
    fn addresses_are_those_inside_in_their_order() {
        let added = parse(&dual(), Version::V1_0_0).unwrap();
        let addresses: Vec<_> = added.addresses("eth0").iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["fd00::5", "10.1.0.5"]);
        assert_eq!(added.addresses("net1").len(), 1);
        let alone = parse(&json!({"ips": [{"address": "192.0.2.7/24"}]}), Version::V1_0_0).unwrap();
        assert_eq!(alone.addresses("eth0").len(), 1);
    }

    #[test]
    fn what_is_of_the_version_asked_for_stays_as_it_is() {
        let added = parse(&dual(), Version::V1_0_0).unwrap();
        assert_eq!(Value::Object(added.object().clone()), dual());
    }

    #[test]
    fn families_come_and_go_with_versions() {
        let old = parse(&dual(), Version::V0_4_0).unwrap();
        assert_eq!(old.object()["cniVersion"], "0.4.0");
        assert_eq!(old.object()["ips"][0]["version"], "6");
        assert_eq!(old.object()["ips"][1]["version"], "4");
        let new = Added::from_object(old.object().clone(), Version::V1_1_0).unwrap();
        assert_eq!(new.object()["cniVersion"], "1.1.0");
        assert_eq!(new.object()["ips"], dual()["ips"]);
        assert_eq!(new.object()["vendor"], dual()["vendor"]);
        let unnamed = parse(&json!({"ips": []}), Version::V0_3_1).unwrap();
        assert_eq!(unnamed.object()["cniVersion"], "0.3.1");
    }

    #[test]
    fn a_namespace_that_moved_is_where_it_is_now() {
        let added = parse(&dual(), Version::V1_0_0).unwrap();
        let seen = added.seen_from("/proc/1/fd/9", Some("/proc/2/fd/3"));
        assert_eq!(seen["interfaces"][1]["sandbox"], "/proc/2/fd/3");
        assert_eq!(seen["interfaces"][0].get("sandbox"), None);
        let gone = added.seen_from("/proc/1/fd/9", None);
        assert_eq!(gone["interfaces"][1]["sandbox"], "/proc/0/ns/net");
        assert!(!std::path::Path::new(GONE).exists());
    }

    #[test]
    fn garbage_is_told_from_an_answer() {
        assert!(matches!(
            Added::parse(b" \n", Version::NEWEST),
            Err(ResultError::Empty)
        ));
        assert!(matches!(
            Added::parse(b"ok", Version::NEWEST),
            Err(ResultError::Json(_))
        ));
        assert!(matches!(
            Added::parse(b"{}{}", Version::NEWEST),
            Err(ResultError::Json(_))
        ));
        for (value, field) in [
            (json!({"ips": {}}), "ips"),
            (json!({"ips": [{"address": "10.0.0.1"}]}), "ips"),
            (json!({"ips": [{"address": "10.0.0.1/33"}]}), "ips"),
            (
                json!({"ips": [{"address": "10.0.0.1/24", "interface": 0}]}),
                "ips",
            ),
            (
                json!({"ips": [{"address": "10.0.0.1/24", "interface": -1}]}),
                "ips",
            ),
            (json!({"ips": [{}]}), "ips"),
            (json!({"interfaces": [1]}), "interfaces"),
            (json!({"interfaces": vec![json!({}); 2000]}), "interfaces"),
            (json!({"routes": 1}), "routes"),
            (json!({"cniVersion": 1}), "cniVersion"),
        ] {
            let error = parse(&value, Version::NEWEST).unwrap_err();
            assert!(
                matches!(error, ResultError::Field(found) if found == field),
                "{value}: {error}"
            );
        }
        let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/24"}});
        assert!(matches!(
            parse(&old, Version::NEWEST),
            Err(ResultError::Version(_))
        ));
        assert!(parse(&json!({"ips": null, "interfaces": null}), Version::NEWEST).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Added::parse(&bytes, Version::NEWEST);
        }

        #[test]
        fn every_version_is_reached_from_every_version(
            from in 0..5_usize, to in 0..5_usize,
            addresses in prop::collection::vec(any::<IpAddr>(), 0..5),
        ) {
            let all = [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];
            let ips: Vec<_> = addresses.iter().map(|address| json!({"address": format!("{address}/24")})).collect();
            let first = parse(&json!({"cniVersion": all[from].as_str(), "ips": ips}), all[to]).unwrap();
            prop_assert_eq!(first.version(), all[to]);
            prop_assert_eq!(first.addresses("eth0"), addresses);
            let back = Added::from_object(first.object().clone(), all[from]).unwrap();
            prop_assert_eq!(back.version(), all[from]);
        }
    }
}
