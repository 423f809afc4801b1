//! Strategic merge patches: what must be sent to turn one JSON value into another, where some lists are merged by a key
//! and not replaced.

use serde_json::{Map, Value, json};

/// How a list that the API server merges is told apart.
pub(crate) enum List {
    /// Elements have this key; those that are not sent stay.
    Merged(&'static str),
    /// The server would merge it by a key that does not fit, so it is told to replace it.
    Replaced,
}

/// A list's name to how it is merged; every other list is replaced as it is.
pub(crate) type Lists = [(&'static str, List)];

/// The patch from `old` to `new`, both objects; none where they are equal.
pub(crate) fn diff(old: &Value, new: &Value, lists: &Lists) -> Option<Value> {
    let empty = Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, after) in new {
        match (old.get(name), after) {
            (Some(before), after) if before == after => {}
            (Some(before @ Value::Object(_)), Value::Object(_)) => {
                if let Some(inner) = diff(before, after, lists) {
                    patch.insert(name.clone(), inner);
                }
            }
            (before, Value::Array(after)) => {
                let before = before
                    .and_then(Value::as_array)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                list(name, before, after, lists, &mut patch);
            }
            (_, after) => {
                patch.insert(name.clone(), after.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn list(name: &str, old: &[Value], new: &[Value], lists: &Lists, patch: &mut Map<String, Value>) {
    match lists.iter().find(|(known, _)| *known == name) {
        Some((_, List::Merged(key))) => merged(name, key, old, new, patch),
        Some((_, List::Replaced)) => {
            let elements = new
                .iter()
                .cloned()
                .chain([json!({ "$patch": "replace" })])
                .collect();
            patch.insert(name.to_owned(), elements);
        }
        None => {
            patch.insert(name.to_owned(), Value::Array(new.to_vec()));
        }
    }
}

fn merged(name: &str, key: &str, old: &[Value], new: &[Value], patch: &mut Map<String, Value>) {
    let find = |list: &[Value], id: &Value| list.iter().find(|element| &element[key] == id).cloned();
    let mut elements = Vec::new();
    for after in new {
        match find(old, &after[key]) {
            None => elements.push(after.clone()),
            Some(before) => {
                if let Some(Value::Object(mut changes)) = diff(&before, after, &[]) {
                    changes.insert(key.to_owned(), after[key].clone());
                    elements.push(Value::Object(changes));
                }
            }
        }
    }
    for before in old.iter().filter(|before| find(new, &before[key]).is_none()) {
        elements.push(json!({ "$patch": "delete", key: before[key] }));
    }
    if !old.is_empty() {
        let order = new.iter().map(|element| json!({ key: element[key] })).collect();
        patch.insert(format!("$setElementOrder/{name}"), order);
    }
    if !elements.is_empty() {
        patch.insert(name.to_owned(), Value::Array(elements));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &Lists = &[
        ("conditions", List::Merged("type")),
        ("addresses", List::Replaced),
    ];

    #[test]
    fn equal_values_need_no_patch() {
        let value = json!({ "a": 1, "b": [1, 2], "conditions": [{ "type": "Ready" }], "c": { "d": null } });
        assert_eq!(diff(&value, &value, LISTS), None);
    }

    #[test]
    fn what_is_gone_becomes_null_and_objects_are_entered() {
        let old = json!({ "phase": "Pending", "reason": "x", "inner": { "kept": 1, "gone": 2 } });
        let new = json!({ "phase": "Running", "inner": { "kept": 1, "new": 3 } });
        let patch = json!({ "phase": "Running", "reason": null, "inner": { "gone": null, "new": 3 } });
        assert_eq!(diff(&old, &new, LISTS), Some(patch));
    }

    #[test]
    fn merged_lists_hold_changes_alone() {
        let old = json!({ "conditions": [{ "type": "A", "status": "False", "reason": "r" }, { "type": "B" }, { "type": "C" }] });
        let new = json!({ "conditions": [{ "type": "A", "status": "True" }, { "type": "C" }, { "type": "D", "status": "True" }] });
        let patch = json!({
            "$setElementOrder/conditions": [{ "type": "A" }, { "type": "C" }, { "type": "D" }],
            "conditions": [
                { "type": "A", "status": "True", "reason": null },
                { "type": "D", "status": "True" },
                { "$patch": "delete", "type": "B" },
            ],
        });
        assert_eq!(diff(&old, &new, LISTS), Some(patch));
    }

    #[test]
    fn a_new_order_is_a_change_and_a_first_list_needs_none() {
        let (ab, ba) = (
            json!([{ "type": "A" }, { "type": "B" }]),
            json!([{ "type": "B" }, { "type": "A" }]),
        );
        let patch = diff(&json!({ "conditions": ab }), &json!({ "conditions": ba }), LISTS);
        assert_eq!(patch, Some(json!({ "$setElementOrder/conditions": ba })));
        let patch = diff(&json!({}), &json!({ "conditions": ab }), LISTS);
        assert_eq!(patch, Some(json!({ "conditions": ab })));
    }

    #[test]
    fn other_lists_are_replaced() {
        let patch = diff(&json!({ "images": [1, 2] }), &json!({ "images": [2] }), LISTS);
        assert_eq!(patch, Some(json!({ "images": [2] })));
        let patch = diff(&json!({ "addresses": [1] }), &json!({ "addresses": [2] }), LISTS);
        assert_eq!(patch, Some(json!({ "addresses": [2, { "$patch": "replace" }] })));
    }
}
