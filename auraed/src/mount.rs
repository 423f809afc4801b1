//! Volumes: what stands behind a pod's mounts before its containers see it.
//!
//! The pod engine calls in here, on a blocking thread, when it makes a pod's volumes, when their content is replaced, and
//! when the pod is gone. A volume is a path of the node; who mounts it where is `auraed-sandbox`'s.
//!
//! | source | where | lives |
//! |---|---|---|
//! | [`empty_directory`] on disk | the state directory | until the pod has finished |
//! | [`empty_directory`] in memory | a tmpfs that the pod's init holds | as long as the init |
//! | [`files`] | the run directory, in memory | until the pod has finished |
//! | [`host_path`] | where the owner says | not ours |

pub mod empty_directory;
pub mod files;
pub mod host_path;

/// What a volume's group, shared by all of a pod's processes, changes about a file's rights.
const GROUP_READ: u32 = 0o440;
/// The same for a directory: the group enters and lists it, and what is made in it is the group's too.
const GROUP_DIRECTORY: u32 = 0o2550;
