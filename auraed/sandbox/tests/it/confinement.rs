//! Profiles, capabilities, devices and users as callers choose them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;

use auraed_sandbox::network::namespace;
use auraed_sandbox::seccomp::Profile;
use auraed_sandbox::{
    Capabilities, ContainerSpec, Device, DeviceNumber, IdMapping, Mount, NetworkNamespace, ResolvedUser,
    Restrictions, RunState, Sandbox, Seccomp, StartError, User, UserNamespace, apparmor,
};

use crate::support::{Fixture, code, exit_of};

fn capabilities(names: &[&str]) -> Capabilities {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Capabilities::of(&names).unwrap()
}

fn profile(json: &str) -> Seccomp {
    Seccomp::Profile(Arc::new(Profile::parse(json.as_bytes()).unwrap()))
}

async fn refusal(adjust: impl FnOnce(&mut ContainerSpec)) -> String {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "true");
    adjust(&mut spec);
    let text = match sandbox.start_container(spec).await {
        Err(StartError::Refused(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(sandbox.container_cgroup("main").is_none());
    fixture.finish(sandbox).await;
    text
}

#[tokio::test]
async fn a_profile_forbids_what_it_lists() {
    let adjust = |spec: &mut ContainerSpec| {
        spec.seccomp = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
                {"names": ["chroot"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
        );
    };
    let script = "mkdir /x 2>&1; sleep 100 & kill -USR1 $! 2>&1; kill -USR2 $! && echo usr2; chroot / true; echo $?; \
                  grep Seccomp: /proc/self/status";
    let (output, _) = Fixture::new().run(adjust, script).await;
    assert!(output.contains("No space left"), "{output}");
    assert!(output.contains("not permitted"), "{output}");
    assert!(output.ends_with("usr2\n159\nSeccomp:\t2\n"), "{output}");
}

/// What a container does on the way to its program needs nothing of its profile but execve.
#[tokio::test]
async fn a_profile_with_execve_alone_reaches_the_program() {
    for no_new_privileges in [false, true] {
        let adjust = |spec: &mut ContainerSpec| {
            spec.no_new_privileges = no_new_privileges;
            spec.user.name = "web".to_owned();
            spec.seccomp = profile(
                r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["statx"], "action": "SCMP_ACT_ERRNO"}]}"#,
            );
        };
        let fixture = Fixture::new();
        let (_, state) = fixture.run(adjust, "true").await;
        // Killed by the first call of the program itself (SIGSYS), not before: that would be code 128 without a signal.
        assert_eq!(code(&state), (159, 31), "{no_new_privileges}");
    }
}

#[tokio::test]
async fn a_profile_whose_list_is_short_runs_what_it_lists() {
    let adjust = |spec: &mut ContainerSpec| {
        spec.args = ["/bin/echo", "hello"].map(str::to_owned).into();
        spec.seccomp = profile(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], "syscalls": [{"names": ["execve", "brk", "arch_prctl",
                "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlinkat", "readlink", "getrandom", "mprotect",
                "getuid", "geteuid", "getgid", "getegid", "write", "writev", "exit_group", "exit", "fstat", "newfstatat",
                "prctl", "mmap", "munmap", "rt_sigprocmask"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
    };
    let (output, _) = Fixture::new().run(adjust, "").await;
    assert_eq!(output, "hello\n");
}

#[tokio::test]
async fn a_profile_may_depend_on_capabilities() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO",
        "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    for (names, expected) in [(&["SYS_ADMIN"][..], "done\n"), (&["SYS_RESOURCE"], "")] {
        let adjust = |spec: &mut ContainerSpec| {
            spec.capabilities = capabilities(names);
            spec.seccomp = profile(json);
        };
        let (output, _) = Fixture::new()
            .run(adjust, "hostname other 2>/dev/null && echo done")
            .await;
        assert_eq!(output, expected, "{names:?}");
    }
}

/// A program that makes one call, exit(7), by the interface of 32-bit programs.
#[cfg(target_arch = "x86_64")]
fn old_interface() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE: [u8; 12] = [0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80]; // mov eax, 1; mov ebx, 7; int 0x80
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let mut words = |words: &[u64]| program.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    // Entry, program headers, section headers; flags and sizes.
    words(&[BASE + 120, 64, 0, 0x0038_0040_0000_0000, 1]);
    // One segment with everything, to be read and executed.
    words(&[5 << 32 | 1, 0, BASE, BASE, 132, 132, 0x1000]);
    program.extend(CODE);
    program
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn programs_of_32_bits_run_only_by_leave_of_a_profile() {
    use std::os::unix::fs::PermissionsExt;
    let run = async |seccomp: Seccomp| {
        let fixture = Fixture::new();
        let program = fixture.path("root/bin/old");
        fs_err::write(&program, old_interface()).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let adjust = |spec: &mut ContainerSpec| {
            spec.args = vec!["/bin/old".to_owned()];
            spec.seccomp = seccomp;
        };
        code(&fixture.run(adjust, "").await.1)
    };
    if run(Seccomp::Unconfined).await != (7, 0) {
        println!("skipped: this kernel has no 32-bit programs");
        return;
    }
    assert_eq!(run(Seccomp::Default).await, (159, 31));
    let listed = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["execve", "exit"], "action": "SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(run(profile(listed)).await, (7, 0));
    assert_eq!(
        run(profile(&listed.replace(", \"SCMP_ARCH_X86\"", ""))).await,
        (159, 31)
    );
}

#[tokio::test]
async fn ambient_capabilities_are_kept_by_users_who_are_not_root() {
    let adjust = |spec: &mut ContainerSpec| {
        spec.user.name = "web".to_owned();
        spec.capabilities = capabilities(&["NET_BIND_SERVICE", "CHOWN"]);
        spec.ambient = capabilities(&["NET_BIND_SERVICE", "SYS_ADMIN"]);
    };
    let script = "grep -E '^Cap' /proc/self/status | tr -d '\\t'";
    for no_new_privileges in [false, true] {
        let adjust = |spec: &mut ContainerSpec| {
            adjust(spec);
            spec.no_new_privileges = no_new_privileges;
        };
        let (output, _) = Fixture::new().run(adjust, script).await;
        let expected = "CapInh:0000000000000400\nCapPrm:0000000000000400\nCapEff:0000000000000400\n\
                        CapBnd:0000000000000401\nCapAmb:0000000000000400\n";
        assert_eq!(output, expected);
    }
}

#[tokio::test]
async fn a_container_is_given_devices_with_the_access_asked_for() {
    let null = std::fs::metadata("/dev/null").unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        // /dev/kmsg, which no container has by itself; by its number, so that the host need not have a node.
        let kmsg = Device {
            host_path: "/dev/kmsg".into(),
            container_path: "/dev/deep/log".to_owned(),
            permissions: "w".to_owned(),
            owner: Some((1000, 1001)),
            mode: Some(0o640),
            number: Some(DeviceNumber {
                block: false,
                major: 1,
                minor: 11,
            }),
        };
        let null = Device {
            host_path: "/dev/null".into(),
            container_path: "/opt/void".to_owned(),
            permissions: "rwm".to_owned(),
            ..Device::default()
        };
        spec.devices = vec![kmsg, null];
    };
    let script = "stat -c '%a %u %g %F %t %T' /dev/deep/log /opt/void; : > /dev/deep/log && echo write; \
                  head -c 1 /dev/deep/log 2>&1 | grep -o 'not permitted'; echo x > /opt/void && echo void; \
                  rm /dev/deep/log; mknod /tmp/log c 1 11 && echo mknod; mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem 2>&1 | \
                  grep -o 'not permitted'";
    let (output, _) = Fixture::new().run(adjust, script).await;
    let expected = format!(
        "640 1000 1001 character special file 1 b\n{:o} {} {} character special file 1 3\nwrite\nnot permitted\nvoid\nmknod\n\
         not permitted\n",
        null.mode() & 0o777,
        null.uid(),
        null.gid()
    );
    assert_eq!(output, expected);
}

/// Nodes cannot be made in a user namespace, so that they are made before it is entered.
#[tokio::test]
async fn a_container_in_a_user_namespace_has_its_devices() {
    let fixture = Fixture::new();
    if !fixture.host.user_namespaces_supported() {
        println!("skipped: no user namespaces on this machine");
        return;
    }
    let range = IdMapping {
        host_id: 500_000,
        container_id: 0,
        length: 65_536,
    };
    let users = UserNamespace::create(&[range], &[range]).unwrap();
    let mut pod = fixture.pod();
    pod.network = NetworkNamespace::Namespace(namespace(Some(&users)).unwrap());
    pod.user_namespace = Some(users);
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let script = "echo x > /dev/void && echo void; stat -c '%a %u %t %T' /dev/mine; head -c 1 /dev/mine > /tmp/x && \
                  stat -c %s /tmp/x; mknod /tmp/null c 1 3 2>&1 | grep -o 'not permitted'";
    let mut spec = fixture.script("main", script);
    let device = |inside: &str, number: u32, owner| Device {
        host_path: "/dev/null".into(),
        container_path: inside.to_owned(),
        permissions: "rw".to_owned(),
        mode: Some(if owner == 0 { 0o666 } else { 0o600 }),
        owner: Some((owner, owner)),
        number: Some(DeviceNumber {
            block: false,
            major: 1,
            minor: number,
        }),
    };
    spec.devices = vec![device("/dev/void", 3, 0), device("/dev/mine", 9, 500_000)];
    sandbox.start_container(spec).await.unwrap();
    exit_of(&mut events, "main").await;
    fixture.finish(sandbox).await;
    assert_eq!(
        fixture.output("main", "stdout"),
        "void\n600 0 1 9\n1\nnot permitted\n"
    );
}

#[tokio::test]
async fn a_directory_of_devices_is_given_as_a_whole() {
    let devices = tempfile::tempdir().unwrap();
    for (name, minor) in [("one", 11), ("two", 9)] {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let path = devices.path().join(name);
        let number = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            mode,
            number,
        )
        .unwrap();
    }
    fs_err::write(devices.path().join("readme"), "").unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.devices = vec![Device {
            host_path: devices.path().to_owned(),
            container_path: "/dev/given".to_owned(),
            permissions: "rw".to_owned(),
            ..Device::default()
        }];
    };
    let script = "ls /dev/given; head -c 1 /dev/given/two > /tmp/x && stat -c %s /tmp/x; : > /dev/given/one && echo log";
    let (output, _) = Fixture::new().run(adjust, script).await;
    assert_eq!(output, "one\ntwo\n1\nlog\n");
    let empty = tempfile::tempdir().unwrap();
    let text = refusal(|spec| {
        spec.devices = vec![Device {
            host_path: empty.path().to_owned(),
            container_path: "/dev/given".to_owned(),
            permissions: "rw".to_owned(),
            ..Device::default()
        }];
    })
    .await;
    assert!(text.contains("no device node"), "{text}");
}

#[tokio::test]
async fn a_mount_may_be_of_little_use() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs_err::write(&script, "#!/bin/sh\n").unwrap();
    let adjust = |spec: &mut ContainerSpec| {
        spec.mounts = vec![Mount {
            source: directory.path().to_owned(),
            target: "/given".to_owned(),
            restrictions: Restrictions {
                no_set_user_id: true,
                no_devices: true,
                no_execution: true,
            },
            ..Mount::default()
        }];
    };
    let script = "grep ' /given ' /proc/self/mountinfo | grep -oE 'rw,nosuid,nodev,noexec'; touch /given/x && echo written; \
                  chmod +x /given/script; /given/script 2>&1 | grep -o denied";
    let (output, _) = Fixture::new().run(adjust, script).await;
    assert_eq!(output, "rw,nosuid,nodev,noexec\nwritten\ndenied\n");
}

async fn user_of(user: User) -> (ResolvedUser, String) {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "id -u; id -g; grep ^Groups: /proc/self/status; read x");
    spec.user = user;
    spec.stdin = true;
    let told = sandbox.start_container(spec).await.unwrap().user.unwrap();
    sandbox.close_stdin("main").await.unwrap();
    let run = exit_of(&mut events, "main").await;
    assert_eq!(run.user.as_ref(), Some(&told));
    fixture.finish(sandbox).await;
    (told, fixture.output("main", "stdout"))
}

#[tokio::test]
async fn who_a_container_runs_as_is_told() {
    let user = User {
        name: "web".to_owned(),
        additional_groups: vec![60_000, 1001],
        ..User::default()
    };
    let (told, seen) = user_of(user.clone()).await;
    let expected = ResolvedUser {
        uid: 1000,
        gid: 1001,
        groups: vec![1001, 2000, 60_000],
    };
    assert_eq!(told, expected);
    assert_eq!(seen, "1000\n1001\nGroups:\t1001 2000 60000 \n");
    let strict = User {
        strict_groups: true,
        group: Some(3000),
        ..user
    };
    let (told, seen) = user_of(strict).await;
    assert_eq!((told.gid, told.groups), (3000, vec![3000, 1001, 60_000]));
    assert_eq!(seen, "1000\n3000\nGroups:\t1001 3000 60000 \n");
}

#[tokio::test]
async fn an_id_that_means_no_change_is_not_root() {
    let text = refusal(|spec| spec.user.name = "4294967295".to_owned()).await;
    assert!(text.contains("range"), "{text}");
}

/// Only what a kernel with AppArmor can show; elsewhere the refusal.
#[tokio::test]
async fn an_apparmor_profile_is_taken_on_or_refused() {
    if !apparmor::is_enabled() {
        let text = refusal(|spec| spec.apparmor = Some("some-profile".to_owned())).await;
        assert!(
            text.contains("some-profile") && text.contains("no AppArmor"),
            "{text}"
        );
        println!("skipped: this kernel has no AppArmor");
        return;
    }
    let name = format!("aurae-test-{}", std::process::id());
    let text = refusal(|spec| spec.apparmor = Some(name.clone())).await;
    assert!(text.contains("not loaded"), "{text}");
    let rules = format!(
        "profile {name} flags=(attach_disconnected) {{\n file,\n capability,\n deny /etc/passwd r,\n}}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("profile");
    fs_err::write(&file, rules).unwrap();
    let parser = |option: &str| Command::new("apparmor_parser").arg(option).arg(&file).status();
    match parser("-K") {
        Ok(status) if status.success() => {}
        other => {
            println!("skipped: there is no apparmor_parser: {other:?}");
            return;
        }
    }
    let adjust = |spec: &mut ContainerSpec| {
        spec.apparmor = Some(name.clone());
        spec.seccomp = Seccomp::Unconfined;
    };
    let script = "cat /proc/self/attr/current; cat /etc/passwd 2>&1 | grep -o denied";
    let (output, state) = Fixture::new().run(adjust, script).await;
    parser("-R").unwrap();
    assert_eq!(output, format!("{name} (enforce)\ndenied\n"));
    assert!(matches!(state, RunState::Exited { .. }));
}
