//! Messages of the API as JSON (protobuf's canonical mapping) and back, by their descriptors.

use crate::failure::Failure;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use std::sync::OnceLock;

fn pool() -> Result<&'static DescriptorPool, Failure> {
    static POOL: OnceLock<Result<DescriptorPool, String>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(auraed_api::DESCRIPTORS).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| Failure::new(format!("the API's descriptors are damaged: {error}")))
}

fn descriptor(name: &str) -> Result<prost_reflect::MessageDescriptor, Failure> {
    pool()?
        .get_message_by_name(name)
        .ok_or_else(|| Failure::new(format!("the API has no message {name}")))
}

/// `message`, of the full `name`, as JSON.
pub(crate) fn to_json(name: &str, message: &impl Message) -> Result<Value, Failure> {
    let dynamic = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())
        .map_err(|error| Failure::new(format!("{name}: {error}")))?;
    // Numbers stay numbers: none here passes what a double holds.
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .skip_default_fields(true);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| Failure::new(format!("{name}: {error}")))
}

/// A message of the full `name` from JSON. Unknown fields are errors.
pub(crate) fn from_json<M: Message + Default>(name: &str, value: Value) -> Result<M, Failure> {
    let dynamic = DynamicMessage::deserialize(descriptor(name)?, value)
        .map_err(|error| Failure::new(error.to_string()))?;
    dynamic
        .transcode_to()
        .map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use auraed_api::schedule::v0::Pod;

    const POD: &str = "aurae.schedule.v0.Pod";

    #[test]
    fn a_pod_goes_to_json_and_back() {
        let pod = Pod {
            id: "a".into(),
            name: "web".into(),
            grace_period_seconds: Some(3),
            ..Pod::default()
        };
        let json = to_json(POD, &pod).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"id": "a", "name": "web", "gracePeriodSeconds": 3})
        );
        assert_eq!(from_json::<Pod>(POD, json).unwrap(), pod);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(from_json::<Pod>(POD, serde_json::json!({"nmae": "web"})).is_err());
    }
}
