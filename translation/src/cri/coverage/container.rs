//! ContainerConfig and what hangs on it.

use super::{ID_MAPPING, Message, USER_NAMESPACE, ignored, mapped, nested, noted, refused};

const SANDBOXS: &str = "the sandbox's are used";
const PULLED: &str = "it has been pulled; the image's name or id says which one it is";

/// What CreateContainer is given.
pub static CONTAINER_CONFIG: Message = Message {
    name: "ContainerConfig",
    place: "",
    fields: &[
        nested("metadata", &METADATA),
        nested("image", &IMAGE),
        mapped("command"),
        mapped("args"),
        mapped("working_dir"),
        nested("envs", &KEY_VALUE),
        nested("mounts", &MOUNT),
        nested("devices", &DEVICE),
        mapped("labels"),
        mapped("annotations"),
        noted("log_path", "below the sandbox's log_directory, without `..`"),
        mapped("stdin"),
        mapped("stdin_once"),
        mapped("tty"),
        nested("linux", &LINUX),
        refused("windows", "this node is not a Windows node"),
        nested("CDI_devices", &CDI_DEVICE),
        mapped("stop_signal"),
    ],
};

static METADATA: Message = Message {
    name: "ContainerMetadata",
    place: "",
    fields: &[
        noted(
            "name",
            "with the attempt and the sandbox's id, the container's id",
        ),
        mapped("attempt"),
    ],
};

static IMAGE: Message = Message {
    name: "ImageSpec",
    place: "of a container",
    fields: &[
        mapped("image"),
        ignored("annotations", PULLED),
        noted("user_specified_image", "what statuses show as the image"),
        ignored("runtime_handler", "images are the same for every handler"),
        ignored("image_ref", PULLED),
    ],
};

static KEY_VALUE: Message = Message {
    name: "KeyValue",
    place: "",
    fields: &[
        mapped("key"),
        noted("value", "text: bytes that are not UTF-8 are refused"),
    ],
};

static MOUNT: Message = Message {
    name: "Mount",
    place: "",
    fields: &[
        mapped("container_path"),
        noted("host_path", "either this or an image"),
        mapped("readonly"),
        mapped("selinux_relabel"),
        mapped("propagation"),
        nested("uidMappings", &ID_MAPPING),
        nested("gidMappings", &ID_MAPPING),
        noted("recursive_read_only", "needs readonly and a private propagation"),
        nested("image", &MOUNTED_IMAGE),
        noted("image_sub_path", "needs an image"),
        refused(
            "mount_options",
            "options of mounts are not applied, and `Status` says so (features.mount_options)",
        ),
    ],
};

static MOUNTED_IMAGE: Message = Message {
    name: "ImageSpec",
    place: "of a mount",
    fields: &[
        mapped("image"),
        ignored("annotations", PULLED),
        ignored("user_specified_image", PULLED),
        ignored("runtime_handler", "images are the same for every handler"),
        ignored("image_ref", "it is for statuses, which say it"),
    ],
};

static DEVICE: Message = Message {
    name: "Device",
    place: "",
    fields: &[
        mapped("container_path"),
        mapped("host_path"),
        noted("permissions", "of `r`, `w` and `m`"),
    ],
};

static CDI_DEVICE: Message = Message {
    name: "CDIDevice",
    place: "",
    fields: &[mapped("name")],
};

static LINUX: Message = Message {
    name: "LinuxContainerConfig",
    place: "",
    fields: &[
        nested("resources", &RESOURCES),
        nested("security_context", &SECURITY_CONTEXT),
    ],
};

static RESOURCES: Message = Message {
    name: "LinuxContainerResources",
    place: "",
    fields: &[
        noted("cpu_period", "as in all of these, 0 says nothing"),
        mapped("cpu_quota"),
        mapped("cpu_shares"),
        mapped("memory_limit_in_bytes"),
        noted(
            "oom_score_adj",
            "0 is a score for a new container, and no change in an update",
        ),
        mapped("cpuset_cpus"),
        mapped("cpuset_mems"),
        nested("hugepage_limits", &HUGEPAGE_LIMIT),
        mapped("unified"),
        mapped("memory_swap_limit_in_bytes"),
    ],
};

static HUGEPAGE_LIMIT: Message = Message {
    name: "HugepageLimit",
    place: "",
    fields: &[mapped("page_size"), mapped("limit")],
};

static SECURITY_CONTEXT: Message = Message {
    name: "LinuxContainerSecurityContext",
    place: "",
    fields: &[
        nested("capabilities", &CAPABILITY),
        mapped("privileged"),
        nested("namespace_options", &NAMESPACE_OPTION),
        nested("selinux_options", &SELINUX_OPTION),
        nested("run_as_user", &INT64),
        noted("run_as_username", "not with run_as_user"),
        mapped("readonly_rootfs"),
        mapped("supplemental_groups"),
        noted("apparmor_profile", "where `apparmor` is not given"),
        noted(
            "seccomp_profile_path",
            "where `seccomp` is not given; none of both is no filter",
        ),
        mapped("no_new_privs"),
        nested("run_as_group", &INT64),
        mapped("masked_paths"),
        mapped("readonly_paths"),
        nested("seccomp", &SECURITY_PROFILE),
        nested("apparmor", &SECURITY_PROFILE),
        mapped("supplemental_groups_policy"),
    ],
};

static CAPABILITY: Message = Message {
    name: "Capability",
    place: "",
    fields: &[
        noted("add_capabilities", "in any case, with `CAP_` or without"),
        mapped("drop_capabilities"),
        mapped("add_ambient_capabilities"),
    ],
};

static NAMESPACE_OPTION: Message = Message {
    name: "NamespaceOption",
    place: "of a container",
    fields: &[
        ignored("network", SANDBOXS),
        mapped("pid"),
        ignored("ipc", SANDBOXS),
        noted("target_id", "with pid TARGET"),
        nested("userns_options", &USER_NAMESPACE),
    ],
};

static SELINUX_OPTION: Message = Message {
    name: "SELinuxOption",
    place: "",
    fields: &[mapped("user"), mapped("role"), mapped("type"), mapped("level")],
};

static SECURITY_PROFILE: Message = Message {
    name: "SecurityProfile",
    place: "",
    fields: &[mapped("profile_type"), noted("localhost_ref", "with Localhost")],
};

static INT64: Message = Message {
    name: "Int64Value",
    place: "",
    fields: &[noted("value", "0 to 4294967295")],
};
