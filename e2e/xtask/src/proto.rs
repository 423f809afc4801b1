//! Generated code, written by `cargo xtask proto`, committed, and compared by a test, so that no build needs a protobuf
//! compiler: auraed's own API, and the container runtime interface as Kubernetes publishes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prost::Message as _;

/// A crate that holds `proto/` and what is made of it, `src/generated/`.
struct Source {
    /// Below the workspace.
    directory: &'static str,
    /// Below `proto/`.
    files: &'static [&'static str],
    /// Fields that are `Bytes` and not `Vec<u8>`.
    bytes: &'static [&'static str],
    /// Messages whose debug output is written by hand, because they hold secrets.
    secret: &'static [&'static str],
}

const AURAE: Source = Source {
    directory: "auraed/api",
    files: &[
        "aurae/mount/v0/mount.proto",
        "aurae/observe/v0/observe.proto",
        "aurae/runtime/v0/container.proto",
        "aurae/runtime/v0/image.proto",
        "aurae/runtime/v0/runtime.proto",
        "aurae/runtime/v0/sandbox.proto",
        "aurae/runtime/v0/sandbox_container.proto",
        "aurae/schedule/v0/pod.proto",
        "aurae/schedule/v0/schedule.proto",
    ],
    bytes: &[".aurae.schedule.v0.File.content"],
    secret: &[],
};

/// `pkg/apis/runtime/v1/api.proto` of k8s.io/cri-api v0.37.2, as it is.
const CRI: Source = Source {
    directory: "cri-shim/api",
    files: &["api.proto"],
    bytes: &[],
    secret: &[".runtime.v1.AuthConfig"],
};

/// Writes the generated files of every crate that has some.
pub(crate) fn generate() -> anyhow::Result<()> {
    for source in [AURAE, CRI] {
        for (name, content) in source.compile()? {
            fs_err::write(source.generated().join(name), content)?;
        }
    }
    Ok(())
}

impl Source {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(self.directory)
    }

    fn generated(&self) -> PathBuf {
        self.path().join("src/generated")
    }

    /// File name to content, for every generated file.
    fn compile(&self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let descriptors = protox::compile(self.files, [self.path().join("proto")])
            .context("protobuf files do not compile")?;
        let scratch = std::env::var_os("CARGO_TARGET_TMPDIR")
            .map_or_else(std::env::temp_dir, PathBuf::from)
            .join(format!(
                "aurae-proto-{}-{}",
                self.directory.replace('/', "-"),
                std::process::id()
            ));
        fs_err::create_dir_all(&scratch)?;
        let mut builder = tonic_prost_build::configure()
            .out_dir(&scratch)
            .skip_debug(self.secret);
        for field in self.bytes {
            builder = builder.bytes(field);
        }
        builder
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_is_fresh() {
        for source in [AURAE, CRI] {
            for (name, content) in source.compile().unwrap() {
                let path = source.generated().join(&name);
                assert!(
                    fs_err::read(&path).unwrap() == content,
                    "{} is stale: run `cargo xtask proto`",
                    path.display()
                );
            }
        }
    }
}
