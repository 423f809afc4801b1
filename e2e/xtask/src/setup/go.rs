//! The control plane, critest, network plugins and what the images run, built from Go modules. A stamp holds everything
//! that went into a build, so that a build is done again exactly when that changes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use super::debian;
use crate::shell::{cache, find, output, root, run, say};

/// A Go module of ours and what is built in it.
struct Module {
    directory: &'static str,
    /// Package and the program's name.
    programs: &'static [(&'static str, &'static str)],
    /// Package of tests and the name of the program with them.
    tests: &'static [(&'static str, &'static str)],
    /// A module, and files of it that the suite's images hold.
    files: Option<(&'static str, &'static [&'static str])>,
    /// What the linker sets: without it every version of Kubernetes reads v0.0.0, which kubeadm refuses.
    flags: &'static str,
}

const MODULES: [Module; 4] = [
    Module {
        directory: "e2e/go/etcd",
        programs: &[("go.etcd.io/etcd/server/v3", "etcd")],
        tests: &[],
        files: None,
        flags: "-s -w",
    },
    Module {
        directory: "e2e/go/kubernetes",
        programs: &[
            ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            (
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                "kube-controller-manager",
            ),
            ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
            ("k8s.io/kubernetes/cmd/kubeadm", "kubeadm"),
            ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
            ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
            ("k8s.io/kubernetes/test/images/agnhost", "agnhost"),
            ("k8s.io/kubernetes/test/images/nonewprivs", "nonewprivs"),
        ],
        tests: &[],
        files: Some((
            "k8s.io/kubernetes",
            &[
                "test/images/agnhost/porter/localhost.crt",
                "test/images/agnhost/porter/localhost.key",
                "test/images/kitten/html/data.json",
                "test/images/kitten/html/kitten.jpg",
                "test/images/nautilus/html/data.json",
                "test/images/nautilus/html/nautilus.jpg",
            ],
        )),
        flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
    },
    Module {
        directory: "e2e/go/cri",
        programs: &[("sigs.k8s.io/cri-tools/cmd/crictl", "crictl")],
        tests: &[("sigs.k8s.io/cri-tools/cmd/critest", "critest")],
        files: None,
        flags: "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=v1.36.0",
    },
    // Debian's are of 2022, and know neither GC nor STATUS.
    Module {
        directory: "e2e/go/cni",
        programs: &[
            (
                "github.com/containernetworking/plugins/plugins/main/bridge",
                "cni/bridge",
            ),
            (
                "github.com/containernetworking/plugins/plugins/main/loopback",
                "cni/loopback",
            ),
            (
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
                "cni/host-local",
            ),
            (
                "github.com/containernetworking/plugins/plugins/meta/portmap",
                "cni/portmap",
            ),
            (
                "github.com/containernetworking/plugins/plugins/meta/bandwidth",
                "cni/bandwidth",
            ),
        ],
        tests: &[],
        files: None,
        flags: "-s -w",
    },
];

/// What looks at the style of protobuf files.
const BUF: Module = Module {
    directory: "e2e/go/buf",
    programs: &[("github.com/bufbuild/buf/cmd/buf", "buf")],
    tests: &[],
    files: None,
    flags: "-s -w",
};

/// Builds what is missing or stale of all that the suite runs.
pub(super) fn programs() -> anyhow::Result<()> {
    build_all(&MODULES)
}

/// Builds buf, if it is missing or stale.
pub(super) fn buf() -> anyhow::Result<PathBuf> {
    build_all(&[BUF])?;
    Ok(cache().join("bin/buf"))
}

fn build_all(modules: &[Module]) -> anyhow::Result<()> {
    let Some(go) = find("go") else {
        bail!(
            "there is no go, which the control plane and buf are built with: install Go 1.26 or newer and put it in PATH"
        );
    };
    let version = output(Command::new(&go).arg("version"))?;
    let bin = cache().join("bin");
    fs_err::create_dir_all(&bin)?;
    for module in modules {
        build(module, &go, &version, &bin)?;
    }
    Ok(())
}

fn build(module: &Module, go: &Path, version: &str, bin: &Path) -> anyhow::Result<()> {
    let directory = root().join(module.directory);
    let stamp = bin.join(format!(".{}.stamp", module.directory.replace('/', "-")));
    let inputs = inputs(module, &directory, version)?;
    let names: Vec<&str> = module
        .programs
        .iter()
        .chain(module.tests)
        .map(|(_, name)| *name)
        .collect();
    let present = names.iter().all(|name| bin.join(name).is_file());
    if present && fs_err::read_to_string(&stamp).is_ok_and(|made| made == inputs) {
        return Ok(());
    }
    say(format_args!(
        "setup: building {} (once; some minutes on a cold cache)",
        names.join(", ")
    ));
    let started = Instant::now();
    // First: if this is interrupted, some programs are of this checkout and some of another.
    debian::forget(&stamp)?;
    // Into a directory of its own: what runs from `bin` cannot be written to.
    let fresh = bin.join(".fresh");
    fs_err::create_dir_all(&fresh)?;
    let command = || {
        let mut command = Command::new(go);
        command
            .current_dir(&directory)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-buildvcs=false -trimpath -mod=readonly");
        command
    };
    run(command()
        .args(["build", "-ldflags", module.flags, "-o"])
        .arg(format!("{}/", fresh.display()))
        .args(module.programs.iter().map(|(package, _)| *package)))?;
    for (package, name) in module.programs {
        if let Some(directory) = bin.join(name).parent() {
            fs_err::create_dir_all(directory)?;
        }
        let built = fresh.join(program_name(package));
        fs_err::rename(built, bin.join(name)).with_context(|| format!("putting {name} into place"))?;
    }
    for (package, name) in module.tests {
        run(command()
            .args(["test", "-c", "-ldflags", module.flags, "-o"])
            .arg(fresh.join(name))
            .arg(package))?;
        fs_err::rename(fresh.join(name), bin.join(name))
            .with_context(|| format!("putting {name} into place"))?;
    }
    fs_err::remove_dir_all(&fresh)?;
    if let Some((of, files)) = module.files {
        let source = output(command().args(["list", "-m", "-f", "{{.Dir}}", of]))?;
        copy(Path::new(source.trim()), files)?;
    }
    fs_err::write(stamp, inputs)?;
    say(format_args!(
        "setup: built in {:.0} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Copies files of a module to `files` in the cache, under the names that they have there.
fn copy(module: &Path, files: &[&str]) -> anyhow::Result<()> {
    for file in files {
        let target = cache().join("files").join(file);
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent)?;
        }
        // The module cache is not writable, and what a copy replaces is not either.
        let content = fs_err::read(module.join(file))?;
        fs_err::write(target, content)?;
    }
    Ok(())
}

/// What `go build` calls the program of a package: the last element that is no major version.
fn program_name(package: &str) -> &str {
    package
        .rsplit('/')
        .find(|word| !(word.starts_with('v') && word[1..].parse::<u32>().is_ok()))
        .unwrap_or(package)
}

fn inputs(module: &Module, directory: &Path, version: &str) -> anyhow::Result<String> {
    let read = |name: &str| fs_err::read_to_string(directory.join(name));
    let packages = module.programs.iter().chain(module.tests);
    let files = module.files.map_or(&[][..], |(_, files)| files);
    Ok(format!(
        "{version}{}\n{}\n{}\n{}{}",
        module.flags,
        packages
            .map(|(package, _)| *package)
            .collect::<Vec<_>>()
            .join(" "),
        files.join(" "),
        read("go.mod")?,
        read("go.sum")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_as_go_does() {
        assert_eq!(program_name("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(program_name("k8s.io/kubernetes/cmd/kubectl"), "kubectl");
        assert_eq!(program_name("k8s.io/kubernetes/cmd/vet"), "vet");
    }
}
