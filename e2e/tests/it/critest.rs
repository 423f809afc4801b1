//! critest over auraed with cri-shim: every specification that applies here passes, over either transport, and nothing is
//! left of what they made.
//!
//! One node a transport, in network namespaces of their own, so that both runs go on beside each other. docs/critest.md
//! lists what does not apply; a specification that finds a new reason not to apply is noticed here. What has to do with
//! networks is also tried on network plugins, what cgroups do on a kernel with cgroup v2 alone, and AppArmor on one that
//! has it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::critest::{Ground, Report, Transport};
use e2e::leftovers::Snapshot;
use e2e::node::Plugins;
use e2e::scratch::Scratch;
use e2e::skip::skipped;
use e2e::suite::{PATIENCE, ground, skip};
use e2e::{apparmor, home};
use serde_json::json;

use crate::crictl::{self, Crictl};
use crate::v2;

/// How many pass where AppArmor is missing; more where it is not.
const PASSED: usize = 107;
/// What has to do with networks, and how many that are.
const ON_PLUGINS: &str = "Networking|portforward|HostNetwork|should support network|sysctls";
const PASSED_ON_PLUGINS: usize = 11;
/// What the second kernel runs: what has to do with cgroups, and the rest of its kind.
const ON_CGROUP_V2: &str = "Container runtime|Container OOM|Multiple Containers|PodSandbox|Idempotence";
/// AppArmor's own specifications, and those of other confinement, which its default profile must not be in the way of.
const ON_APPARMOR: &str = "AppArmor|NamespaceOption|Streaming|stopping container";
const PASSED_ON_APPARMOR: usize = 22;
/// Says by what it is confined, and whether it may mount.
const CONFINED: &str =
    "cat /proc/self/attr/current; mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused";
/// Set where the second kernel runs the test.
const THERE: &str = "AURAE_E2E_APPARMOR";
/// On the second kernel, whose root is on an overlay itself.
const SCRATCH: &str = "mkdir -p /var/tmp/aurae-e2e && mount -t tmpfs -o mode=755 none /var/tmp/aurae-e2e";
/// The table in it.
const NOT_APPLICABLE: &str = include_str!("../../../docs/critest.md");

#[test]
fn critest_passes_over_spdy() {
    critest_passes("critest_passes_over_spdy", "critest-spdy", Transport::Spdy);
}

#[test]
fn critest_passes_over_websocket() {
    critest_passes(
        "critest_passes_over_websocket",
        "critest-ws",
        Transport::Websocket,
    );
}

#[test]
fn critest_passes_on_network_plugins() {
    if skip("critest_passes_on_network_plugins") {
        return;
    }
    marked(run_on_plugins());
}

/// Debian's plugins, whose host ports are iptables': those of today make theirs in the kubelet's suite.
fn run_on_plugins() -> anyhow::Result<()> {
    let ground = Ground::make(&ground().scratch, "critest-cni")?;
    let node = ground.node(Some(Plugins::Debian))?;
    let before = Snapshot::take(&node)?;
    let ended = AtomicBool::new(false);
    let (report, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                seen.extend(node.plugins_traces().unwrap_or_default());
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        let report = ground.run(&node.cri_socket(), Transport::Spdy, Some(ON_PLUGINS));
        ended.store(true, Ordering::Relaxed);
        (report, watching.join().unwrap_or_default())
    });
    check(&report?, PASSED_ON_PLUGINS)?;
    before.nothing_left(&node, PATIENCE)?;
    // What is nowhere to be seen in the end was there.
    for trace in [
        "lease 10.92.",
        "record ",
        "interface ",
        "chain CNI-DN-",
        "rule ip saddr 10.92.",
    ] {
        ensure!(
            seen.iter().any(|line| line.contains(trace)),
            "no {trace:?} in {seen:#?}"
        );
    }
    node.stop()
}

#[test]
fn critest_passes_on_cgroup_v2() {
    let name = "critest_passes_on_cgroup_v2";
    if skip(name) {
        return;
    }
    let Some(tool) = v2::tool(name) else { return };
    marked(run_on_cgroup_v2(&tool));
}

/// Keeps the logs of the run where a test fails.
fn marked(result: anyhow::Result<()>) {
    if let Err(error) = result {
        ground().scratch.mark_failed();
        panic!("{error:?}\n");
    }
}

/// The same program there; its scratch must be on a file system that can be overlay's upper one.
fn run_on_cgroup_v2(tool: &Path) -> anyhow::Result<()> {
    let program = home::product("e2e")?;
    let script = format!(
        "{SCRATCH} && {} critest --focus '{ON_CGROUP_V2}'",
        program.to_str().context("a path")?
    );
    v2::boot(&Command::new(tool), "3G", 600, &["sh", "-c", &script]).map(drop)
}

#[test]
fn critest_passes_with_apparmor() {
    let name = "critest_passes_with_apparmor";
    if skip(name) {
        return;
    }
    if apparmor::is_enabled() {
        run_with_apparmor().unwrap_or_else(|error| panic!("{error:?}\n"));
        return;
    }
    let Some(tool) = v2::tool(name) else { return };
    marked(run_where_apparmor_is(name, &tool));
}

/// This very test on a kernel that has it.
fn run_where_apparmor_is(name: &str, tool: &Path) -> anyhow::Result<()> {
    // There it is found missing only if it could not be had.
    ensure!(
        std::env::var_os(THERE).is_none(),
        "the kernel does not use AppArmor"
    );
    let Some(tool) = v2::with_apparmor(tool, &ground().scratch.path().join("apparmor"))? else {
        skipped(name, "the tool's kernel is not where it is known to keep it");
        return Ok(());
    };
    let this = std::env::current_exe()?;
    let script = format!(
        "{SCRATCH} && mount -t securityfs none /sys/kernel/security && \
         {THERE}=1 {} --exact critest::{name} --nocapture",
        this.to_str().context("a path")?
    );
    let said = v2::boot(&tool, "3G", 600, &["sh", "-c", &script])?;
    ensure!(said.contains("1 passed"), "{said}");
    Ok(())
}

/// critest's specifications of AppArmor, and what a container is confined by that asks for nothing in particular.
fn run_with_apparmor() -> anyhow::Result<()> {
    let scratch = Arc::new(Scratch::create("apparmor")?);
    let ground = Ground::make(&scratch, "critest-apparmor")?;
    let node = ground.node(None)?;
    let before = Snapshot::take(&node)?;
    let report = ground.run(&node.cri_socket(), Transport::Spdy, Some(ON_APPARMOR))?;
    check(&report, PASSED_ON_APPARMOR)?;
    let crictl = Crictl::new(&node, &scratch.path().join("crictl-files"))?;
    crictl.run(["pull", crictl::IMAGE])?;
    // With the capability to mount, so that nothing but the profile is in the way.
    let capabilities = json!({"add_capabilities": ["SYS_ADMIN"]});
    for (name, security, confined) in [
        ("default", json!({"capabilities": capabilities}), true),
        (
            "runtime-default",
            json!({"capabilities": capabilities, "apparmor": {"profile_type": 0}}),
            true,
        ),
        (
            "unconfined",
            json!({"capabilities": capabilities, "apparmor": {"profile_type": 1}}),
            false,
        ),
        ("privileged", json!({"privileged": true}), false),
    ] {
        let said = crictl.once(name, &security, &["sh", "-c", CONFINED])?;
        let expected = if confined {
            "aurae-default (enforce)\nrefused\n"
        } else {
            "unconfined\nmounted\n"
        };
        ensure!(said == expected, "{name}: {said}");
    }
    before.nothing_left(&node, PATIENCE)?;
    node.stop()
}

fn critest_passes(test: &str, name: &str, transport: Transport) {
    if skip(test) {
        return;
    }
    marked(run(name, transport));
}

fn run(name: &str, transport: Transport) -> anyhow::Result<()> {
    let ground = Ground::make(&ground().scratch, name)?;
    let node = ground.node(None)?;
    let before = Snapshot::take(&node)?;
    let report = ground.run(&node.cri_socket(), transport, None)?;
    check(&report, PASSED)?;
    before.nothing_left(&node, PATIENCE)?;
    node.stop()
}

fn check(report: &Report, passed: usize) -> anyhow::Result<()> {
    ensure!(
        report.failed.is_empty(),
        "{} specifications fail:\n{}",
        report.failed.len(),
        report.failures()
    );
    let listed = listed();
    let unlisted: Vec<_> = report
        .skipped
        .iter()
        .filter(|(name, _)| !listed.contains(name.as_str()))
        .collect();
    ensure!(unlisted.is_empty(), "docs/critest.md does not list {unlisted:#?}");
    ensure!(
        report.passed.len() >= passed,
        "only {} specifications pass: {:#?}",
        report.passed.len(),
        report.passed.keys()
    );
    Ok(())
}

/// The first column of the table.
fn listed() -> BTreeSet<&'static str> {
    let cells = NOT_APPLICABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(name, _)| name).collect()
}
