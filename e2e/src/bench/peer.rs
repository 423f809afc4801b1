//! kubelet with containerd, in the same network namespace and on the same control plane, with directories and cgroups of
//! the run: what the project is measured against.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::Api;

use super::memory::{Weight, named, of};
use crate::cluster::Cluster;
use crate::images::{Spec, Store};
use crate::network::address;
use crate::process::{Launch, MARK, Program, output};
use crate::registry::Registry;
use crate::scratch::Scratch;
use crate::{home, node, sweep, wait};

/// The node's name.
pub(super) const NAME: &str = "kubelet";
const SUBNET: &str = "10.90.0.0/16";

/// A running pair.
pub(super) struct Peer {
    // In the order of stopping.
    kubelet: Program,
    containerd: Program,
    run: PathBuf,
    cgroup_root: String,
    /// Named network namespaces that were here before: what containerd adds and does not take away is ours to remove.
    namespaces: BTreeSet<OsString>,
}

impl Peer {
    /// Starts both and waits until the node is Ready.
    pub(super) async fn join(cluster: &Cluster, tree: &Path) -> anyhow::Result<Self> {
        let scratch = cluster.scratch();
        let namespaces = sandbox_namespaces();
        let place = scratch.path().join("peer");
        for below in ["kubelet", "containerd", "run", "cni", "manifests"] {
            fs_err::create_dir_all(place.join(below))?;
        }
        let cgroup_root = format!("{}-peer", scratch.name());
        sweep::make_cgroups(&cgroup_root)?;
        let path = format!(
            "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
            tree.join("usr/bin").display(),
            tree.join("usr/sbin").display()
        );
        let library = tree.join("usr/lib/x86_64-linux-gnu");
        fs_err::write(
            place.join("containerd.toml"),
            containerd_configuration(&place, tree),
        )?;
        fs_err::write(place.join("cni/10-bridge.conflist"), network_configuration())?;
        let launch = Launch::new("containerd", tree.join("usr/bin/containerd"))
            .arg("--config")
            .arg(place.join("containerd.toml"));
        let launch = launch.env("PATH", &path).env("LD_LIBRARY_PATH", &library);
        let containerd = cluster
            .network()
            .spawner()
            .launch(&launch, &scratch.log("peer-containerd"))?;
        let socket = place.join("run/containerd.sock");
        wait::blocking(Duration::from_secs(30), "containerd's socket", || {
            containerd.check()?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).ok())
        })?;
        cluster.issue_kubeconfig(
            &format!("system:node:{NAME}"),
            &["system:nodes"],
            &place.join("kubeconfig"),
        )?;
        let index = cluster.network().next_node()?;
        fs_err::write(
            place.join("kubelet.yaml"),
            kubelet_configuration(cluster, &place, &cgroup_root, index),
        )?;
        let launch = Launch::new("kubelet", home::built("kubelet")?)
            .arg("--config")
            .arg(place.join("kubelet.yaml"))
            .arg("--kubeconfig")
            .arg(place.join("kubeconfig"))
            .arg("--root-dir")
            .arg(place.join("kubelet"))
            .arg("--cert-dir")
            .arg(place.join("kubelet/pki"))
            .args([
                "--hostname-override",
                NAME,
                "--node-ip",
                &address(index).to_string(),
            ])
            .env("PATH", &path)
            .env("LD_LIBRARY_PATH", &library);
        let kubelet = cluster
            .network()
            .spawner()
            .launch(&launch, &scratch.log("peer-kubelet"))?;
        let nodes = Api::<KubernetesNode>::all(cluster.client().await?);
        let ready = |node: Option<&KubernetesNode>| node.is_some_and(node::is_ready);
        let waited = wait::object(
            &nodes,
            NAME,
            Duration::from_secs(90),
            "the kubelet's node is Ready",
            ready,
        )
        .await;
        waited.with_context(|| format!("the end of its log:\n{}", kubelet.tail(20)))?;
        Ok(Self {
            kubelet,
            containerd,
            run: scratch.path().to_owned(),
            cgroup_root,
            namespaces,
        })
    }

    /// Of the daemons, and of what each pod needs beside its own program.
    pub(super) fn weight(&self) -> Vec<Weight> {
        let mark = format!("{MARK}={}", self.run.display());
        let ours = |pid: u32| {
            fs_err::read(format!("/proc/{pid}/environ")).is_ok_and(|list| {
                list.split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        };
        // A pause has no environment of ours; its cgroup tells.
        let root = format!("/{}", self.cgroup_root);
        let inside = |pid: u32| {
            fs_err::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&root))
        };
        vec![
            of("kubelet", [self.kubelet.pid()]),
            of("containerd", [self.containerd.pid()]),
            of("shims", named("containerd-shim", ours)),
            of("pauses", named("pause", inside)),
        ]
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kubelet.kill();
        self.containerd.kill();
        sweep::kill(&self.cgroup_root);
        for name in sandbox_namespaces().difference(&self.namespaces) {
            // Whatever is in the way of this one is in nobody else's.
            let _ = Command::new("ip").args(["netns", "delete"]).arg(name).status();
        }
    }
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
pub(super) fn put_pause(scratch: &Scratch, registry: &Registry) -> anyhow::Result<()> {
    let place = scratch.path().join("pause");
    let mut store = Store::empty(&place)?;
    let (source, program) = (place.join("pause.c"), place.join("pause"));
    fs_err::write(&source, include_str!("pause.c"))?;
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

fn containerd_configuration(place: &Path, tree: &Path) -> String {
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
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{tree}/usr/sbin/runc'
SystemdCgroup = false
Root = '{place}/run/runc'
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{tree}/usr/lib/cni']
conf_dir = '{place}/cni'
",
        place = place.display(),
        tree = tree.display()
    )
}

fn network_configuration() -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "bench", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "promiscMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{SUBNET}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}},
  {{"type": "loopback"}}
]}}"#
    )
}

fn kubelet_configuration(cluster: &Cluster, place: &Path, cgroup_root: &str, index: u8) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {ca}}}}}
authorization: {{mode: Webhook}}
address: {address}
port: 10250
healthzPort: {healthz}
containerRuntimeEndpoint: unix://{place}/run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup_root}
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
maxPods: 250
podLogsDir: {place}/log
resolvConf: \"\"
registerWithTaints: [{{key: {taint}, value: \"true\", effect: NoSchedule}}]
evictionHard: {{memory.available: 1Mi}}
makeIPTablesUtilChains: false
",
        ca = cluster.ca().display(),
        place = place.display(),
        address = address(index),
        healthz = 10300 + u16::from(index),
        taint = node::RESERVED,
    )
}
