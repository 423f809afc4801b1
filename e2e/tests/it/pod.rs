//! A pod's way: from `kubectl apply` to Running, logs, exec, ends, delete.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::pods;

use crate::on_cluster;

#[test]
fn pod_from_apply_to_delete() {
    on_cluster("pod_from_apply_to_delete", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: web
    image: '@busybox'
    command: [sh, -c, \"echo hello from $HOSTNAME; trap 'exit 0' TERM; while :; do sleep 0.1; done\"]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
",
        )?;
        let pod = test.ready("web").await?;
        for condition in [
            "PodScheduled",
            "Initialized",
            "ContainersReady",
            "Ready",
            "PodReadyToStartContainers",
        ] {
            ensure!(pods::holds(&pod, condition), "{condition}: {:?}", pod.status);
        }
        let status = pod.status.as_ref().context("no status")?;
        ensure!(
            pods::phase(&pod) == "Running" && pods::address(&pod).starts_with("10.88."),
            "{status:?}"
        );
        ensure!(status.qos_class.as_deref() == Some("Burstable"), "{status:?}");
        ensure!(
            status.host_ip.as_deref() == Some(&test.suite.node.address().to_string()),
            "{status:?}"
        );
        ensure!(status.start_time.is_some(), "{status:?}");
        let container = pods::container(&pod, "web").context("no container status")?;
        ensure!(
            container
                .container_id
                .as_ref()
                .is_some_and(|id| id.starts_with("aurae://")),
            "{container:?}"
        );
        ensure!(container.image_id.contains("sha256:"), "{container:?}");
        test.logs("web", "hello from web\n").await?;
        test.kubectl.run(["delete", "pod", "web", "--wait=false"])?;
        test.gone("web").await?;
        let refused = test.kubectl.output(["get", "pod", "web"])?;
        ensure!(!refused.status.success(), "the pod can still be read");
        Ok(())
    });
}

#[test]
fn exec_passes_streams_and_exit_code() {
    on_cluster("exec_passes_streams_and_exit_code", async |test| {
        test.apply(&sleeper("box", ""))?;
        test.ready("box").await?;
        let output =
            test.kubectl
                .output(["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])?;
        ensure!(output.status.code() == Some(7), "{output:?}");
        ensure!(output.stdout == b"out\n", "{output:?}");
        ensure!(
            String::from_utf8_lossy(&output.stderr).starts_with("err\n"),
            "{output:?}"
        );
        // More than any buffer on the way, to its end and back.
        let long = "0123456789abcdef".repeat(64 * 1024);
        let echoed = test
            .kubectl
            .run_with_input(["exec", "-i", "box", "--", "cat"], &long)?;
        ensure!(
            echoed == long,
            "{} bytes came back of {}",
            echoed.len(),
            long.len()
        );
        let exec = test
            .kubectl
            .command(["exec", "-it", "box", "--", "sh", "-c", "tty; exit 3"]);
        let terminal = on_terminal(&exec).stdin(Stdio::null()).output()?;
        let shown = String::from_utf8_lossy(&terminal.stdout);
        ensure!(
            shown.contains("/dev/pts/") && terminal.status.code() == Some(3),
            "{terminal:?}"
        );
        let missing = test.kubectl.output(["exec", "box", "--", "no-such-program"])?;
        ensure!(!missing.status.success(), "{missing:?}");
        ensure!(
            String::from_utf8_lossy(&missing.stderr).contains("no-such-program"),
            "{missing:?}"
        );
        Ok(())
    });
}

#[test]
fn logs_are_followed_cut_and_kept() {
    on_cluster("logs_are_followed_cut_and_kept", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: counter
    image: '@busybox'
    command: [sh, -c, 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; sleep 3600']
",
        )?;
        test.ready("counter").await?;
        let mut follow = test
            .kubectl
            .command(["logs", "-f", "counter"])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(follow.stdout.take().context("no output")?).lines();
        let seen: Vec<String> = lines.take(60).collect::<Result<_, _>>()?;
        follow.kill()?;
        follow.wait()?;
        let expected: Vec<String> = (1..=60).map(|number| format!("line {number}")).collect();
        ensure!(seen == expected, "followed: {seen:?}");
        ensure!(test.kubectl.run(["logs", "counter", "--tail=2"])? == "line 59\nline 60\n");
        let stamped = test
            .kubectl
            .run(["logs", "counter", "--tail=1", "--timestamps"])?;
        let time = stamped.split(' ').next().context("no time")?;
        ensure!(time.parse::<jiff::Timestamp>().is_ok(), "{stamped}");
        // kubectl passes the time on in whole seconds.
        let since = test.kubectl.run(["logs", "counter", "--since-time", time])?;
        ensure!(
            since.ends_with("line 60\n") && !since.contains("line 10\n"),
            "{since}"
        );
        // Asked without `kubectl logs`, which ends the last line by itself.
        let path = format!(
            "/api/v1/namespaces/{}/pods/counter/log?limitBytes=6",
            test.namespace
        );
        let cut = test.kubectl.run(["get", "--raw", &path])?;
        ensure!(cut == "line 1", "{cut:?}");
        Ok(())
    });
}

#[test]
fn exit_code_and_message_are_reported() {
    on_cluster("exit_code_and_message_are_reported", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec:
  restartPolicy: Never
  containers:
  - name: message
    image: '@busybox'
    command: [sh, -c, 'echo reason > /dev/termination-log; exit 3']
  - name: log
    image: '@busybox'
    terminationMessagePolicy: FallbackToLogsOnError
    command: [sh, -c, 'echo the last words; exit 4']
  - name: fine
    image: '@busybox'
    command: ['true']
",
        )?;
        let pod = test
            .pod("failing", "the pod fails", |pod| pods::phase(pod) == "Failed")
            .await?;
        for (name, code, message) in [
            ("message", 3, "reason\n"),
            ("log", 4, "the last words\n"),
            ("fine", 0, ""),
        ] {
            let end = pods::terminated(&pod, name).with_context(|| format!("{name} has not ended"))?;
            ensure!(
                end.exit_code == code && end.message.as_deref().unwrap_or_default() == message,
                "{name}: {end:?}"
            );
            ensure!(
                end.reason.as_deref() == Some(if code == 0 { "Completed" } else { "Error" }),
                "{name}: {end:?}"
            );
            ensure!(
                end.started_at.is_some() && end.finished_at.is_some(),
                "{name}: {end:?}"
            );
        }
        ensure!(test.kubectl.run(["logs", "failing", "-c", "log"])? == "the last words\n");
        Ok(())
    });
}

#[test]
fn init_containers_run_in_order() {
    on_cluster("init_containers_run_in_order", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: staged}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: work, emptyDir: {}}]
  initContainers:
  - {name: first, image: '@busybox', command: [sh, -c, 'echo first >> /work/order'], volumeMounts: [{name: work, mountPath: /work}]}
  - {name: second, image: '@busybox', command: [sh, -c, 'echo second >> /work/order'], volumeMounts: [{name: work, mountPath: /work}]}
  containers:
  - {name: main, image: '@busybox', command: [sh, -c, 'cat /work/order; sleep 3600'], volumeMounts: [{name: work, mountPath: /work}]}
",
        )?;
        let pod = test.ready("staged").await?;
        test.logs("staged", "first\nsecond\n").await?;
        for name in ["first", "second"] {
            ensure!(
                pods::terminated(&pod, name).is_some_and(|end| end.exit_code == 0),
                "{:?}",
                pod.status
            );
        }
        Ok(())
    });
}

#[test]
fn a_pod_that_ignores_the_signal_is_killed_after_its_grace() {
    on_cluster(
        "a_pod_that_ignores_the_signal_is_killed_after_its_grace",
        async |test| {
            test.apply(
                "
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - {name: stubborn, image: '@busybox', command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]}
",
            )?;
            test.ready("stubborn").await?;
            let asked = Instant::now();
            test.kubectl.run(["delete", "pod", "stubborn", "--wait=false"])?;
            test.gone("stubborn").await?;
            let took = asked.elapsed();
            ensure!(
                took >= Duration::from_millis(2900),
                "killed before its grace was over: {took:?}"
            );
            // Sooner than with the grace of a pod that names none.
            ensure!(took < Duration::from_secs(30), "{took:?}");
            Ok(())
        },
    );
}

#[test]
fn memory_limit_is_enforced() {
    on_cluster("memory_limit_is_enforced", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - name: hungry
    image: '@busybox'
    command: [dd, if=/dev/zero, of=/dev/null, bs=200M, count=1]
    resources: {limits: {memory: 48Mi}}
",
        )?;
        let pod = test
            .pod("hungry", "the pod is killed", |pod| {
                pods::terminated(pod, "hungry").is_some()
            })
            .await?;
        let end = pods::terminated(&pod, "hungry").context("no end")?;
        ensure!(
            end.reason.as_deref() == Some("OOMKilled") && end.exit_code == 137,
            "{end:?}"
        );
        Ok(())
    });
}

#[test]
fn users_are_the_images_or_the_specs() {
    on_cluster("users_are_the_images_or_the_specs", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: users}
spec:
  restartPolicy: Never
  securityContext: {supplementalGroups: [4242]}
  containers:
  - {name: image, image: '@nonroot', command: [id]}
  - {name: spec, image: '@busybox', command: [id], securityContext: {runAsUser: 33, runAsGroup: 1}}
  - {name: none, image: '@busybox', command: [grep, -E, 'NoNewPrivs|CapBnd|Seccomp:', /proc/self/status], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}}
  - {name: read-only, image: '@busybox', command: [sh, -c, 'touch /x || echo refused'], securityContext: {readOnlyRootFilesystem: true}}
",
        )?;
        test.pod("users", "the pod ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let logs = |container: &str| test.kubectl.run(["logs", "users", "-c", container]);
        let image = logs("image")?;
        ensure!(
            image.starts_with("uid=1000(default-user) gid=1000(default-user)"),
            "{image}"
        );
        ensure!(
            image.contains("4242") && image.contains("50000(group-defined-in-image)"),
            "{image}"
        );
        ensure!(
            logs("spec")?.starts_with("uid=33(www-data) gid=1(daemon)"),
            "{}",
            logs("spec")?
        );
        let none = logs("none")?;
        for line in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            ensure!(none.contains(line), "{none}");
        }
        ensure!(logs("read-only")?.contains("refused"), "{}", logs("read-only")?);
        Ok(())
    });
}

/// The same command on a terminal, which only a program as `script` has to give.
fn on_terminal(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut wrapped = Command::new("script");
    wrapped.args(["-qec", &line.join(" "), "/dev/null"]);
    wrapped
}

/// A pod that sleeps, with more in its spec.
fn sleeper(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: {name}, image: '@busybox', command: [sleep, '3600']}}
{spec}"
    )
}
