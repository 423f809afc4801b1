//! A cluster to try: the control plane with this machine as its node, and a kubeconfig that works in any terminal, until
//! it is interrupted. Called by the binary `e2e` for `make cluster`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::cluster::Cluster;
use crate::images::Store;
use crate::network::NetworkNamespace;
use crate::node::{Node, Options};
use crate::registry::Registry;
use crate::relay::Relay;
use crate::scratch::Scratch;
use crate::{home, say};

/// The API server inside; 127.0.0.1 is among the names of its certificate.
const INSIDE: &str = "127.0.0.1:443";
/// The image of examples/hello.yaml.
const IMAGE: &str = "example.test/busybox:1";

/// Brings it up, says how to use it, and takes it away at the interrupt.
///
/// # Errors
/// A part does not come up.
pub async fn run() -> anyhow::Result<()> {
    let started = Instant::now();
    let scratch = Arc::new(Scratch::create("cluster")?);
    // Before this thread goes into the cluster's network: the machine's own programs are to reach it.
    let outside = listen().await?;
    let network = Arc::new(NetworkNamespace::create(&scratch)?);
    let images = Store::open()?;
    let _registry = Registry::start(&scratch, &network, &images)?;
    say("cluster: starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler");
    let cluster = Cluster::start(&scratch, &network).await?;
    let relay = Relay::over(outside, INSIDE)?;
    let kubeconfig = kubeconfig(&cluster, &relay)?;
    say("cluster: starting auraed and kubelet-bridge");
    let node = Node::join(&cluster, Options::new("aurae-1")).await?;
    let archive = scratch.path().join("busybox.tar");
    images.archive("busybox", IMAGE, &archive)?;
    node.aurae(["image", "import", archive.to_str().context("a path")?])?;
    cluster
        .namespace_ready(&cluster.client().await?, "default")
        .await?;
    say(&cluster.kubectl().run(["get", "nodes", "-o", "wide"])?);
    say(&usage(&node, &kubeconfig, scratch.path(), started));
    tokio::signal::ctrl_c()
        .await
        .context("waiting for the interrupt")?;
    say("cluster: taking everything away");
    node.stop()?;
    fs_err::remove_file(kubeconfig)?;
    Ok(())
}

/// The usual port, or a free one where it is taken.
async fn listen() -> anyhow::Result<TcpListener> {
    match TcpListener::bind("127.0.0.1:6443").await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening on loopback"),
    }
}

/// Writes the administrator's kubeconfig with the relay's address, where it is easily found.
fn kubeconfig(cluster: &Cluster, relay: &Relay) -> anyhow::Result<PathBuf> {
    let text = fs_err::read_to_string(cluster.kubeconfig())?;
    let server = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .context("no server in the kubeconfig")?;
    let text = text.replace(server, &format!("https://{}", relay.address()));
    let target = home::cache().join("cluster.conf");
    fs_err::write(&target, text)?;
    Ok(target)
}

fn usage(node: &Node, kubeconfig: &Path, run: &Path, started: Instant) -> String {
    let pid = node.network().pid();
    format!(
        "Ready in {:.0} s. In another terminal, as root:

  export KUBECONFIG={} PATH={}:$PATH
  kubectl get nodes -o wide
  kubectl apply -f examples/hello.yaml
  kubectl get pods -o wide -w
  kubectl logs -f hello
  kubectl exec -it hello -- sh
  kubectl create deployment web --image=127.0.0.1:5000/nginx-1:1 --replicas=3
  nsenter -t {pid} -n curl http://POD-ADDRESS:8080/     (the cluster has a network namespace of its own)

  logs of the daemons: {}/log
  ^C here takes all of it away.",
        started.elapsed().as_secs_f64(),
        kubeconfig.display(),
        home::cache().join("bin").display(),
        run.display(),
    )
}
