//! Placeholder until the pod engine lands.
