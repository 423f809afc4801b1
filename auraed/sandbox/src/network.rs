//! The embedded pod network.
