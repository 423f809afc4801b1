//! Pods and sandboxes whose networks plugins make: the reference bridge with host-local, and one that writes down what it
//! is told.

use crate::machine::{Machine, PATIENCE, skipped};
use crate::node::{Node, pod, shell};
use auraed_api::observe::v0::GetNodeRequest;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::RestartPolicy;
use auraed_api::schedule::v0::PodStatus;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where cargo xtask setup puts the reference plugins.
fn reference_plugins() -> Option<PathBuf> {
    let cache = match std::env::var_os("AURAE_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/aurae"),
    };
    let plugins = cache.join("debian/cni/usr/lib/cni");
    plugins.join("bridge").is_file().then_some(plugins)
}

/// A machine whose daemon, not started yet, finds the plugins, with a network mode.
fn machine(test: &str, mode: &str) -> Option<Machine> {
    let Some(reference) = reference_plugins() else {
        let required = std::env::var_os("AURAE_E2E_REQUIRED").is_some();
        assert!(!required, "{test} needs the reference plugins: cargo xtask setup");
        skipped(test, "needs the reference plugins: cargo xtask setup");
        return None;
    };
    let machine = Machine::new(test)?;
    let bin = machine.path("bin");
    for directory in [&bin, &machine.path("net.d")] {
        fs_err::create_dir(directory).unwrap();
    }
    let config = format!(
        "[network]\nmode = \"{mode}\"\ncni_bin_dirs = [{:?}, {:?}]\n",
        bin.display().to_string(),
        reference.display().to_string()
    );
    fs_err::write(machine.path("auraed.toml"), config).unwrap();
    plugin(
        &machine,
        "recorder",
        r#"input=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID netns=[$(readlink $CNI_NETNS)] $CNI_ARGS $input" >> $here/calls
[ $CNI_COMMAND = STATUS ] && [ -e $here/broken ] && { echo '{"code": 50, "msg": "the agent is away"}'; exit 1; }
[ $CNI_COMMAND = ADD ] && [ -e $here/stuck ] && { echo $$ > $here/pid; mkfifo $here/never; cat $here/never; }
[ $CNI_COMMAND = ADD ] && echo "$input" | sed 's/.*"prevResult"://; s/,"runtimeConfig":.*//; s/,"type":"recorder".*//'
exit 0"#,
    );
    Some(machine)
}

fn plugin(machine: &Machine, name: &str, script: &str) {
    // By another process: a descriptor of ours that another test's child has would make it busy.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(machine.path("bin").join(name))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("#!/bin/sh\nhere={}\n{script}\n", machine.path("").display());
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

fn configure(machine: &Machine, version: &str) {
    let leases = machine.path("leases");
    let list = format!(
        r#"{{"cniVersion": "{version}", "name": "net", "plugins": [
  {{"type": "bridge", "bridge": "cni-it0", "isGateway": true,
    "ipam": {{"type": "host-local", "dataDir": "{}", "subnet": "10.124.0.0/24",
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "recorder", "capabilities": {{"portMappings": true, "bandwidth": true, "dns": true}}}}]}}"#,
        leases.display()
    );
    fs_err::write(machine.path("net.d/10-net.conflist"), list).unwrap();
}

fn leases(machine: &Machine) -> usize {
    let entries = fs_err::read_dir(machine.path("leases/net")).map(|entries| entries.flatten().collect());
    let entries: Vec<_> = entries.unwrap_or_default();
    let names = entries
        .iter()
        .map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("10.")).count()
}

fn records(machine: &Machine) -> usize {
    let entries = fs_err::read_dir(machine.path("state/cni/results")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .count()
}

fn calls(machine: &Machine, of: &str) -> Vec<String> {
    let calls = fs_err::read_to_string(machine.path("calls")).unwrap_or_default();
    let calls = calls.lines().filter(|line| line.starts_with(of));
    calls.map(str::to_owned).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

fn address(status: &PodStatus) -> String {
    status.sandbox.as_ref().unwrap().addresses[0].clone()
}

fn sleeper() -> Vec<api::Container> {
    vec![shell("main", "exec sleep 1000")]
}

/// The plugins' bridge is theirs: auraed leaves it.
async fn finish(node: Node) {
    let deleted = node
        .machine
        .inside("ip")
        .args(["link", "delete", "cni-it0"])
        .status();
    assert!(deleted.unwrap().success());
    node.finish().await;
}

fn sandbox(id: &str) -> api::SandboxSpec {
    api::SandboxSpec {
        id: id.into(),
        name: format!("name-of-{id}"),
        namespace: "tests".into(),
        uid: format!("uid-of-{id}"),
        ..api::SandboxSpec::default()
    }
}

async fn make(node: &Node, spec: api::SandboxSpec) -> Result<api::SandboxStatus, tonic::Status> {
    let request = api::CreateSandboxRequest { spec: Some(spec) };
    let made = node.client.sandboxes().create_sandbox(request).await?;
    Ok(made.into_inner().sandbox.unwrap())
}

async fn discard(node: &Node, id: &str) {
    let request = api::RemoveSandboxRequest { id: id.into() };
    node.client.sandboxes().remove_sandbox(request).await.unwrap();
}

#[tokio::test]
async fn a_configuration_counts_from_the_moment_that_it_is_there() {
    let name = "a_configuration_counts_from_the_moment_that_it_is_there";
    let Some(mut machine) = machine(name, "auto") else {
        return;
    };
    machine.start().await;
    let Some(mut node) = Node::on(machine).await else {
        return;
    };
    node.run(pod("first", RestartPolicy::Always, sleeper())).await;
    assert!(address(&node.until_running("first").await).starts_with("10.88."));
    configure(&node.machine, "1.0.0");
    node.run(pod("second", RestartPolicy::Always, sleeper())).await;
    let second = node.until_running("second").await;
    assert!(address(&second).starts_with("10.124.0."));
    let inside = node
        .exec("second", &["busybox", "ip", "-o", "address"])
        .await
        .stdout;
    assert!(
        inside.contains(&format!("inet {}/24", address(&second))),
        "{inside}"
    );
    assert!(
        inside.contains("inet 127.0.0.1/8"),
        "the loopback is up: {inside}"
    );
    assert_eq!((leases(&node.machine), records(&node.machine)), (1, 1));

    // Each goes the way that it came, whatever is configured then and whoever was killed.
    node.machine.kill().await;
    fs_err::remove_file(node.machine.path("net.d/10-net.conflist")).unwrap();
    node.restart().await;
    let again = node.until_running("second").await;
    assert_eq!(address(&again), address(&second), "it runs on");
    node.run(pod("third", RestartPolicy::Always, sleeper())).await;
    assert!(address(&node.until_running("third").await).starts_with("10.88."));
    for pod in ["first", "second", "third"] {
        node.remove(pod).await;
    }
    assert_eq!((leases(&node.machine), records(&node.machine)), (0, 0));
    let ends = calls(&node.machine, "DEL");
    assert!(
        ends.len() == 1 && ends[0].contains("netns=[net:["),
        "the namespace was still there: {ends:?}"
    );
    finish(node).await;
}

#[tokio::test]
async fn a_subnet_that_becomes_the_plugins_is_given_up() {
    let name = "a_subnet_that_becomes_the_plugins_is_given_up";
    let Some(mut machine) = machine(name, "auto") else {
        return;
    };
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let assign = async || {
        let request = api::AssignPodSubnetsRequest {
            subnets: vec!["10.124.0.0/24".into()],
        };
        let assigned = node.client.runtime().assign_pod_subnets(request).await;
        assigned.unwrap().into_inner().r#use()
    };
    let gateways = || {
        let mut list = node.machine.inside("ip");
        let list = list.args(["-4", "-o", "address"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let lines = list.lines().filter(|line| line.contains("10.124.0.1/24"));
        lines
            .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(assign().await, api::PodSubnetUse::Served);
    assert_eq!(gateways(), ["aurae-it"]);
    // Their bridge is of the very subnet that the cluster assigned, as many networks' are.
    configure(&node.machine, "1.0.0");
    make(&node, sandbox("s")).await.unwrap();
    assert_eq!(gateways(), ["cni-it0"]);
    assert_eq!(assign().await, api::PodSubnetUse::Plugins);
    assert_eq!(gateways(), ["cni-it0"]);
    discard(&node, "s").await;
    finish(node).await;
}

#[tokio::test]
async fn without_a_configuration_the_network_is_not_ready_where_plugins_are_wanted() {
    let name = "without_a_configuration_the_network_is_not_ready_where_plugins_are_wanted";
    let Some(mut machine) = machine(name, "cni") else {
        return;
    };
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let problems = async || {
        let facts = node.client.observe().get_node(GetNodeRequest {}).await.unwrap();
        facts.into_inner().problems
    };
    let message = format!(
        "cni plugin not initialized: no usable configuration in {}",
        node.machine.path("net.d").display()
    );
    assert_eq!(problems().await, [message.as_str()]);
    let runtime = node
        .client
        .runtime()
        .get_runtime(api::GetRuntimeRequest {})
        .await
        .unwrap();
    let runtime = runtime.into_inner();
    assert_eq!(
        (runtime.network_ready, &runtime.network_message),
        (false, &message)
    );
    let refused = make(&node, sandbox("s")).await.unwrap_err();
    assert!(refused.message().contains(&message), "{refused:?}");
    assert!(
        !node.machine.log().contains("aurae-it"),
        "the embedded network is not set up"
    );

    fs_err::write(node.machine.path("net.d/05-bad.conflist"), "{").unwrap();
    assert!(problems().await[0].contains("05-bad.conflist: it is not a JSON object"));
    configure(&node.machine, "1.0.0");
    assert_eq!(problems().await, Vec::<String>::new());
    let made = make(&node, sandbox("s")).await.unwrap();
    assert!(made.addresses[0].starts_with("10.124.0."));
    discard(&node, "s").await;
    finish(node).await;
}

#[tokio::test]
async fn plugins_say_whether_they_are_ready() {
    let Some(mut machine) = machine("plugins_say_whether_they_are_ready", "auto") else {
        return;
    };
    // The reference plugins of today do not know the verb.
    let list = r#"{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "recorder"}]}"#;
    fs_err::write(machine.path("net.d/10-net.conflist"), list).unwrap();
    fs_err::write(machine.path("broken"), "").unwrap();
    machine.start().await;
    let client = machine.client().await;
    let facts = client
        .observe()
        .get_node(GetNodeRequest {})
        .await
        .unwrap()
        .into_inner();
    let expected =
        "cni plugin not initialized: the network plugin \"recorder\" failed (STATUS): the agent is away";
    assert_eq!(facts.problems, [expected]);
    assert_eq!(facts.pod_subnet, "", "whose addresses are the plugins'");
    fs_err::remove_file(machine.path("broken")).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let facts = client
        .observe()
        .get_node(GetNodeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(facts.problems, Vec::<String>::new());
    machine.finish().await;
}

#[tokio::test]
async fn plugins_are_told_what_a_sandbox_wants() {
    let Some(mut machine) = machine("plugins_are_told_what_a_sandbox_wants", "auto") else {
        return;
    };
    configure(&machine, "1.0.0");
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let mut spec = sandbox("s");
    spec.network_arguments
        .insert("K8S_POD_NAME".into(), "another".into());
    spec.network_arguments.insert("X".into(), "y".into());
    spec.ingress_bandwidth = 1000;
    spec.dns = Some(api::SandboxDns {
        servers: vec!["192.0.2.53".into()],
        ..api::SandboxDns::default()
    });
    spec.ports.push(api::SandboxPort {
        protocol: api::Protocol::Udp.into(),
        container_port: 53,
        host_port: 5353,
        host_address: "127.0.0.1".into(),
    });
    let made = make(&node, spec).await.unwrap();
    assert_eq!(made.addresses.len(), 1);
    let told = calls(&node.machine, "ADD s").pop().unwrap();
    let arguments = "IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=s;K8S_POD_NAME=another;K8S_POD_NAMESPACE=tests;K8S_POD_UID=uid-of-s;X=y";
    assert!(told.contains(arguments), "{told}");
    let wanted = r#""runtimeConfig":{"bandwidth":{"ingressBurst":4294967295,"ingressRate":1000},"dns":{"servers":["192.0.2.53"]},"portMappings":[{"containerPort":53,"hostIP":"127.0.0.1","hostPort":5353,"protocol":"udp"}]}"#;
    assert!(told.contains(wanted), "{told}");

    // Its pod init is killed: what plugins made by its addresses still goes.
    kill_process(Pid::from_raw(made.pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    discard(&node, "s").await;
    let ends = calls(&node.machine, "DEL s");
    assert!(ends.len() == 1 && ends[0].contains("netns=[net:["), "{ends:?}");
    assert!(
        ends[0].contains(arguments) && ends[0].contains(wanted),
        "as it was told then: {ends:?}"
    );
    assert_eq!((leases(&node.machine), records(&node.machine)), (0, 0));
    finish(node).await;
}

#[tokio::test]
async fn cleanup_takes_down_what_plugins_made() {
    let Some(mut machine) = machine("cleanup_takes_down_what_plugins_made", "auto") else {
        return;
    };
    configure(&machine, "1.0.0");
    machine.start().await;
    let Some(mut node) = Node::on(machine).await else {
        return;
    };
    node.run(pod("pod", RestartPolicy::Always, sleeper())).await;
    node.until_running("pod").await;
    make(&node, sandbox("s")).await.unwrap();
    node.machine.kill().await;
    // Whoever cleans up may have taken the configuration away before.
    fs_err::remove_file(node.machine.path("net.d/10-net.conflist")).unwrap();
    assert_eq!(leases(&node.machine), 2);
    let output = node.machine.run(&["cleanup", "--grace", "0"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!((leases(&node.machine), records(&node.machine)), (0, 0));
    finish(node).await;
}

#[tokio::test]
async fn a_user_namespaces_network_is_made_by_plugins_too() {
    let name = "a_user_namespaces_network_is_made_by_plugins_too";
    let Some(mut machine) = machine(name, "auto") else {
        return;
    };
    configure(&machine, "1.0.0");
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let mapping = vec![api::IdMapping {
        host_id: 200_000,
        container_id: 0,
        length: 65_536,
    }];
    let mut spec = sandbox("s");
    spec.user_namespace = Some(api::UserNamespace {
        uids: mapping.clone(),
        gids: mapping,
    });
    let made = make(&node, spec).await.unwrap();
    let inside = node
        .machine
        .inside("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", made.pid))
        .args(["ip", "-o", "address"])
        .output()
        .unwrap();
    let inside = String::from_utf8(inside.stdout).unwrap();
    assert!(
        inside.contains(&format!("inet {}/24", made.addresses[0])),
        "{inside}"
    );
    assert!(inside.contains("inet 127.0.0.1/8"), "{inside}");
    let of = |process: &str, kind: &str| fs_err::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    assert_ne!(of(&made.pid.to_string(), "net"), of("self", "net"));
    discard(&node, "s").await;
    assert_eq!((leases(&node.machine), records(&node.machine)), (0, 0));
    finish(node).await;
}

#[tokio::test]
async fn a_daemon_killed_while_plugins_work_leaves_nothing() {
    let Some(mut machine) = machine("a_daemon_killed_while_plugins_work_leaves_nothing", "auto") else {
        return;
    };
    configure(&machine, "1.0.0");
    fs_err::write(machine.path("stuck"), "").unwrap();
    machine.start().await;
    let Some(mut node) = Node::on(machine).await else {
        return;
    };
    let client = node.client.clone();
    let making = tokio::spawn(async move {
        let request = api::CreateSandboxRequest {
            spec: Some(sandbox("s")),
        };
        client.sandboxes().create_sandbox(request).await
    });
    let place = node.machine.path("");
    until("the plugin is stuck", || place.join("never").exists()).await;
    assert_eq!((leases(&node.machine), records(&node.machine)), (1, 1));
    node.machine.kill().await;
    assert!(making.await.unwrap().is_err());
    let plugin = fs_err::read_to_string(place.join("pid")).unwrap();
    let plugin = PathBuf::from(format!("/proc/{}/stat", plugin.trim()));
    assert!(plugin.exists(), "it works on for a daemon that is gone");
    fs_err::remove_file(place.join("stuck")).unwrap();
    node.restart().await;
    until("it is taken back", || records(&node.machine) == 0).await;
    // A zombie, as long as whoever inherited it does not look.
    let state = fs_err::read_to_string(&plugin).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert_eq!(leases(&node.machine), 0);
    let made = make(&node, sandbox("s")).await.unwrap();
    assert!(made.addresses[0].starts_with("10.124.0."));

    // Killed again, with the sandbox's init: its network is taken down at the next start.
    node.machine.kill().await;
    kill_process(Pid::from_raw(made.pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    node.restart().await;
    discard(&node, "s").await;
    assert_eq!((leases(&node.machine), records(&node.machine)), (0, 0));
    finish(node).await;
}
