//! Which device nodes a container may use: lists on v1, one small BPF program on v2.
//!
//! The program is the same for every container, so it is loaded once ([`Filter::load`]) and attached to each group
//! (linux/bpf.h: BPF_PROG_TYPE_CGROUP_DEVICE).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::files::write_all;
use super::mounts::Kind;
use super::sys::{self, Instruction};
use super::{Controller, Error, Group, io_error};

// linux/bpf.h: BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MKNOD: u32 = 1;
const ALL: u32 = 7;

/// One allowed kind of access; absent numbers stand for all.
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

/// Confines the group to the standard devices. `fresh`: the group was made just now.
pub(super) fn restrict(group: &Group, fresh: bool) -> Result<(), Error> {
    match group.place(Controller::Devices) {
        Some((Kind::V1, directory)) => {
            write_all(&directory.join("devices.deny"), ["a".to_owned()])?;
            write_all(&directory.join("devices.allow"), STANDARD.iter().map(Rule::text))
        }
        Some((Kind::V2, directory)) => {
            let Some(filter) = &group.shared.filter else {
                return Ok(());
            };
            let open = rustix::fs::open(
                &directory,
                OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(io_error("open", &directory))?;
            match sys::attach_device_program(&open, &filter.program) {
                // Attached by an earlier call: a group that was already there got the program when it was made.
                Err(error) if !fresh && error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                result => result.map_err(io_error("restrict the devices of", &directory)),
            }
        }
        None => Ok(()),
    }
}

impl Rule {
    // Documentation/admin-guide/cgroup-v1/devices.rst
    fn text(&self) -> String {
        let kind = if self.kind == BLOCK { 'b' } else { 'c' };
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let access = if self.access == MKNOD { "m" } else { "rwm" };
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
            test.push((ACCESS, rule.access));
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
}
