//! Pods' traffic: to each other, to the API server, through host ports; names.

use anyhow::ensure;
use e2e::node::{Node, Options};
use e2e::suite::PATIENCE;
use e2e::{pods, wait};

use crate::on_cluster;

#[test]
fn pods_reach_each_other() {
    on_cluster("pods_reach_each_other", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: server, image: '@agnhost', args: [netexec, --http-port=8080], ports: [{containerPort: 8080, hostPort: 18080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: client, image: '@busybox', command: [sleep, '3600']}
",
        )?;
        let server = test.ready("server").await?;
        let client = test.ready("client").await?;
        let fetch = |url: &str| {
            test.kubectl
                .run(["exec", "client", "--", "timeout", "10", "wget", "-qO-", url])
        };
        let listens = wait::until(PATIENCE, "the server listens", async || {
            fetch(&format!("http://{}:8080/hostname", pods::address(&server))).map(Some)
        });
        ensure!(listens.await? == "server");
        // The server sees the pod's own address, not the node's.
        let seen = fetch(&format!("http://{}:8080/clientip", pods::address(&server)))?;
        ensure!(
            seen.starts_with(&format!("{}:", pods::address(&client))),
            "the server saw {seen}"
        );
        // Through the node's port: from the node, and from a pod.
        let url = format!("http://{}:18080/hostname", test.suite.node.address());
        ensure!(
            test.suite
                .node
                .network()
                .run(["curl", "-sSf", "--max-time", "10", &url])?
                == "server"
        );
        ensure!(fetch(&url)? == "server");
        Ok(())
    });
}

#[test]
fn a_pod_reaches_the_api_server() {
    on_cluster("a_pod_reaches_the_api_server", async |test| {
        // Uses what every pod is given: the service's address, the token, the root certificate.
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: in-cluster}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: in-cluster, image: '@agnhost', args: [inclusterclient, --poll-interval=1]}
",
        )?;
        test.ready("in-cluster").await?;
        let answered = wait::until(PATIENCE, "the API server answers the pod", async || {
            let log = test.kubectl.run(["logs", "in-cluster"])?;
            Ok(log.contains("authz_header").then_some(log))
        });
        let log = answered.await?;
        ensure!(!log.contains("error"), "{log}");
        Ok(())
    });
}

#[test]
fn names_and_host_files() {
    on_cluster("names_and_host_files", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: named}
spec:
  restartPolicy: Never
  hostname: other
  subdomain: place
  hostAliases: [{ip: 10.1.2.3, hostnames: [alias.example]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [10.96.0.53], searches: [example.test], options: [{name: ndots, value: '2'}]}
  containers:
  - {name: named, image: '@busybox', command: [sh, -c, 'hostname; cat /etc/hosts /etc/resolv.conf']}
---
apiVersion: v1
kind: Pod
metadata: {name: on-host}
spec:
  restartPolicy: Never
  hostNetwork: true
  containers:
  - {name: on-host, image: '@busybox', command: [ip, -o, addr]}
",
        )?;
        let pod = test
            .pod("named", "it ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let log = test.kubectl.run(["logs", "named"])?;
        let full = format!("other.place.{}.svc.cluster.local", test.namespace);
        ensure!(log.starts_with("other\n"), "{log}");
        for wanted in [
            "alias.example",
            "nameserver 10.96.0.53",
            "search example.test",
            "options ndots:2",
            full.as_str(),
            pods::address(&pod),
        ] {
            ensure!(log.contains(wanted), "{wanted} is not in:\n{log}");
        }
        let host = test
            .pod("on-host", "it ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let address = test.suite.node.address().to_string();
        ensure!(pods::address(&host) == address, "{:?}", host.status);
        ensure!(test.kubectl.run(["logs", "on-host"])?.contains(&address));
        Ok(())
    });
}

/// The agent hands the subnet that the cluster assigned to the node on to auraed.
#[test]
fn pods_get_addresses_of_the_nodes_own_subnet() {
    on_cluster("pods_get_addresses_of_the_nodes_own_subnet", async |test| {
        let options = Options::reserved("subnet").with(test.suite.node.agent());
        let node = Node::join(&test.suite.cluster, options).await?;
        node.kill_agents();
        node.kill_auraed();
        // One that the configuration names would count.
        let config = fs_err::read_to_string(node.config())?;
        let unnamed: Vec<_> = config
            .lines()
            .filter(|line| !line.starts_with("subnet = "))
            .collect();
        fs_err::write(node.config(), unnamed.join("\n"))?;
        node.start_auraed()?;
        let spec =
            r#"{"spec": {"podCIDR": "10.246.0.0/24", "podCIDRs": ["10.246.0.0/24", "fd00:246::/64"]}}"#;
        test.kubectl.run(["patch", "node", node.name(), "-p", spec])?;
        node.start_agents()?;
        let told = wait::until(PATIENCE, "auraed knows the node's subnet", async || {
            let facts = node.aurae(["node"])?;
            Ok(facts.contains("10.246.0.0/24").then_some(()))
        });
        told.await?;
        let pod = "
apiVersion: v1
kind: Pod
metadata: {name: assigned}
spec:
  nodeName: '@node'
  terminationGracePeriodSeconds: 1
  containers:
  - {name: assigned, image: '@busybox', command: [sleep, '3600']}
";
        test.apply(&pod.replace("@node", node.name()))?;
        let pod = test.ready("assigned").await?;
        ensure!(pods::address(&pod).starts_with("10.246.0."), "{:?}", pod.status);
        test.kubectl.run(["delete", "pod", "assigned", "--wait=false"])?;
        test.gone("assigned").await?;
        node.stop()?;
        node.cleanup()
    });
}
