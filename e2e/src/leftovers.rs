//! What a node has on its machine, taken before and after: everything that a pod brought has to be gone.
//!
//! Looked at: processes in the node's cgroups, cgroups, mounts (of this namespace and of auraed's), the interfaces and the
//! nftables rules of its network namespace, the network namespaces of its processes, auraed's open descriptors, and the
//! files below the node's directories, but for those that are meant to grow (state file, image content, daemons' logs).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::node::Node;
use crate::{sweep, wait};

/// What there is, as lines that say what each is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Of a node, now.
    ///
    /// # Errors
    /// A tool fails.
    pub fn take(node: &Node) -> anyhow::Result<Self> {
        let mut lines = BTreeSet::new();
        let cgroups = sweep::cgroups(node.cgroup_root());
        for cgroup in &cgroups {
            lines.insert(format!("cgroup {}", cgroup.display()));
            let processes = fs_err::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines() {
                let name = fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let network = fs_err::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default();
                lines.insert(format!(
                    "process {pid} ({}) in {} with {}",
                    name.trim(),
                    cgroup.display(),
                    network.display()
                ));
            }
        }
        mounts(node, &mut lines);
        network(node, &mut lines)?;
        files(node.directory(), node.directory(), &mut lines);
        Ok(Self { lines })
    }

    /// Waits until nothing is there that was not there before.
    ///
    /// # Errors
    /// Something stays; with each thing.
    pub fn nothing_left(&self, node: &Node, patience: Duration) -> anyhow::Result<()> {
        let mut left = String::new();
        let waited = wait::blocking(patience, "nothing is left", || {
            let now = Self::take(node)?;
            left.clear();
            for line in now.lines.difference(&self.lines) {
                writeln!(left, "  + {line}")?;
            }
            Ok(left.is_empty().then_some(()))
        });
        waited.map_err(|error| error.context(format!("what differs from before:\n{left}")))
    }
}

/// What a daemon that was stopped and cleaned up has left, as lines; empty if nothing.
///
/// # Errors
/// A tool fails.
pub fn of_daemon(node: &Node) -> anyhow::Result<String> {
    let mut left = String::new();
    // A kubelet leaves its own directories behind, which begin with the same name.
    let kubelet = format!("/{}-kubelet", node.cgroup_root());
    for cgroup in sweep::cgroups(node.cgroup_root()) {
        let text = cgroup.display().to_string();
        let empty = fs_err::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|list| list.is_empty());
        if !text.contains(&kubelet) || !empty || text.contains("/pod") {
            writeln!(left, "cgroup {text}")?;
        }
    }
    let (bridge, table) = node.network_names();
    let links = node.network().run(["ip", "-br", "link"])?;
    for line in links.lines() {
        // Another node's may begin with the same name.
        if line.split_whitespace().next() == Some(bridge.as_str()) {
            writeln!(left, "interface {line}")?;
        }
    }
    let tables = node.network().run(["nft", "list", "tables"])?;
    for line in tables
        .lines()
        .filter(|line| line.split(' ').any(|word| word == table))
    {
        writeln!(left, "nftables {line}")?;
    }
    for below in ["state", "run"] {
        let mut lines = BTreeSet::new();
        files(node.directory(), &node.directory().join(below), &mut lines);
        lines.iter().try_for_each(|line| writeln!(left, "{line}"))?;
    }
    let mut lines = BTreeSet::new();
    mounts(node, &mut lines);
    // A kubelet makes its root a mount point, for good.
    lines.remove(&format!(
        "mount {}",
        node.directory().join("kubelet/root").display()
    ));
    lines.iter().try_for_each(|line| writeln!(left, "{line}"))?;
    Ok(left)
}

/// How many descriptors a process has open.
///
/// # Errors
/// It is gone.
pub fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(fs_err::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn mounts(node: &Node, lines: &mut BTreeSet<String>) {
    let mut tables = vec!["/proc/self/mountinfo".to_owned()];
    tables.extend(
        node.programs()
            .iter()
            .map(|(_, pid)| format!("/proc/{pid}/mountinfo")),
    );
    for table in tables {
        let text = fs_err::read_to_string(table).unwrap_or_default();
        for point in text.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(point).starts_with(node.directory()) {
                lines.insert(format!("mount {point}"));
            }
        }
    }
}

/// Of the node, and what belongs to nobody; other nodes share the network namespace.
fn network(node: &Node, lines: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let (bridge, table) = node.network_names();
    let plugins = node.has_plugins();
    lines.extend(node.plugins_traces()?);
    let links = node.network().run(["ip", "-o", "link"])?;
    for line in links.lines() {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next().unwrap_or_default().trim_end_matches(':');
        let master = words.skip_while(|word| *word != "master").nth(1);
        // The bridge of plugins comes with their first pod and stays; what is on it is among their traces.
        let ours = |name: &str| name == bridge && !plugins;
        let others = |name: &str| !ours(name) && name.starts_with("aurae");
        if !others(name) && !master.is_some_and(others) {
            lines.insert(format!("interface {}", name.split('@').next().unwrap_or(name)));
        }
    }
    if plugins {
        return Ok(());
    }
    // Without what comes and goes with the bridge's first and last port.
    let routes = node
        .network()
        .run(["ip", "-4", "route", "show", "dev", &bridge])?;
    lines.extend(
        routes
            .lines()
            .map(|line| format!("route {}", line.replace("linkdown", "").trim())),
    );
    // Without handles and counters.
    let rules = node.network().run(["nft", "-s", "list", "ruleset"])?;
    let mut current = "";
    for line in rules.lines() {
        if line.starts_with("table") {
            current = line.trim_end_matches([' ', '{']);
        }
        if current.split(' ').any(|word| word == table) {
            lines.insert(format!("nftables {current}: {}", line.trim()));
        }
    }
    Ok(())
}

/// Relative paths that may come and grow.
fn grows(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.starts_with("state/aurae.db")
        || text.starts_with("state/images/")
        || text.starts_with("state/identity")
        || text.starts_with("bridge/")
        || text.starts_with("shim/")
        // Leases are counted among the traces of plugins.
        || text.starts_with("leases")
        || text.starts_with("tools/")
        || (text.starts_with("kubelet/")
            && !text.starts_with("kubelet/root/pods/")
            && !text.starts_with("kubelet/log/"))
}

fn files(root: &Path, directory: &Path, lines: &mut BTreeSet<String>) {
    // A directory that goes while it is read is no leftover.
    let Ok(entries) = fs_err::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(&path);
        if grows(relative) {
            continue;
        }
        lines.insert(format!("file {}", relative.display()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(root, &path, lines);
        }
    }
}
