//! The small program that holds a pod: PID 1 of its sandbox. The daemon runs it from memory.

fn main() {
    std::process::exit(auraed_pod_init::run())
}
