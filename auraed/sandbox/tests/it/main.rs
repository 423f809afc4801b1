//! The kernel seam on the running kernel, as root: each test has groups, namespaces and directories of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what was skipped, and figures")]

mod cgroup;
