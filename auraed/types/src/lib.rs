//! Validated values that the daemon's crates share.
//!
//! Wire messages are turned into these once, at the server, by `TryFrom`; a value of one of these types is right by
//! construction and is not looked at again. A conversion that fails names *every* field that is wrong, not the first.
//! Nothing here does I/O, reads a clock or knows a path of this node. Values that may be secret ([`Secret`],
//! [`SecretBytes`]) print as `***`.

pub mod event;
pub mod id;
pub mod invalid;
pub mod pod;
pub mod qos;
pub mod secret;
pub mod status;

pub use id::{ContainerId, ContainerName, Namespace, PodId, PodName, VolumeName};
pub use invalid::{InvalidPod, Problem};
pub use pod::Pod;
pub use qos::QosClass;
pub use secret::{Secret, SecretBytes};
pub use status::PodStatus;
