//! The daemon from outside: the program itself, spoken to over its socket.
//!
//! Each test has a machine of its own: directories, a network namespace, a cgroup root; at its end nothing of it may be
//! left. Tests that need root say so and pass where there is none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod archive;
mod crash;
mod images;
mod machine;
mod network_cni;
mod network_embedded;
mod node;
mod pods;
mod sandboxes;
mod schedule_life;
mod schedule_races;
mod schedule_recovery;
mod schedule_volumes;
mod start;
mod streams;
