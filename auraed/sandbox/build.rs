//! Builds the pod init as a small static program of its own, for `host.rs` to carry.
//!
//! It is another cargo run, with its own target directory (a shared one would wait for the lock that the outer cargo holds)
//! and a clean environment: nothing of how *this* crate is being built, by clippy or with flags, is to reach that program.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// What cargo tells build scripts, and what wraps or flags the compiler; any of it would change the inner build.
const OUTER: [&str; 9] = [
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "MIRI_SYSROOT",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// Of the variables that begin with `CARGO_` those that are the user's, or keep builds from using more cores than there are.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
];

/// Small, static and without relocations: its pages are shared by all pods, and what it dirties is each pod's cost.
const FLAGS: [&str; 3] = [
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
];

const PROFILE: [&str; 6] = [
    "profile.release.panic='abort'",
    "profile.release.opt-level='s'",
    "profile.release.lto='fat'",
    "profile.release.codegen-units=1",
    "profile.release.strip=true",
    "profile.release.debug=false",
];

fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../pod-init");
    for path in ["src", "Cargo.toml", "../../Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", source.join(path).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let triple = env::var("TARGET")?;
    let target = PathBuf::from(env::var("OUT_DIR")?).join("pod-init");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--offline",
        "--quiet",
        "--bin",
        "aurae-pod-init",
    ]);
    cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
    cargo.args(["--target", &triple]).arg("--target-dir").arg(&target);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    clean(&mut cargo);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    if !cargo.status()?.success() {
        return Err("cannot build aurae-pod-init (its messages are above)".into());
    }
    let program = target.join(triple).join("release/aurae-pod-init");
    println!("cargo:rustc-env=AURAE_POD_INIT={}", program.display());
    Ok(())
}

fn clean(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let of_cargo = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
        if of_cargo || OUTER.contains(&name) {
            cargo.env_remove(name);
        }
    }
}
