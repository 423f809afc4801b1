//! What processes weigh: resident, and the part that is nobody else's.

use serde::Serialize;

use crate::node::Node;
use crate::sweep;

/// The processes of one kind, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weight {
    /// The program.
    pub program: String,
    /// How many processes.
    pub processes: usize,
    /// Resident set, in KiB. Shared pages count in each process.
    pub resident_kib: u64,
    /// Private pages, in KiB.
    pub private_kib: u64,
    /// Private pages, and of shared ones each process' part, in KiB.
    pub proportional_kib: u64,
}

/// Of these processes; those that are gone weigh nothing.
pub fn of(program: &str, pids: impl IntoIterator<Item = u32>) -> Weight {
    let mut weight = Weight {
        program: program.to_owned(),
        processes: 0,
        resident_kib: 0,
        private_kib: 0,
        proportional_kib: 0,
    };
    for pid in pids {
        let Ok(text) = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        weight.processes += 1;
        weight.resident_kib += field(&text, "Rss:");
        weight.proportional_kib += field(&text, "Pss:");
        weight.private_kib += field(&text, "Private_Clean:") + field(&text, "Private_Dirty:");
    }
    weight
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}

/// Of this project's node: the two daemons and the pods' inits, without the pods' own programs.
pub fn of_node(node: &Node) -> Vec<Weight> {
    let mut weights: Vec<Weight> = node
        .programs()
        .into_iter()
        .map(|(name, pid)| of(name, [pid]))
        .collect();
    let mut inits: Vec<u32> = sweep::cgroups(node.cgroup_root())
        .iter()
        .filter(|cgroup| cgroup.ends_with("init"))
        .flat_map(|cgroup| {
            let text = fs_err::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect();
    // One process is in a cgroup of each hierarchy.
    inits.sort_unstable();
    inits.dedup();
    weights.push(of("pod inits", inits));
    weights
}

/// Its parent's pid, if it runs.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// The processes whose name is `name` and that belong to a run.
pub fn named(name: &str, belongs: impl Fn(u32) -> bool) -> Vec<u32> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs_err::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    })
    .filter(|pid| belongs(*pid))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_weighs_something() {
        let weight = of("me", [std::process::id()]);
        assert_eq!(weight.processes, 1);
        assert!(
            weight.resident_kib >= weight.private_kib && weight.private_kib > 100,
            "{weight:?}"
        );
    }

    #[test]
    fn fields_are_read() {
        assert_eq!(field("Rss:     1234 kB\nPss: 5 kB\n", "Rss:"), 1234);
        assert_eq!(field("Rss: 1 kB\n", "Swap:"), 0);
    }
}
