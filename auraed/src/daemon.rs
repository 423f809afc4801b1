//! Builds the subsystems, spawns their tasks, drains them within a grace time.
