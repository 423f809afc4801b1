//! Pods, cgroups and networks on the kernel that runs the tests, as root.

mod cgroup;
mod confinement;
mod container;
mod escape;
mod exec;
mod frozen;
mod lifecycle;
mod logs;
mod mounts;
mod namespaces;
mod network;
mod paths;
mod placement;
mod resources;
mod root;
mod security;
mod support;
mod userns;
mod v2;
