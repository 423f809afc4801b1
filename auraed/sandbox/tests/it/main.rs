//! Pods, cgroups and networks on the kernel that runs the tests, as root.

mod cgroup;
mod container;
mod exec;
mod lifecycle;
mod logs;
mod network;
mod paths;
mod placement;
mod security;
mod support;
mod resources;
