//! The Node object: Ready, described as a kubelet does, its lease renewed.

use anyhow::{Context, ensure};
use e2e::suite::{PATIENCE, on_cluster};
use e2e::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

#[test]
fn node_is_ready_and_described() {
    on_cluster("node_is_ready_and_described", async |test| {
        let name = test.suite.node.name();
        let node = Api::<Node>::all(test.client.clone()).get(name).await?;
        let labels = node.metadata.labels.context("no labels")?;
        for (label, value) in [
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            ensure!(
                labels.get(label).is_some_and(|found| found == value),
                "label {label}: {labels:?}"
            );
        }
        let status = node.status.context("no status")?;
        let info = status.node_info.context("no nodeInfo")?;
        ensure!(info.kubelet_version.starts_with("v1.37"), "{info:?}");
        ensure!(info.container_runtime_version.starts_with("aurae://"), "{info:?}");
        ensure!(
            !info.kernel_version.is_empty() && !info.os_image.is_empty() && !info.machine_id.is_empty(),
            "{info:?}"
        );
        let addresses = status.addresses.context("no addresses")?;
        let internal = addresses
            .iter()
            .find(|address| address.type_ == "InternalIP")
            .context("no InternalIP")?;
        ensure!(
            internal.address == test.suite.node.address().to_string(),
            "{addresses:?}"
        );
        let (capacity, allocatable) = (
            status.capacity.context("no capacity")?,
            status.allocatable.context("no allocatable")?,
        );
        for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
            ensure!(
                capacity.contains_key(resource) && allocatable.contains_key(resource),
                "{resource}: {capacity:?} {allocatable:?}"
            );
        }
        let conditions = status.conditions.context("no conditions")?;
        for pressure in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            let found = conditions.iter().find(|condition| condition.type_ == pressure);
            ensure!(
                found.is_some_and(|condition| condition.status == "False"),
                "{pressure}: {conditions:?}"
            );
        }
        // What a person sees first.
        let table = test.kubectl.run(["get", "nodes", "-o", "wide"])?;
        ensure!(
            table
                .lines()
                .any(|line| line.starts_with(name) && line.contains(" Ready ")),
            "{table}"
        );
        Ok(())
    });
}

#[test]
fn lease_is_renewed() {
    on_cluster("lease_is_renewed", async |test| {
        let leases = Api::<Lease>::namespaced(test.client.clone(), "kube-node-lease");
        let name = test.suite.node.name();
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let first = renewed(&leases.get(name).await?).context("the lease has no time")?;
        let again = |lease: Option<&Lease>| lease.and_then(renewed).is_some_and(|time| time.0 > first.0);
        let lease = wait::object(&leases, name, PATIENCE, "the lease is renewed", again).await?;
        let spec = lease.and_then(|lease| lease.spec).context("no spec")?;
        ensure!(spec.holder_identity.as_deref() == Some(name), "{spec:?}");
        ensure!(spec.lease_duration_seconds == Some(40), "{spec:?}");
        Ok(())
    });
}
