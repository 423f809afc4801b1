//! Verdicts on system calls as a BPF program.
//!
//! The numbers are searched by halves: a call costs some ten instructions, where a list of 350 costs up to a thousand. That
//! counts once more when a filter is loaded, which is at every container's start: the kernel walks it for each number, to
//! note what is always allowed.
//!
//! ```text
//!        number ≥ 131?
//!       no │     │ yes
//!   number ≥ 57? number ≥ 203? …
//!   no │   │ yes
//!   allow  clone's flags? ─► allow or refuse
//! ```

use std::collections::BTreeMap;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this errno.
    Refuse(u16),
    /// It is allowed if its first argument is as said, and else fails with EPERM.
    IfFirst(Condition),
}

/// On the lower half of an argument, which is all of an `int`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    IsNot(u32),
    IsOneOf(Vec<u32>),
    HasNone(u32),
}

/// One instruction (struct sock_filter of include/uapi/linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) value: u32,
}

// Classes and operations of include/uapi/linux/bpf_common.h, put together.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h), little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// AUDIT_ARCH_* of include/uapi/linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Makes the program. A number without a verdict is refused with EPERM, or beyond `newest` with ENOSYS: a kernel that is newer
/// than this list is then like an older one, which programs know how to do with.
pub(super) fn compile(verdicts: &BTreeMap<u32, Verdict>, newest: u32) -> Vec<Instruction> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(JUMP_EQUAL, NATIVE, 1, 0),
        finish(KILL),
        load(NUMBER),
    ];
    program.extend(search(&ranges(verdicts, newest)));
    program
}

/// The numbers from each one to the next have the same verdict.
fn ranges(verdicts: &BTreeMap<u32, Verdict>, newest: u32) -> Vec<(u32, Verdict)> {
    let refused = Verdict::Refuse(libc::EPERM as u16);
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=newest {
        let verdict = verdicts.get(&number).unwrap_or(&refused);
        if ranges.last().is_none_or(|(_, last)| last != verdict) {
            ranges.push((number, verdict.clone()));
        }
    }
    ranges.push((newest + 1, Verdict::Refuse(libc::ENOSYS as u16)));
    ranges
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![finish(refusal(libc::EPERM as u16))],
        [(_, verdict)] => decide(verdict),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let (pivot, _) = upper[0];
            let (lower, upper) = (search(lower), search(upper));
            let mut program = match u8::try_from(lower.len()) {
                Ok(distance) => vec![jump(JUMP_AT_LEAST, pivot, distance, 0)],
                // The distance of a condition is one byte.
                Err(_) => vec![jump(JUMP_AT_LEAST, pivot, 0, 1), jump_over(lower.len())],
            };
            program.extend(lower);
            program.extend(upper);
            program
        }
    }
}

fn decide(verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![finish(ALLOW)],
        Verdict::Refuse(errno) => vec![finish(refusal(*errno))],
        Verdict::IfFirst(condition) => {
            let mut program = vec![load(FIRST_ARGUMENT)];
            program.extend(test(condition));
            program.extend([finish(refusal(libc::EPERM as u16)), finish(ALLOW)]);
            program
        }
    }
}

/// Goes on with the next instruction but one if the condition holds, else with the next.
fn test(condition: &Condition) -> Vec<Instruction> {
    match condition {
        Condition::IsNot(value) => vec![jump(JUMP_EQUAL, *value, 0, 1)],
        Condition::HasNone(mask) => {
            vec![
                Instruction {
                    code: AND,
                    if_true: 0,
                    if_false: 0,
                    value: *mask,
                },
                jump(JUMP_EQUAL, 0, 1, 0),
            ]
        }
        // There are few of them.
        Condition::IsOneOf(values) => (1..=values.len())
            .rev()
            .zip(values)
            .map(|(left, value)| jump(JUMP_EQUAL, *value, u8::try_from(left).unwrap_or(u8::MAX), 0))
            .collect(),
    }
}

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        if_true: 0,
        if_false: 0,
        value: offset,
    }
}

fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

fn jump_over(count: usize) -> Instruction {
    // A program has at most 4096 instructions.
    Instruction {
        code: JUMP,
        if_true: 0,
        if_false: 0,
        value: count as u32,
    }
}

fn finish(value: u32) -> Instruction {
    Instruction {
        code: RETURN,
        if_true: 0,
        if_false: 0,
        value,
    }
}

fn refusal(errno: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do.
    fn run(program: &[Instruction], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut position, mut accumulator) = (0, 0);
        loop {
            let Instruction {
                code,
                if_true,
                if_false,
                value,
            } = program[position];
            position += 1;
            let mut branch = |taken: bool| position += usize::from(if taken { if_true } else { if_false });
            match code {
                LOAD if value == ARCHITECTURE => accumulator = architecture,
                LOAD if value == NUMBER => accumulator = number,
                LOAD => accumulator = argument,
                AND => accumulator &= value,
                JUMP => position += value as usize,
                JUMP_EQUAL => branch(accumulator == value),
                JUMP_AT_LEAST => branch(accumulator >= value),
                RETURN => return value,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn expected(verdict: Option<&Verdict>, argument: u32) -> u32 {
        let refused = refusal(libc::EPERM as u16);
        let if_true = |condition| if condition { ALLOW } else { refused };
        match verdict {
            None => refused,
            Some(Verdict::Allow) => ALLOW,
            Some(Verdict::Refuse(errno)) => refusal(*errno),
            Some(Verdict::IfFirst(Condition::IsNot(value))) => if_true(argument != *value),
            Some(Verdict::IfFirst(Condition::HasNone(mask))) => if_true(argument & mask == 0),
            Some(Verdict::IfFirst(Condition::IsOneOf(values))) => if_true(values.contains(&argument)),
        }
    }

    /// Of every kind, scattered; `density` of ten numbers have one.
    fn verdicts(newest: u32, density: u32) -> BTreeMap<u32, Verdict> {
        let verdict = |number: u32| match number.wrapping_mul(2_654_435_761) >> 16 & 15 {
            0 => Verdict::Refuse(libc::ENOSYS as u16),
            1 => Verdict::IfFirst(Condition::IsNot(40)),
            2 => Verdict::IfFirst(Condition::HasNone(0x7e02_0000)),
            3 => Verdict::IfFirst(Condition::IsOneOf(vec![0, 8, 0x2_0000])),
            _ => Verdict::Allow,
        };
        (0..=newest)
            .filter(|number| number.wrapping_mul(2_246_822_519) >> 8 & 1023 < density * 102)
            .map(|number| (number, verdict(number)))
            .collect()
    }

    #[test]
    fn each_number_gets_its_verdict() {
        for density in [0, 1, 5, 9, 11] {
            let newest = 469;
            let verdicts = verdicts(newest, density);
            let program = compile(&verdicts, newest);
            for number in 0..=newest {
                for argument in [0, 8, 40, 0x2_0000, 0x0200_0000, u32::MAX] {
                    let result = run(&program, NATIVE, number, argument);
                    assert_eq!(
                        result,
                        expected(verdicts.get(&number), argument),
                        "{number} {argument:#x}"
                    );
                }
            }
            for number in [newest + 1, 1000, 0x4000_0000, u32::MAX] {
                assert_eq!(run(&program, NATIVE, number, 0), refusal(libc::ENOSYS as u16));
            }
            assert_eq!(run(&program, 0x4000_0003, 0, 0), KILL);
        }
    }
    /// The same list by another compiler. It knows one refusal, so that what has another one is left out.
    #[test]
    fn another_compiler_comes_to_the_same_verdicts() {
        use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
        let newest = 469;
        let verdicts: BTreeMap<u32, Verdict> = verdicts(newest, 7)
            .into_iter()
            .filter(|(_, verdict)| *verdict == Verdict::Allow)
            .collect();
        let rules = verdicts
            .keys()
            .map(|number| (i64::from(*number), Vec::new()))
            .collect();
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let other: BpfProgram = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)
            .unwrap()
            .try_into()
            .unwrap();
        let other: Vec<Instruction> = other
            .iter()
            .map(|one| Instruction {
                code: one.code,
                if_true: one.jt,
                if_false: one.jf,
                value: one.k,
            })
            .collect();
        let program = compile(&verdicts, newest);
        for number in 0..=newest {
            assert_eq!(
                run(&program, NATIVE, number, 0),
                run(&other, NATIVE, number, 0),
                "{number}"
            );
        }
        assert_eq!(run(&program, 0x4000_0003, 0, 0), run(&other, 0x4000_0003, 0, 0));
        assert!(program.len() * 2 < other.len());
    }
}
