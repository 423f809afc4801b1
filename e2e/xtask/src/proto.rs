//! The generated code of `auraed/api`: written by `cargo xtask proto`, committed, and compared by a test, so that
//! no build needs a protobuf compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prost::Message as _;

const FILES: [&str; 9] = [
    "aurae/mount/v0/mount.proto",
    "aurae/observe/v0/observe.proto",
    "aurae/runtime/v0/container.proto",
    "aurae/runtime/v0/image.proto",
    "aurae/runtime/v0/runtime.proto",
    "aurae/runtime/v0/sandbox.proto",
    "aurae/runtime/v0/sandbox_container.proto",
    "aurae/schedule/v0/pod.proto",
    "aurae/schedule/v0/schedule.proto",
];

fn api_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../auraed/api")
}

/// Writes the generated files into `auraed/api/src/generated`.
pub(crate) fn generate() -> anyhow::Result<()> {
    let target = api_directory().join("src/generated");
    for (name, content) in compile()? {
        fs_err::write(target.join(name), content)?;
    }
    Ok(())
}

/// File name to content, for every generated file.
fn compile() -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let descriptors =
        protox::compile(FILES, [api_directory().join("proto")]).context("protobuf files do not compile")?;
    let scratch =
        PathBuf::from(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| std::env::temp_dir().into()))
            .join(format!("aurae-proto-{}", std::process::id()));
    fs_err::create_dir_all(&scratch)?;
    tonic_prost_build::configure()
        .out_dir(&scratch)
        .bytes(".aurae.schedule.v0.File.content")
        .compile_fds(descriptors.clone())
        .context("generating code")?;
    let mut files = BTreeMap::new();
    files.insert("descriptors.bin".to_owned(), descriptors.encode_to_vec());
    for entry in fs_err::read_dir(&scratch)? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs_err::read(entry.path())?,
        );
    }
    fs_err::remove_dir_all(&scratch)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_is_fresh() {
        for (name, content) in compile().unwrap() {
            let path = api_directory().join("src/generated").join(&name);
            assert!(
                fs_err::read(&path).unwrap() == content,
                "{name} is stale: run `cargo xtask proto`"
            );
        }
    }
}
