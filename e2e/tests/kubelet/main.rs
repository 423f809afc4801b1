//! The same pods on Kubernetes' own kubelet, with cri-shim and auraed as its runtime: what a cluster sees is the same as
//! with kubelet-bridge.
//!
//! A binary of its own: its tests share one cluster, whose node has the other agent.

#[path = "../it/crash.rs"]
mod crash;
#[path = "../it/failures.rs"]
mod failures;
#[path = "../it/network.rs"]
mod network;
mod plugins;
#[path = "../it/pod.rs"]
mod pod;
#[path = "../it/streams.rs"]
mod streams;
#[path = "../it/volumes.rs"]
mod volumes;
#[path = "../it/workloads.rs"]
mod workloads;

use e2e::suite::on_kubelet as on_cluster;
