//! What a group has used, and how often it ran out of memory.
//!
//! Not by `cgroups-rs`: it opens 19 files for the same numbers on v1, where three hold them (324 µs a group, 57 µs).

use std::path::{Path, PathBuf};

use super::files::{children, read};
use super::mounts::Kind;
use super::{Controller, Group};

/// What the processes of a group have used. A value whose controller is missing is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// CPU time in nanoseconds since the group's creation.
    pub cpu_usage_ns: Option<u64>,
    /// Memory in bytes, with page cache.
    pub memory_usage_bytes: Option<u64>,
    /// Memory in bytes without inactive page cache: what eviction decisions look at.
    pub memory_working_set_bytes: Option<u64>,
    /// Anonymous memory in bytes.
    pub memory_rss_bytes: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that had to wait for a disk.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Group {
    /// What the processes of the group and below have used.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            cpu_usage_ns: self.cpu_usage_ns(),
            ..Stats::default()
        };
        if let Some((kind, directory)) = self.place(Controller::Memory) {
            read_memory(&mut stats, kind, &directory);
        }
        if let Some((_, directory)) = self.place(Controller::Pids) {
            stats.pids = number(&directory.join("pids.current"));
        }
        stats
    }

    /// How many processes of the group and below the kernel killed for want of memory, since the group's creation.
    pub fn oom_kills(&self) -> u64 {
        let Some((kind, directory)) = self.place(Controller::Memory) else {
            return 0;
        };
        match kind {
            Kind::V2 => oom_kills_in(&directory.join("memory.events")),
            // A v1 group counts its own processes only.
            Kind::V1 => oom_kills_below(&directory),
        }
    }

    /// The file with a line `oom_kill N`, for who watches the group from elsewhere.
    pub fn oom_file(&self) -> Option<PathBuf> {
        let (kind, directory) = self.place(Controller::Memory)?;
        Some(directory.join(match kind {
            Kind::V1 => "memory.oom_control",
            Kind::V2 => "memory.events",
        }))
    }

    fn cpu_usage_ns(&self) -> Option<u64> {
        let (kind, directory) = self.place(Controller::CpuAccounting)?;
        match kind {
            Kind::V1 => number(&directory.join("cpuacct.usage")),
            Kind::V2 => {
                let text = read(&directory.join("cpu.stat")).ok()?;
                keyed(&text, "usage_usec").map(|microseconds| microseconds.saturating_mul(1000))
            }
        }
    }
}

// v1's memory.stat has each value twice: of the group alone, and (`total_`) with its children.
fn read_memory(stats: &mut Stats, kind: Kind, directory: &Path) {
    let (usage, inactive, rss, faults, major) = match kind {
        Kind::V1 => (
            "memory.usage_in_bytes",
            "total_inactive_file",
            "total_rss",
            "total_pgfault",
            "total_pgmajfault",
        ),
        Kind::V2 => ("memory.current", "inactive_file", "anon", "pgfault", "pgmajfault"),
    };
    stats.memory_usage_bytes = number(&directory.join(usage));
    let Ok(text) = read(&directory.join("memory.stat")) else {
        return;
    };
    stats.memory_rss_bytes = keyed(&text, rss);
    stats.page_faults = keyed(&text, faults);
    stats.major_page_faults = keyed(&text, major);
    stats.memory_working_set_bytes = stats
        .memory_usage_bytes
        .map(|usage| usage.saturating_sub(keyed(&text, inactive).unwrap_or(0)));
}

fn number(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

fn oom_kills_in(path: &Path) -> u64 {
    read(path)
        .ok()
        .and_then(|text| keyed(&text, "oom_kill"))
        .unwrap_or(0)
}

fn oom_kills_below(directory: &Path) -> u64 {
    let children = children(directory);
    oom_kills_in(&directory.join("memory.oom_control"))
        + children.iter().map(|child| oom_kills_below(child)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn keys_are_whole_words() {
        let text = "anon_thp 1\nanon 2\noom_kill 3\noom_kill_disable 0\nbad x\n";
        assert_eq!(keyed(text, "anon"), Some(2));
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "bad"), None);
        assert_eq!(keyed(text, "none"), None);
    }

    #[test]
    fn working_set_is_usage_without_inactive_cache() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("memory.current"), "1000\n").unwrap();
        fs::write(
            directory.path().join("memory.stat"),
            "anon 300\ninactive_file 400\npgfault 7\n",
        )
        .unwrap();
        let mut stats = Stats::default();
        read_memory(&mut stats, Kind::V2, directory.path());
        let expected = Stats {
            memory_usage_bytes: Some(1000),
            memory_working_set_bytes: Some(600),
            memory_rss_bytes: Some(300),
            page_faults: Some(7),
            ..Stats::default()
        };
        assert_eq!(stats, expected);
    }
}
