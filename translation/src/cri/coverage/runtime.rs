//! What is told of the whole runtime.

use super::{Message, nested, noted};

static NETWORK_CONFIG: Message = Message {
    name: "NetworkConfig",
    place: "",
    fields: &[noted(
        "pod_cidr",
        "one subnet, or one of each family with a comma between: new pods get their addresses there, where auraed gives them \
         out and its configuration names no subnet; else it is accepted, and the log says who decides",
    )],
};

/// What `UpdateRuntimeConfig` tells.
pub static RUNTIME_CONFIG: Message = Message {
    name: "RuntimeConfig",
    place: "",
    fields: &[nested("network_config", &NETWORK_CONFIG)],
};
