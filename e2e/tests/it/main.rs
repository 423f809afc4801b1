//! The suite: the product's programs under a real control plane, registry and kubectl.
//!
//! One binary: its tests share one cluster and one node, and each has a namespace of its own there. Tests that kill
//! daemons or count what is left have a node of their own.

mod bad_input;
mod crash;
mod crictl;
mod critest;
mod failures;
mod ground;
mod network;
mod node;
mod pod;
mod refused;
mod standalone;
mod streams;
mod v2;
mod volumes;
mod workloads;

use e2e::suite::on_cluster;
