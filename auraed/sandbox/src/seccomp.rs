//! The default filter of system calls: an allow-list, the one that containers are used to.
//!
//! What is not on the list fails with EPERM, but for clone3, which fails with ENOSYS so that C libraries fall back to
//! clone, whose flags a filter can read. Some calls come with a capability ([`table`]). The kernel keeps a bitmap of the
//! calls that a filter always allows, so the list's length costs nothing at run time.
//!
//! Only the machine's own architecture: a program of another one (32 bits) is killed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use crate::Capabilities;

mod table;

/// Flags of clone that make a namespace, and CLONE_NEWCGROUP (include/uapi/linux/sched.h).
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// Execution domains that are only kinds of Linux, and the question for the current one (personality(2)).
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets to a hypervisor (include/linux/socket.h).
const AF_VSOCK: u64 = 40;

/// The filters made so far: there are few sets of capabilities on a node.
static MADE: Mutex<BTreeMap<u64, Arc<str>>> = Mutex::new(BTreeMap::new());

/// The default filter for a process with these capabilities: a BPF program, 16 hexadecimal digits an instruction.
///
/// # Errors
/// What the compiler says; the lists are constant, so none is known.
pub fn default_filter(capabilities: Capabilities) -> Result<Arc<str>, BackendError> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = made.get(&capabilities.bits()) {
        return Ok(Arc::clone(filter));
    }
    let filter: Arc<str> = encode(&compile(capabilities)?).into();
    made.insert(capabilities.bits(), Arc::clone(&filter));
    Ok(filter)
}

fn compile(capabilities: Capabilities) -> Result<BpfProgram, BackendError> {
    let clone3_allowed = capabilities.has("SYS_ADMIN");
    let filter = SeccompFilter::new(
        rules(capabilities)?,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let allow_list: BpfProgram = filter.try_into()?;
    let mut program = if clone3_allowed {
        Vec::new()
    } else {
        refuse_clone3()
    };
    program.extend(allow_list);
    Ok(program)
}

fn rules(capabilities: Capabilities) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    rules.insert(libc::SYS_socket, vec![argument(0, SeccompCmpOp::Ne, AF_VSOCK)?]);
    let personalities = PERSONALITIES.map(|domain| argument(0, SeccompCmpOp::Eq, domain));
    rules.insert(
        libc::SYS_personality,
        personalities.into_iter().collect::<Result<_, _>>()?,
    );
    rules.insert(
        libc::SYS_clone,
        vec![argument(0, SeccompCmpOp::MaskedEq(CLONE_NAMESPACES), 0)?],
    );
    // An empty list of rules is no condition at all; it also takes the place of one with conditions.
    let unconditional = table::ALWAYS.iter().chain(table::MACHINE);
    rules.extend(unconditional.map(|&call| (call, Vec::new())));
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.has(capability) {
            rules.extend(calls.iter().map(|&call| (call, Vec::new())));
        }
    }
    Ok(rules)
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        index,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

/// Three instructions before the list: load the call's number; is it clone3?; then ENOSYS. A filter of the compiler's
/// has one refusal alone. A foreign architecture falls through to the list's own check, or gets ENOSYS as harmlessly.
fn refuse_clone3() -> BpfProgram {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let number = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    vec![
        // The number is the first field of struct seccomp_data.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}

/// `struct sock_filter` in memory order, in hexadecimal digits.
fn encode(program: &[sock_filter]) -> String {
    let mut text = String::with_capacity(program.len() * 16);
    for instruction in program {
        let [code0, code1] = instruction.code.to_ne_bytes();
        let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
        for byte in [code0, code1, instruction.jt, instruction.jf, k0, k1, k2, k3] {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(add: &[&str]) -> BTreeMap<i64, Vec<SeccompRule>> {
        let add: Vec<String> = add.iter().map(|&name| name.to_owned()).collect();
        rules(Capabilities::default_with(&add, &[]).unwrap()).unwrap()
    }

    #[test]
    fn mounting_comes_with_sys_admin() {
        assert!(!filter_of(&[]).contains_key(&libc::SYS_mount));
        assert!(filter_of(&["SYS_ADMIN"]).contains_key(&libc::SYS_mount));
        assert!(!filter_of(&[])[&libc::SYS_clone].is_empty());
        assert!(filter_of(&["SYS_ADMIN"])[&libc::SYS_clone].is_empty());
    }

    #[test]
    fn what_breaks_out_is_on_no_default_list() {
        let rules = filter_of(&[]);
        let refused = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_bpf,
            libc::SYS_kexec_load,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_io_uring_setup,
            libc::SYS_clone3,
        ];
        for call in refused {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn a_filter_is_made_once_and_fits_the_kernel() {
        let first = default_filter(Capabilities::default()).unwrap();
        let second = default_filter(Capabilities::default()).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.len() % 16, 0);
        // BPF_MAXINSNS.
        assert!(first.len() / 16 <= 4096);
    }
}
