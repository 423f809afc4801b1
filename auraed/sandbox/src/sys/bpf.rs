//! bpf(2), for the two calls that put a device program on a v2 group.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// One BPF instruction (struct bpf_insn).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Classes, sizes and operations of linux/bpf_common.h and linux/bpf.h, put together.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_UNLESS_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> Instruction {
        Instruction {
            code,
            registers: source << 4 | destination,
            offset,
            immediate: immediate.cast_signed(),
        }
    }

    pub(crate) const fn load_word(destination: u8, source: u8, offset: i16) -> Instruction {
        Instruction::new(LOAD_WORD, destination, source, offset, 0)
    }

    pub(crate) const fn copy(destination: u8, source: u8) -> Instruction {
        Instruction::new(COPY, destination, source, 0, 0)
    }

    pub(crate) const fn set(destination: u8, value: u32) -> Instruction {
        Instruction::new(SET, destination, 0, 0, value)
    }

    pub(crate) const fn and(destination: u8, value: u32) -> Instruction {
        Instruction::new(AND, destination, 0, 0, value)
    }

    pub(crate) const fn shift_right(destination: u8, bits: u32) -> Instruction {
        Instruction::new(SHIFT_RIGHT, destination, 0, 0, bits)
    }

    /// Skips `count` (a handful) instructions if the register is something else.
    pub(crate) const fn jump_unless_equal(register: u8, value: u32, count: usize) -> Instruction {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "a handful"
        )]
        Instruction::new(JUMP_UNLESS_EQUAL, register, 0, count as i16, value)
    }

    pub(crate) const fn exit() -> Instruction {
        Instruction::new(EXIT, 0, 0, 0, 0)
    }
}

/// The head of union bpf_attr for BPF_PROG_LOAD; the kernel takes what follows as zero.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The head of union bpf_attr for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE.
pub(crate) fn load_device_program(code: &[Instruction]) -> io::Result<OwnedFd> {
    let count = u32::try_from(code.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: count,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    let descriptor = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor (close-on-exec by the kernel) that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches the program to a v2 group, beside those that are there.
pub(crate) fn attach_device_program(group: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let attributes = AttachAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is a live, fully initialised repr(C) struct without padding that begins like union
    // bpf_attr, and its size is passed along. The kernel only reads it and, through the pointers in it, the
    // instructions and the license, which the callers borrow beyond this call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|&result| result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

/// Runs a program on the words of its context, as the kernel would.
#[cfg(test)]
pub(crate) fn interpret(code: &[Instruction], context: &[u32]) -> u32 {
    let mut registers = [0_u32; 16];
    let mut at = 0;
    loop {
        let instruction = code[at];
        let (destination, source) = (
            usize::from(instruction.registers & 15),
            usize::from(instruction.registers >> 4),
        );
        let immediate = instruction.immediate.cast_unsigned();
        at += 1;
        match instruction.code {
            LOAD_WORD => registers[destination] = context[usize::try_from(instruction.offset).unwrap() / 4],
            COPY => registers[destination] = registers[source],
            SET => registers[destination] = immediate,
            AND => registers[destination] &= immediate,
            SHIFT_RIGHT => registers[destination] >>= immediate,
            JUMP_UNLESS_EQUAL if registers[destination] != immediate => {
                at += usize::try_from(instruction.offset).unwrap();
            }
            JUMP_UNLESS_EQUAL => {}
            EXIT => return registers[0],
            code => panic!("instruction {code:#x}"),
        }
    }
}
