//! What is kept of an attachment: all that CHECK and DEL need, whatever becomes of the configuration meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::{Added, Attachment, Error, NetworkConfig, Version};

/// The form of the file.
const KIND: &str = "auraedCniV1";

/// One attachment, from before its ADD until after its DEL.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) config: NetworkConfig,
    pub(crate) version: Version,
    pub(crate) attachment: Attachment,
    /// None: ADD has not ended, or was interrupted.
    pub(crate) added: Option<Added>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    container_id: String,
    if_name: String,
    network_name: String,
    netns: String,
    cni_version: String,
    cni_args: Vec<(String, String)>,
    capability_args: BTreeMap<String, Value>,
    config: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
}

impl Record {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let failed = |source| Error::Request {
            plugin: self.config.name().to_owned(),
            source,
        };
        let attachment = &self.attachment;
        let file = File {
            kind: KIND.to_owned(),
            container_id: attachment.id.clone(),
            if_name: attachment.interface.clone(),
            network_name: self.config.name().to_owned(),
            netns: attachment.namespace.clone(),
            cni_version: self.version.to_string(),
            cni_args: attachment.arguments.clone(),
            capability_args: attachment.capabilities.clone(),
            config: self.config.to_list(self.version).map_err(failed)?,
            result: self.added.as_ref().map(|added| added.object().clone()),
        };
        serde_json::to_vec(&file).map_err(failed)
    }

    /// None, with the reason: it is no record that can be read.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Record, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if file.kind != KIND {
            return Err(format!("it is of the kind {:?}", file.kind));
        }
        let version: Version = file
            .cni_version
            .parse()
            .map_err(|error: crate::version::UnknownVersion| error.to_string())?;
        let config = NetworkConfig::parse_list(file.config.get().as_bytes());
        let added = file.result.map(|object| Added::from_object(object, version));
        Ok(Record {
            config: config.map_err(|error| crate::error::chain(&error))?,
            version,
            attachment: Attachment {
                id: file.container_id,
                interface: file.if_name,
                namespace: file.netns,
                arguments: file.cni_args,
                capabilities: file.capability_args,
            },
            added: added.transpose().map_err(|error| crate::error::chain(&error))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        let list = json!({
            "cniVersion": "1.0.0", "name": "net",
            "plugins": [{"type": "bridge", "x": 1.5, "capabilities": {"mac": true}}],
        });
        let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
        Record {
            config: NetworkConfig::parse_list(list.to_string().as_bytes()).unwrap(),
            version: Version::V1_0_0,
            attachment: Attachment {
                id: "pod-1".to_owned(),
                interface: "eth0".to_owned(),
                namespace: "/proc/7/fd/9".to_owned(),
                arguments: vec![("IgnoreUnknown".to_owned(), "1".to_owned())],
                capabilities: BTreeMap::from([("mac".to_owned(), json!("0a:58:0a:00:00:02"))]),
            },
            added: Some(Added::parse(result.to_string().as_bytes(), Version::V1_0_0).unwrap()),
        }
    }

    /// A daemon of tomorrow reads what this one wrote: this text may never have to change.
    #[test]
    fn the_file_has_this_form() {
        let text = concat!(
            r#"{"kind":"auraedCniV1","containerId":"pod-1","ifName":"eth0","networkName":"net","#,
            r#""netns":"/proc/7/fd/9","cniVersion":"1.0.0","cniArgs":[["IgnoreUnknown","1"]],"#,
            r#""capabilityArgs":{"mac":"0a:58:0a:00:00:02"},"#,
            r#""config":{"cniVersion":"1.0.0","name":"net","disableCheck":false,"disableGC":false,"#,
            r#""loadOnlyInlinedPlugins":true,"plugins":[{"capabilities":{"mac":true},"type":"bridge","x":1.5}]},"#,
            r#""result":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}}"#
        );
        assert_eq!(String::from_utf8(record().encode().unwrap()).unwrap(), text);
        let read = Record::decode(text.as_bytes()).unwrap();
        assert_eq!(read.encode().unwrap(), text.as_bytes());
    }

    #[test]
    fn an_interrupted_one_has_no_result() {
        let record = Record {
            added: None,
            ..record()
        };
        let read = Record::decode(&record.encode().unwrap()).unwrap();
        assert!(read.added.is_none() && read.attachment.id == "pod-1");
    }

    #[test]
    fn what_is_no_record_is_told() {
        for text in ["", "{}", "[]", r#"{"kind":"cniCacheV1"}"#] {
            assert!(Record::decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
