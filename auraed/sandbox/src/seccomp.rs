//! Filters of system calls: the default one, and those of profiles that callers bring ([`Profile`]).
//!
//! The default is an allow-list, the one that containers are used to.
//! What is not on the list fails with EPERM, but for clone3, which fails with ENOSYS so that C libraries fall back to
//! clone, whose flags a filter can read, and for calls that are newer than the list. Some calls come with a capability
//! ([`table`]). The kernel keeps a bitmap of the calls that a filter always allows, so the list's length costs nothing at run
//! time.
//!
//! Only the machine's own architecture: a program of another one (32 bits) is killed, unless a profile speaks of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use self::program::{ALLOW, Comparison, Instruction, NATIVE, Rule, Section, Test, Verdict, refusal};
use crate::Capabilities;

mod names;
mod profile;
mod program;
mod table;

pub use profile::{Profile, ProfileError};

/// Flags of clone that make a namespace, and CLONE_NEWCGROUP (include/uapi/linux/sched.h).
const CLONE_NAMESPACES: u32 = 0x7E02_0000;
/// Execution domains that are only kinds of Linux, and the question for the current one (personality(2)).
const PERSONALITIES: [u32; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets to a hypervisor (include/linux/socket.h).
const AF_VSOCK: u32 = 40;
/// The last call that was looked at for the list: file_setattr.
const NEWEST: u32 = 469;

/// The filters made so far: there are few sets of capabilities on a node.
static MADE: Mutex<BTreeMap<u64, Arc<str>>> = Mutex::new(BTreeMap::new());

/// The default filter for a process with these capabilities: a BPF program, 16 hexadecimal digits an instruction.
pub fn default_filter(capabilities: Capabilities) -> Arc<str> {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let filter = made
        .entry(capabilities.bits())
        .or_insert_with(|| encode(&program::compile(&[section(capabilities)])).into());
    Arc::clone(filter)
}

/// What is not on the list is refused with EPERM, or if it is newer than the list with ENOSYS: a newer kernel is then like an
/// older one, which programs know how to do with.
fn section(capabilities: Capabilities) -> Section {
    Section {
        architecture: NATIVE,
        verdicts: verdicts(capabilities),
        otherwise: [
            (0, refusal(libc::EPERM as u16)),
            (NEWEST + 1, refusal(libc::ENOSYS as u16)),
        ]
        .into(),
    }
}

/// Allowed if the first argument, an `int`, is as said.
fn if_first(comparison: Comparison) -> Verdict {
    let test = Test {
        argument: 0,
        comparison,
    };
    let rule = Rule {
        tests: vec![test],
        result: ALLOW,
    };
    Verdict::ByArguments(vec![rule], refusal(libc::EPERM as u16))
}

fn verdicts(capabilities: Capabilities) -> BTreeMap<u32, Verdict> {
    let mut verdicts = BTreeMap::new();
    let mut set = |call: i64, verdict: Verdict| {
        // Call numbers are small.
        verdicts.insert(u32::try_from(call).unwrap_or(u32::MAX), verdict);
    };
    set(libc::SYS_socket, if_first(Comparison::LowIsNot(AF_VSOCK)));
    set(
        libc::SYS_personality,
        if_first(Comparison::LowIsOneOf(PERSONALITIES.into())),
    );
    set(
        libc::SYS_clone,
        if_first(Comparison::LowHasNone(CLONE_NAMESPACES)),
    );
    set(libc::SYS_clone3, Verdict::Return(refusal(libc::ENOSYS as u16)));
    for call in table::ALWAYS.iter().chain(table::MACHINE) {
        set(*call, Verdict::Return(ALLOW));
    }
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.has(capability) {
            calls.iter().for_each(|call| set(*call, Verdict::Return(ALLOW)));
        }
    }
    verdicts
}

/// `struct sock_filter` in memory order, in hexadecimal digits.
fn encode(program: &[Instruction]) -> String {
    let mut text = String::with_capacity(program.len() * 16);
    for instruction in program {
        let [code0, code1] = instruction.code.to_ne_bytes();
        let [k0, k1, k2, k3] = instruction.value.to_ne_bytes();
        for byte in [
            code0,
            code1,
            instruction.if_true,
            instruction.if_false,
            k0,
            k1,
            k2,
            k3,
        ] {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(add: &[&str], call: i64) -> Option<Verdict> {
        let add: Vec<String> = add.iter().map(|&name| name.to_owned()).collect();
        verdicts(Capabilities::default_with(&add, &[]).unwrap())
            .get(&u32::try_from(call).unwrap())
            .cloned()
    }

    #[test]
    fn mounting_comes_with_sys_admin() {
        assert_eq!(verdict(&[], libc::SYS_mount), None);
        let allow = Some(Verdict::Return(ALLOW));
        assert_eq!(verdict(&["SYS_ADMIN"], libc::SYS_mount), allow);
        assert!(matches!(
            verdict(&[], libc::SYS_clone),
            Some(Verdict::ByArguments(..))
        ));
        assert_eq!(verdict(&["SYS_ADMIN"], libc::SYS_clone), allow);
    }

    #[test]
    fn what_breaks_out_is_on_no_default_list() {
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
        ];
        for call in refused {
            assert_eq!(verdict(&[], call), None, "{call}");
        }
        assert_eq!(
            verdict(&[], libc::SYS_clone3),
            Some(Verdict::Return(refusal(libc::ENOSYS as u16)))
        );
    }

    #[test]
    fn no_call_of_the_list_is_newer_than_the_newest() {
        assert!(verdicts(Capabilities::ALL).keys().all(|call| *call <= NEWEST));
    }

    #[test]
    fn a_filter_is_made_once_and_is_short() {
        let first = default_filter(Capabilities::default());
        let second = default_filter(Capabilities::default());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.len() % 16, 0);
        assert!(first.len() / 16 < 300, "{}", first.len() / 16);
    }
}
