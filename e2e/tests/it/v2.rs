//! A pod's life on a second, real kernel whose cgroup tree is pure v2, where the tool that boots one is there: the command
//! that `AURAE_V2_KERNEL` names, else `shared/tools/v2-kernel` beside the repository.
//!
//! The kernel reads this machine's root under an overlay of its own, so everything is run there by one script that says
//! what it sees on standard output. It has AppArmor, which it is told at its start to use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use e2e::home;
use e2e::process::{MARK, write_script};
use e2e::skip::skipped;
use e2e::suite::{Ground, ground, on_ground, with_images};

/// Seconds for boot, pods and all; fork and exec are several times slower there.
const LIMIT: u32 = 300;
/// Of memory.
const SIZE: &str = "2G";

/// The tool, or the word that the test is skipped without it.
pub(crate) fn tool(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("AURAE_V2_KERNEL").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools/v2-kernel");
    let found = named.or(Some(beside)).filter(|path| path.is_file());
    if found.is_none() {
        skipped(
            test,
            "there is no v2-kernel beside the repository, and AURAE_V2_KERNEL names none",
        );
    }
    found
}

/// Boots the kernel, runs a command on it, and gives what that said. Its /tmp is another; everything else is read from this
/// machine's root.
///
/// # Errors
/// It cannot be booted, or the command is not done in time or fails; with what it said.
pub(crate) fn boot(tool: &Command, size: &str, seconds: u32, command: &[&str]) -> anyhow::Result<String> {
    let mut limited = Command::new("timeout");
    limited
        .args(["--kill-after=5", &seconds.to_string()])
        .arg(tool.get_program())
        .args(["-m", size, "--"])
        .args(command)
        .envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))))
        // So that it ends with the run.
        .env(MARK, ground().scratch.path())
        .stdin(std::process::Stdio::null());
    let output = limited.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// The tool with a kernel that uses AppArmor: it has no option for that, so it is given another program to boot, which is
/// its own kernel with one more word. None where its kernel is not where it keeps it.
///
/// # Errors
/// The program cannot be written.
pub(crate) fn with_apparmor(tool: &Path, place: &Path) -> anyhow::Result<Option<Command>> {
    let home = match std::env::var_os("V2_KERNEL_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("no HOME")?).join(".cache/v2-kernel"),
    };
    let (kernel, modules) = (home.join("linux"), home.join("modroot"));
    if !kernel.is_file() || !modules.is_dir() {
        return Ok(None);
    }
    fs_err::create_dir_all(place)?;
    std::os::unix::fs::symlink(modules, place.join("modroot"))?;
    let script = format!("#!/bin/sh\nexec {} \"$@\" lsm=apparmor\n", kernel.display());
    write_script(&place.join("linux"), &script)?;
    let mut command = Command::new(tool);
    command.env("V2_KERNEL_HOME", place);
    Ok(Some(command))
}

/// Checks after each step, so that the first that fails ends the run with its line.
const SCRIPT: &str = r#"
set -eu
cd /tmp
step() { echo "step: $*"; }
fail() { echo "failed: $*"; tail -40 /tmp/auraed.log; exit 1; }
export AURAE_SOCKET=/run/aurae/aurae.sock
grep -q cgroup2 /proc/mounts || fail no cgroup2
ip link set lo up
step start
@auraed@ >/tmp/auraed.log 2>&1 &
daemon=$!
tries=0
until @aurae@ ps >/dev/null 2>&1; do
  tries=$((tries+1)); [ $tries -lt 150 ] || fail auraed does not answer
  kill -0 $daemon || fail auraed ended
  sleep 0.2
done
step import
@aurae@ image import @archive@ || fail import
step run
@aurae@ run --timeout 60 -f @manifest@ || fail run
@aurae@ ps -c
step limits
cgroup=$(find /sys/fs/cgroup/aurae -type d -name 'main-*' | head -1)
[ -n "$cgroup" ] || fail no cgroup of the container
echo "memory.max $(cat $cgroup/memory.max)"
echo "cpu.max $(cat $cgroup/cpu.max)"
step exec
[ "$(@aurae@ exec life -- echo here)" = here ] || fail exec
step logs
tries=0
until @aurae@ logs life | grep alive; do
  tries=$((tries+1)); [ $tries -lt 100 ] || fail no log
  sleep 0.2
done
step crash
kill -9 $daemon; wait $daemon || true
@auraed@ >>/tmp/auraed.log 2>&1 &
daemon=$!
tries=0
until @aurae@ ps >/dev/null 2>&1; do
  tries=$((tries+1)); [ $tries -lt 150 ] || fail auraed does not come back
  sleep 0.2
done
@aurae@ ps | grep -q 'life.*Running' || fail the pod did not outlive the daemon
step memory
@aurae@ run --timeout 60 -f @hungry@ || fail run hungry
tries=0
until @aurae@ ps -o json hungry | grep -q OOMKilled; do
  tries=$((tries+1)); [ $tries -lt 100 ] || { @aurae@ ps -o json hungry; fail the limit is not enforced; }
  sleep 0.2
done
step remove
@aurae@ rm life hungry || fail rm
left=$(find /sys/fs/cgroup/aurae -mindepth 2 -type d | wc -l)
[ "$left" = 0 ] || { find /sys/fs/cgroup/aurae -mindepth 2 -type d; fail cgroups are left; }
[ -z "$(ls /var/lib/aurae/pods)" ] || fail files are left
kill $daemon; wait $daemon || fail auraed did not end well
step done
"#;

const LIFE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: life}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: 'example.test/busybox:1'
    imagePullPolicy: Never
    command: [sh, -c, \"echo alive; trap 'exit 0' TERM; while :; do sleep 0.2; done\"]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
";

const HUNGRY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: 'example.test/busybox:1'
    imagePullPolicy: Never
    command: [dd, if=/dev/zero, of=/dev/null, bs=100M, count=1]
    resources: {limits: {memory: 16Mi}}
";

fn script(ground: &Ground) -> anyhow::Result<PathBuf> {
    let place = ground.scratch.path().join("v2");
    fs_err::create_dir_all(&place)?;
    let archive = place.join("busybox.tar");
    ground
        .images
        .archive("busybox", "example.test/busybox:1", &archive)?;
    for (name, content) in [("life.yaml", LIFE), ("hungry.yaml", HUNGRY)] {
        fs_err::write(place.join(name), with_images(content))?;
    }
    let mut script = SCRIPT.to_owned();
    let files = [
        ("auraed", home::product("auraed")?),
        ("aurae", home::product("aurae")?),
        ("archive", archive),
        ("manifest", place.join("life.yaml")),
        ("hungry", place.join("hungry.yaml")),
    ];
    for (word, path) in files {
        script = script.replace(&format!("@{word}@"), path.to_str().context("a path")?);
    }
    let file = place.join("script.sh");
    fs_err::write(&file, script)?;
    Ok(file)
}

#[test]
fn a_pods_life_on_cgroup_v2() {
    let name = "a_pods_life_on_cgroup_v2";
    let Some(tool) = tool(name) else { return };
    on_ground(name, async |ground| {
        let script = script(ground)?;
        let command = ["bash", script.to_str().context("a path")?];
        let said = boot(&Command::new(tool), SIZE, LIMIT, &command)?;
        for line in [
            "step: done",
            "memory.max 67108864",
            "cpu.max 50000 100000",
            "alive",
        ] {
            ensure!(said.contains(line), "{line} is not in:\n{said}");
        }
        Ok(())
    });
}
