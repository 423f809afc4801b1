//! Ways out of containers that others had to close, tried on this one; docs/security.md names each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod races;

use std::os::unix::fs::symlink;
use std::path::Path;

use auraed_sandbox::{ContainerSpec, Error, ExecSpec, Mount, Sandbox, StartError};

use crate::support::{Fixture, exit_of, read_to_end, wait_until};

/// Prints what a process has open beside the listing itself.
const OPEN: &str = "for fd in /proc/self/fd/*; do readlink $fd || true; done";

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

#[tokio::test]
async fn a_masked_path_that_is_a_link_masks_nothing_else() {
    let fixture = Fixture::new();
    let outside = fixture.path("outside");
    fs_err::write(&outside, "outside\n").unwrap();
    // One leads out of the container, where nothing of that name is inside; one to a file inside.
    for name in ["masked", "closed"] {
        let up = format!("../../../../../../../..{}", outside.display());
        symlink(up, fixture.path("root").join(name)).unwrap();
    }
    fs_err::write(fixture.path("root/etc/hidden"), "hidden\n").unwrap();
    symlink("/etc/hidden", fixture.path("root/inner")).unwrap();
    symlink("/etc/passwd", fixture.path("root/shut")).unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script(
        "main",
        "cat /etc/hidden; echo more >> /etc/passwd || echo closed; sleep 3600",
    );
    spec.masked_paths.extend(["/masked", "/inner"].map(str::to_owned));
    spec.read_only_paths
        .extend(["/closed", "/shut"].map(str::to_owned));
    sandbox.start_container(spec).await.unwrap();
    wait_until(|| fixture.output("main", "stdout").lines().count() == 1);
    assert_eq!(
        fixture.output("main", "stdout"),
        "closed\n",
        "inside they are followed"
    );
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "outside\n");
    fs_err::write(&outside, "outside\n").unwrap();
    sandbox.kill("main").await.unwrap();
    exit_of(&mut events, "main").await;
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
    let linked = fixture.script("linked", "echo words");
    let error = sandbox.start_container(linked).await.unwrap_err();
    let StartError::Sandbox(Error::Init(reason)) = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("open the log"), "{reason}");
    let spec = fixture.script(
        "main",
        "echo before; while ! test -e /go; do sleep 0.01; done; echo after",
    );
    sandbox.start_container(spec).await.unwrap();
    let log = fixture.path("logs/main/0.log");
    wait_until(|| log.metadata().is_ok_and(|log| log.len() > 0));
    fs_err::remove_file(&log).unwrap();
    symlink(&outside, &log).unwrap();
    let error = sandbox.reopen_log("main").await.unwrap_err();
    assert!(matches!(&error, Error::Init(_)), "{error:?}");
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
