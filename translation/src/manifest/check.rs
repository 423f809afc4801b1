//! What is wrong with a document, and where.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Maps of which each value is a quantity, and fields that are one.
const QUANTITY_MAPS: [&str; 4] = ["limits", "requests", "overhead", "capacity"];
const QUANTITIES: [&str; 2] = ["sizeLimit", "divisor"];

/// People write `cpu: 1`, and Kubernetes takes it.
pub(super) fn with_quantities_as_text(value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(with_quantities_as_text).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let value = match value {
                    Value::Object(amounts) if QUANTITY_MAPS.contains(&name.as_str()) => amounts
                        .iter()
                        .map(|(name, amount)| (name.clone(), as_text(amount)))
                        .collect(),
                    value if QUANTITIES.contains(&name.as_str()) => as_text(value),
                    value => with_quantities_as_text(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other.clone(),
    }
}

/// The path of the first field of `given` that is not in `known`.
pub(super) fn unknown_field(given: &Value, known: &Value) -> Option<String> {
    find_unknown(given, known, "")
}

fn find_unknown(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = join(path, name);
            match known.get(name) {
                _ if value.is_null() => None,
                None => Some(path),
                Some(known) => find_unknown(value, known, &path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (given, known))| find_unknown(given, known, &format!("{path}[{index}]"))),
        _ => None,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The path of what the parser complains of: the smallest part without which it has nothing to say, or something else.
pub(super) fn culprit<T: DeserializeOwned>(value: &Value, complaint: &str) -> String {
    let mut path = String::new();
    let mut place: Vec<Step> = Vec::new();
    while let Some(step) = next::<T>(value, complaint, &place) {
        path = match &step {
            Step::Field(name) => join(&path, name),
            Step::Element(index) => format!("{path}[{index}]"),
        };
        place.push(step);
    }
    if path.is_empty() {
        "the whole".to_owned()
    } else {
        path
    }
}

#[derive(Clone)]
enum Step {
    Field(String),
    Element(usize),
}

fn next<T: DeserializeOwned>(value: &Value, complaint: &str, place: &[Step]) -> Option<Step> {
    let steps: Vec<Step> = match at(&mut value.clone(), place)? {
        Value::Object(fields) => fields.keys().cloned().map(Step::Field).collect(),
        Value::Array(elements) => (0..elements.len()).map(Step::Element).collect(),
        _ => return None,
    };
    steps.into_iter().find(|step| {
        let mut without = value.clone();
        match (at(&mut without, place), step) {
            (Some(Value::Object(fields)), Step::Field(name)) => drop(fields.remove(name)),
            (Some(Value::Array(elements)), Step::Element(index)) => drop(elements.remove(*index)),
            _ => return false,
        }
        serde_json::from_value::<T>(without).map_or_else(|error| error.to_string() != complaint, |_| true)
    })
}

fn at<'a>(value: &'a mut Value, place: &[Step]) -> Option<&'a mut Value> {
    place.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Element(index) => value.get_mut(index),
    })
}
