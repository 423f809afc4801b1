//! Strategic merge patches: what must be sent to turn one JSON value into another, where some lists are merged by a key
//! and not replaced.

use serde_json::{Map, Value, json};

/// Lists that the server merges, and the key by which it tells their elements apart; every other list is replaced.
pub(crate) type Lists = [(&'static str, &'static str)];

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
            (Some(Value::Array(before)), Value::Array(after)) => list(name, before, after, lists, &mut patch),
            (_, after) => {
                patch.insert(name.clone(), after.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn list(name: &str, old: &[Value], new: &[Value], lists: &Lists, patch: &mut Map<String, Value>) {
    match lists.iter().find(|(known, _)| *known == name) {
        Some((_, key)) => merged(name, key, old, new, patch),
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
    if !new.is_empty() {
        let order = new.iter().map(|element| json!({ key: element[key] })).collect();
        patch.insert(format!("$setElementOrder/{name}"), order);
    }
    if !elements.is_empty() {
        patch.insert(name.to_owned(), Value::Array(elements));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTS: &Lists = &[("conditions", "type")];

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
    }

    /// What the API server does with a patch.
    fn apply(old: &Value, patch: &Value, lists: &Lists) -> Value {
        let mut result = old.as_object().cloned().unwrap_or_default();
        for (name, change) in patch.as_object().unwrap() {
            let merged = lists.iter().find(|(known, _)| known == name);
            match (change, merged) {
                _ if name.starts_with('$') => {}
                (Value::Null, _) => drop(result.remove(name)),
                (Value::Array(changes), Some((_, key))) => {
                    let order = patch.get(format!("$setElementOrder/{name}"));
                    let before = result
                        .get(name)
                        .and_then(Value::as_array)
                        .cloned()
                        .unwrap_or_default();
                    result.insert(name.clone(), apply_list(before, changes, key, order));
                }
                (Value::Object(_), _) if result.get(name).is_some_and(Value::is_object) => {
                    result.insert(name.clone(), apply(&result[name], change, lists));
                }
                _ => drop(result.insert(name.clone(), change.clone())),
            }
        }
        for (name, order) in patch.as_object().unwrap() {
            let Some(list) = name.strip_prefix("$setElementOrder/") else {
                continue;
            };
            let (_, key) = lists.iter().find(|(known, _)| *known == list).unwrap();
            let before = result
                .get(list)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            result.insert(list.to_owned(), apply_list(before, &[], key, Some(order)));
        }
        Value::Object(result)
    }

    fn apply_list(mut list: Vec<Value>, changes: &[Value], key: &str, order: Option<&Value>) -> Value {
        for change in changes {
            let place = list.iter().position(|element| element[key] == change[key]);
            match (place, change.get("$patch")) {
                (Some(place), Some(_)) => drop(list.remove(place)),
                (Some(place), None) => list[place] = apply(&list[place], change, &[]),
                (None, _) => list.push(change.clone()),
            }
        }
        if let Some(Value::Array(order)) = order {
            list.sort_by_key(|element| order.iter().position(|other| other[key] == element[key]));
        }
        Value::Array(list)
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!("x")),
            Just(json!("y")),
            Just(json!(1)),
            Just(json!([1, 2])),
            Just(json!([]))
        ]
    }

    fn element() -> impl Strategy<Value = Value> {
        let fields = proptest::collection::btree_map("[abc]", leaf(), 0..3);
        ("[ABCD]", fields).prop_map(|(kind, fields)| {
            let mut object: Map<String, Value> = fields.into_iter().collect();
            object.insert("type".to_owned(), kind.into());
            Value::Object(object)
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        let inner = proptest::collection::btree_map("[abc]", leaf(), 0..3);
        let inner = inner.prop_map(|fields| Value::Object(fields.into_iter().collect()));
        let fields = proptest::collection::btree_map("[abcd]", prop_oneof![leaf(), inner], 0..4);
        let list = proptest::option::of(proptest::collection::vec(element(), 0..4));
        (fields, list).prop_map(|(fields, list)| {
            let mut object: Map<String, Value> = fields.into_iter().collect();
            if let Some(mut list) = list {
                let mut seen = std::collections::HashSet::new();
                list.retain(|element| seen.insert(element["type"].to_string()));
                object.insert("conditions".to_owned(), list.into());
            }
            Value::Object(object)
        })
    }

    proptest! {
        #[test]
        fn a_patch_turns_one_into_the_other(old in object(), new in object()) {
            match diff(&old, &new, LISTS) {
                Some(patch) => prop_assert_eq!(apply(&old, &patch, LISTS), new),
                None => prop_assert_eq!(old, new),
            }
        }
    }
}
