//! A node without a cluster: the command line, manifests on disk, restart policies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use e2e::node::{Node, Options};
use e2e::suite::{Ground, PATIENCE, ground, on_ground, with_images};
use e2e::wait;
use serde_json::Value;

/// One node for all tests of this file.
fn alone() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        let options = Options::new("alone");
        Node::start(&ground().scratch, &ground().network, options).expect("the node starts")
    })
}

/// Runs `aurae` with a manifest on its standard input.
fn with_manifest(node: &Node, arguments: &[&str], manifest: &str) -> anyhow::Result<Output> {
    let mut command = node.aurae_command(arguments.iter().copied().chain(["-f", "-"]))?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no input")?
        .write_all(with_images(manifest).as_bytes())?;
    Ok(child.wait_with_output()?)
}

fn run(node: &Node, manifest: &str) -> anyhow::Result<()> {
    let output = with_manifest(node, &["run"], manifest)?;
    ensure!(
        output.status.success(),
        "aurae run: {}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

fn status(node: &Node, pod: &str) -> anyhow::Result<Value> {
    let list: Value = serde_json::from_str(&node.aurae(["ps", "-o", "json", pod])?)?;
    Ok(list["pods"][0].clone())
}

async fn until(
    node: &Node,
    pod: &str,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    wait::until(PATIENCE, what, async || {
        let status = status(node, pod)?;
        ensure!(condition(&status), "{status}");
        Ok(Some(status))
    })
    .await
}

#[test]
fn a_pods_life_on_the_command_line() {
    on_ground("a_pods_life_on_the_command_line", async |_| {
        let node = alone();
        let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: hello, image: '@busybox', command: [sh, -c, \"echo hello; trap 'exit 0' TERM; while :; do sleep 0.1; done\"]}
";
        let plan = with_manifest(node, &["plan"], manifest)?;
        ensure!(
            plan.status.success() && String::from_utf8_lossy(&plan.stdout).contains("busybox"),
            "{plan:?}"
        );
        ensure!(status(node, "hello").is_err(), "plan has run the pod");
        run(node, manifest)?;
        let table = node.aurae(["ps"])?;
        ensure!(
            table
                .lines()
                .any(|line| line.contains("hello") && line.contains("Running") && line.contains("1/1")),
            "{table}"
        );
        until(node, "hello", "it has spoken", |_| {
            node.aurae(["logs", "hello"]).is_ok_and(|log| log == "hello\n")
        })
        .await?;
        let exec = node
            .aurae_command(["exec", "hello", "--", "sh", "-c", "echo in; exit 9"])?
            .output()?;
        ensure!(
            exec.status.code() == Some(9) && exec.stdout == b"in\n",
            "{exec:?}"
        );
        let why = node.aurae(["why", "hello"])?;
        ensure!(why.contains("sandbox") && why.contains("container"), "{why}");
        let events = node.aurae(["events", "hello"])?;
        ensure!(events.contains("Started"), "{events}");
        let images = node.aurae(["images"])?;
        ensure!(images.contains("busybox"), "{images}");
        let used = node
            .aurae_command(["image", "rm", "127.0.0.1:5000/busybox:1"])?
            .output()?;
        ensure!(!used.status.success(), "an image in use was removed");
        node.aurae(["stop", "hello"])?;
        until(node, "hello", "it has stopped", |status| {
            status["finished"] == true
        })
        .await?;
        ensure!(
            node.aurae(["logs", "hello"])? == "hello\n",
            "the log is gone before the pod is removed"
        );
        node.aurae(["rm", "hello"])?;
        ensure!(status(node, "hello").is_err(), "the pod is still there");
        Ok(())
    });
}

#[test]
fn restart_policies() {
    on_ground("restart_policies", async |_| {
        let node = alone();
        // The first run fails and the second does not: the volume remembers.
        let script = "[ -e /work/ran ] && exit 0; touch /work/ran; exit 1";
        for (name, policy, command) in [
            ("always", "Always", "exit 0"),
            ("on-failure", "OnFailure", script),
            ("on-failure-fine", "OnFailure", "exit 0"),
            ("never", "Never", "exit 6"),
        ] {
            run(
                node,
                &format!(
                    "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {policy}
  terminationGracePeriodSeconds: 1
  volumes: [{{name: work, emptyDir: {{}}}}]
  containers:
  - {{name: main, image: '@busybox', command: [sh, -c, '{command}'], volumeMounts: [{{name: work, mountPath: /work}}]}}
"
                ),
            )?;
        }
        let restarts = |status: &Value| {
            status["containers"][0]["restartCount"]
                .as_u64()
                .unwrap_or_default()
        };
        let failed = until(node, "never", "it fails", |status| {
            status["phase"] == "PHASE_FAILED"
        })
        .await?;
        ensure!(restarts(&failed) == 0, "{failed}");
        ensure!(
            failed["containers"][0]["state"]["terminated"]["exitCode"] == 6,
            "{failed}"
        );
        let fine = until(node, "on-failure-fine", "it succeeds", |status| {
            status["phase"] == "PHASE_SUCCEEDED"
        })
        .await?;
        ensure!(restarts(&fine) == 0, "{fine}");
        let mended = until(node, "on-failure", "it succeeds", |status| {
            status["phase"] == "PHASE_SUCCEEDED"
        })
        .await?;
        ensure!(restarts(&mended) == 1, "{mended}");
        let again = until(node, "always", "it runs again", |status| restarts(status) >= 1).await?;
        ensure!(again["phase"] == "PHASE_RUNNING", "{again}");
        node.aurae(["rm", "always", "on-failure", "on-failure-fine", "never"])?;
        Ok(())
    });
}

#[test]
fn an_archive_is_imported_and_run() {
    on_ground("an_archive_is_imported_and_run", async |ground: &Ground| {
        let node = alone();
        let archive = node.directory().join("imported.tar");
        ground
            .images
            .archive("busybox-2", "example.test/imported:7", &archive)?;
        node.aurae(["image", "import", archive.to_str().context("a path")?])?;
        run(
            node,
            "
apiVersion: v1
kind: Pod
metadata: {name: imported}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: 'example.test/imported:7', imagePullPolicy: Never, command: [sh, -c, 'cat /etc/second; ls /etc/group 2>&1']}
",
        )?;
        until(node, "imported", "it ends", |status| {
            status["phase"]
                .as_str()
                .is_some_and(|phase| phase != "PHASE_RUNNING" && phase != "PHASE_PENDING")
        })
        .await?;
        let log = node.aurae(["logs", "imported"])?;
        // The second layer took the file of the first away.
        ensure!(
            log.starts_with("second\n") && log.contains("No such file"),
            "{log}"
        );
        node.aurae(["rm", "imported"])?;
        node.aurae(["image", "rm", "example.test/imported:7"])?;
        ensure!(!node.aurae(["images"])?.contains("example.test/imported"));
        Ok(())
    });
}

#[test]
fn logs_are_followed_on_the_command_line() {
    on_ground("logs_are_followed_on_the_command_line", async |_| {
        let node = alone();
        run(
            node,
            "
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: talker, image: '@busybox', command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done']}
",
        )?;
        let mut follow = node
            .aurae_command(["logs", "-f", "talker"])?
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(follow.stdout.take().context("no output")?).lines();
        let seen: Vec<String> = lines.take(100).collect::<Result<_, _>>()?;
        follow.kill()?;
        follow.wait()?;
        ensure!(
            seen == (1..=100).map(|number| number.to_string()).collect::<Vec<_>>(),
            "{seen:?}"
        );
        node.aurae(["rm", "talker"])?;
        Ok(())
    });
}

#[test]
fn manifests_on_disk_are_run() {
    on_ground("manifests_on_disk_are_run", async |ground: &Ground| {
        let node = Node::start(&ground.scratch, &ground.network, Options::new("disk"))?;
        node.start_standalone_bridge()?;
        let file = node.directory().join("manifests/web.yaml");
        let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: '@busybox', command: [sleep, '3600']}
";
        fs_err::write(&file, with_images(manifest))?;
        let listed = |word: &'static str| {
            let node = &node;
            wait::until(PATIENCE, word, async move || {
                let table = node.aurae(["ps"])?;
                let line = table.lines().find(|line| line.contains("static"));
                Ok(match word {
                    "gone" => line.is_none().then_some(()),
                    _ => line.is_some_and(|line| line.contains(word)).then_some(()),
                })
            })
        };
        listed("Running").await?;
        fs_err::remove_file(&file)?;
        listed("gone").await?;
        node.stop()
    });
}
