//! From names to numbers, for each interface that programs may use.

use std::collections::BTreeMap;

use super::super::names::{NATIVE_CALLS, Table};
use super::super::program::{Comparison, KILL, NATIVE, Rule, Section, Test, Verdict, refusal};
use super::{Action, Entry, Profile};
use crate::Capabilities;

/// AUDIT_ARCH_I386 of include/uapi/linux/audit.h.
#[cfg(target_arch = "x86_64")]
const I386: u32 = 0x4000_0003;
/// Tells calls of x32 from those of x86_64 (__X32_SYSCALL_BIT).
const X32_BIT: u32 = 0x4000_0000;

/// On i386 these calls are also ways through another one, whose first argument says which (include/uapi/linux/net.h, ipc.h).
#[cfg(target_arch = "x86_64")]
const MULTIPLEXED: [(&str, u32, &[&str]); 2] = [
    (
        "socketcall",
        u32::MAX,
        &[
            "socket",
            "bind",
            "connect",
            "listen",
            "accept",
            "getsockname",
            "getpeername",
            "socketpair",
            "send",
            "recv",
            "sendto",
            "recvfrom",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "sendmsg",
            "recvmsg",
            "accept4",
            "recvmmsg",
            "sendmmsg",
        ],
    ),
    (
        "ipc",
        0xffff,
        &[
            "semop",
            "semget",
            "semctl",
            "semtimedop",
            "",
            "",
            "",
            "",
            "",
            "",
            "msgsnd",
            "msgrcv",
            "msgget",
            "msgctl",
            "",
            "",
            "",
            "",
            "",
            "",
            "shmat",
            "shmdt",
            "shmget",
            "shmctl",
        ],
    ),
];

/// What is known of one number.
#[derive(Default)]
struct Known {
    /// Of a rule without arguments.
    always: Option<Action>,
    rules: Vec<Rule>,
}

impl Profile {
    /// The verdicts on each interface.
    pub(super) fn sections(&self, capabilities: Capabilities) -> Vec<Section> {
        let entries: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.counts(capabilities))
            .collect();
        let mut native = self.section(&entries, NATIVE, &NATIVE_CALLS, 0);
        native.otherwise.extend(self.beyond(&entries, &NATIVE_CALLS, 0));
        #[cfg(target_arch = "x86_64")]
        {
            use super::super::names::{I386_CALLS, X32_CALLS};
            native.otherwise.insert(X32_BIT, KILL);
            if self.x32 {
                let x32 = self.section(&entries, NATIVE, &X32_CALLS, X32_BIT);
                native.verdicts.extend(x32.verdicts);
                native.otherwise.insert(X32_BIT, self.default.0);
                native
                    .otherwise
                    .extend(self.beyond(&entries, &X32_CALLS, X32_BIT));
            }
            if self.i386 {
                let mut i386 = self.section(&entries, I386, &I386_CALLS, 0);
                i386.otherwise.extend(self.beyond(&entries, &I386_CALLS, 0));
                return vec![native, i386];
            }
        }
        vec![native]
    }

    /// `bit` is set in each number.
    fn section(&self, entries: &[&Entry], architecture: u32, table: &Table, bit: u32) -> Section {
        let mut known: BTreeMap<u32, Known> = BTreeMap::new();
        // What is as everything else is needs no rule, and must not stand in the way of one.
        for entry in entries.iter().filter(|entry| entry.action != self.default) {
            for name in &entry.names {
                if let Some(number) = table.get(name.as_str()) {
                    known.entry(number | bit).or_default().add(entry, architecture);
                }
                #[cfg(target_arch = "x86_64")]
                if architecture == I386 && entry.arguments.is_empty() {
                    add_multiplexed(&mut known, table, name, entry.action);
                }
            }
        }
        Section {
            architecture,
            verdicts: known
                .into_iter()
                .map(|(number, known)| (number, known.verdict(self.default)))
                .collect(),
            otherwise: [(0, self.default.0)].into(),
        }
    }

    /// Programs try new calls and fall back to older ones on ENOSYS alone, so that is what they get of calls that the profile
    /// is too old to know.
    fn beyond(&self, entries: &[&Entry], table: &Table, bit: u32) -> Option<(u32, u32)> {
        if self.default.allows() {
            return None;
        }
        let names = entries.iter().flat_map(|entry| &entry.names);
        let newest = names.filter_map(|name| table.get(name.as_str())).max()?;
        Some(((newest | bit) + 1, refusal(libc::ENOSYS as u16)))
    }
}

impl Known {
    fn add(&mut self, entry: &Entry, architecture: u32) {
        if entry.arguments.is_empty() {
            self.always = self.always.or(Some(entry.action));
            return;
        }
        let test = |(argument, comparison): &(u8, Comparison)| Test {
            argument: *argument,
            comparison: on(architecture, comparison),
        };
        let mut seen = [false; 6];
        let twice = entry
            .arguments
            .iter()
            .any(|(argument, _)| std::mem::replace(&mut seen[usize::from(*argument)], true));
        let tests = entry.arguments.iter().map(test);
        let result = entry.action.0;
        if twice {
            self.rules.extend(tests.map(|test| Rule {
                tests: vec![test],
                result,
            }));
        } else {
            self.rules.push(Rule {
                tests: tests.collect(),
                result,
            });
        }
    }

    fn verdict(self, default: Action) -> Verdict {
        match self.always {
            Some(action) => Verdict::Return(action.0),
            None => Verdict::ByArguments(self.rules, default.0),
        }
    }
}

/// Arguments of 32-bit programs have no upper half: neither has what they are compared with.
fn on(architecture: u32, comparison: &Comparison) -> Comparison {
    let low = |value: u64| value & 0xffff_ffff;
    if architecture == NATIVE {
        return comparison.clone();
    }
    match comparison {
        Comparison::Equal(value) => Comparison::Equal(low(*value)),
        Comparison::NotEqual(value) => Comparison::NotEqual(low(*value)),
        Comparison::Less(value) => Comparison::Less(low(*value)),
        Comparison::LessOrEqual(value) => Comparison::LessOrEqual(low(*value)),
        Comparison::Greater(value) => Comparison::Greater(low(*value)),
        Comparison::GreaterOrEqual(value) => Comparison::GreaterOrEqual(low(*value)),
        Comparison::Masked(mask, value) => Comparison::Masked(low(*mask), low(*value)),
        other => other.clone(),
    }
}

#[cfg(target_arch = "x86_64")]
fn add_multiplexed(known: &mut BTreeMap<u32, Known>, table: &Table, name: &str, action: Action) {
    for (way, mask, names) in MULTIPLEXED {
        let place = (1_u32..).zip(names).find(|(_, known)| **known == name);
        if let (Some((number, _)), Some(way)) = (place, table.get(way)) {
            let test = Test {
                argument: 0,
                comparison: Comparison::LowMasked(mask, number),
            };
            known.entry(*way).or_default().rules.push(Rule {
                tests: vec![test],
                result: action.0,
            });
        }
    }
}

impl Entry {
    /// Whether it is for this machine, this kernel and a process with these capabilities.
    fn counts(&self, capabilities: Capabilities) -> bool {
        let (includes, excludes) = (&self.includes, &self.excludes);
        let caps = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let here = |arch: &String| *arch == architecture();
        let arches = |list: &Option<Vec<String>>| list.as_deref().unwrap_or_default().iter().any(here);
        let at_least = |version: &Option<String>| {
            let wanted = version.as_deref().and_then(self::version);
            wanted.is_some_and(|wanted| running().is_some_and(|running| running >= wanted))
        };
        let excluded = arches(&excludes.arches)
            || caps(&excludes.caps).iter().any(|name| capabilities.has(name))
            || at_least(&excludes.min_kernel);
        let included = (includes.arches.as_ref().is_none_or(Vec::is_empty) || arches(&includes.arches))
            && caps(&includes.caps).iter().all(|name| capabilities.has(name))
            && (includes.min_kernel.is_none() || at_least(&includes.min_kernel));
        included && !excluded
    }
}

/// This machine's, in the words of those lists.
fn architecture() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    }
}

fn running() -> Option<(u32, u32)> {
    let system = rustix::system::uname();
    version(system.release().to_str().ok()?)
}

/// The first two numbers of a kernel's version.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|char: char| !char.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
