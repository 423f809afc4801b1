//! `kill -9` of auraed and of the node's agent under running pods: the pods run on, nothing that they said and no exit code
//! is lost, all come back and go on. And after everything is deleted nothing is left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::leftovers::{Snapshot, descriptors};
use e2e::node::{Agent, Node, Options};
use e2e::suite::{PATIENCE, Test};
use e2e::{pods, wait};
use k8s_openapi::api::core::v1::Pod;

use crate::on_cluster;

/// For what is taken away behind a deletion: kubelet looks for dead containers once a minute.
fn left(node: &Node) -> Duration {
    Duration::from_secs(match node.agent() {
        Agent::Bridge => 60,
        Agent::Kubelet => 180,
    })
}

const COUNTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  nodeName: '@node'
  terminationGracePeriodSeconds: 1
  containers:
  - {name: counter, image: '@busybox', command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo $i; usleep 5000; done']}
";

/// Ends with 42 when the file `go` appears in a directory of the node.
const ENDING: &str = "
apiVersion: v1
kind: Pod
metadata: {name: ending}
spec:
  nodeName: '@node'
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: signal, hostPath: {path: '@signal'}}]
  containers:
  - {name: ending, image: '@busybox', command: [sh, -c, 'until [ -e /signal/go ]; do usleep 10000; done; echo last words; exit 42'], volumeMounts: [{name: signal, mountPath: /signal}]}
";

fn apply(test: &Test, node: &Node, manifests: &str) -> anyhow::Result<()> {
    let signal = node.directory().join("signal");
    fs_err::create_dir_all(&signal)?;
    let manifests = manifests
        .replace("@node", node.name())
        .replace("@signal", &signal.display().to_string());
    test.apply(&manifests)
}

async fn join(test: &Test, name: &str) -> anyhow::Result<Node> {
    let options = Options::reserved(name).with(test.suite.node.agent());
    Node::join(&test.suite.cluster, options).await
}

/// The numbers that the counter has printed, which have to be 1, 2, 3, …
fn counted(test: &Test) -> anyhow::Result<u64> {
    let log = test.kubectl.run(["logs", "counter"])?;
    let mut last = 0;
    for line in log.lines() {
        let number: u64 = line.parse().with_context(|| format!("a torn line: {line:?}"))?;
        ensure!(number == last + 1, "{number} follows {last}");
        last = number;
    }
    Ok(last)
}

async fn counts_on(test: &Test, from: u64) -> anyhow::Result<u64> {
    wait::until(PATIENCE, "the counter goes on", async || {
        let now = counted(test)?;
        Ok((now > from + 20).then_some(now))
    })
    .await
}

/// Whether a process of the node's containers has this word in its command line.
fn runs(node: &Node, word: &str) -> bool {
    e2e::sweep::cgroups(node.cgroup_root()).iter().any(|cgroup| {
        let processes = fs_err::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|pid| {
            fs_err::read(Path::new("/proc").join(pid).join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
        })
    })
}

#[test]
fn pods_outlive_auraed() {
    on_cluster("pods_outlive_auraed", async |test| {
        let node = join(&test, "crash-auraed").await?;
        apply(&test, &node, &format!("{COUNTER}---{ENDING}"))?;
        let before = test.ready("counter").await?;
        test.ready("ending").await?;
        let seen = counts_on(&test, 0).await?;
        node.kill_auraed();
        ensure!(runs(&node, "usleep 5000"), "the counter ended with the daemon");
        // Its end happens while nobody but its own init is there to see it.
        fs_err::write(node.directory().join("signal/go"), "")?;
        wait::blocking(PATIENCE, "the other pod has ended", || {
            Ok((!runs(&node, "/signal/go")).then_some(()))
        })?;
        node.start_auraed()?;
        let ended = test
            .pod("ending", "its end is known", |pod| pods::phase(pod) == "Failed")
            .await?;
        let end = pods::terminated(&ended, "ending").context("no end")?;
        ensure!(
            end.exit_code == 42 && end.reason.as_deref() == Some("Error"),
            "{end:?}"
        );
        test.logs("ending", "last words\n").await?;
        counts_on(&test, seen).await?;
        same_run(&test, &before).await?;
        // It is the same node as before: exec, and new pods.
        ensure!(test.kubectl.run(["exec", "counter", "--", "echo", "here"])? == "here\n");
        apply(&test, &node, &COUNTER.replace("name: counter}", "name: later}"))?;
        test.ready("later").await?;
        delete_all(&test, &["counter", "ending", "later"]).await?;
        node.stop()
    });
}

/// The counter runs, and is the run that it was.
async fn same_run(test: &Test, before: &Pod) -> anyhow::Result<()> {
    let now = test
        .pod("counter", "the counter is Ready", |pod| pods::holds(pod, "Ready"))
        .await?;
    let id = |pod: &Pod| pods::container(pod, "counter").and_then(|container| container.container_id.clone());
    ensure!(id(&now) == id(before), "{:?} was {:?}", id(&now), id(before));
    ensure!(
        pods::restarts(&now, "counter") == 0 && pods::address(&now) == pods::address(before),
        "{:?}",
        now.status
    );
    Ok(())
}

async fn delete_all(test: &Test, names: &[&str]) -> anyhow::Result<()> {
    test.kubectl.run(
        ["delete", "pod", "--wait=false"]
            .into_iter()
            .chain(names.iter().copied()),
    )?;
    for name in names {
        test.gone(name).await?;
    }
    Ok(())
}

#[test]
fn pods_outlive_the_agent() {
    on_cluster("pods_outlive_the_agent", async |test| {
        let node = join(&test, "crash-agent").await?;
        apply(
            &test,
            &node,
            &format!(
                "{COUNTER}---{}",
                COUNTER.replace("name: counter}", "name: doomed}")
            ),
        )?;
        let before = test.ready("counter").await?;
        test.ready("doomed").await?;
        let seen = counts_on(&test, 0).await?;
        node.kill_agents();
        ensure!(runs(&node, "usleep 5000"), "the counter ended with the agent");
        // What the cluster wants meanwhile is done when the agent is back.
        test.kubectl.run(["delete", "pod", "doomed", "--wait=false"])?;
        apply(&test, &node, &COUNTER.replace("name: counter}", "name: later}"))?;
        node.start_agents()?;
        test.gone("doomed").await?;
        test.ready("later").await?;
        counts_on(&test, seen).await?;
        same_run(&test, &before).await?;
        node.kill_agents();
        node.kill_auraed();
        node.start_auraed()?;
        node.start_agents()?;
        counts_on(&test, seen).await?;
        same_run(&test, &before).await?;
        delete_all(&test, &["counter", "later"]).await?;
        node.stop()
    });
}

#[test]
fn starts_survive_crashes_in_their_middle() {
    on_cluster("starts_survive_crashes_in_their_middle", async |test| {
        let node = join(&test, "crash-start").await?;
        // Pull and warm first, so that the crashes fall into starts.
        apply(&test, &node, COUNTER)?;
        test.ready("counter").await?;
        let names: Vec<String> = (0..6).map(|number| format!("pod-{number}")).collect();
        for (round, name) in names.iter().enumerate() {
            apply(
                &test,
                &node,
                &COUNTER.replace("name: counter}", &format!("name: {name}}}")),
            )?;
            // Each round a little later in the start.
            std::thread::sleep(Duration::from_millis(round as u64 * 15));
            node.kill_auraed();
            node.start_auraed()?;
        }
        for name in &names {
            test.ready(name).await?;
        }
        counted(&test)?;
        let all: Vec<&str> = names.iter().map(String::as_str).chain(["counter"]).collect();
        delete_all(&test, &all).await?;
        node.stop()
    });
}

#[test]
fn nothing_is_left() {
    on_cluster("nothing_is_left", async |test| {
        let node = join(&test, "tidy").await?;
        fs_err::create_dir_all(node.directory().join("signal"))?;
        let before = Snapshot::take(&node)?;
        let daemon = || {
            node.programs()
                .iter()
                .find(|(name, _)| *name == "auraed")
                .map(|(_, pid)| *pid)
        };
        apply(&test, &node, MANY)?;
        for name in ["plain", "rich"] {
            test.ready(name).await?;
        }
        delete_all(&test, &["plain", "rich", "done"]).await?;
        before.nothing_left(&node, left(&node))?;
        // What is opened once and kept is no leak.
        let open = descriptors(daemon().context("auraed does not run")?)?;
        // Each costs a kubelet a minute: once is enough to see that it opens nothing more.
        let rounds = match node.agent() {
            Agent::Bridge => 2,
            Agent::Kubelet => 1,
        };
        for _round in 0..rounds {
            apply(&test, &node, MANY)?;
            test.ready("rich").await?;
            test.pod("done", "it ends", |pod| pods::phase(pod) == "Succeeded")
                .await?;
            ensure!(
                Snapshot::take(&node)? != before,
                "the snapshot sees nothing of running pods"
            );
            delete_all(&test, &["plain", "rich", "done"]).await?;
            before.nothing_left(&node, left(&node))?;
        }
        // A crash in the middle leaves nothing either.
        apply(&test, &node, MANY)?;
        test.ready("rich").await?;
        node.kill_auraed();
        node.kill_agents();
        node.start_auraed()?;
        node.start_agents()?;
        delete_all(&test, &["plain", "rich", "done"]).await?;
        before.nothing_left(&node, left(&node))?;
        // Who asked is not gone at once.
        wait::until(PATIENCE, "descriptors are closed", async || {
            let now = descriptors(daemon().context("auraed does not run")?)?;
            ensure!(now <= open + 3, "{now} descriptors are open, {open} were");
            Ok(Some(()))
        })
        .await?;
        node.stop()?;
        // And the daemon itself can be taken away.
        node.cleanup()?;
        let left = e2e::leftovers::of_daemon(&node)?;
        ensure!(left.is_empty(), "after `auraed cleanup --everything`:\n{left}");
        Ok(())
    });
}

/// Every kind of thing that a pod may bring to a machine.
const MANY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  nodeName: '@node'
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: '@busybox', command: [sleep, '3600']}
---
apiVersion: v1
kind: Pod
metadata: {name: rich}
spec:
  nodeName: '@node'
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: token, projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
  containers:
  - name: main
    image: '@busybox'
    command: [sh, -c, 'sleep 3600 & sleep 3600 & echo started; sleep 3600']
    ports: [{containerPort: 80, hostPort: 19080}]
    resources: {limits: {memory: 64Mi, cpu: 100m}}
    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}, {name: token, mountPath: /token}]
  - {name: crashing, image: '@busybox', command: [sh, -c, '[ -e /disk/ran ] && exec sleep 3600; touch /disk/ran; exit 1'], volumeMounts: [{name: disk, mountPath: /disk}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done}
spec:
  nodeName: '@node'
  restartPolicy: Never
  containers:
  - {name: main, image: '@busybox', command: ['true']}
";
