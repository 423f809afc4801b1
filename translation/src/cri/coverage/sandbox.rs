//! PodSandboxConfig and what hangs on it.

use super::{Message, USER_NAMESPACE, ignored, mapped, nested, noted, refused};

const NO_PROCESS: &str =
    "a sandbox runs no program of an image, only the pod init, which is confined more narrowly";

/// What RunPodSandbox is given.
pub static POD_SANDBOX_CONFIG: Message = Message {
    name: "PodSandboxConfig",
    place: "",
    fields: &[
        nested("metadata", &METADATA),
        mapped("hostname"),
        noted("log_directory", "absolute, without `..`"),
        nested("dns_config", &DNS_CONFIG),
        nested("port_mappings", &PORT_MAPPING),
        mapped("labels"),
        noted(
            "annotations",
            "as they are; `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth` bound the network, be it auraed's (by the queueing discipline tbf) or a plugin's",
        ),
        nested("linux", &LINUX),
        refused("windows", "this node is not a Windows node"),
    ],
};

static METADATA: Message = Message {
    name: "PodSandboxMetadata",
    place: "",
    fields: &[
        noted("name", "all four together are the sandbox's id"),
        mapped("uid"),
        mapped("namespace"),
        mapped("attempt"),
    ],
};

static DNS_CONFIG: Message = Message {
    name: "DNSConfig",
    place: "",
    fields: &[
        noted(
            "servers",
            "where all three are empty, the node's own configuration",
        ),
        mapped("searches"),
        mapped("options"),
    ],
};

static PORT_MAPPING: Message = Message {
    name: "PortMapping",
    place: "",
    fields: &[
        mapped("protocol"),
        mapped("container_port"),
        noted("host_port", "0 is none"),
        mapped("host_ip"),
    ],
};

static LINUX: Message = Message {
    name: "LinuxPodSandboxConfig",
    place: "",
    fields: &[
        noted(
            "cgroup_parent",
            "as a path of cgroupfs; the sandbox's cgroup is made in it",
        ),
        nested("security_context", &SECURITY_CONTEXT),
        mapped("sysctls"),
        ignored(
            "overhead",
            "it is for the cgroup that the caller makes, in which the sandbox is",
        ),
        ignored(
            "resources",
            "they are what the containers declare, added up: enforced, they would bind those that declare nothing; the \
             caller bounds the pod by the cgroup that it makes",
        ),
    ],
};

static SECURITY_CONTEXT: Message = Message {
    name: "LinuxSandboxSecurityContext",
    place: "",
    fields: &[
        nested("namespace_options", &NAMESPACE_OPTION),
        ignored("selinux_options", NO_PROCESS),
        ignored("run_as_user", NO_PROCESS),
        ignored("readonly_rootfs", NO_PROCESS),
        ignored("supplemental_groups", "each container is given its own"),
        mapped("privileged"),
        ignored("seccomp_profile_path", NO_PROCESS),
        refused(
            "run_as_group",
            "a group needs run_as_user; with it, it is ignored as that is",
        ),
        ignored("seccomp", NO_PROCESS),
        ignored("apparmor", NO_PROCESS),
        ignored("supplemental_groups_policy", "each container is given its own"),
    ],
};

static NAMESPACE_OPTION: Message = Message {
    name: "NamespaceOption",
    place: "of a sandbox",
    fields: &[
        noted("network", "POD or NODE"),
        noted("pid", "POD, CONTAINER or NODE"),
        noted("ipc", "POD, CONTAINER or NODE"),
        ignored("target_id", "it is for containers"),
        nested("userns_options", &USER_NAMESPACE),
    ],
};
