//! The daemon's API: protobuf messages and gRPC services, generated from `proto/` by `cargo xtask proto`.
//!
//! One module a subsystem, one version below it. No logic lives here: what a message must satisfy is checked in
//! `auraed-types`, what an RPC does is in `auraed`.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

/// `aurae.runtime`: containers and images, acted on as they are.
pub mod runtime {
    /// Version 0: may change until the first release.
    pub mod v0 {
        include!("generated/aurae.runtime.v0.rs");
    }
}

/// `aurae.schedule`: the pod engine.
pub mod schedule {
    /// Version 0: may change until the first release.
    pub mod v0 {
        include!("generated/aurae.schedule.v0.rs");
    }
}

/// `aurae.mount`: storage of pods.
pub mod mount {
    /// Version 0: may change until the first release.
    pub mod v0 {
        include!("generated/aurae.mount.v0.rs");
    }
}

/// `aurae.observe`: logs, events, facts of the node.
pub mod observe {
    /// Version 0: may change until the first release.
    pub mod v0 {
        include!("generated/aurae.observe.v0.rs");
    }
}

/// The encoded `FileDescriptorSet` of all packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
