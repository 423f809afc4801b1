//! The network that the daemon makes itself: subnets that the cluster assigns to the node, and limits of bandwidth.

use crate::machine::{Machine, text};
use crate::node::{Node, pod, shell};
use auraed_api::observe::v0::GetNodeRequest;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::{PodSubnetUse, RestartPolicy};
use auraed_client::Client;
use tonic::{Code, Status};

async fn assign(client: &Client, subnets: &[&str]) -> Result<api::AssignPodSubnetsResponse, Status> {
    let request = api::AssignPodSubnetsRequest {
        subnets: subnets.iter().map(|&subnet| subnet.to_owned()).collect(),
    };
    Ok(client.runtime().assign_pod_subnets(request).await?.into_inner())
}

async fn served(client: &Client, subnet: &str) {
    let assigned = assign(client, &[subnet]).await.unwrap();
    assert_eq!(assigned.r#use(), PodSubnetUse::Served);
    assert_eq!(told(client).await, subnet);
}

async fn told(client: &Client) -> String {
    let facts = client.observe().get_node(GetNodeRequest {}).await.unwrap();
    facts.into_inner().pod_subnet
}

/// Its address; it serves its host name from then on.
async fn server(node: &Node, name: &str) -> String {
    let container = shell("main", "httpd -p 80 -h /etc && echo up && exec sleep 1000");
    node.run(pod(name, RestartPolicy::Always, vec![container])).await;
    let status = node.until_running(name).await;
    node.until_log(name, "main", "up").await;
    status.sandbox.unwrap().addresses.remove(0)
}

async fn reaches(node: &Node, from: &str, to: &str, name: &str) {
    // A static busybox's wget looks names up, also of addresses, and cannot.
    let script = format!("printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {to} 80");
    let answer = node.exec(from, &["sh", "-c", &script]).await;
    assert_eq!(
        answer.stdout.lines().last(),
        Some(name),
        "{from} to {to}: {answer:?}"
    );
}

fn bridge(machine: &Machine) -> Vec<String> {
    let list = machine
        .inside("ip")
        .args(["-4", "-o", "address", "show", "dev", "aurae-it"])
        .output()
        .unwrap();
    let mut addresses: Vec<_> = text(&list.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned))
        .collect();
    addresses.sort_unstable();
    addresses
}

fn on_machine(machine: &Machine, program: &str, arguments: &[&str]) -> String {
    let output = machine.inside(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn pods_keep_their_addresses_when_the_cluster_assigns_a_subnet() {
    let Some(mut node) = Node::new("pods_keep_their_addresses_when_the_cluster_assigns_a_subnet").await
    else {
        return;
    };
    assert_eq!(told(&node.client).await, "10.88.0.0/16");
    let old = server(&node, "old").await;
    served(&node.client, "10.244.3.0/24").await;
    let new = server(&node, "new").await;
    assert!(
        old.starts_with("10.88.") && new.starts_with("10.244.3."),
        "{old} {new}"
    );
    assert_eq!(bridge(&node.machine), ["10.244.3.1/24", "10.88.0.1/16"]);
    let all_reach = async |node: &Node| {
        reaches(node, "old", &new, "new").await;
        reaches(node, "new", &old, "old").await;
    };
    all_reach(&node).await;

    // A crash with the bridge as it was before, as if the subnet had been written down and no more.
    node.machine.kill().await;
    for arguments in [
        ["address", "flush", "dev", "aurae-it"],
        ["route", "flush", "table", "main"],
    ] {
        on_machine(&node.machine, "ip", &arguments);
    }
    node.restart().await;
    assert_eq!(told(&node.client).await, "10.244.3.0/24");
    all_reach(&node).await;
    served(&node.client, "10.244.3.0/24").await;

    // The last one of a subnet takes it along; the current one stays.
    node.remove("old").await;
    assert_eq!(bridge(&node.machine), ["10.244.3.1/24"]);
    node.remove("new").await;
    assert_eq!(bridge(&node.machine), ["10.244.3.1/24"]);
    node.finish().await;
}

#[tokio::test]
async fn a_daemon_killed_while_a_subnet_is_assigned_has_the_one_or_the_other() {
    let name = "a_daemon_killed_while_a_subnet_is_assigned_has_the_one_or_the_other";
    let Some(mut node) = Node::new(name).await else {
        return;
    };
    let old = server(&node, "old").await;
    let mut before = told(&node.client).await;
    for round in 0..6_u8 {
        let wanted = format!("10.244.{round}.0/24");
        let (client, subnet) = (node.client.clone(), wanted.clone());
        let assigning = tokio::spawn(async move { assign(&client, &[&subnet]).await });
        tokio::time::sleep(std::time::Duration::from_micros(700 * u64::from(round))).await;
        node.machine.kill().await;
        let answered = assigning.await.unwrap().is_ok();
        node.restart().await;
        let now = told(&node.client).await;
        assert!(
            now == wanted || (now == before && !answered),
            "{now} after {before}, {wanted}"
        );
        served(&node.client, &wanted).await;
        before = wanted;
    }
    let new = server(&node, "new").await;
    assert!(new.starts_with("10.244.5."), "{new}");
    reaches(&node, "new", &old, "old").await;
    assert_eq!(bridge(&node.machine), ["10.244.5.1/24", "10.88.0.1/16"]);
    node.finish().await;
}

#[tokio::test]
async fn what_cannot_be_assigned_is_refused_and_changes_nothing() {
    let Some(mut machine) = Machine::new("what_cannot_be_assigned_is_refused_and_changes_nothing") else {
        return;
    };
    machine.start().await;
    on_machine(&machine, "ip", &["address", "add", "10.50.7.9/32", "dev", "lo"]);
    let client = machine.client().await;
    for (subnets, reason) in [
        (&[][..], "there is no subnet"),
        (&[""], "is no subnet in CIDR form"),
        (&["10.244.0.0"], "is no subnet in CIDR form"),
        (&["10.244.0.0/31"], "the prefix must be between 8 and 30"),
        (
            &["10.244.0.0/24", "10.245.0.0/24"],
            "more than one subnet of a family",
        ),
        (&["fd00:3::/64"], "there is no IPv4 subnet"),
        (&["127.0.0.0/24"], "a meaning of their own"),
        (
            &["10.50.0.0/16"],
            "the node's own address 10.50.7.9 of interface lo",
        ),
        (&["10.1.0.0/24"; 17], "too many"),
    ] {
        let refused = assign(&client, subnets).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{subnets:?}: {refused:?}");
        assert!(refused.message().contains(reason), "{subnets:?}: {refused:?}");
    }
    assert_eq!(told(&client).await, "10.88.0.0/16");
    assert_eq!(bridge(&machine), ["10.88.0.1/16"]);
    let assigned = assign(&client, &["fd00:3::/64", "10.244.3.0/24"]).await.unwrap();
    assert_eq!(assigned.r#use(), PodSubnetUse::Served);
    assert_eq!(assigned.unused, ["fd00:3::/64"]);
    assert_eq!(bridge(&machine), ["10.244.3.1/24"]);
    machine.finish().await;
}

#[tokio::test]
async fn an_address_that_a_pod_has_is_not_taken_for_the_gateway() {
    let Some(node) = Node::new("an_address_that_a_pod_has_is_not_taken_for_the_gateway").await else {
        return;
    };
    let pod = server(&node, "pod").await;
    assert_eq!(pod, "10.88.0.2");
    // Pods have .2 to .6 after a while: one has what would be the gateway's of 10.88.0.4/30.
    for name in ["b", "c", "d"] {
        server(&node, name).await;
    }
    let refused = assign(&node.client, &["10.88.0.4/30"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(
        refused
            .message()
            .contains("10.88.0.4/30 needs the address 10.88.0.4, which c has"),
        "{refused:?}"
    );
    for name in ["c", "d"] {
        node.remove(name).await;
    }
    served(&node.client, "10.88.0.4/30").await;
    // What the older subnet needs and what pods have of it is not given.
    assert_eq!(server(&node, "e").await, "10.88.0.6");
    reaches(&node, "e", &pod, "pod").await;
    node.finish().await;
}

#[tokio::test]
async fn who_decides_about_addresses_is_told() {
    for (name, config, wanted) in [
        ("named", "subnet = \"10.60.0.0/24\"", PodSubnetUse::Configured),
        ("plugins", "mode = \"cni\"", PodSubnetUse::Plugins),
        ("none", "mode = \"none\"", PodSubnetUse::NoNetwork),
    ] {
        let Some(mut machine) = Machine::new("who_decides_about_addresses_is_told") else {
            return;
        };
        fs_err::write(machine.path("auraed.toml"), format!("[network]\n{config}\n")).unwrap();
        machine.start().await;
        let client = machine.client().await;
        let before = told(&client).await;
        let assigned = assign(&client, &["10.244.3.0/24"]).await.unwrap();
        assert_eq!(assigned.r#use(), wanted, "{name}");
        assert_eq!(told(&client).await, before, "{name}");
        if wanted == PodSubnetUse::Configured {
            assert_eq!(assigned.configured, "10.60.0.0/24");
            served(&client, "10.60.0.0/24").await;
        }
        machine.finish().await;
    }
}

#[tokio::test]
async fn a_subnet_that_is_named_wins_over_an_assigned_one_as_long_as_it_is_named() {
    let name = "a_subnet_that_is_named_wins_over_an_assigned_one_as_long_as_it_is_named";
    let Some(mut machine) = Machine::new(name) else {
        return;
    };
    machine.start().await;
    served(&machine.client().await, "10.244.3.0/24").await;
    for (config, subnet) in [
        ("[network]\nsubnet = \"10.60.0.0/24\"\n", "10.60.0.0/24"),
        ("", "10.244.3.0/24"),
    ] {
        machine.stop().await;
        fs_err::write(machine.path("auraed.toml"), config).unwrap();
        machine.start().await;
        assert_eq!(told(&machine.client().await).await, subnet);
        let gateway = subnet.replace(".0/", ".1/");
        assert_eq!(bridge(&machine), [gateway], "nobody has an address of another");
    }
    machine.finish().await;
}

#[tokio::test]
async fn a_sandboxs_bandwidth_is_limited() {
    let Some(node) = Node::new("a_sandboxs_bandwidth_is_limited").await else {
        return;
    };
    let spec = api::SandboxSpec {
        id: "s".into(),
        name: "s".into(),
        namespace: "tests".into(),
        uid: "s".into(),
        ingress_bandwidth: 10_000_000,
        egress_bandwidth: 5_000_000,
        ..api::SandboxSpec::default()
    };
    let request = api::CreateSandboxRequest { spec: Some(spec) };
    let made = node.client.sandboxes().create_sandbox(request).await;
    let pid = match made {
        Ok(made) => made.into_inner().sandbox.unwrap().pid,
        Err(status) => {
            assert!(status.message().contains("tbf"), "{status:?}");
            node.finish().await;
            return;
        }
    };
    let outer = on_machine(&node.machine, "tc", &["qdisc", "show"]);
    assert!(outer.contains("tbf") && outer.contains("rate 10Mbit"), "{outer}");
    let namespace = format!("--net=/proc/{pid}/ns/net");
    let inner = on_machine(&node.machine, "nsenter", &[&namespace, "tc", "qdisc", "show"]);
    assert!(inner.contains("tbf") && inner.contains("rate 5Mbit"), "{inner}");
    let request = api::RemoveSandboxRequest { id: "s".into() };
    node.client.sandboxes().remove_sandbox(request).await.unwrap();
    node.finish().await;
}
