use super::super::program::tests::{Call, run};
use super::super::program::{ALLOW, Instruction, KILL, NATIVE, compile, refusal};
use super::*;

const EPERM: u16 = libc::EPERM as u16;
const ENOSYS: u16 = libc::ENOSYS as u16;
const I386: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;

struct Compiled(Vec<Instruction>);

impl Compiled {
    fn new(json: &str, capabilities: Capabilities) -> Self {
        Self(compile(
            &Profile::parse(json.as_bytes()).unwrap().sections(capabilities),
        ))
    }

    fn call(&self, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let call = Call {
            architecture,
            number,
            arguments,
        };
        run(&self.0, &call)
    }

    fn native(&self, number: i64, first: u64) -> u32 {
        self.call(NATIVE, u32::try_from(number).unwrap(), [first, 0, 0, 0, 0, 0])
    }
}

fn compiled(json: &str) -> Compiled {
    Compiled::new(json, Capabilities::default())
}

fn problem(json: &str) -> String {
    match Profile::parse(json.as_bytes()).unwrap_err() {
        ProfileError::Format(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[test]
fn what_is_not_listed_is_as_the_default_says() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [
            {"names": ["read", "write", "no_such_call", "file_setattr"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}"#,
    );
    assert_eq!(filter.native(libc::SYS_read, 0), ALLOW);
    assert_eq!(filter.native(libc::SYS_openat, 0), refusal(13));
    assert_eq!(filter.native(libc::SYS_mkdirat, 0), refusal(7));
    // Newer than the newest that is listed.
    assert_eq!(filter.native(469, 0), ALLOW);
    assert_eq!(filter.native(470, 0), refusal(ENOSYS));
    assert_eq!(filter.call(I386, 3, [0; 6]), KILL);
}

#[test]
fn a_profile_that_forbids_some_allows_new_calls() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(filter.native(libc::SYS_sethostname, 0), refusal(EPERM));
    assert_eq!(filter.native(libc::SYS_read, 0), ALLOW);
    assert_eq!(filter.native(500, 0), ALLOW);
    let empty = compiled(r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS"}"#);
    assert_eq!(empty.native(0, 0), KILL);
}

#[test]
fn every_action_has_its_value() {
    for (name, errno, expected) in [
        ("SCMP_ACT_ALLOW", None, libc::SECCOMP_RET_ALLOW),
        ("SCMP_ACT_ERRNO", None, refusal(EPERM)),
        ("SCMP_ACT_ERRNO", Some(38), refusal(ENOSYS)),
        ("SCMP_ACT_KILL", None, libc::SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", None, libc::SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", None, libc::SECCOMP_RET_KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, libc::SECCOMP_RET_TRAP),
        ("SCMP_ACT_TRACE", Some(5), libc::SECCOMP_RET_TRACE | 5),
        ("SCMP_ACT_LOG", None, libc::SECCOMP_RET_LOG),
    ] {
        assert_eq!(Action::parse(name, errno).unwrap(), Action(expected), "{name}");
    }
}

#[test]
fn arguments_of_one_rule_must_all_fit() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["fcntl"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 5, "op": "SCMP_CMP_LE"},
            {"index": 1, "value": 4294967297, "op": "SCMP_CMP_EQ"},
            {"index": 2, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    let fcntl = u32::try_from(libc::SYS_fcntl).unwrap();
    let call = |arguments: [u64; 3]| {
        let [a, b, c] = arguments;
        filter.call(NATIVE, fcntl, [a, b, c, 0, 0, 0])
    };
    assert_eq!(call([5, 1 << 32 | 1, 0x1f]), ALLOW);
    for wrong in [[6, 1 << 32 | 1, 0x1f], [5, 1, 0x1f], [5, 1 << 32 | 1, 0x2f]] {
        assert_eq!(call(wrong), refusal(EPERM), "{wrong:?}");
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    for (argument, expected) in [(0, ALLOW), (8, ALLOW), (4, refusal(EPERM))] {
        assert_eq!(filter.native(libc::SYS_personality, argument), expected);
    }
}

#[test]
fn a_rule_without_arguments_counts_before_those_with_some() {
    let filter = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["bind"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["bind"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!(filter.native(libc::SYS_socket, 1), KILL);
    // A rule that says what holds anyway is none.
    assert_eq!(filter.native(libc::SYS_bind, 1), ALLOW);
    assert_eq!(filter.native(libc::SYS_bind, 2), refusal(EPERM));
}

#[test]
fn entries_count_with_capabilities_architectures_and_kernels() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "999.0"}},
        {"names": ["sync"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
        {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        {"names": ["getpid", "futex_waitv"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}}]}"#;
    let without = compiled(json);
    let with = Compiled::new(json, Capabilities::ALL);
    assert_eq!(without.native(libc::SYS_mount, 0), refusal(EPERM));
    assert_eq!(with.native(libc::SYS_mount, 0), ALLOW);
    assert_eq!(without.native(libc::SYS_clone, 0), refusal(ENOSYS));
    assert_eq!(with.native(libc::SYS_clone, 0), refusal(EPERM));
    for (call, expected) in [
        (libc::SYS_ptrace, ALLOW),
        (libc::SYS_sync, refusal(EPERM)),
        (libc::SYS_acct, refusal(EPERM)),
        (libc::SYS_getpid, ALLOW),
    ] {
        assert_eq!(without.native(call, 0), expected, "{call}");
    }
    assert_eq!(without.native(libc::SYS_bpf, 0), refusal(EPERM));
    // Beyond the newest that counts here.
    assert_eq!(without.native(libc::SYS_futex_waitv + 1, 0), refusal(ENOSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_interfaces_run_where_the_profile_speaks_of_them() {
    let entries = r#""syscalls": [{"names": ["read", "socket", "semop"], "action": "SCMP_ACT_ALLOW"}, {"names": ["kill"],
        "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 4294967301, "op": "SCMP_CMP_EQ"}]}]"#;
    let listed = compiled(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
            "SCMP_ARCH_S390"], {entries}}}"#
    ));
    let mapped = compiled(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{{"architecture": "SCMP_ARCH_X86_64",
            "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}}, {{"architecture": "SCMP_ARCH_AARCH64",
            "subArchitectures": ["SCMP_ARCH_ARM"]}}], {entries}}}"#
    ));
    for filter in [listed, mapped] {
        let i386 = |number: u32, first: u64| filter.call(I386, number, [first, 0, 0, 0, 0, 0]);
        assert_eq!(i386(3, 0), ALLOW, "read");
        assert_eq!(i386(0, 0), refusal(EPERM), "restart_syscall");
        assert_eq!(i386(359, 0), ALLOW, "socket");
        assert_eq!(i386(102, 1), ALLOW, "socket by socketcall");
        assert_eq!(i386(102, 2), refusal(EPERM), "bind by socketcall");
        assert_eq!(i386(117, 0x1_0001), ALLOW, "semop by ipc");
        assert_eq!(i386(37, 5), ALLOW, "kill, whose value has no upper half there");
        assert_eq!(filter.call(NATIVE, 62, [5, 0, 0, 0, 0, 0]), refusal(EPERM));
        assert_eq!(filter.call(NATIVE, X32, [0; 6]), ALLOW, "read by x32");
        assert_eq!(
            filter.call(NATIVE, X32 | 1, [0; 6]),
            refusal(EPERM),
            "write by x32"
        );
        assert_eq!(filter.call(NATIVE, X32 | 600, [0; 6]), refusal(ENOSYS));
        assert_eq!(filter.call(NATIVE, 0, [0; 6]), ALLOW);
    }
    let neither = compiled(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", {entries}}}"#));
    assert_eq!(neither.call(I386, 3, [0; 6]), KILL);
    assert_eq!(neither.call(NATIVE, X32, [0; 6]), KILL);
    assert_eq!(neither.call(NATIVE, 0, [0; 6]), ALLOW);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (json, told) in [
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{"defaultAction": "SCMP_ACT_ALOW"}"#, "SCMP_ACT_ALOW"),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}"#,
            "5000",
        ),
        (r"{}", "defaultAction"),
        ("[]", "Document"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}"#,
            "SCMP_ARCH_VAX",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
                "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#,
            "both",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}"#,
            "NEW_LISTENER",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "name": "b", "action": "SCMP_ACT_LOG"}]}"#,
            "both",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            "argument 6",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
                "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_IN"}]}]}"#,
            "SCMP_CMP_IN",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
                "includes": {"minKernel": "new"}}]}"#,
            "new",
        ),
    ] {
        let text = problem(json);
        assert!(text.contains(told), "{json}: {text}");
    }
}

#[test]
fn a_filter_that_the_kernel_would_not_take_is_refused() {
    use std::fmt::Write as _;
    let mut entries = String::new();
    for value in 0..2000 {
        let comma = if value == 0 { "" } else { "," };
        let _ = write!(
            entries,
            r#"{comma}{{"names": ["fcntl"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": 1, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
        );
    }
    let json = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{entries}]}}"#);
    let profile = Profile::parse(json.as_bytes()).unwrap();
    let error = profile.filter(Capabilities::default()).unwrap_err();
    assert!(
        matches!(error, ProfileError::TooLong(length) if length > 4096),
        "{error}"
    );
}

#[test]
fn only_a_regular_file_of_some_length_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profile.json");
    fs_err::write(
        &path,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#,
    )
    .unwrap();
    assert_eq!(Profile::read(&path).unwrap().flags(), 2);
    fs_err::write(&path, vec![b' '; 2 << 20]).unwrap();
    let source = |error: ProfileError| std::error::Error::source(&error).unwrap().to_string();
    assert!(source(Profile::read(&path).unwrap_err()).contains("longer"));
    let pipe = directory.path().join("pipe");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    assert!(source(Profile::read(&pipe).unwrap_err()).contains("regular"));
    assert!(Profile::read(directory.path()).is_err());
    assert!(Profile::read(&directory.path().join("none")).is_err());
}

/// As long as those that engines ship, for three interfaces.
#[test]
fn a_long_profile_makes_a_filter_that_the_kernel_takes() {
    let names = super::super::names::NATIVE_CALLS.keys();
    let names: Vec<String> = names
        .enumerate()
        .filter(|(index, _)| index % 7 != 0)
        .map(|(_, name)| format!("{name:?}"))
        .collect();
    let json = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{{"names": [{}], "action": "SCMP_ACT_ALLOW"}}]}}"#,
        names.join(", ")
    );
    let begin = std::time::Instant::now();
    let profile = Profile::parse(json.as_bytes()).unwrap();
    let filter = profile.filter(Capabilities::default()).unwrap();
    let instructions = filter.len() / 16;
    println!(
        "{} names: {instructions} instructions in {:?}",
        names.len(),
        begin.elapsed()
    );
    assert!(instructions < 2048, "{instructions}");
}
