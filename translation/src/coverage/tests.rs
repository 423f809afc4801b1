use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::reflect::{Reflection, Types};
use super::*;

fn reflected() -> (Types, Value) {
    let reflection = Reflection::default();
    let spec = PodSpec::deserialize(&reflection).unwrap();
    (reflection.types.into_inner(), serde_json::to_value(spec).unwrap())
}

fn compare(of: &'static Struct, types: &Types, problems: &mut Vec<String>, done: &mut Vec<&'static str>) {
    if done.contains(&of.name) {
        return;
    }
    done.push(of.name);
    let Some(real) = types.get(of.name) else {
        problems.push(format!("{} is no type of Kubernetes", of.name));
        return;
    };
    for (name, value) in real {
        let Some(field) = of.fields.iter().find(|field| field.name == *name) else {
            problems.push(format!("{}.{name} is not listed", of.name));
            continue;
        };
        let listed = field.of.map(|of| of.name);
        if matches!(field.verdict, Verdict::Mapped | Verdict::Only(..)) && listed != *value {
            problems.push(format!(
                "{}.{name} is of type {value:?}, listed as {listed:?}",
                of.name
            ));
        }
    }
    for field in of.fields {
        if !real.iter().any(|(name, _)| *name == field.name) {
            problems.push(format!("{}.{} does not exist", of.name, field.name));
        }
        if let Some(of) = field.of {
            compare(of, types, problems, done);
        }
    }
}

#[test]
fn every_field_of_kubernetes_is_listed() {
    let (types, _) = reflected();
    let mut problems = Vec::new();
    compare(&POD_SPEC, &types, &mut problems, &mut Vec::new());
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Calls `check` with each path to a field that stands against a pod: names from the spec down, and the field.
fn each_refused(
    of: &'static Struct,
    path: &mut Vec<&'static str>,
    check: &mut dyn FnMut(&[&'static str], &Field),
) {
    for field in of.fields {
        path.push(field.name);
        match field.verdict {
            Verdict::Refused(_) | Verdict::Only(..) | Verdict::Apart(_) => check(path, field),
            Verdict::Mapped => {
                if let Some(of) = field.of {
                    each_refused(of, path, check);
                }
            }
            Verdict::Ignored(_) => {}
        }
        path.pop();
    }
}

/// A spec that holds the one field alone, taken from `full`, or `value` in its place.
fn holding(full: &Value, path: &[&str], value: Option<&Value>) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return value.unwrap_or(full).clone();
    };
    match full {
        Value::Array(elements) => json!([holding(&elements[0], path, value)]),
        Value::Object(fields) => json!({ *first: holding(&fields[*first], rest, value) }),
        other => panic!("{first} of {other}"),
    }
}

#[test]
fn each_refused_field_is_refused() {
    let (_, full) = reflected();
    let mut count = 0;
    each_refused(&POD_SPEC, &mut Vec::new(), &mut |path, field| {
        count += 1;
        let unlisted = match field.verdict {
            Verdict::Only(values, _) if values == ["true"] => Some(json!(false)),
            Verdict::Only(..) => Some(json!("unlisted")),
            _ => None,
        };
        let spec = holding(&full, path, unlisted.as_ref());
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "uid": "u", "name": "p" }, "spec": spec })).unwrap();
        let refusals = crate::pod::refusals(&pod);
        let last = format!(".{}", path[path.len() - 1]);
        let found = refusals.iter().find(|refusal| refusal.field.ends_with(&last));
        let found = found.unwrap_or_else(|| panic!("{path:?} is not refused: {refusals:?}"));
        let stops = !matches!(field.verdict, Verdict::Apart(_));
        assert_eq!(found.stops, stops, "{path:?}");
        let translated = crate::pod::to_aurae(&pod, &crate::Objects::default(), &crate::Node::default());
        let told =
            translated.is_err_and(|problems| problems.iter().any(|problem| problem.field == found.field));
        assert_eq!(told, stops, "{path:?}");
    });
    assert!(count > 50, "{count} fields are refused");
}

#[test]
fn each_listed_value_is_taken() {
    let (_, full) = reflected();
    each_refused(&POD_SPEC, &mut Vec::new(), &mut |path, field| {
        let Verdict::Only(values, _) = field.verdict else {
            return;
        };
        // Restart policies of containers depend on the kind of container.
        if path == ["containers", "restartPolicy"] {
            return;
        }
        for value in values {
            let value = if *value == "true" {
                json!(true)
            } else {
                json!(value)
            };
            let spec = holding(&full, path, Some(&value));
            let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
            assert_eq!(crate::pod::refusals(&pod), [], "{path:?} {value}");
        }
    });
}

#[test]
fn the_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coverage.md");
    if std::env::var_os("AURAE_UPDATE").is_some() {
        fs_err::write(&path, document()).unwrap();
    }
    let page = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(
        page == document(),
        "docs/coverage.md is stale: AURAE_UPDATE=1 cargo test -p translation coverage"
    );
}
