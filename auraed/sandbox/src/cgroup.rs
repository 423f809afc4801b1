//! Control groups of pods and containers.
