//! Images: registry, content, layers, snapshots.
