//! The node's facts, read from the kernel's and the distribution's files at each call.

use auraed_api::observe::v0 as api;
use std::io;
use std::path::PathBuf;

/// What the daemon knows of its node, and where it reads the rest.
#[derive(Clone, Debug)]
pub struct Node {
    /// "/", or a tree that stands in for it.
    pub root: PathBuf,
    /// v1, v2 or hybrid.
    pub cgroup_version: String,
    /// Why the node cannot run pods, or not all of them.
    pub problems: Vec<String>,
    /// What outlives a boot; its file system is the node's storage.
    pub state_directory: PathBuf,
    /// The containers' logs.
    pub log_directory: PathBuf,
}

/// A fact could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct NodeError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Node {
    /// Reads the facts.
    ///
    /// # Errors
    /// [`NodeError`] for a fact that every kernel has.
    pub fn read(&self) -> Result<api::GetNodeResponse, NodeError> {
        let memory = self.read_file("proc/meminfo")?;
        let storage = rustix::fs::statvfs(&self.state_directory).map_err(|error| NodeError {
            path: self.state_directory.clone(),
            source: error.into(),
        })?;
        let system = rustix::system::uname();
        Ok(api::GetNodeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: system.nodename().to_string_lossy().into_owned(),
            machine_id: self.first_of(&["etc/machine-id", "var/lib/dbus/machine-id"]),
            boot_id: self.first_of(&["proc/sys/kernel/random/boot_id"]),
            system_uuid: self.system_uuid(),
            kernel_version: system.release().to_string_lossy().into_owned(),
            os_image: self.os_image(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            cpus: self.cpus(),
            memory_bytes: meminfo(&memory, "MemTotal").unwrap_or_default(),
            memory_available_bytes: meminfo(&memory, "MemAvailable").unwrap_or_default(),
            storage_bytes: storage.f_blocks.saturating_mul(storage.f_frsize),
            storage_available_bytes: storage.f_bavail.saturating_mul(storage.f_frsize),
            cgroup_version: self.cgroup_version.clone(),
            // Told by the network.
            pod_subnet: String::new(),
            problems: self.problems.clone(),
            pid: std::process::id(),
            huge_pages: self.huge_pages(),
            state_directory: self.state_directory.display().to_string(),
            log_directory: self.log_directory.display().to_string(),
        })
    }

    fn read_file(&self, path: &str) -> Result<String, NodeError> {
        let path = self.root.join(path);
        // fs-err would name the path a second time in the chain.
        let content = std::fs::File::open(&path).and_then(io::read_to_string);
        content.map_err(|source| NodeError { path, source })
    }

    /// The first of the files that is there and not empty.
    fn first_of(&self, paths: &[&str]) -> String {
        let read = |path: &&str| self.read_file(path).ok();
        let trimmed = paths.iter().filter_map(read).map(|text| text.trim().to_owned());
        trimmed
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    /// The firmware's id of the machine, where there is one; else the machine's id stands in, as the kubelet does it.
    fn system_uuid(&self) -> String {
        self.first_of(&[
            "sys/class/dmi/id/product_uuid",
            "proc/device-tree/vm,uuid",
            "etc/machine-id",
        ])
    }

    /// os-release(5).
    fn os_image(&self) -> String {
        let file = self.first_of(&["etc/os-release", "usr/lib/os-release"]);
        let field = |name: &str| {
            let line = file
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        field("PRETTY_NAME")
            .or_else(|| field("NAME"))
            .unwrap_or_else(|| "Linux".into())
    }

    /// Processors that are online, whichever of them this daemon may use.
    fn cpus(&self) -> u32 {
        let online = self.first_of(&["sys/devices/system/cpu/online"]);
        let counted = cpu_list(&online).unwrap_or_default();
        let usable = || {
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
        };
        if counted > 0 { counted } else { usable() }
    }

    fn huge_pages(&self) -> Vec<api::HugePages> {
        let directory = self.root.join("sys/kernel/mm/hugepages");
        let Ok(entries) = fs_err::read_dir(&directory) else {
            return Vec::new();
        };
        let mut pages: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?;
                let size = name
                    .strip_prefix("hugepages-")?
                    .strip_suffix("kB")?
                    .parse::<u64>()
                    .ok()?
                    * 1024;
                let count = self
                    .read_file(&format!("sys/kernel/mm/hugepages/{name}/nr_hugepages"))
                    .ok()?;
                let total_bytes = count.trim().parse::<u64>().ok()?.saturating_mul(size);
                Some(api::HugePages {
                    page_size_bytes: size,
                    total_bytes,
                })
            })
            .collect();
        pages.sort_by_key(|pages| pages.page_size_bytes);
        pages
    }
}

/// A field of /proc/meminfo, in bytes.
fn meminfo(file: &str, name: &str) -> Option<u64> {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes = line.trim().strip_suffix("kB")?.trim();
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// How many are in a list as `0-3,8`.
fn cpu_list(text: &str) -> Option<u32> {
    text.split(',').try_fold(0u32, |sum, range| {
        let (first, last) = range
            .trim()
            .split_once('-')
            .unwrap_or((range.trim(), range.trim()));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// What Go calls an architecture that Rust calls otherwise.
fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn at(root: &Path) -> Node {
        Node {
            root: root.to_owned(),
            cgroup_version: "v2".into(),
            problems: Vec::new(),
            state_directory: "/".into(),
            log_directory: "/".into(),
        }
    }

    fn node(files: &[(&str, &str)]) -> (tempfile::TempDir, Node) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let node = at(root.path());
        (root, node)
    }

    #[test]
    fn facts_come_from_the_files() {
        let (_root, node) = node(&[
            (
                "proc/meminfo",
                "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n",
            ),
            ("proc/sys/kernel/random/boot_id", "b00t\n"),
            ("etc/machine-id", "m4ch1ne\n"),
            (
                "etc/os-release",
                "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            ),
            ("sys/devices/system/cpu/online", "0-3,8\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n"),
            ("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n"),
        ]);
        let facts = node.read().unwrap();
        assert_eq!(
            (facts.memory_bytes, facts.memory_available_bytes),
            (1_024_000, 614_400)
        );
        assert_eq!(
            (facts.boot_id.as_str(), facts.machine_id.as_str()),
            ("b00t", "m4ch1ne")
        );
        assert_eq!(facts.system_uuid, "m4ch1ne");
        assert_eq!(facts.os_image, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(facts.cpus, 5);
        let pages: Vec<_> = facts
            .huge_pages
            .iter()
            .map(|p| (p.page_size_bytes, p.total_bytes))
            .collect();
        assert_eq!(pages, [(2 << 20, 6 << 20), (1 << 30, 0)]);
        assert!(facts.storage_bytes > facts.storage_available_bytes);
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = at(Path::new("/")).read().unwrap();
        assert!(facts.memory_bytes > 0 && facts.cpus > 0 && !facts.kernel_version.is_empty());
    }

    #[test]
    fn a_fact_that_every_kernel_has_is_missed() {
        let (root, node) = node(&[]);
        let error = node.read().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot read {}", root.path().join("proc/meminfo").display())
        );
    }

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(cpu_list("0"), Some(1));
        assert_eq!(cpu_list("0-1,4-7"), Some(6));
        assert_eq!(cpu_list("3-1"), None);
        assert_eq!(cpu_list(""), None);
    }
}
