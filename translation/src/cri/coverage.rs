//! Every field of the CRI's configurations: mapped, refused or ignored, the latter two with a reason.
//!
//! `docs/coverage-cri.md` is [`document`]. The tests walk the descriptors of the interface along these tables: a field
//! that Kubernetes adds and nobody thought about fails the build, and so does one whose fate is not what is said here.

use std::fmt::Write as _;

mod container;
mod image;
mod runtime;
mod sandbox;

pub use container::CONTAINER_CONFIG;
pub use image::{AUTH_CONFIG, PULLED_IMAGE};
pub use runtime::RUNTIME_CONFIG;
pub use sandbox::POD_SANDBOX_CONFIG;

/// A message of the interface, with all its fields, in one of the places where it stands.
#[derive(Debug)]
pub struct Message {
    /// Its name in the interface.
    pub name: &'static str,
    /// Whose it is, where it stands in several places with several meanings.
    pub place: &'static str,
    /// In the order of the interface.
    pub fields: &'static [Field],
}

/// One field, and what becomes of it.
#[derive(Debug)]
pub struct Field {
    /// Its name in the interface.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The fields of its value, or of each element of it.
    pub of: Option<&'static Message>,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It reaches auraed. What else to know, if anything.
    Mapped(&'static str),
    /// The request fails with INVALID_ARGUMENT and the field's path where it is set.
    Refused(&'static str),
    /// It changes nothing.
    Ignored(&'static str),
}

const fn mapped(name: &'static str) -> Field {
    noted(name, "")
}

const fn noted(name: &'static str, note: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Mapped(note),
        of: None,
    }
}

const fn nested(name: &'static str, of: &'static Message) -> Field {
    Field {
        name,
        verdict: Verdict::Mapped(""),
        of: Some(of),
    }
}

const fn refused(name: &'static str, reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Refused(reason),
        of: None,
    }
}

const fn ignored(name: &'static str, reason: &'static str) -> Field {
    Field {
        name,
        verdict: Verdict::Ignored(reason),
        of: None,
    }
}

static ID_MAPPING: Message = Message {
    name: "IDMapping",
    place: "",
    fields: &[mapped("host_id"), mapped("container_id"), mapped("length")],
};

static USER_NAMESPACE: Message = Message {
    name: "UserNamespace",
    place: "",
    fields: &[
        noted("mode", "POD with mappings, or NODE"),
        nested("uids", &ID_MAPPING),
        nested("gids", &ID_MAPPING),
    ],
};

/// The tables as a page of documentation.
#[must_use]
pub fn document() -> String {
    let mut page = String::from(
        "# Coverage of the CRI\n\n\
         What becomes of each field of the configurations that a caller of the CRI v1 (k8s.io/cri-api v0.37.2) hands to\n\
         `cri-shim`. This page is made from the tables in `translation/src/cri/coverage` (`AURAE_UPDATE=1 cargo test -p\n\
         translation cri`); a test fails when it is stale, and others when the interface has a field that is not listed, or\n\
         when a field's fate is not the one that is said here.\n\n\
         - **mapped**: it reaches auraed, which does it or refuses it.\n\
         - **refused**: the request fails with `INVALID_ARGUMENT` and the field's path where it is set.\n\
         - **ignored**: it changes nothing, for the reason here.\n",
    );
    let mut done = Vec::new();
    for root in [
        &POD_SANDBOX_CONFIG,
        &CONTAINER_CONFIG,
        &PULLED_IMAGE,
        &AUTH_CONFIG,
        &RUNTIME_CONFIG,
    ] {
        describe(root, &mut page, &mut done);
    }
    page
}

impl Message {
    fn title(&self) -> String {
        match self.place {
            "" => self.name.to_owned(),
            place => format!("{} {place}", self.name),
        }
    }
}

fn describe(of: &'static Message, page: &mut String, done: &mut Vec<String>) {
    let title = of.title();
    if done.contains(&title) {
        return;
    }
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {title}\n\n| field | verdict | |\n|---|---|---|\n");
    done.push(title);
    for field in of.fields {
        let (verdict, note) = match (field.verdict, field.of) {
            (Verdict::Mapped(_), Some(of)) => {
                let anchor = of.title().to_lowercase().replace(' ', "-");
                ("mapped", format!("see [{}](#{anchor})", of.title()))
            }
            (Verdict::Mapped(note), None) => ("mapped", note.to_owned()),
            (Verdict::Refused(reason), _) => ("refused", reason.to_owned()),
            (Verdict::Ignored(reason), _) => ("ignored", reason.to_owned()),
        };
        let _ = writeln!(page, "| `{}` | {verdict} | {note} |", field.name);
    }
    for of in of.fields.iter().filter_map(|field| field.of) {
        describe(of, page, done);
    }
}

#[cfg(test)]
mod tests;
