use serde_json::{Value, json};

use super::*;

fn registration() -> Registration {
    Registration {
        name: "node-a".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        labels: [
            ("team".to_owned(), "blue".to_owned()),
            ("kubernetes.io/arch".to_owned(), "mine".to_owned()),
        ]
        .into(),
        port: 10250,
        max_pods: 110,
        reserved: [("cpu".to_owned(), Quantity("100m".to_owned()))].into(),
        kubelet_version: "v1.37.2".to_owned(),
        declared_features: vec!["ExtendWebSocketsToKubelet".to_owned()],
        ..Registration::default()
    }
}

fn facts() -> GetNodeResponse {
    GetNodeResponse {
        version: "0.1.0".to_owned(),
        hostname: "machine".to_owned(),
        machine_id: "m".to_owned(),
        boot_id: "b".to_owned(),
        system_uuid: "s".to_owned(),
        kernel_version: "6.18.0".to_owned(),
        os_image: "Debian".to_owned(),
        architecture: "amd64".to_owned(),
        cpus: 2,
        memory_bytes: 4 << 30,
        storage_bytes: 100 << 30,
        ..GetNodeResponse::default()
    }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678901Z".parse().unwrap()
}

fn json_of(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_first_node_is_complete() {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let time = "2026-01-02T03:04:05Z";
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time, "lastTransitionTime": time,
        })
    };
    assert_eq!(
        json_of(object(&registration(), &facts(), now())),
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "node-a",
                "annotations": { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
                "labels": {
                    "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "mine", "kubernetes.io/hostname": "machine", "kubernetes.io/os": "linux",
                    "team": "blue",
                },
            },
            "spec": {},
            "status": {
                "addresses": [
                    { "type": "InternalIP", "address": "192.0.2.1" },
                    { "type": "InternalIP", "address": "2001:db8::1" },
                    { "type": "Hostname", "address": "machine" },
                ],
                "capacity": { "cpu": "2", "memory": "4Gi", "ephemeral-storage": "100Gi", "pods": "110" },
                "allocatable": { "cpu": "1900m", "memory": "3996Mi", "ephemeral-storage": "96636764160", "pods": "110" },
                "conditions": [
                    condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                    condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                    condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                    condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
                ],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
                "declaredFeatures": ["ExtendWebSocketsToKubelet"],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "aurae://0.1.0",
                    "kernelVersion": "6.18.0", "kubeProxyVersion": "", "kubeletVersion": "v1.37.2", "machineID": "m",
                    "operatingSystem": "linux", "osImage": "Debian", "systemUUID": "s",
                },
            },
        })
    );
}

#[test]
fn huge_pages_are_no_memory() {
    let mut facts = facts();
    let pages = |size: u64, total: u64| auraed_api::observe::v0::HugePages {
        page_size_bytes: size,
        total_bytes: total,
    };
    facts.huge_pages = vec![pages(2 << 20, 64 << 20), pages(1 << 30, 0)];
    let status = json_of(status(&registration(), &facts, None, now()));
    assert_eq!(status["capacity"]["hugepages-2Mi"], "64Mi");
    assert_eq!(status["capacity"]["hugepages-1Gi"], "0");
    assert_eq!(status["allocatable"]["memory"], "3932Mi");
    assert_eq!(status["allocatable"]["hugepages-2Mi"], "64Mi");
}

#[test]
fn a_node_with_problems_is_not_ready_and_says_why() {
    let first = status(&registration(), &facts(), None, now());
    let mut facts = facts();
    facts.problems = vec!["no cgroups".to_owned()];
    facts.cpus = 0;
    let later = "2026-01-02T04:00:00Z".parse().unwrap();
    let second = json_of(status(&registration(), &facts, Some(&first), later));
    let conditions = second["conditions"].as_array().unwrap();
    let ready = conditions.last().unwrap();
    assert_eq!(ready["status"], "False");
    assert_eq!(
        ready["message"],
        "no cgroups; missing node capacity for resources: cpu"
    );
    assert_eq!(ready["lastTransitionTime"], "2026-01-02T04:00:00Z");
    assert_eq!(conditions[0]["lastTransitionTime"], "2026-01-02T03:04:05Z");
    assert_eq!(conditions[0]["lastHeartbeatTime"], "2026-01-02T04:00:00Z");
}

#[test]
fn what_others_wrote_is_kept() {
    let old: NodeStatus = serde_json::from_value(json!({
        "volumesAttached": [{ "name": "v", "devicePath": "" }],
        "conditions": [{ "type": "NetworkUnavailable", "status": "False" }],
        "images": [{ "names": ["a"] }],
    }))
    .unwrap();
    let new = status(&registration(), &facts(), Some(&old), now());
    assert_eq!(
        (new.volumes_attached, new.images),
        (old.volumes_attached, old.images)
    );
    let kinds: Vec<_> = new
        .conditions
        .unwrap()
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    assert_eq!(
        kinds,
        [
            "NetworkUnavailable",
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
            "Ready"
        ]
    );
}

#[test]
fn a_lease_is_the_nodes_and_keeps_its_version() {
    let node: v1::Node =
        serde_json::from_value(json!({ "metadata": { "name": "node-a", "uid": "u" } })).unwrap();
    let first = lease(&node, None, now());
    assert_eq!(
        json_of(&first),
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "node-a", "namespace": "kube-node-lease",
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "u" }],
            },
            "spec": { "holderIdentity": "node-a", "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.678901Z" },
        })
    );
    let mut stored = first;
    stored.metadata.resource_version = Some("7".to_owned());
    let second = lease(&node, Some(&stored), "2026-01-02T03:04:15Z".parse().unwrap());
    assert_eq!(second.metadata.resource_version.as_deref(), Some("7"));
    assert_ne!(second.spec, stored.spec);
}

#[test]
fn a_node_without_a_cluster_gives_all_that_it_has() {
    let node = Node::standalone(&facts());
    assert_eq!(
        (node.name.as_str(), node.allocatable["cpu"].0.as_str()),
        ("machine", "2")
    );
    assert_eq!(node.allocatable["memory"].0, "4Gi");
}
