//! Whether a spec can be had at all, with every problem named.
//!
//! What only an image, the kernel or another object can tell is found later, by the call itself.

mod container;
mod resources;
mod sandbox;

use super::error::SandboxError;
use auraed_api::runtime::v0 as api;
use auraed_types::Problem;
use std::fmt::Display;

/// Most bytes of an id (`sun_path`, cgroup names and interface names are made of ids).
const MAX_ID: usize = 64;

/// Most bytes of a path (`PATH_MAX`, with its zero).
const MAX_PATH: usize = 4095;

/// # Errors
/// [`SandboxError::Invalid`].
pub(super) fn sandbox(spec: &api::SandboxSpec) -> Result<(), SandboxError> {
    let mut problems = Problems::default();
    sandbox::check(&mut problems, spec);
    problems.into_result("sandbox")
}

/// `sandbox` is the one that the container is to be in.
///
/// # Errors
/// [`SandboxError::Invalid`].
pub(super) fn container(spec: &api::ContainerSpec) -> Result<(), SandboxError> {
    let mut problems = Problems::default();
    container::check(&mut problems, spec);
    problems.into_result("container")
}

/// Whether a container fits the sandbox that it is to be in.
///
/// # Errors
/// [`SandboxError::Invalid`].
pub(super) fn fits(spec: &api::ContainerSpec, sandbox: &api::SandboxSpec) -> Result<(), SandboxError> {
    let mut problems = Problems::default();
    container::check_fit(&mut problems, spec, sandbox);
    problems.into_result("container")
}

/// New limits.
///
/// # Errors
/// [`SandboxError::Invalid`].
pub(super) fn update(resources: Option<&api::LinuxResources>) -> Result<(), SandboxError> {
    let mut problems = Problems::default();
    match resources {
        Some(resources) => resources::check(&mut problems, resources),
        None => problems.add("resources", "must be given"),
    }
    problems.into_result("update")
}

/// What was found so far.
#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Problem {
            field: field.into(),
            reason: reason.into(),
        });
    }

    fn require(&mut self, holds: bool, field: impl Into<String>, reason: impl Display) {
        if !holds {
            self.add(field, reason.to_string());
        }
    }

    fn into_result(self, what: &'static str) -> Result<(), SandboxError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(SandboxError::Invalid {
            what,
            problems: self.0,
        })
    }

    fn id(&mut self, field: &str, id: &str) {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let holds = !id.is_empty()
            && id.len() <= MAX_ID
            && id.bytes().all(fits)
            && !id.starts_with('-')
            && !id.ends_with('-');
        self.require(
            holds,
            field,
            "must be 1 to 64 of [a-z0-9-], neither first nor last a dash",
        );
    }

    /// A text without zero bytes, of at most so many bytes.
    fn text(&mut self, field: impl Into<String>, text: &str, longest: usize) {
        let field = field.into();
        self.require(!text.contains('\0'), field.clone(), "must not hold a zero byte");
        self.require(
            text.len() <= longest,
            field,
            format_args!("must not have more than {longest} bytes"),
        );
    }

    /// An absolute path that goes nowhere upwards.
    fn path(&mut self, field: impl Into<String>, path: &str) {
        let field = field.into();
        self.text(field.clone(), path, MAX_PATH);
        self.require(path.starts_with('/'), field.clone(), "must be an absolute path");
        self.require(
            !path.split('/').any(|part| part == ".."),
            field,
            "must not have a part \"..\"",
        );
    }

    /// Labels and annotations.
    fn texts(&mut self, field: &str, texts: &std::collections::HashMap<String, String>) {
        for (name, value) in texts {
            self.require(!name.is_empty(), field, "must not have an empty name");
            // The whole message is bounded.
            self.text(format!("{field}[{name}]"), value, usize::MAX);
        }
    }
}

/// The ranges of a user namespace.
fn user_namespace(problems: &mut Problems, field: &str, namespace: &api::UserNamespace) {
    for (kind, mappings) in [("uids", &namespace.uids), ("gids", &namespace.gids)] {
        problems.require(
            !mappings.is_empty(),
            format!("{field}.{kind}"),
            "must have at least one range",
        );
        for (index, mapping) in mappings.iter().enumerate() {
            let last = |first: u32| first.checked_add(mapping.length.saturating_sub(1));
            let holds =
                mapping.length > 0 && last(mapping.host_id).is_some() && last(mapping.container_id).is_some();
            problems.require(
                holds,
                format!("{field}.{kind}[{index}]"),
                "must have at least one id, and none beyond the last",
            );
        }
    }
}

#[cfg(test)]
mod tests;
