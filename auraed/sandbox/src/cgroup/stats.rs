//! What a group has used, what it waited for, and how often it ran out of memory.
//!
//! Not by `cgroups-rs`: it opens 19 files for the same numbers on v1, where three hold them (324 µs a group, 57 µs). Each
//! file is opened and read once, into one buffer.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::files::{children, read};
use super::mounts::Kind;
use super::{Controller, Group};

/// A limit from here on is none: v1 has no other word for it than the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// What the processes of a group have used. A value whose controller is missing is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// CPU time in nanoseconds since the group's creation.
    pub cpu_usage_ns: Option<u64>,
    /// Memory in bytes, with page cache.
    pub memory_usage_bytes: Option<u64>,
    /// Memory in bytes without inactive page cache: what eviction decisions look at.
    pub memory_working_set_bytes: Option<u64>,
    /// Anonymous memory in bytes.
    pub memory_rss_bytes: Option<u64>,
    /// The group's own memory limit in bytes; none without one.
    pub memory_limit_bytes: Option<u64>,
    /// Swap in bytes; none on a kernel that does not account for it.
    pub swap_usage_bytes: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that had to wait for a disk.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How many processes the kernel killed for want of memory, since the group's creation.
    pub oom_kills: u64,
    /// Waiting for a CPU. Pressure is there on v2 and beside it, if the kernel measures it.
    pub cpu_pressure: Option<Pressure>,
    /// Waiting for memory.
    pub memory_pressure: Option<Pressure>,
    /// Waiting for block devices.
    pub io_pressure: Option<Pressure>,
}

/// How long processes waited for something (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// While at least one of them waited.
    pub some: PressureLine,
    /// While all of them waited; zero on kernels that do not tell it of the CPU.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureLine {
    /// Nanoseconds since the group's creation.
    pub total_ns: u64,
    /// Percent of the last ten seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
}

impl Group {
    /// What the processes of the group and below have used.
    pub fn stats(&self) -> Stats {
        let mut reader = Reader::new();
        let mut stats = Stats::default();
        if let Some((kind, directory)) = self.place(Controller::CpuAccounting) {
            stats.cpu_usage_ns = cpu_usage_ns(&mut reader, kind, &directory);
        }
        if let Some((kind, directory)) = self.place(Controller::Memory) {
            read_memory(&mut stats, &mut reader, kind, &directory);
        }
        if let Some((_, directory)) = self.place(Controller::Pids) {
            stats.pids = reader.number(&directory.join("pids.current"));
        }
        if let Some((_, directory)) = self.directories().find(|(kind, _)| *kind == Kind::V2) {
            stats.cpu_pressure = reader.pressure(&directory.join("cpu.pressure"));
            stats.memory_pressure = reader.pressure(&directory.join("memory.pressure"));
            stats.io_pressure = reader.pressure(&directory.join("io.pressure"));
        }
        stats
    }

    /// How many processes of the group and below the kernel killed for want of memory, since the group's creation.
    pub fn oom_kills(&self) -> u64 {
        self.place(Controller::Memory)
            .map_or(0, |(kind, directory)| oom_kills(kind, &directory))
    }

    /// The file with a line `oom_kill N`, for who watches the group from elsewhere.
    pub fn oom_file(&self) -> Option<PathBuf> {
        let (kind, directory) = self.place(Controller::Memory)?;
        Some(directory.join(match kind {
            Kind::V1 => "memory.oom_control",
            Kind::V2 => "memory.events",
        }))
    }
}

/// One buffer for all files of a group: the kernel gives each as a whole, and none of them is longer.
struct Reader {
    buffer: [u8; 8192],
}

impl Reader {
    fn new() -> Self {
        Self { buffer: [0; 8192] }
    }

    fn text(&mut self, path: &Path) -> Option<&str> {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut length = 0;
        // A file of several pages may come in parts.
        loop {
            let read =
                rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut self.buffer[length..])).ok()?;
            length += read;
            if read < 4096 || length == self.buffer.len() {
                break;
            }
        }
        std::str::from_utf8(&self.buffer[..length]).ok()
    }

    fn number(&mut self, path: &Path) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    fn pressure(&mut self, path: &Path) -> Option<Pressure> {
        parse_pressure(self.text(path)?)
    }
}

fn cpu_usage_ns(reader: &mut Reader, kind: Kind, directory: &Path) -> Option<u64> {
    match kind {
        Kind::V1 => reader.number(&directory.join("cpuacct.usage")),
        Kind::V2 => {
            let text = reader.text(&directory.join("cpu.stat"))?;
            keyed(text, "usage_usec").map(|microseconds| microseconds.saturating_mul(1000))
        }
    }
}

// v1's memory.stat has each value twice: of the group alone, and (`total_`) with its children.
fn read_memory(stats: &mut Stats, reader: &mut Reader, kind: Kind, directory: &Path) {
    let (usage, limit, [inactive, rss, faults, major]) = match kind {
        Kind::V1 => (
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            [
                "total_inactive_file",
                "total_rss",
                "total_pgfault",
                "total_pgmajfault",
            ],
        ),
        Kind::V2 => (
            "memory.current",
            "memory.max",
            ["inactive_file", "anon", "pgfault", "pgmajfault"],
        ),
    };
    stats.memory_usage_bytes = reader.number(&directory.join(usage));
    let limit = reader.number(&directory.join(limit));
    stats.memory_limit_bytes = limit.filter(|bytes| *bytes < UNLIMITED);
    if let Some(text) = reader.text(&directory.join("memory.stat")) {
        stats.memory_rss_bytes = keyed(text, rss);
        stats.page_faults = keyed(text, faults);
        stats.major_page_faults = keyed(text, major);
        let inactive = keyed(text, inactive).unwrap_or(0);
        stats.memory_working_set_bytes = stats
            .memory_usage_bytes
            .map(|usage| usage.saturating_sub(inactive));
        if kind == Kind::V1 {
            stats.swap_usage_bytes = keyed(text, "total_swap");
        }
    }
    if kind == Kind::V2 {
        stats.swap_usage_bytes = reader.number(&directory.join("memory.swap.current"));
    }
    stats.oom_kills = oom_kills(kind, directory);
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn parse_pressure(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let value = |key: &str| {
            line.split(' ')
                .find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
        };
        let average = |key: &str| value(key).and_then(|value| value.parse().ok()).unwrap_or(0.0);
        Some(PressureLine {
            total_ns: value("total")?.parse::<u64>().ok()?.saturating_mul(1000),
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
        })
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full").unwrap_or_default(),
    })
}

fn oom_kills(kind: Kind, directory: &Path) -> u64 {
    match kind {
        Kind::V2 => oom_kills_in(&directory.join("memory.events")),
        // A v1 group counts its own processes only.
        Kind::V1 => oom_kills_below(directory),
    }
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

    fn memory(kind: Kind, files: &[(&str, &str)]) -> Stats {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut stats = Stats::default();
        read_memory(&mut stats, &mut Reader::new(), kind, directory.path());
        stats
    }

    #[test]
    fn memory_of_v2() {
        let files = [
            ("memory.current", "1000\n"),
            ("memory.max", "5000\n"),
            (
                "memory.stat",
                "anon 300\ninactive_file 400\npgfault 7\npgmajfault 2\n",
            ),
            ("memory.swap.current", "60\n"),
            (
                "memory.events",
                "low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n",
            ),
        ];
        let expected = Stats {
            memory_usage_bytes: Some(1000),
            memory_working_set_bytes: Some(600),
            memory_rss_bytes: Some(300),
            memory_limit_bytes: Some(5000),
            swap_usage_bytes: Some(60),
            page_faults: Some(7),
            major_page_faults: Some(2),
            oom_kills: 1,
            ..Stats::default()
        };
        assert_eq!(memory(Kind::V2, &files), expected);
        assert_eq!(memory(Kind::V2, &[("memory.max", "max\n")]), Stats::default());
    }

    #[test]
    fn memory_of_v1_is_that_of_the_whole_subtree() {
        let files = [
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "rss 1\nswap 1\npgfault 1\ninactive_file 1\ntotal_rss 300\ntotal_swap 60\ntotal_pgfault 7\n\
                 total_pgmajfault 2\ntotal_inactive_file 2000\n",
            ),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            ),
        ];
        let expected = Stats {
            memory_usage_bytes: Some(1000),
            memory_working_set_bytes: Some(0),
            memory_rss_bytes: Some(300),
            swap_usage_bytes: Some(60),
            page_faults: Some(7),
            major_page_faults: Some(2),
            oom_kills: 3,
            ..Stats::default()
        };
        assert_eq!(memory(Kind::V1, &files), expected);
    }

    #[test]
    fn pressure_is_two_lines_or_one() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=3\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1\n";
        let pressure = parse_pressure(text).unwrap();
        assert_eq!(pressure.some.total_ns, 3000);
        assert_eq!((pressure.some.avg10, pressure.some.avg60), (1.5, 0.25));
        assert_eq!((pressure.full.avg10, pressure.full.total_ns), (0.5, 1000));
        let old = parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=8\n").unwrap();
        assert_eq!((old.some.total_ns, old.full), (8000, PressureLine::default()));
        assert_eq!(parse_pressure(""), None);
    }
}
