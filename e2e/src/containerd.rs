//! containerd with runc or crun, as Debian packages them, with directories of the run: what the project is measured
//! against, and what shows that a suite of others is set up rightly.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::images::{Spec, Store};
use crate::memory::{self, Weight};
use crate::network::NetworkNamespace;
use crate::process::{Launch, MARK, Program, output};
use crate::registry::Registry;
use crate::scratch::Scratch;
use crate::sweep;
use crate::wait;

/// Where it has containers whose callers named no parent.
const CGROUP: &str = "k8s.io";
const SUBNET: &str = "10.90.0.0/16";

/// Which OCI runtime starts the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oci {
    /// The reference.
    Runc,
    /// The one in C.
    Crun,
}

impl Oci {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// Where it is in `tree`, Debian's packages unpacked.
    pub fn program(self, tree: &Path) -> PathBuf {
        match self {
            Self::Runc => tree.join("usr/sbin/runc"),
            Self::Crun => tree.join("usr/bin/crun"),
        }
    }
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    program: Program,
    place: PathBuf,
    tree: PathBuf,
    run: PathBuf,
    /// Named network namespaces that were here before: what it adds and does not take away is ours to remove.
    namespaces: BTreeSet<OsString>,
    /// And the cgroups of containers whose callers named no parent.
    cgroups: Vec<PathBuf>,
}

impl Containerd {
    /// Starts it from `tree`, Debian's packages unpacked, in the directory `name` of the run, and returns when it listens.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub fn start(
        scratch: &Scratch,
        network: &NetworkNamespace,
        tree: &Path,
        name: &str,
        oci: Oci,
    ) -> anyhow::Result<Self> {
        let namespaces = sandbox_namespaces();
        let cgroups = sweep::cgroups(CGROUP);
        let place = scratch.path().join(name);
        for below in ["run", "cni"] {
            fs_err::create_dir_all(place.join(below))?;
        }
        fs_err::write(place.join("containerd.toml"), configuration(&place, tree, oci))?;
        fs_err::write(place.join("cni/10-bridge.conflist"), network_configuration(name))?;
        let launch = match oci {
            Oci::Runc => Launch::new("containerd", tree.join("usr/bin/containerd")),
            // crun refuses a machine that has controllers in both versions: it gets to see the first alone.
            Oci::Crun => Launch::new("containerd", "unshare")
                .args(["--mount", "--propagation", "private", "--", "sh", "-c"])
                .arg("umount /sys/fs/cgroup/unified 2> /dev/null; exec \"$@\"")
                .arg("sh")
                .arg(tree.join("usr/bin/containerd")),
        };
        let launch = launch.arg("--config").arg(place.join("containerd.toml"));
        let launch = with_tree(launch, tree);
        let program = network
            .spawner()
            .launch(&launch, &scratch.log(&format!("{name}-containerd")))?;
        let containerd = Self {
            program,
            place,
            tree: tree.to_owned(),
            run: scratch.path().to_owned(),
            namespaces,
            cgroups,
        };
        wait::blocking(Duration::from_secs(30), "containerd's socket", || {
            containerd.program.check()?;
            Ok(UnixStream::connect(containerd.socket()).ok())
        })?;
        Ok(containerd)
    }

    /// Where it serves the CRI.
    pub fn socket(&self) -> PathBuf {
        self.place.join("run/containerd.sock")
    }

    /// Gives a program the unpacked packages.
    #[must_use]
    pub fn environment(&self, launch: Launch) -> Launch {
        with_tree(launch, &self.tree)
    }

    /// Of containerd, and of what each pod needs beside its own program.
    pub fn weight(&self) -> Vec<Weight> {
        let mark = format!("{MARK}={}", self.run.display());
        let ours = |pid: u32| {
            fs_err::read(format!("/proc/{pid}/environ")).is_ok_and(|list| {
                list.split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        };
        let shims = memory::named("containerd-shim", ours);
        // A pause has no environment of ours; its parent is a shim.
        let of_a_shim = |pid: u32| memory::parent(pid).is_some_and(|parent| shims.contains(&parent));
        vec![
            memory::of("containerd", [self.program.pid()]),
            memory::of("pauses", memory::named("pause", of_a_shim)),
            memory::of("shims", shims.iter().copied()),
        ]
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.program.kill();
        for name in sandbox_namespaces().difference(&self.namespaces) {
            // Whatever is in the way of this one is in nobody else's.
            let _ = Command::new("ip").args(["netns", "delete"]).arg(name).status();
        }
        for cgroup in sweep::cgroups(CGROUP).iter().rev() {
            if !self.cgroups.contains(cgroup) {
                // One that is in use is not removed, and not ours.
                let _ = fs_err::remove_dir(cgroup);
            }
        }
    }
}

fn with_tree(launch: Launch, tree: &Path) -> Launch {
    let path = format!(
        "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
        tree.join("usr/bin").display(),
        tree.join("usr/sbin").display()
    );
    launch
        .env("PATH", path)
        .env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"))
}

/// The network namespaces that CNI's users have named.
fn sandbox_namespaces() -> BTreeSet<OsString> {
    let entries = fs_err::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("cni-"))
        .collect()
}

/// Puts an image of a static pause program into the registry.
///
/// # Errors
/// There is no C compiler, or the registry's storage cannot be written.
pub fn put_pause(scratch: &Scratch, registry: &Registry) -> anyhow::Result<()> {
    let place = scratch.path().join("pause");
    let mut store = Store::empty(&place)?;
    let (source, program) = (place.join("pause.c"), place.join("pause"));
    fs_err::write(&source, include_str!("containerd/pause.c"))?;
    output(
        Command::new("cc")
            .args(["-static", "-Os", "-s", "-o"])
            .arg(&program)
            .arg(&source),
    )?;
    let spec = Spec {
        entrypoint: vec!["/pause".to_owned()],
        ..Spec::default()
    };
    store.add_file("pause", "pause", &fs_err::read(&program)?, &spec)?;
    let image = store.image("pause")?.clone();
    registry.put(&store, &image, "pause", "1")
}

fn configuration(place: &Path, tree: &Path, oci: Oci) -> String {
    format!(
        "version = 3
root = '{place}/containerd'
state = '{place}/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
address = '{place}/run/containerd.sock'
[ttrpc]
address = '{place}/run/containerd.sock.ttrpc'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '127.0.0.1:5000/pause:1'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '{place}/certs.d'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{binary}'
SystemdCgroup = false
Root = '{place}/run/oci'
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{tree}/usr/lib/cni']
conf_dir = '{place}/cni'
",
        place = place.display(),
        binary = oci.program(tree).display(),
        tree = tree.display()
    )
}

/// Without masquerade and host ports where there is no iptables, which these plugins need for them: no pod of a benchmark
/// uses either, and a peer is only faster without.
fn network_configuration(name: &str) -> String {
    // Names of interfaces have 15 bytes.
    let bridge: String = format!("cni-{name}").chars().take(15).collect();
    let masquerade = Path::new("/usr/sbin/iptables").exists();
    let portmap = if masquerade {
        r#"{"type": "portmap", "capabilities": {"portMappings": true}},"#
    } else {
        ""
    };
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [
  {{"type": "bridge", "bridge": "{bridge}", "isGateway": true, "ipMasq": {masquerade}, "promiscMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{SUBNET}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {portmap}
  {{"type": "loopback"}}
]}}"#
    )
}
