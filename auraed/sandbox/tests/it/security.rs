//! What a container cannot do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use auraed_sandbox::{Capabilities, ContainerSpec, Seccomp, User};

use crate::support::Fixture;

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'";

fn capabilities(add: &[&str], drop: &[&str]) -> Capabilities {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    Capabilities::default_with(&owned(add), &owned(drop)).unwrap()
}

#[tokio::test]
async fn root_has_the_default_capabilities_and_the_filter() {
    let (output, _) = Fixture::new().run(|_| (), STATUS).await;
    let expected = "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\n\
                    CapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0\nSeccomp:2\n";
    assert_eq!(output, expected);
}

#[tokio::test]
async fn other_users_have_none_and_keep_to_it() {
    let adjust = |spec: &mut ContainerSpec| {
        spec.user = User {
            name: "web".to_owned(),
            ..User::default()
        };
        spec.no_new_privileges = true;
    };
    let (output, _) = Fixture::new().run(adjust, STATUS).await;
    let expected = "CapInh:0000000000000000\nCapPrm:0000000000000000\nCapEff:0000000000000000\n\
                    CapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n";
    assert_eq!(output, expected);
}

#[tokio::test]
async fn capabilities_are_added_and_dropped() {
    let adjust = |spec: &mut ContainerSpec| spec.capabilities = capabilities(&["NET_BIND_SERVICE"], &["ALL"]);
    let (output, _) = Fixture::new()
        .run(adjust, "grep -E 'Cap(Eff|Bnd)' /proc/self/status | tr -d '\\t'")
        .await;
    assert_eq!(output, "CapEff:0000000000000400\nCapBnd:0000000000000400\n");
}

#[tokio::test]
async fn the_filter_refuses_what_breaks_out() {
    // With the capability to do it, so that the filter alone is in the way.
    let script = "mount -t tmpfs t /tmp 2>&1; unshare -m true 2>&1; unshare -n true 2>&1; chroot / true && echo chroot";
    let (output, _) = Fixture::new().run(|_| (), script).await;
    let refused = output
        .lines()
        .filter(|line| line.contains("ermitted") || line.contains("denied"))
        .count();
    assert_eq!((refused, output.ends_with("chroot\n")), (3, true), "{output}");
    let adjust = |spec: &mut ContainerSpec| {
        spec.capabilities = capabilities(&["SYS_ADMIN"], &[]);
        spec.seccomp = Seccomp::Unconfined;
    };
    let script = "mount -t tmpfs t /tmp && unshare -m true && echo done; grep Seccomp: /proc/self/status";
    let (output, _) = Fixture::new().run(adjust, script).await;
    assert_eq!(output, "done\nSeccomp:\t0\n");
}

#[tokio::test]
async fn masked_paths_are_hidden_and_others_read_only() {
    let script = "
        for file in kcore keys timer_list interrupts; do
            test -e /proc/$file && { test -c /proc/$file || echo /proc/$file is not masked; }
        done
        for directory in /proc/acpi /proc/scsi /sys/firmware; do
            test -d $directory && test -n \"$(ls $directory)\" && echo $directory is not masked
        done
        for file in /proc/sysrq-trigger /proc/sys/kernel/domainname /sys/kernel/profiling /sys/fs/cgroup/x; do
            { echo x > $file; } 2>/dev/null && echo $file is writable
        done
        { mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x; } 2>/dev/null && echo cgroups are writable
        echo end";
    let (output, _) = Fixture::new().run(|_| (), script).await;
    assert_eq!(output, "end\n");
}

#[tokio::test]
async fn a_read_only_root_is_read_only_but_for_its_mounts() {
    let adjust = |spec: &mut ContainerSpec| spec.rootfs.read_only = true;
    let script = "{ touch /x; } 2>/dev/null || echo read-only; touch /dev/shm/x && echo shm; cat /dev/null && echo dev";
    let (output, _) = Fixture::new().run(adjust, script).await;
    assert_eq!(output, "read-only\nshm\ndev\n");
}

#[tokio::test]
async fn devices_of_the_host_are_out_of_reach() {
    let script = "mknod /tmp/memory c 1 1 && { head -c 1 /tmp/memory; } 2>&1 | grep -o 'not permitted'; \
                  mknod /tmp/null c 1 3 && echo x > /tmp/null && echo null";
    let (output, _) = Fixture::new().run(|_| (), script).await;
    assert_eq!(output, "not permitted\nnull\n");
}

#[tokio::test]
async fn privileged_is_privileged() {
    let adjust = |spec: &mut ContainerSpec| spec.privileged = true;
    let script = "
        grep Seccomp: /proc/self/status | tr -d '\\t'
        test -c /dev/kmsg && echo kmsg; test -r /proc/kcore && test -f /proc/kcore && echo kcore
        mount -t tmpfs t /tmp && echo mount; grep -q ' /sys sysfs rw' /proc/self/mounts && echo rw
        test $(ls /dev | wc -l) -gt 15 && echo devices; ls /dev/pts";
    let (output, _) = Fixture::new().run(adjust, script).await;
    let expected = "Seccomp:0\nkmsg\nkcore\nmount\nrw\ndevices\nptmx\n";
    // Not every kernel has /proc/kcore.
    assert_eq!(output.replace("kcore\n", ""), expected.replace("kcore\n", ""));
}

#[tokio::test]
async fn the_runtimes_own_program_is_out_of_reach() {
    let fixture = Fixture::new();
    let (sandbox, _) = fixture.sandbox().await;
    // A program that is a link to what executes it, as in CVE-2019-5736, and a working directory in what the runtime has
    // open, as in CVE-2024-21626.
    let link = fixture.path("root/bin/self");
    std::os::unix::fs::symlink("/proc/self/exe", link).unwrap();
    let error = sandbox
        .start_container(fixture.container("main", &["/bin/self"]))
        .await;
    if let Ok(run) = error {
        // It has executed the pod init again, from sealed memory, where it finds nobody to talk to and ends.
        assert_eq!(run.name, "main");
    }
    let init = format!("/proc/{}/exe", sandbox.init_pid());
    let open = fs_err::OpenOptions::new().write(true).open(&init);
    let write = open.and_then(|mut file| std::io::Write::write(&mut file, b"#!/bin/sh").map(drop));
    assert!(write.is_err(), "the pod init's program was written to");
    for number in 3..20 {
        let name = format!("cwd{number}");
        let mut spec = fixture.container(&name, &["pwd"]);
        spec.cwd = format!("/proc/self/fd/{number}");
        assert!(sandbox.start_container(spec).await.is_err(), "{number}");
    }
    fixture.finish(sandbox).await;
}
