//! Which device nodes a container may use: lists on v1, one small BPF program on v2.
//!
//! The program is the same for every container, so it is loaded once ([`Filter::load`]) and attached to each group
//! (linux/bpf.h: BPF_PROG_TYPE_CGROUP_DEVICE).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::files::write_all;
use super::mounts::Kind;
use super::{Controller, Error, Group, io_error};
use crate::sys::{self, Instruction};

// linux/bpf.h: BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = 7;

/// Access to one device node, or to all of a major number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    /// A block device; else a character device.
    pub block: bool,
    /// Device number's upper part.
    pub major: u32,
    /// Device number's lower part; none stands for all.
    pub minor: Option<u32>,
    /// To open it for reading.
    pub read: bool,
    /// To open it for writing.
    pub write: bool,
    /// To make the node.
    pub mknod: bool,
}

/// One allowed kind of access; absent numbers stand for all.
#[derive(Debug, Clone, Copy)]
struct Rule {
    kind: u32,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

const fn node(major: u32, minor: Option<u32>) -> Rule {
    Rule {
        kind: CHARACTER,
        major: Some(major),
        minor,
        access: ALL,
    }
}

/// Making nodes is harmless while opening them is not allowed, and archives are full of them.
const STANDARD: [Rule; 11] = [
    Rule {
        kind: CHARACTER,
        major: None,
        minor: None,
        access: MKNOD,
    },
    Rule {
        kind: BLOCK,
        major: None,
        minor: None,
        access: MKNOD,
    },
    node(1, Some(3)), // null
    node(1, Some(5)), // zero
    node(1, Some(7)), // full
    node(1, Some(8)), // random
    node(1, Some(9)), // urandom
    node(5, Some(0)), // tty
    node(5, Some(1)), // console
    node(5, Some(2)), // ptmx
    node(136, None),  // pts
];

/// The loaded program for v2 groups.
#[derive(Debug)]
pub(super) struct Filter {
    program: OwnedFd,
}

impl Filter {
    /// Has the kernel check and keep the program.
    pub(super) fn load() -> io::Result<Filter> {
        Ok(Filter {
            program: sys::load_device_program(&program(&STANDARD))?,
        })
    }
}

/// Confines the group to the standard devices and `more`. `fresh`: the group was made just now.
pub(super) fn restrict(group: &Group, more: &[DeviceRule], fresh: bool) -> Result<(), Error> {
    let rules = || STANDARD.into_iter().chain(more.iter().map(Rule::from));
    match group.place(Controller::Devices) {
        Some((Kind::V1, directory)) => {
            write_all(&directory.join("devices.deny"), ["a".to_owned()])?;
            write_all(&directory.join("devices.allow"), rules().map(|rule| rule.text()))
        }
        Some((Kind::V2, directory)) => {
            let Some(filter) = &group.shared.filter else {
                return Ok(());
            };
            let own = if more.is_empty() {
                None
            } else {
                let rules: Vec<Rule> = rules().collect();
                Some(
                    sys::load_device_program(&program(&rules))
                        .map_err(io_error("load the device program of", &directory))?,
                )
            };
            let program = own.as_ref().unwrap_or(&filter.program);
            let open = rustix::fs::open(
                &directory,
                OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(io_error("open", &directory))?;
            match sys::attach_device_program(&open, program) {
                // Attached by an earlier call: a group that was already there got the program when it was made.
                Err(error) if !fresh && error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                result => result.map_err(io_error("restrict the devices of", &directory)),
            }
        }
        None => Ok(()),
    }
}

impl From<&DeviceRule> for Rule {
    fn from(rule: &DeviceRule) -> Self {
        let access = [(rule.mknod, MKNOD), (rule.read, READ), (rule.write, WRITE)];
        Rule {
            kind: if rule.block { BLOCK } else { CHARACTER },
            major: Some(rule.major),
            minor: rule.minor,
            access: access
                .into_iter()
                .filter_map(|(wanted, bit)| wanted.then_some(bit))
                .sum(),
        }
    }
}

impl Rule {
    // Documentation/admin-guide/cgroup-v1/devices.rst
    fn text(&self) -> String {
        let kind = if self.kind == BLOCK { 'b' } else { 'c' };
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .into_iter()
            .filter_map(|(bit, letter)| (self.access & bit != 0).then_some(letter))
            .collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// The rules as a program: the first that fits allows, none refuses.
///
/// Its input, struct bpf_cgroup_dev_ctx, is three words: access << 16 | kind, major, minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    const RESULT: u8 = 0;
    const CONTEXT: u8 = 1;
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const REST: u8 = 6;
    let mut code = vec![
        Instruction::load_word(KIND, CONTEXT, 0),
        Instruction::copy(ACCESS, KIND),
        Instruction::and(KIND, 0xffff),
        Instruction::shift_right(ACCESS, 16),
        Instruction::load_word(MAJOR, CONTEXT, 4),
        Instruction::load_word(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        let mut test = vec![(KIND, rule.kind)];
        if rule.access != ALL {
            // What is asked for beyond what is allowed.
            code.push(Instruction::copy(REST, ACCESS));
            code.push(Instruction::and(REST, ALL & !rule.access));
            test.push((REST, 0));
        }
        test.extend(rule.major.map(|major| (MAJOR, major)));
        test.extend(rule.minor.map(|minor| (MINOR, minor)));
        // Each test that fails jumps behind the two instructions that allow.
        let count = test.len();
        for (index, (register, value)) in test.into_iter().enumerate() {
            code.push(Instruction::jump_unless_equal(
                register,
                value,
                count - index - 1 + 2,
            ));
        }
        code.extend([Instruction::set(RESULT, 1), Instruction::exit()]);
    }
    code.extend([Instruction::set(RESULT, 0), Instruction::exit()]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_v1_text() {
        let text: Vec<_> = STANDARD.iter().map(Rule::text).collect();
        assert_eq!(text[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(text[10], "c 136:* rwm");
    }

    #[test]
    fn program_allows_what_the_rules_say() {
        let code = program(&STANDARD);
        let run =
            |access: u32, kind, major, minor| sys::interpret(&code, &[access << 16 | kind, major, minor]);
        assert_eq!(run(MKNOD, BLOCK, 8, 0), 1, "making any node");
        assert_eq!(run(MKNOD, CHARACTER, 10, 229), 1, "making any node");
        assert_eq!(run(6, CHARACTER, 1, 3), 1, "reading and writing null");
        assert_eq!(run(2, CHARACTER, 136, 77), 1, "reading any pts");
        assert_eq!(run(2, BLOCK, 1, 3), 0, "a block device with null's number");
        assert_eq!(run(2, BLOCK, 8, 0), 0, "reading a disk");
        assert_eq!(run(3, BLOCK, 8, 0), 0, "making and reading a disk");
        assert_eq!(run(4, CHARACTER, 1, 1), 0, "writing mem");
    }

    #[test]
    fn a_rule_allows_each_part_of_its_access() {
        let rule = DeviceRule {
            block: false,
            major: 10,
            minor: Some(229),
            read: true,
            write: true,
            mknod: false,
        };
        assert_eq!(Rule::from(&rule).text(), "c 10:229 rw");
        let code = program(&[Rule::from(&rule)]);
        let run =
            |access: u32, kind, major, minor| sys::interpret(&code, &[access << 16 | kind, major, minor]);
        for (access, allowed) in [(2, 1), (4, 1), (6, 1), (1, 0), (3, 0), (7, 0)] {
            assert_eq!(run(access, CHARACTER, 10, 229), allowed, "{access}");
        }
        assert_eq!(run(2, CHARACTER, 10, 230), 0);
        assert_eq!(run(2, BLOCK, 10, 229), 0);
    }
}
