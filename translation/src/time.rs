//! Times as Kubernetes writes them: whole seconds.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Cuts the fraction off.
pub(crate) fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// A message's time; none where it is not set or beyond the calendar.
pub(crate) fn from_proto(time: Option<&prost_types::Timestamp>) -> Option<Time> {
    Timestamp::from_second(time?.seconds).ok().map(Time)
}
