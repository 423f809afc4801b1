//! What is remembered of sandboxes and containers beside their specs: protobuf, so that fields can be added.
//!
//! In SQLite as `record`. What only holds while something runs, such as a process id, is not in it.

use auraed_api::runtime::v0 as api;
use jiff::Timestamp;
use std::time::SystemTime;

/// How far a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Phase {
    /// Being made: nobody was told of it yet. What a crash leaves so is taken away.
    Making = 0,
    /// Its pod init runs, or did when this was written.
    Ready = 1,
    /// It has ended, and not all that it had is given back.
    Ended = 2,
    /// It has ended, and has nothing any more but its containers' files.
    Released = 3,
}

/// Beside a sandbox.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SandboxRecord {
    #[prost(enumeration = "Phase", tag = "1")]
    pub(super) phase: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(super) created_at: i64,
    /// For people.
    #[prost(string, tag = "3")]
    pub(super) message: String,
    /// In force after an update; absent: those of the spec.
    #[prost(message, optional, tag = "4")]
    pub(super) resources: Option<api::LinuxResources>,
}

/// Beside a container.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerRecord {
    #[prost(enumeration = "api::ContainerState", tag = "1")]
    pub(super) state: i32,
    /// Nanoseconds since 1970, as all times here; 0 is never.
    #[prost(int64, tag = "2")]
    pub(super) created_at: i64,
    #[prost(int64, tag = "3")]
    pub(super) started_at: i64,
    #[prost(int64, tag = "4")]
    pub(super) finished_at: i64,
    #[prost(int32, tag = "5")]
    pub(super) exit_code: i32,
    #[prost(string, tag = "6")]
    pub(super) reason: String,
    #[prost(string, tag = "7")]
    pub(super) message: String,
    /// The image's id.
    #[prost(string, tag = "8")]
    pub(super) image: String,
    /// The image as others name it.
    #[prost(string, tag = "9")]
    pub(super) image_reference: String,
    /// Ids of images that are mounted.
    #[prost(string, repeated, tag = "10")]
    pub(super) mounted_images: Vec<String>,
    /// The number of the signal that stops it.
    #[prost(int32, tag = "11")]
    pub(super) stop_signal: i32,
    /// Once it was started.
    #[prost(message, optional, tag = "12")]
    pub(super) user: Option<api::ProcessUser>,
    /// In force after an update; absent: those of the spec.
    #[prost(message, optional, tag = "13")]
    pub(super) resources: Option<api::LinuxResources>,
}

/// Nanoseconds since 1970: good until 2262.
pub(super) fn now() -> i64 {
    nanoseconds(SystemTime::now())
}

/// The same of another time; before 1970 it is 0.
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// As a message; absent for never.
pub(super) fn to_wire(nanoseconds: i64) -> Option<prost_types::Timestamp> {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()?;
    (nanoseconds != 0).then(|| auraed_types::status::to_wire_time(time))
}
