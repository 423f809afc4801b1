//! Pods whose networks CNI's reference plugins make: addresses of the plugins' range, traffic, a host port; auraed killed
//! under them and in the middle of their making; and nothing of the plugins' is left when they are gone.

use anyhow::{Context, ensure};
use e2e::node::{Node, Options, Plugins};
use e2e::suite::{PATIENCE, Test};
use e2e::{pods, wait};

use crate::on_cluster;

const SERVER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  nodeName: plugins
  terminationGracePeriodSeconds: 1
  containers:
  - {name: server, image: '@agnhost', args: [netexec, --http-port=8080], ports: [{containerPort: 8080, hostPort: 18090}]}
";

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: plugins
  terminationGracePeriodSeconds: 1
  containers:
  - {name: client, image: '@busybox', command: [sleep, '3600']}
";

/// What a URL says, asked from the client's pod.
fn from_client(test: &Test, url: &str) -> anyhow::Result<String> {
    test.kubectl
        .run(["exec", "client", "--", "timeout", "10", "wget", "-qO-", url])
}

/// What the server says through the node's port.
fn through_the_host(node: &Node) -> anyhow::Result<String> {
    let url = format!("http://{}:18090/hostname", node.address());
    node.network().run(["curl", "-sSf", "--max-time", "10", &url])
}

#[test]
fn pods_have_networks_by_plugins_and_leave_nothing() {
    on_cluster("pods_have_networks_by_plugins_and_leave_nothing", async |test| {
        let options = Options::reserved("plugins")
            .with(test.suite.node.agent())
            .on(Plugins::Today);
        let node = Node::join(&test.suite.cluster, options).await?;
        ensure!(node.plugins_traces()?.is_empty(), "before the first pod");
        test.apply(&format!("{SERVER}---{CLIENT}"))?;
        let server = test.ready("server").await?;
        let client = test.ready("client").await?;
        for pod in [&server, &client] {
            let address = pods::address(pod);
            ensure!(address.starts_with(&node.plugins_prefix()), "{address}");
        }
        let url = |path: &str| format!("http://{}:8080/{path}", pods::address(&server));
        let answers = wait::until(PATIENCE, "the server listens", async || {
            from_client(&test, &url("hostname")).map(Some)
        });
        ensure!(answers.await? == "server");
        let seen = from_client(&test, &url("clientip"))?;
        ensure!(
            seen.starts_with(&format!("{}:", pods::address(&client))),
            "the server saw {seen}"
        );
        ensure!(through_the_host(&node)? == "server");

        node.kill_auraed();
        ensure!(through_the_host(&node)? == "server", "while nobody is there");
        node.start_auraed()?;
        starts_that_are_cut_off(&test, &node).await?;
        for before in [&server, &client] {
            let name = before.metadata.name.as_deref().context("no name")?;
            let now = test.ready(name).await?;
            ensure!(
                pods::address(&now) == pods::address(before) && pods::restarts(&now, name) == 0,
                "{:?}",
                now.status
            );
        }
        ensure!(from_client(&test, &url("hostname"))? == "server");
        ensure!(through_the_host(&node)? == "server");

        let traces = node.plugins_traces()?;
        for trace in ["lease ", "record ", "interface ", "dnat to", "masquerade"] {
            let found = traces.iter().filter(|line| line.contains(trace)).count();
            ensure!(found > 0, "no {trace:?} in {traces:#?}");
        }
        test.kubectl.run([
            "delete",
            "pod",
            "--wait=false",
            "server",
            "client",
            "late-0",
            "late-1",
        ])?;
        for pod in ["server", "client", "late-0", "late-1"] {
            test.gone(pod).await?;
        }
        // A pod is gone for the cluster when its processes are; what the plugins did is undone before or right after.
        wait::blocking(PATIENCE, "nothing is left of the plugins' work", || {
            let left = node.plugins_traces()?;
            Ok(left.is_empty().then_some(()))
        })
        .with_context(|| format!("{:#?}", node.plugins_traces()))?;
        node.stop()
    });
}

/// Kills auraed in the middle of making pods' networks: each is made once in the end, and has one lease.
async fn starts_that_are_cut_off(test: &Test, node: &Node) -> anyhow::Result<()> {
    for (round, name) in ["late-0", "late-1"].into_iter().enumerate() {
        test.apply(&CLIENT.replace("name: client", &format!("name: {name}")))?;
        // When its network is being made: the plugins take some ten milliseconds, and a kubelet as many to begin.
        wait::blocking(PATIENCE, "it has begun", || {
            let traces = node.plugins_traces()?;
            let records = traces.iter().filter(|line| line.ends_with("-eth0.json"));
            Ok((records.count() > 2 + round).then_some(()))
        })?;
        node.kill_auraed();
        node.start_auraed()?;
        test.ready(name).await?;
    }
    wait::blocking(PATIENCE, "four pods have four leases", || {
        let traces = node.plugins_traces()?;
        let leases = traces.iter().filter(|line| line.starts_with("lease "));
        Ok((leases.count() == 4).then_some(()))
    })
}
