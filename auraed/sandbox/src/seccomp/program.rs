//! Verdicts on system calls as a BPF program.
//!
//! The numbers are searched by halves: a call costs some ten instructions, where a list of 350 costs up to a thousand. That
//! counts once more when a filter is loaded, which is at every container's start: the kernel walks it for each number, to
//! note what is always allowed.
//!
//! ```text
//!   architecture? ─► number ≥ 131?                                one search for each architecture
//!                  no │     │ yes
//!              number ≥ 57? number ≥ 203? …
//!              no │   │ yes
//!              allow  arguments? ─► a rule's verdict, or else
//! ```

use std::collections::BTreeMap;

/// What becomes of a call: what a filter returns (SECCOMP_RET_* and its data), perhaps after a look at the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Return(u32),
    /// The first rule that fits, else the value.
    ByArguments(Vec<Rule>, u32),
}

/// A value for calls whose arguments pass all tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) tests: Vec<Test>,
    pub(super) result: u32,
}

/// A test of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) comparison: Comparison,
}

/// The first four are of the lower half alone, which is all of an `int`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    LowIsNot(u32),
    LowIsOneOf(Vec<u32>),
    LowHasNone(u32),
    /// These bits are these.
    LowMasked(u32, u32),
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// The bits of the first are those of the second.
    Masked(u64, u64),
}

/// The verdicts of one architecture.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// AUDIT_ARCH_* of include/uapi/linux/audit.h.
    pub(super) architecture: u32,
    pub(super) verdicts: BTreeMap<u32, Verdict>,
    /// For numbers without a verdict: the value that holds from each number on. Begins with 0.
    pub(super) otherwise: BTreeMap<u32, u32>,
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
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h), little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// This machine's architecture.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Makes the program. Calls of an architecture without a section kill the process.
pub(super) fn compile(sections: &[Section]) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for section in sections {
        let mut body = vec![load(NUMBER)];
        body.extend(search(&ranges(section)));
        // The distance of a condition is one byte.
        program.push(jump(JUMP_EQUAL, section.architecture, 1, 0));
        program.push(jump_over(body.len()));
        program.extend(body);
    }
    program.push(finish(KILL));
    program
}

/// The numbers from each one to the next have the same verdict.
fn ranges(section: &Section) -> Vec<(u32, Verdict)> {
    let Section {
        verdicts, otherwise, ..
    } = section;
    let mut starts: Vec<u32> = otherwise.keys().copied().collect();
    starts.extend(
        verdicts
            .keys()
            .flat_map(|number| [*number, number.saturating_add(1)]),
    );
    starts.sort_unstable();
    starts.dedup();
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for number in starts {
        let general = otherwise.range(..=number).next_back();
        let verdict = verdicts
            .get(&number)
            .cloned()
            .unwrap_or_else(|| Verdict::Return(general.map_or(KILL, |(_, value)| *value)));
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![finish(KILL)],
        [(_, verdict)] => decide(verdict),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let (pivot, _) = upper[0];
            let (lower, upper) = (search(lower), search(upper));
            let mut program = match u8::try_from(lower.len()) {
                Ok(distance) => vec![jump(JUMP_AT_LEAST, pivot, distance, 0)],
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
        Verdict::Return(value) => vec![finish(*value)],
        Verdict::ByArguments(rules, otherwise) => {
            let mut program: Vec<Instruction> = rules.iter().flat_map(decide_rule).collect();
            program.push(finish(*otherwise));
            program
        }
    }
}

/// Returns the rule's result, or goes on behind it.
fn decide_rule(rule: &Rule) -> Vec<Instruction> {
    let mut program = vec![finish(rule.result)];
    for test in rule.tests.iter().rev() {
        let mut before = compare(test, program.len());
        before.append(&mut program);
        program = before;
    }
    program
}

/// Goes on if the test is passed, else behind the `rest` that follows. A rule has six tests at most, unless its caller splits
/// hairs with [`Comparison::LowIsOneOf`], so that distances fit into a byte.
fn compare(test: &Test, rest: usize) -> Vec<Instruction> {
    let low = ARGUMENTS + u32::from(test.argument) * 8;
    let high = low + 4;
    let away = |behind: usize| u8::try_from(rest + behind).unwrap_or(u8::MAX);
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    match test.comparison {
        Comparison::LowIsNot(value) => vec![load(low), jump(JUMP_EQUAL, value, away(0), 0)],
        Comparison::LowHasNone(mask) => vec![load(low), and(mask), jump(JUMP_EQUAL, 0, 0, away(0))],
        Comparison::LowMasked(mask, value) => {
            vec![load(low), and(mask), jump(JUMP_EQUAL, value & mask, 0, away(0))]
        }
        Comparison::LowIsOneOf(ref values) => {
            let mut program = vec![load(low)];
            for (index, value) in values.iter().enumerate() {
                let left = values.len() - index - 1;
                let unlike = if left == 0 { away(0) } else { 0 };
                program.push(jump(
                    JUMP_EQUAL,
                    *value,
                    u8::try_from(left).unwrap_or(u8::MAX),
                    unlike,
                ));
            }
            program
        }
        Comparison::Equal(value) => equal(low, [u32::MAX; 2], halves(value), away),
        Comparison::Masked(mask, value) => {
            let (mask_high, mask_low) = halves(mask);
            equal(low, [mask_high, mask_low], halves(value & mask), away)
        }
        Comparison::NotEqual(value) => {
            let (upper, lower) = halves(value);
            vec![
                load(high),
                jump(JUMP_EQUAL, upper, 0, 2),
                load(low),
                jump(JUMP_EQUAL, lower, away(0), 0),
            ]
        }
        Comparison::Greater(value) => ordered(low, JUMP_GREATER, halves(value), true, away),
        Comparison::GreaterOrEqual(value) => ordered(low, JUMP_AT_LEAST, halves(value), true, away),
        Comparison::LessOrEqual(value) => ordered(low, JUMP_GREATER, halves(value), false, away),
        Comparison::Less(value) => ordered(low, JUMP_AT_LEAST, halves(value), false, away),
    }
}

fn equal(
    low: u32,
    [mask_high, mask_low]: [u32; 2],
    (upper, lower): (u32, u32),
    away: impl Fn(usize) -> u8,
) -> Vec<Instruction> {
    let part = |offset: u32, mask: u32| {
        let mut part = vec![load(offset)];
        if mask != u32::MAX {
            part.push(and(mask));
        }
        part
    };
    let mut second = part(low, mask_low);
    second.push(jump(JUMP_EQUAL, lower, 0, away(0)));
    let mut program = part(low + 4, mask_high);
    program.push(jump(JUMP_EQUAL, upper, 0, away(second.len())));
    program.extend(second);
    program
}

/// Whether the argument is above (`code`: or equal to) the value, which is to be so or not.
fn ordered(
    low: u32,
    code: u16,
    (upper, lower): (u32, u32),
    wanted: bool,
    away: impl Fn(usize) -> u8,
) -> Vec<Instruction> {
    // The upper halves decide unless they are equal.
    let (above, below, last) = if wanted {
        (3, away(2), jump(code, lower, 0, away(0)))
    } else {
        (away(3), 2, jump(code, lower, away(0), 0))
    };
    vec![
        load(low + 4),
        jump(JUMP_GREATER, upper, above, 0),
        jump(JUMP_EQUAL, upper, 0, below),
        load(low),
        last,
    ]
}

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        if_true: 0,
        if_false: 0,
        value: offset,
    }
}

fn and(mask: u32) -> Instruction {
    Instruction {
        code: AND,
        if_true: 0,
        if_false: 0,
        value: mask,
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
    // A program that the kernel takes has at most 4096 instructions; a longer one is not given to it.
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

/// The value for a call that fails with this errno.
pub(super) fn refusal(errno: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | u32::from(errno)
}

#[cfg(test)]
pub(super) mod tests;
