//! The kernel seam: pod inits, namespaces, cgroups, seccomp, pod network.
