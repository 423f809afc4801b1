//! Figures of what runs: statistics and metrics.

use std::collections::BTreeMap;

use cri_api::v1 as cri;
use tokio_stream::StreamExt as _;

use crate::node::{PATIENCE, container_config, on_node, sandbox_config};

/// Computes, and writes to its own root.
const BUSY: &str = "echo kept > /kept; while true; do :; done";

#[test]
fn what_runs_is_measured() {
    on_node("what_runs_is_measured", async |mut cri| {
        let sandbox_config = sandbox_config("stats");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = container_config("main", BUSY);
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let request = cri::ContainerStatsRequest {
            container_id: id.clone(),
        };
        let first = cri.runtime.container_stats(request.clone()).await.unwrap();
        let first = first.into_inner().stats.unwrap();
        let attributes = first.attributes.clone().unwrap();
        assert_eq!((&attributes.id, &attributes.metadata), (&id, &config.metadata));
        let used =
            |stats: &cri::ContainerStats| stats.cpu.as_ref().unwrap().usage_core_nano_seconds.unwrap().value;
        let before = used(&first);
        let memory = first.memory.as_ref().unwrap();
        assert!(memory.timestamp > 0 && memory.working_set_bytes.unwrap().value > 0);
        let layer = first.writable_layer.clone().unwrap();
        assert!(std::path::Path::new(&layer.fs_id.unwrap().mountpoint).is_dir());
        let grown = async {
            loop {
                let stats = cri.runtime.container_stats(request.clone()).await.unwrap();
                if used(&stats.into_inner().stats.unwrap()) > before {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, grown).await.unwrap();

        let filter = cri::ContainerStatsFilter {
            pod_sandbox_id: sandbox.clone(),
            ..Default::default()
        };
        let request = cri::ListContainerStatsRequest {
            filter: Some(filter.clone()),
        };
        let listed = cri
            .runtime
            .list_container_stats(request)
            .await
            .unwrap()
            .into_inner()
            .stats;
        assert_eq!(listed.len(), 1);
        let request = cri::StreamContainerStatsRequest { filter: Some(filter) };
        let mut stream = cri
            .runtime
            .stream_container_stats(request)
            .await
            .unwrap()
            .into_inner();
        let list = stream.next().await.unwrap().unwrap();
        assert_eq!(list.container_stats.len(), 1);
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn a_sandbox_is_measured_with_its_containers_and_its_network() {
    on_node(
        "a_sandbox_is_measured_with_its_containers_and_its_network",
        async |mut cri| {
            let sandbox_config = sandbox_config("pod-stats");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let config = container_config("main", BUSY);
            let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
            let request = cri::PodSandboxStatsRequest {
                pod_sandbox_id: sandbox.clone(),
            };
            let stats = cri.runtime.pod_sandbox_stats(request).await.unwrap().into_inner();
            let stats = stats.stats.unwrap();
            assert_eq!(stats.attributes.unwrap().metadata, sandbox_config.metadata);
            let linux = stats.linux.unwrap();
            assert_eq!(linux.containers[0].attributes.as_ref().unwrap().id, id);
            assert_eq!(linux.network.unwrap().default_interface.unwrap().name, "eth0");
            assert!(linux.process.unwrap().process_count.unwrap().value > 0);
            assert!(linux.memory.unwrap().usage_bytes.unwrap().value > 0);

            let filter = cri::PodSandboxStatsFilter {
                label_selector: sandbox_config.labels.clone(),
                ..Default::default()
            };
            let request = cri::ListPodSandboxStatsRequest {
                filter: Some(filter.clone()),
            };
            let listed = cri.runtime.list_pod_sandbox_stats(request).await.unwrap();
            assert_eq!(listed.into_inner().stats.len(), 1);
            let request = cri::StreamPodSandboxStatsRequest { filter: Some(filter) };
            let mut stream = cri
                .runtime
                .stream_pod_sandbox_stats(request)
                .await
                .unwrap()
                .into_inner();
            let list = stream.next().await.unwrap().unwrap();
            assert_eq!(list.pod_sandbox_stats.len(), 1);
            // One that has stopped uses nothing, and is not listed as one that does.
            cri.stop_sandbox(&sandbox).await;
            let request = cri::ListPodSandboxStatsRequest {
                filter: Some(cri::PodSandboxStatsFilter {
                    label_selector: sandbox_config.labels.clone(),
                    ..Default::default()
                }),
            };
            let listed = cri.runtime.list_pod_sandbox_stats(request).await.unwrap();
            assert_eq!(listed.into_inner().stats, []);
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn metrics_are_the_described_ones() {
    on_node("metrics_are_the_described_ones", async |mut cri| {
        let sandbox_config = sandbox_config("metrics");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = container_config("main", BUSY);
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let described = cri
            .runtime
            .list_metric_descriptors(cri::ListMetricDescriptorsRequest {})
            .await
            .unwrap()
            .into_inner()
            .descriptors;
        let labels: BTreeMap<_, _> = described
            .into_iter()
            .map(|one| (one.name, one.label_keys.len()))
            .collect();
        let listed = cri
            .runtime
            .list_pod_sandbox_metrics(cri::ListPodSandboxMetricsRequest {})
            .await
            .unwrap()
            .into_inner()
            .pod_metrics;
        let mut stream = cri
            .runtime
            .stream_pod_sandbox_metrics(cri::StreamPodSandboxMetricsRequest {})
            .await
            .unwrap()
            .into_inner();
        let mut streamed = Vec::new();
        while let Some(list) = stream.next().await {
            streamed.extend(list.unwrap().pod_sandbox_metrics);
        }
        for pods in [listed, streamed] {
            let pod = pods.iter().find(|pod| pod.pod_sandbox_id == sandbox).unwrap();
            let container = pod
                .container_metrics
                .iter()
                .find(|one| one.container_id == id)
                .unwrap();
            for metric in pod.metrics.iter().chain(&container.metrics) {
                assert_eq!(metric.label_values.len(), labels[&metric.name], "{}", metric.name);
            }
            for name in [
                "container_cpu_usage_seconds_total",
                "container_memory_working_set_bytes",
            ] {
                assert!(
                    container.metrics.iter().any(|metric| metric.name == name),
                    "{name}"
                );
            }
            assert!(
                pod.metrics
                    .iter()
                    .any(|metric| metric.name == "container_network_receive_bytes_total")
            );
        }
        cri.remove_sandbox(&sandbox).await;
    });
}
