//! The small program that holds a pod: PID 1 of its sandbox.
