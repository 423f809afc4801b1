//! Ways out of containers that others had to close, tried on this one; docs/security.md names each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::symlink;
use std::path::Path;

use auraed_sandbox::{ContainerSpec, ExecSpec, Mount, Sandbox};

use crate::support::{Fixture, exit_of, read_to_end, wait_until};

/// Prints what a process has open beside the listing itself.
const OPEN: &str = "for fd in /proc/self/fd/*; do readlink $fd || true; done";
/// Starts for each race. Whether that is enough to lose one was not tried on a runtime that can.
const ROUNDS: usize = 40;

fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        ..Mount::default()
    }
}

async fn exec(sandbox: &Sandbox, script: &str) -> String {
    let spec = ExecSpec {
        args: ["sh", "-c", script].map(str::to_owned).into(),
        ..ExecSpec::default()
    };
    let mut exec = sandbox.exec("main", spec).await.unwrap();
    let output = read_to_end(&exec.stdout).await;
    exec.wait().await.unwrap();
    output
}

/// What a shell has open of its own are its streams; anything else came from the runtime.
fn only_streams(listing: &str) {
    for open in listing.lines() {
        // Standard input is /dev/null of another mount, which has no directory to go on from.
        let fine = open.starts_with("pipe:") || open.ends_with("/null") || open.starts_with("/proc/");
        assert!(fine, "{open} is open in a container:\n{listing}");
    }
}

#[tokio::test]
async fn nothing_of_the_runtime_is_open_in_a_container() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let script = format!("{OPEN}; sleep 3600");
    sandbox
        .start_container(fixture.script("main", &script))
        .await
        .unwrap();
    wait_until(|| fixture.output("main", "stdout").lines().count() >= 3);
    only_streams(&fixture.output("main", "stdout"));
    only_streams(&exec(&sandbox, OPEN).await);
    // Neither through what else the container can see of itself.
    let roots = exec(
        &sandbox,
        "for p in /proc/[0-9]*; do readlink $p/cwd; readlink $p/root; done",
    )
    .await;
    assert!(roots.lines().all(|line| line == "/"), "{roots}");
    fixture.finish(sandbox).await;
}

/// Swaps a directory of a shared volume for a link, as fast as it can, while other containers are started.
async fn swapper(fixture: &Fixture, sandbox: &Sandbox, link: &str) {
    fs_err::create_dir_all(fixture.path("volume/real")).unwrap();
    let script = format!(
        "cd /data; while :; do ln -sfn {link} x; rm -f x; mkdir x; rmdir x; ln -sfn real x; rm -f x; done 2> /dev/null"
    );
    let mut spec = fixture.script("swapper", &script);
    spec.mounts = vec![bind(&fixture.path("volume"), "/data")];
    sandbox.start_container(spec).await.unwrap();
}

#[tokio::test]
async fn a_mount_point_that_is_swapped_for_a_link_leads_nowhere() {
    // CVE-2021-30465: a mount point inside a volume that another container of the pod changes meanwhile.
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let outside = fixture.path("outside");
    fs_err::create_dir_all(&outside).unwrap();
    fs_err::create_dir_all(fixture.path("secret")).unwrap();
    fs_err::write(fixture.path("secret/mark"), "secret\n").unwrap();
    swapper(&fixture, &sandbox, &outside.display().to_string()).await;
    for round in 0..ROUNDS {
        let name = format!("victim{round}");
        let mut spec = fixture.script(&name, "cat /data/x/mark; ls /data");
        spec.mounts = vec![
            bind(&fixture.path("volume"), "/data"),
            bind(&fixture.path("secret"), "/data/x"),
        ];
        if sandbox.start_container(spec).await.is_ok() {
            exit_of(&mut events, &name).await;
        }
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(&outside.display().to_string()),
            "a mount on the host in round {round}"
        );
    }
    assert_eq!(
        fs_err::read_dir(&outside).unwrap().count(),
        0,
        "something was made outside"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_part_of_a_volume_that_is_swapped_for_a_link_leads_nowhere() {
    // CVE-2017-1002101 and CVE-2021-25741: subPath, with a link that appears between the check and the mount.
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    fs_err::create_dir_all(fixture.path("secret")).unwrap();
    fs_err::write(fixture.path("secret/mark"), "secret\n").unwrap();
    swapper(&fixture, &sandbox, "../secret").await;
    let mut started = 0;
    for round in 0..ROUNDS {
        let name = format!("victim{round}");
        let mut spec = fixture.script(&name, "cat /part/mark; echo ran");
        spec.mounts = vec![Mount {
            sub_path: "x".to_owned(),
            ..bind(&fixture.path("volume"), "/part")
        }];
        if sandbox.start_container(spec).await.is_ok() {
            started += 1;
            exit_of(&mut events, &name).await;
            let output = fixture.output(&name, "stdout");
            assert!(!output.contains("secret"), "round {round}: {output}");
        }
    }
    assert!(
        started > 0,
        "no round came to a start: the test has tried nothing"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn devices_that_the_pod_brings_do_not_unmask_anything() {
    // CVE-2025-31133 and CVE-2025-52881: a /dev/null that is a link to what is to be masked, and to what is to be written.
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.path("devices")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", fixture.path("devices/null")).unwrap();
    symlink("/proc/sysrq-trigger", fixture.path("devices/console")).unwrap();
    let pattern = fs_err::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    let script = "
        for file in /proc/kcore /proc/keys /proc/timer_list; do
            test -s $file && echo $file is not masked
        done
        { echo '|/bin/sh' > /proc/sys/kernel/core_pattern; } 2> /dev/full && echo core_pattern is writable
        { echo h > /proc/sysrq-trigger; } 2> /dev/full && echo sysrq-trigger is writable
        { echo '|/bin/sh' > /dev/null; } 2> /dev/full && echo through /dev/null
        echo end";
    let mut spec = fixture.script("main", script);
    spec.mounts = vec![bind(&fixture.path("devices"), "/dev")];
    // Refusing such a /dev is as good as masking in spite of it.
    if sandbox.start_container(spec).await.is_ok() {
        exit_of(&mut events, "main").await;
        let output = fixture.output("main", "stdout");
        assert_eq!(output.trim(), "end", "{}", fixture.output("main", "stderr"));
    }
    assert_eq!(
        fs_err::read_to_string("/proc/sys/kernel/core_pattern").unwrap(),
        pattern
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_masked_path_that_is_a_link_masks_nothing_else() {
    let fixture = Fixture::new();
    let outside = fixture.path("outside");
    fs_err::write(&outside, "outside\n").unwrap();
    for name in ["masked", "closed"] {
        let up = format!("../../../../../../../..{}", outside.display());
        symlink(up, fixture.path("root").join(name)).unwrap();
    }
    let (sandbox, mut events) = fixture.sandbox().await;
    for (name, hidden, closed) in [("masks", "/masked", "/tmp"), ("closes", "/tmp", "/closed")] {
        let mut spec = fixture.script(name, "sleep 3600");
        spec.masked_paths.push(hidden.to_owned());
        spec.read_only_paths.push(closed.to_owned());
        // It may be refused as well.
        let started = sandbox.start_container(spec).await;
        assert_eq!(fs_err::read_to_string(&outside).unwrap(), "outside\n");
        fs_err::write(&outside, "outside\n").unwrap();
        if started.is_ok() {
            sandbox.kill(name).await.unwrap();
            exit_of(&mut events, name).await;
        }
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_log_file_that_is_a_link_is_not_written_through() {
    // Whoever can write to the log directory, by a volume of the host, points the runtime at another file.
    let fixture = Fixture::new();
    let outside = fixture.path("outside");
    fs_err::write(&outside, "outside\n").unwrap();
    fs_err::create_dir_all(fixture.path("logs/linked")).unwrap();
    symlink(&outside, fixture.path("logs/linked/0.log")).unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    let linked = sandbox
        .start_container(fixture.script("linked", "echo words"))
        .await;
    if linked.is_ok() {
        exit_of(&mut events, "linked").await;
    }
    let spec = fixture.script(
        "main",
        "echo before; while ! test -e /go; do sleep 0.01; done; echo after",
    );
    sandbox.start_container(spec).await.unwrap();
    let log = fixture.path("logs/main/0.log");
    wait_until(|| log.metadata().is_ok_and(|log| log.len() > 0));
    fs_err::remove_file(&log).unwrap();
    symlink(&outside, &log).unwrap();
    // It may be refused, or begin a file of its own.
    let _ = sandbox.reopen_log("main").await;
    exec(&sandbox, "touch /go").await;
    exit_of(&mut events, "main").await;
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "outside\n");
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_terminal_is_not_made_through_a_link_of_the_image() {
    // CVE-2025-52565: /dev/console is mounted before the root is closed.
    let fixture = Fixture::new();
    let outside = fixture.path("outside");
    fs_err::write(&outside, "outside\n").unwrap();
    symlink(&outside, fixture.path("root/dev/console")).unwrap();
    symlink(&outside, fixture.path("root/dev/ptmx")).unwrap();
    let adjust = |spec: &mut ContainerSpec| spec.tty = true;
    fixture
        .run(adjust, "echo words > /dev/console; echo words > /dev/tty; tty")
        .await;
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "outside\n");
}

#[tokio::test]
async fn cgroups_call_no_program_of_a_container() {
    // CVE-2022-0492: a release agent is run as root of the host.
    let script = "
        mkdir /tmp/cgroup
        mount -t cgroup -o memory none /tmp/cgroup 2> /dev/null && echo mounted
        for file in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent; do
            { echo /agent > $file; } 2> /dev/null && echo $file is writable
        done
        echo end";
    let (output, _) = Fixture::new().run(|_| (), script).await;
    assert_eq!(output, "end\n");
}

#[tokio::test]
async fn the_runtime_listens_on_nothing_that_a_host_network_container_reaches() {
    // CVE-2020-15257: an abstract socket belongs to a network namespace, not to a directory with a mode.
    let fixture = Fixture::new();
    let before = abstract_sockets();
    let (sandbox, _events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "sleep 3600"))
        .await
        .unwrap();
    let own: Vec<String> = abstract_sockets()
        .into_iter()
        .filter(|name| !before.contains(name) && name.contains("aurae"))
        .collect();
    assert!(own.is_empty(), "{own:?}");
    fixture.finish(sandbox).await;
}

fn abstract_sockets() -> Vec<String> {
    let table = fs_err::read_to_string("/proc/net/unix").unwrap();
    let names = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    names
        .filter(|name| name.starts_with('@'))
        .map(str::to_owned)
        .collect()
}
