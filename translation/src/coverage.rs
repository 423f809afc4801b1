//! Every field of a pod's spec: mapped, refused with a reason, or ignored with a reason.
//!
//! The tables in the modules below are the one place that says what becomes of a field. [`crate::pod::refusals`] walks a
//! pod along them; `docs/coverage.md` is [`document`]; the tests take the fields from k8s-openapi's own deserializers, so
//! that a field which Kubernetes adds and nobody thought about fails the build.

use std::fmt::Write as _;

use serde_json::Value;

use crate::problem::UNSUPPORTED;

mod container;
mod pod;
mod volume;

pub use pod::POD_SPEC;

/// A type of the Kubernetes API, with all its fields.
#[derive(Debug)]
pub struct Struct {
    /// Its name there.
    pub name: &'static str,
    /// In the order of its JSON names.
    pub fields: &'static [Field],
}

/// One field, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The fields of its value, or of each element of it.
    pub of: Option<&'static Struct>,
    /// `status.reason` of a pod that is refused for it.
    pub status_reason: &'static str,
    /// What else to know, where it is mapped.
    pub note: &'static str,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It reaches auraed, or the status.
    Mapped,
    /// These values do; the pod is refused for any other.
    Only(&'static [&'static str], &'static str),
    /// The pod is refused where it is set.
    Refused(&'static str),
    /// It is refused, but the pod runs on without it, and the status says so.
    Apart(&'static str),
    /// It means nothing to a node, or nothing more than what this node does anyway.
    Ignored(&'static str),
}

/// A field of a pod that stands against it.
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) status_reason: &'static str,
    pub(crate) reason: String,
    /// The pod cannot run for it.
    pub(crate) stops: bool,
}

const fn mapped(name: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Mapped,
        of: None,
        status_reason: UNSUPPORTED,
        note: "",
    }
}

const fn nested(name: &'static str, of: &'static Struct) -> Field {
    Field {
        name,
        verdict: Verdict::Mapped,
        of: Some(of),
        status_reason: UNSUPPORTED,
        note: "",
    }
}

const fn only(name: &'static str, values: &'static [&'static str], reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Only(values, reason),
        of: None,
        status_reason: UNSUPPORTED,
        note: "",
    }
}

const fn refused(name: &'static str, reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Refused(reason),
        of: None,
        status_reason: UNSUPPORTED,
        note: "",
    }
}

const fn apart(name: &'static str, reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Apart(reason),
        of: None,
        status_reason: UNSUPPORTED,
        note: "",
    }
}

const fn ignored(name: &'static str, reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Ignored(reason),
        of: None,
        status_reason: UNSUPPORTED,
        note: "",
    }
}

impl Field {
    const fn status_reason(mut self, reason: &'static str) -> Field {
        self.status_reason = reason;
        self
    }

    const fn note(mut self, note: &'static str) -> Field {
        self.note = note;
        self
    }
}

/// Walks the JSON form of a value of `of` and finds what stands against it.
pub(crate) fn walk(value: &Value, of: &Struct, path: &str, findings: &mut Vec<Finding>) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                walk(element, of, &format!("{path}[{index}]"), findings);
            }
        }
        Value::Object(fields) => {
            for field in of.fields {
                if let Some(value) = fields.get(field.name).filter(|value| is_set(value)) {
                    judge(value, field, &format!("{path}.{}", field.name), findings);
                }
            }
        }
        _ => {}
    }
}

fn judge(value: &Value, field: &Field, path: &str, findings: &mut Vec<Finding>) {
    let mut found = |reason: &str, stops| {
        findings.push(Finding {
            path: path.to_owned(),
            status_reason: field.status_reason,
            reason: reason.to_owned(),
            stops,
        });
    };
    match field.verdict {
        Verdict::Mapped => {
            if let Some(of) = field.of {
                walk(value, of, path, findings);
            }
        }
        Verdict::Only(values, _) if values.contains(&text(value).as_str()) => {}
        Verdict::Only(_, reason) | Verdict::Refused(reason) => found(reason, true),
        Verdict::Apart(reason) => found(reason, false),
        Verdict::Ignored(_) => {}
    }
}

/// A field that holds nothing says nothing.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The tables as a page of documentation.
pub fn document() -> String {
    let mut page = String::from(
        "# Coverage\n\n\
         What becomes of each field of a Kubernetes 1.37 pod on an Aurae node. This page is made from the tables in\n\
         `translation/src/coverage` (`AURAE_UPDATE=1 cargo test -p translation coverage`); a test fails when it is stale, and\n\
         another one when Kubernetes has a field that is not listed.\n\n\
         - **mapped**: it does on this node what it does under a kubelet.\n\
         - **refused**: a pod that sets it gets phase `Failed` with the reason here and the field's path, and nothing of it runs.\n\
         - **apart**: it alone is refused; the pod runs on, and the status says so.\n\
         - **ignored**: it is meant for others (scheduler, API server), or there is nothing to do for it.\n",
    );
    let mut done: Vec<&str> = Vec::new();
    describe(&POD_SPEC, &mut page, &mut done);
    page
}

fn describe(of: &'static Struct, page: &mut String, done: &mut Vec<&'static str>) {
    if done.contains(&of.name) {
        return;
    }
    done.push(of.name);
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {}\n\n| field | verdict | |\n|---|---|---|\n", of.name);
    for field in of.fields {
        let (verdict, note) = match (field.verdict, field.of) {
            (Verdict::Mapped, Some(of)) => (
                "mapped".to_owned(),
                format!("see [{}](#{})", of.name, of.name.to_lowercase()),
            ),
            (Verdict::Mapped, None) => ("mapped".to_owned(), field.note.to_owned()),
            (Verdict::Only(values, reason), _) => (
                format!("mapped: `{}`; others refused", values.join("`, `")),
                reason.to_owned(),
            ),
            (Verdict::Refused(reason), _) => ("refused".to_owned(), reason.to_owned()),
            (Verdict::Apart(reason), _) => ("apart".to_owned(), reason.to_owned()),
            (Verdict::Ignored(reason), _) => ("ignored".to_owned(), reason.to_owned()),
        };
        let _ = writeln!(page, "| `{}` | {verdict} | {note} |", field.name);
    }
    for of in of.fields.iter().filter_map(|field| field.of) {
        describe(of, page, done);
    }
}

#[cfg(test)]
mod reflect;
#[cfg(test)]
mod tests;
