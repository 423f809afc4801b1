//! Which cgroup hierarchies are mounted where, read from `/proc/self/mountinfo` text.
//!
//! Pure: [`Mounts::parse`] takes the texts, so that tests can describe any machine.

use std::path::PathBuf;

use super::Controller;

/// A mounted hierarchy that the daemon makes groups in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted; in a container this may be a part of the whole.
    pub(super) mount: PathBuf,
    /// Its interface.
    pub(super) kind: Kind,
    /// The controllers of ours that live in it.
    pub(super) controllers: Vec<Controller>,
}

impl Hierarchy {
    /// Those that a v2 group passes on to the groups below only if it is told to.
    pub(super) fn delegated(&self) -> impl Iterator<Item = Controller> {
        self.controllers
            .iter()
            .copied()
            .filter(|controller| controller.is_delegated())
    }
}

/// The interface of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V1,
    V2,
}

/// All mounted hierarchies that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mounts {
    /// The v2 hierarchy.
    pub(super) v2: Option<PathBuf>,
    /// The v1 hierarchies with controllers of ours, and systemd's own if the daemon is in a group of it: a pod that
    /// stayed there would be killed with the daemon's service.
    pub(super) v1: Vec<Hierarchy>,
}

impl Mounts {
    /// Reads the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (cgroups(7), proc_pid_mountinfo(5)).
    pub(super) fn parse(mountinfo: &str, own: &str) -> Mounts {
        let in_systemd_group = own.lines().any(|line| {
            line.split_once(":name=systemd:")
                .is_some_and(|(_, path)| path != "/")
        });
        let mut mounts = Mounts::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4) else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            let mount = PathBuf::from(unescape(point));
            match kind {
                "cgroup2" => mounts.v2 = mounts.v2.or(Some(mount)),
                "cgroup" => mounts.add_v1(mount, options, in_systemd_group),
                _ => {}
            }
        }
        mounts.drop_needless_freezer();
        mounts
    }

    fn add_v1(&mut self, mount: PathBuf, options: &str, in_systemd_group: bool) {
        let mut controllers = Vec::new();
        for option in options.split(',') {
            let Some(controller) = v1_controller(option) else {
                continue;
            };
            if !self
                .v1
                .iter()
                .any(|other| other.controllers.contains(&controller))
            {
                controllers.push(controller);
            }
        }
        let systemd = in_systemd_group && options.split(',').any(|option| option == "name=systemd");
        if systemd || !controllers.is_empty() {
            self.v1.push(Hierarchy {
                mount,
                kind: Kind::V1,
                controllers,
            });
        }
    }

    // With a v2 hierarchy beside, freezing and killing are done there, and each group saves a directory.
    fn drop_needless_freezer(&mut self) {
        if self.v2.is_some() {
            self.v1
                .retain(|hierarchy| hierarchy.controllers != [Controller::Freezer]);
        }
    }
}

fn v1_controller(option: &str) -> Option<Controller> {
    Some(match option {
        "cpu" => Controller::Cpu,
        "cpuacct" => Controller::CpuAccounting,
        "memory" => Controller::Memory,
        "pids" => Controller::Pids,
        "devices" => Controller::Devices,
        "freezer" => Controller::Freezer,
        "cpuset" => Controller::Cpuset,
        "hugetlb" => Controller::HugePages,
        _ => return None,
    })
}

// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail
            .get(..3)
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match (first, digits) {
            (b'\\', Some(digits)) => {
                bytes.push(digits.iter().fold(0_u8, |value, digit| {
                    value.wrapping_mul(8).wrapping_add(digit - b'0')
                }));
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:9 - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:32 /x /mnt/again rw,relatime - cgroup cgroup rw,memory
";

    fn hierarchy(mount: &str, controllers: &[Controller]) -> Hierarchy {
        Hierarchy {
            mount: PathBuf::from(mount),
            kind: Kind::V1,
            controllers: controllers.to_vec(),
        }
    }

    #[test]
    fn hybrid_machine() {
        let mounts = Mounts::parse(HYBRID, "0::/\n");
        assert_eq!(mounts.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(
            mounts.v1,
            [
                hierarchy(
                    "/sys/fs/cgroup/cpu,cpuacct",
                    &[Controller::Cpu, Controller::CpuAccounting]
                ),
                hierarchy("/sys/fs/cgroup/cpuset", &[Controller::Cpuset]),
                hierarchy("/sys/fs/cgroup/memory", &[Controller::Memory]),
            ]
        );
    }

    #[test]
    fn a_service_of_systemd_leaves_its_group() {
        let mounts = Mounts::parse(HYBRID, "1:name=systemd:/system.slice/auraed.service\n0::/\n");
        assert_eq!(mounts.v1.last(), Some(&hierarchy("/sys/fs/cgroup/systemd", &[])));
    }

    #[test]
    fn v1_alone_keeps_the_freezer() {
        let text: String = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .map(|line| format!("{line}\n"))
            .collect();
        let mounts = Mounts::parse(&text, "");
        assert_eq!(mounts.v2, None);
        assert_eq!(
            mounts.v1.last(),
            Some(&hierarchy("/sys/fs/cgroup/freezer", &[Controller::Freezer]))
        );
    }

    #[test]
    fn v2_alone_at_an_odd_place() {
        let mounts = Mounts::parse("30 2 0:3 / /a\\040b rw - cgroup2 none rw\nnonsense\n", "");
        assert_eq!(
            mounts,
            Mounts {
                v2: Some(PathBuf::from("/a b")),
                v1: Vec::new()
            }
        );
    }
}
