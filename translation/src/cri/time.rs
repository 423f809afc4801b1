//! Times: nanoseconds since 1970, as the CRI counts them.

use prost_types::Timestamp;

const SECOND: i64 = 1_000_000_000;

/// 0 where it is not set.
pub(super) fn nanoseconds(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds
            .saturating_mul(SECOND)
            .saturating_add(i64::from(time.nanos))
    })
}
