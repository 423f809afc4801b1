//! crictl, which people look at a node with: each of its commands on a container's way from pull to removal.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use e2e::critest::Ground;
use e2e::home;
use e2e::leftovers::Snapshot;
use e2e::node::Node;
use e2e::process::output;
use e2e::suite::{PATIENCE, ground, skip};
use e2e::wait;
use serde_json::{Value, json};

pub(crate) const IMAGE: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";
const SCRIPT: &str = "echo alive; trap 'exit 0' TERM; while :; do sleep 0.2; done";

/// crictl on the socket of a node, in its network.
pub(crate) struct Crictl<'a> {
    node: &'a Node,
    configuration: PathBuf,
}

impl<'n> Crictl<'n> {
    /// Its files are in `place`.
    pub(crate) fn new(node: &'n Node, place: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(place)?;
        let configuration = place.join("crictl.yaml");
        fs_err::write(&configuration, "")?;
        Ok(Self { node, configuration })
    }

    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
        let mut command = self.node.network().command(home::built("crictl")?);
        let socket = format!("unix://{}", self.node.cri_socket().display());
        command
            .arg("--config")
            .arg(&self.configuration)
            .args(["--runtime-endpoint", &socket, "--timeout", "60s"])
            .args(arguments);
        output(&mut command)
    }

    /// What a command prints in a container of a pod of its own, with a security context.
    pub(crate) fn once(&self, name: &str, security: &Value, command: &[&str]) -> anyhow::Result<String> {
        let place = self.configuration.with_file_name(name);
        fs_err::create_dir_all(&place)?;
        let pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 0},
            "log_directory": place,
            "linux": {"security_context": {"privileged": security["privileged"] == true}},
        });
        let container = json!({
            "metadata": {"name": name, "attempt": 0},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": "log",
            "linux": {"security_context": security},
        });
        let (pod_file, container_file) = (place.join("pod.json"), place.join("container.json"));
        fs_err::write(&pod_file, pod.to_string())?;
        fs_err::write(&container_file, container.to_string())?;
        let pod_file = pod_file.to_str().context("a path")?;
        let pod = self.run(["runp", pod_file])?;
        let container_file = container_file.to_str().context("a path")?;
        let id = self.run(["create", pod.trim(), container_file, pod_file])?;
        self.run(["start", id.trim()])?;
        wait::blocking(PATIENCE, "its end", || {
            let inspected = self.run(["inspect", id.trim()])?;
            Ok(inspected.contains("CONTAINER_EXITED").then_some(()))
        })?;
        let said = self.run(["logs", id.trim()])?;
        self.run(["rmp", "--force", pod.trim()])?;
        Ok(said)
    }

    /// Runs a command and looks for a word in what it prints.
    fn says<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, word: &str) -> anyhow::Result<()> {
        let said = self.run(arguments)?;
        ensure!(said.contains(word), "{word} is not in: {said}");
        Ok(())
    }
}

#[test]
fn crictl_shows_and_drives_a_container() {
    if skip("crictl_shows_and_drives_a_container") {
        return;
    }
    let scratch = &ground().scratch;
    let result = Ground::make(scratch, "crictl").and_then(|ground| life(&ground.node(None)?, scratch.path()));
    if let Err(error) = result {
        scratch.mark_failed();
        panic!("{error:?}\n");
    }
}

fn life(node: &Node, scratch: &Path) -> anyhow::Result<()> {
    let place = scratch.join("crictl-files");
    let crictl = Crictl::new(node, &place)?;
    crictl.says(["version"], "RuntimeName:")?;
    crictl.says(["info"], "\"NetworkReady\"")?;
    crictl.says(["runtime-config"], "cgroup")?;
    crictl.run(["pull", IMAGE])?;
    crictl.says(["images"], "e2e-test-images/busybox")?;
    crictl.says(["inspecti", IMAGE], IMAGE)?;
    crictl.says(["imagefsinfo"], "usedBytes")?;
    let before = Snapshot::take(node)?;
    container(&crictl, &place)?;
    before.nothing_left(node, PATIENCE)?;
    crictl.run(["rmi", IMAGE])?;
    ensure!(
        !crictl.run(["images"])?.contains("busybox"),
        "the image is still there"
    );
    node.stop()
}

fn container(crictl: &Crictl<'_>, place: &Path) -> anyhow::Result<()> {
    let logs = place.join("logs");
    fs_err::create_dir_all(&logs)?;
    let pod = json!({
        "metadata": {"name": "pod", "namespace": "default", "uid": "pod-1", "attempt": 0},
        "log_directory": logs,
        "labels": {"app": "crictl"},
        "linux": {},
    });
    let container = json!({
        "metadata": {"name": "main", "attempt": 0},
        "image": {"image": IMAGE},
        "command": ["sh", "-c", SCRIPT],
        "log_path": "main.log",
        "linux": {"resources": {"memory_limit_in_bytes": 64 << 20}},
    });
    let (pod_file, container_file) = (place.join("pod.json"), place.join("container.json"));
    fs_err::write(&pod_file, pod.to_string())?;
    fs_err::write(&container_file, container.to_string())?;
    let pod_file = pod_file.to_str().context("a path")?;
    let container_file = container_file.to_str().context("a path")?;
    let pod = crictl.run(["runp", pod_file])?;
    let pod = pod.trim();
    let id = crictl.run(["create", pod, container_file, pod_file])?;
    let id = id.trim();
    crictl.says(["ps", "-a"], "Created")?;
    crictl.run(["start", id])?;
    crictl.says(["ps"], "Running")?;
    crictl.says(["pods", "--label", "app=crictl"], "Ready")?;
    crictl.says(["inspect", id], "CONTAINER_RUNNING")?;
    crictl.says(["inspectp", pod], "SANDBOX_READY")?;
    wait::blocking(PATIENCE, "the log", || {
        Ok(crictl.run(["logs", id])?.contains("alive").then_some(()))
    })?;
    for how in [
        &["--sync"][..],
        &["--transport", "spdy"],
        &["--transport", "websocket"],
    ] {
        let words = [&["exec"], how, &[id, "echo", "here"]].concat();
        crictl.says(words, "here")?;
    }
    crictl.says(["stats", id], "main")?;
    crictl.says(["statsp", pod], "pod")?;
    crictl.says(["metricdescs"], "container_")?;
    crictl.run(["metricsp"])?;
    crictl.run(["update", "--memory", "134217728", id])?;
    crictl.says(["inspect", id], "134217728")?;
    crictl.run(["stop", "--timeout", "5", id])?;
    crictl.says(["inspect", id], "CONTAINER_EXITED")?;
    crictl.run(["rm", id])?;
    crictl.run(["stopp", pod])?;
    crictl.says(["pods"], "NotReady")?;
    crictl.run(["rmp", pod])?;
    Ok(())
}
