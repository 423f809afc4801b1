//! Devices by the Container Device Interface (CDI 1.1): `vendor.com/class=name` stands for what files on the node say that a
//! container needs for it.
//!
//! ```text
//!  /etc/cdi/*.json, *.yaml      ┐
//!  /var/run/cdi/…  (goes before)┴─► specs ─► names ─► Edits: environment, device nodes, mounts, groups
//! ```
//!
//! The files are read anew each time: who installs a driver writes them whenever it likes. Not done, and refused by name:
//! hooks, which are programs that would run as root on the node because a file says so; `intelRdt`; network devices.

mod edits;
mod format;
mod name;
mod specs;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(crate) use edits::Edits;

use name::Name;
use specs::Specs;

/// Where specs are, on every node; the later directory goes before the earlier.
pub(crate) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A container with more devices is refused.
const MAX_NAMES: usize = 256;

/// Why devices cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CdiError {
    /// No file says what they are, or two do.
    #[error("unresolvable CDI devices {}{}", .names.join(", "), because(.reasons))]
    Unresolvable {
        /// All of them.
        names: Vec<String>,
        /// What is wrong with files that might have told, and names that two files tell of.
        reasons: Vec<String>,
    },
    /// A device needs what is not done here.
    #[error("CDI device {name} needs {what}, which is not supported")]
    Unsupported {
        /// The device.
        name: String,
        /// What its file says.
        what: String,
    },
    /// A device's file says what makes no sense, or names what is not on the node.
    #[error("CDI device {name}: {reason}")]
    Device {
        /// The device.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// There are too many.
    #[error("more than {MAX_NAMES} CDI devices")]
    TooMany,
}

/// What a container needs for the devices of these names.
///
/// # Errors
/// If a name is unknown, or what it stands for cannot be given.
pub(crate) fn resolve(directories: &[PathBuf], names: &[String]) -> Result<Edits, CdiError> {
    let mut edits = Edits::default();
    if names.is_empty() {
        return Ok(edits);
    }
    if names.len() > MAX_NAMES {
        return Err(CdiError::TooMany);
    }
    let specs = Specs::read(directories);
    let mut unresolved = Vec::new();
    let mut found = Vec::new();
    for name in names {
        match Name::parse(name).and_then(|name| specs.find(&name)) {
            Some(device) => found.push((name, device)),
            None => unresolved.push(name.clone()),
        }
    }
    if !unresolved.is_empty() {
        return Err(CdiError::Unresolvable {
            names: unresolved,
            reasons: specs.reasons(),
        });
    }
    let mut of_specs = Vec::new();
    let mut given: Vec<&String> = Vec::new();
    for (name, (spec, device)) in found {
        if given.contains(&name) {
            continue;
        }
        given.push(name);
        // What a file says of all its devices counts once.
        if !of_specs.contains(&spec.number) {
            of_specs.push(spec.number);
            edits.add(name, &spec.document.container_edits)?;
        }
        edits.add(name, &device.container_edits)?;
    }
    Ok(edits)
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join("; "))
    }
}
