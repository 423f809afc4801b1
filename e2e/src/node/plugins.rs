//! Pods' networks by CNI's reference plugins in place of auraed's own: a bridge, host ports, masquerade, as Debian has them
//! (by iptables) and as they are today (by nftables), and what they leave where they should leave nothing.
//!
//! ```text
//!  DIR/net.d/10-net.conflist  bridge `aurae<i>`, 10.92.<4 i>.0/22
//!  DIR/leases/net             host-local's store
//!  DIR/tools/iptables         Debian's, which runs with the libraries of its own tree alone
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::Node;
use crate::home;
use crate::process::write_script;

/// Whose network plugins a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plugins {
    /// Debian's, which speak version 1.0.0 and call iptables.
    Debian,
    /// Today's, which speak version 1.1.0 and call nft.
    Today,
}

impl Plugins {
    fn directory(self) -> anyhow::Result<PathBuf> {
        let directory = match self {
            Self::Debian => tree().join("usr/lib/cni"),
            Self::Today => home::cache().join("bin/cni"),
        };
        ensure!(
            directory.join("bridge").is_file(),
            "{} has no network plugins: run `cargo xtask setup`",
            directory.display()
        );
        Ok(directory)
    }

    fn version(self) -> &'static str {
        match self {
            Self::Debian => "1.0.0",
            Self::Today => "1.1.0",
        }
    }

    /// Said where they can be told: on a machine with iptables they take that by themselves.
    fn backends(self) -> (&'static str, &'static str) {
        match self {
            Self::Debian => ("", ""),
            Self::Today => (r#", "ipMasqBackend": "nftables""#, r#", "backend": "nftables""#),
        }
    }
}

/// Debian's packages of plugins and iptables, unpacked.
fn tree() -> PathBuf {
    home::cache().join("debian/cni")
}

impl Node {
    /// What its configuration says of plugins: none are there to be found, or those that its pods' networks are made by.
    pub(super) fn plugins_configuration(&self) -> anyhow::Result<String> {
        // The machine's own would count otherwise.
        let directory = format!("cni_config_dir = \"{}\"", self.directory.join("net.d").display());
        let Some(plugins) = self.options.plugins else {
            return Ok(directory);
        };
        let programs = plugins.directory()?;
        Ok(format!(
            "{directory}\nmode = \"cni\"\ncni_bin_dirs = [\"{}\"]",
            programs.display()
        ))
    }

    /// Puts their network's configuration, and what they call, into place.
    pub(super) fn prepare_plugins(&self) -> anyhow::Result<()> {
        let Some(plugins) = self.options.plugins else {
            return Ok(());
        };
        let place = self.directory.join("net.d");
        fs_err::create_dir_all(&place)?;
        fs_err::write(place.join("10-net.conflist"), self.network_list(plugins))?;
        if plugins == Plugins::Debian {
            write_iptables(&self.tools().join("iptables"))?;
        }
        Ok(())
    }

    fn network_list(&self, plugins: Plugins) -> String {
        let (masquerade, ports) = plugins.backends();
        format!(
            r#"{{"cniVersion": "{version}", "name": "net", "plugins": [
  {{"type": "bridge", "bridge": "{bridge}", "isGateway": true, "hairpinMode": true, "ipMasq": true{masquerade},
    "ipam": {{"type": "host-local", "dataDir": "{leases}", "ranges": [[{{"subnet": "{prefix}0/22"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}{ports}}},
  {{"type": "loopback"}}
]}}"#,
            version = plugins.version(),
            bridge = self.network_names().0,
            leases = self.directory.join("leases").display(),
            prefix = self.plugins_prefix(),
        )
    }

    /// Whether plugins make its pods' networks.
    pub fn has_plugins(&self) -> bool {
        self.options.plugins.is_some()
    }

    /// How the addresses begin that plugins give to its first pods.
    pub fn plugins_prefix(&self) -> String {
        format!("10.92.{}.", u16::from(self.index) * 4)
    }

    /// Each thing that plugins have for a pod: leases, records of auraed's, interfaces, rules. Empty where they have none,
    /// or make no networks here.
    ///
    /// # Errors
    /// A tool fails.
    pub fn plugins_traces(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut traces = BTreeSet::new();
        if self.options.plugins.is_none() {
            return Ok(traces);
        }
        // Beside the leases, which are named by their addresses, host-local keeps its lock and what it gave last.
        traces.extend(
            names(&self.directory.join("leases/net"))
                .into_iter()
                .filter(|name| name.starts_with("10."))
                .map(|name| format!("lease {name}")),
        );
        traces.extend(
            names(&self.directory.join("state/cni/results"))
                .into_iter()
                .map(|name| format!("record {name}")),
        );
        let links = self.network.run(["ip", "-o", "link"])?;
        let master = format!(" master {} ", self.network_names().0);
        let ours = links.lines().filter(|line| line.contains(&master));
        traces.extend(ours.map(|line| format!("interface {line}")));
        // What is for one pod has its address, or is a chain of its own; tables and the chains that all share stay.
        let rules = self.network.run(["nft", "-s", "list", "ruleset"])?;
        let prefix = self.plugins_prefix();
        let ours = rules.lines().filter(|line| {
            let shared = line.contains(&format!("{prefix}0/22"));
            let chain = line.contains("CNI-") && !line.contains("CNI-HOSTPORT");
            (line.contains(&prefix) && !shared) || chain || line.contains("CNI-DN-")
        });
        traces.extend(ours.map(|line| format!("rule {}", line.trim())));
        Ok(traces)
    }
}

/// The names in a directory, none where it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The tree's iptables with the tree's libraries.
fn write_iptables(path: &Path) -> anyhow::Result<()> {
    let tree = tree();
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let script = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH={0}:{1} XTABLES_LIBDIR={0}/xtables\nexec {2} iptables \"$@\"\n",
        libraries.display(),
        tree.join("lib/x86_64-linux-gnu").display(),
        tree.join("usr/sbin/xtables-nft-multi").display(),
    );
    write_script(path, &script)
}
