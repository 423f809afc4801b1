//! What to send when the Node's status changed: the changed fields, as a strategic merge patch.

use k8s_openapi::api::core::v1::NodeStatus;
use serde_json::{Map, Value, json};

/// Fields that are ours to take away; others that we do not set are somebody else's.
const OURS: [&str; 4] = ["images", "runtimeHandlers", "declaredFeatures", "features"];

/// A patch of the status.
#[derive(Debug, PartialEq)]
pub(super) struct StatusPatch {
    /// The body's `status`.
    pub(super) body: Value,
    /// Something beside heartbeats changed.
    pub(super) changed: bool,
}

/// From what the API has to what it should have.
pub(super) fn between(old: &NodeStatus, new: &NodeStatus) -> StatusPatch {
    let (old, new) = (object(old), object(new));
    let mut body = Map::new();
    let mut changed = false;
    for (key, value) in &new {
        let before = old.get(key).unwrap_or(&Value::Null);
        if key == "conditions" {
            // Always sent: the heartbeat is in them.
            changed |= without_heartbeat(before) != without_heartbeat(value);
            body.insert(key.clone(), value.clone());
        } else if before != value {
            changed = true;
            body.insert(key.clone(), replacement(key, before, value));
        }
    }
    for key in OURS {
        if old.contains_key(key) && !new.contains_key(key) {
            changed = true;
            body.insert(key.to_owned(), Value::Null);
        }
    }
    StatusPatch {
        body: Value::Object(body),
        changed,
    }
}

fn object(status: &NodeStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Maps are merged by the server, so what is gone must be named; the merge key of addresses is wrong in the API (a node
/// may have two of one type), so they are replaced.
fn replacement(key: &str, before: &Value, value: &Value) -> Value {
    match (before, value) {
        (Value::Object(before), Value::Object(now)) => {
            let gone = before.keys().filter(|key| !now.contains_key(*key));
            let mut merged = now.clone();
            merged.extend(gone.map(|key| (key.clone(), Value::Null)));
            Value::Object(merged)
        }
        (_, Value::Array(entries)) if key == "addresses" => {
            let mut entries = entries.clone();
            entries.push(json!({ "$patch": "replace" }));
            Value::Array(entries)
        }
        _ => value.clone(),
    }
}

fn without_heartbeat(conditions: &Value) -> Vec<Value> {
    let mut conditions = conditions.as_array().cloned().unwrap_or_default();
    for condition in &mut conditions {
        if let Some(object) = condition.as_object_mut() {
            object.remove("lastHeartbeatTime");
        }
    }
    conditions.retain(|condition| condition["type"] != "NetworkUnavailable");
    conditions.sort_by_key(|condition| condition["type"].to_string());
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> NodeStatus {
        serde_json::from_value(value).expect("a status")
    }

    fn ready(heartbeat: &str, status: &str) -> Value {
        json!({ "type": "Ready", "status": status, "reason": "r", "message": "m",
            "lastHeartbeatTime": heartbeat, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn heartbeats_alone_are_no_change() {
        let old = status(json!({ "conditions": [ready("2026-01-01T00:00:00Z", "True")] }));
        let new = status(json!({ "conditions": [ready("2026-01-01T00:00:10Z", "True")] }));
        assert!(!between(&old, &new).changed);
        let new = status(json!({ "conditions": [ready("2026-01-01T00:00:10Z", "False")] }));
        assert!(between(&old, &new).changed);
    }

    #[test]
    fn addresses_are_replaced_and_lost_resources_named() {
        let old = status(json!({
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
            "capacity": { "cpu": "2", "hugepages-2Mi": "0" },
            "volumesAttached": [{ "name": "v", "devicePath": "" }],
        }));
        let new = status(json!({
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.2" }],
            "capacity": { "cpu": "2" },
        }));
        let patch = between(&old, &new);
        assert_eq!(
            patch.body,
            json!({
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.2" }, { "$patch": "replace" }],
                "capacity": { "cpu": "2", "hugepages-2Mi": null },
            })
        );
        assert!(patch.changed);
    }
}
