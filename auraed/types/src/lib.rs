//! Validated values that the daemon's crates share.
