//! What holds for the repository as a whole, as tests: nothing here is part of the program.
//!
//! One file a subject: `licences` and `packages` look at what is built (`cargo tree`), `layers` at who may depend on whom,
//! `manifests` at the members' Cargo.toml, `files` at the sources, `page` at docs/dependencies.md, `units` at systemd's. All
//! of it works offline, on what the build that runs the tests has fetched. A list of exceptions holds a date and a reason
//! each, and an exception that is no longer needed fails as well.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::shell::{cargo, root};

mod files;
mod layers;
mod licences;
mod manifests;
mod packages;
mod page;
mod units;

/// A crate of the workspace.
#[derive(Deserialize)]
struct Member {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

/// What a member's manifest asks for.
#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Absent for a normal one, else `dev` or `build`.
    kind: Option<String>,
}

/// A package that is built, with what it says of itself.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// What stands behind the version: nothing for a package of the registry.
    origin: String,
    licence: String,
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn members() -> Vec<Member> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Member>,
    }
    let arguments = [
        "metadata",
        "--no-deps",
        "--locked",
        "--offline",
        "--format-version",
        "1",
    ];
    let metadata: Metadata = serde_json::from_str(&output(cargo().args(arguments))).unwrap();
    metadata.packages
}

/// Everything that this machine builds for the workspace and its tests.
fn packages() -> Vec<Package> {
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--offline",
        "-e",
        "normal,build,dev",
        "--prefix",
        "none",
    ];
    let tree = output(cargo().args(arguments).args(["-f", "{p}|{l}"]));
    let mut packages: Vec<Package> = tree
        .lines()
        .filter(|line| !line.is_empty())
        .map(package)
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

/// `name v1.2.3 (origin)|licence (*)`
fn package(line: &str) -> Package {
    let line = line.strip_suffix(" (*)").unwrap_or(line);
    let (package, licence) = line.split_once('|').unwrap();
    let mut words = package.splitn(3, ' ');
    let name = words.next().unwrap().to_owned();
    let version = words.next().unwrap().trim_start_matches('v').to_owned();
    let origin = words.next().unwrap_or_default().replace("(proc-macro)", "");
    Package {
        name,
        version,
        origin: origin.trim().to_owned(),
        licence: licence.to_owned(),
    }
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

/// A path as it is told, from the repository's root.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
