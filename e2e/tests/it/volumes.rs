//! What a pod is given: environment, files of config maps, secrets and tokens, scratch space, the node's directories.

use std::time::Duration;

use anyhow::ensure;
use e2e::{pods, wait};

use crate::on_cluster;

/// A kubelet looks at a pod's volumes at least every minute and a half.
const FOLLOWS: Duration = Duration::from_secs(180);

#[test]
fn config_volumes_follow_their_objects() {
    on_cluster("config_volumes_follow_their_objects", async |test| {
        test.kubectl.run([
            "create",
            "configmap",
            "settings",
            "--from-literal=colour=green",
            "--from-literal=shape=round",
        ])?;
        test.kubectl.run([
            "create",
            "secret",
            "generic",
            "hidden",
            "--from-literal=word=open",
        ])?;
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {stage: one}}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: settings, configMap: {name: settings, defaultMode: 0440}}
  - {name: hidden, secret: {secretName: hidden, items: [{key: word, path: below/word, mode: 0400}]}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  containers:
  - name: reader
    image: '@busybox'
    command: [sleep, '3600']
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: hidden, mountPath: /hidden}
    - {name: about, mountPath: /about}
",
        )?;
        test.ready("reader").await?;
        let run = |script: &str| test.kubectl.run(["exec", "reader", "--", "sh", "-c", script]);
        ensure!(run("cat /settings/colour /settings/shape /hidden/below/word")? == "greenroundopen");
        ensure!(run("stat -Lc %a /settings/colour /hidden/below/word")? == "440\n400\n");
        ensure!(run("cat /about/labels")?.contains("stage=\"one\""));
        ensure!(run("touch /settings/new 2>/dev/null || echo refused")? == "refused\n");
        let before = run("readlink /settings/..data")?;
        test.kubectl.run([
            "patch",
            "configmap",
            "settings",
            "--type=merge",
            "-p",
            r#"{"data":{"colour":"blue","shape":null}}"#,
        ])?;
        test.kubectl.run([
            "patch",
            "secret",
            "hidden",
            "--type=merge",
            "-p",
            r#"{"stringData":{"word":"shut"}}"#,
        ])?;
        test.kubectl
            .run(["label", "pod", "reader", "stage=two", "--overwrite"])?;
        let changed = wait::until(FOLLOWS, "the files follow", async || {
            let now = run(
                "cat /settings/colour /hidden/below/word; ls /settings; grep -o 'stage=.*' /about/labels",
            )?;
            ensure!(now == "blueshutcolour\nstage=\"two\"\n", "{now}");
            Ok(Some(()))
        });
        changed.await?;
        // A new directory behind one link: nobody sees half of a change.
        ensure!(run("readlink /settings/..data")? != before);
        Ok(())
    });
}

#[test]
fn environment_comes_from_everywhere() {
    on_cluster("environment_comes_from_everywhere", async |test| {
        test.kubectl
            .run(["create", "configmap", "settings", "--from-literal=colour=green"])?;
        test.kubectl.run([
            "create",
            "secret",
            "generic",
            "hidden",
            "--from-literal=word=open",
        ])?;
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: env, annotations: {note: written}}
spec:
  restartPolicy: Never
  containers:
  - name: env
    image: '@busybox'
    command: [sh, -c, 'env; echo \"$1\"', sh]
    args: ['argument $(WORDS) $$(WORDS)']
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    envFrom: [{configMapRef: {name: settings}, prefix: C_}, {secretRef: {name: hidden}}]
    env:
    - {name: FIRST, value: one}
    - {name: WORDS, value: 'and $(FIRST) $(NONE) $$(FIRST)'}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: 'metadata.annotations[''note'']'}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: WORD, valueFrom: {secretKeyRef: {name: hidden, key: word}}}
    - {name: ABSENT, valueFrom: {secretKeyRef: {name: hidden, key: none, optional: true}}}
",
        )?;
        let pod = test
            .pod("env", "it ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let log = test.kubectl.run(["logs", "env"])?;
        let address = format!("IP={}", pods::address(&pod));
        let node = format!("NODE={}", test.suite.node.name());
        let wanted = [
            "C_colour=green",
            "word=open",
            "FIRST=one",
            "WORDS=and one $(NONE) $(FIRST)",
            "POD=env",
            "NOTE=written",
            "MEMORY=64",
            "COLOUR=green",
            "WORD=open",
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            "KUBERNETES_SERVICE_PORT=443",
            "HOSTNAME=env",
            "argument and one $(NONE) $(FIRST) $(WORDS)",
            &address,
            &node,
        ];
        for line in wanted {
            ensure!(log.lines().any(|found| found == line), "{line} is not in:\n{log}");
        }
        ensure!(!log.contains("ABSENT="), "{log}");
        Ok(())
    });
}

#[test]
fn a_pod_has_a_token_that_the_api_server_knows() {
    on_cluster("a_pod_has_a_token_that_the_api_server_knows", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: who}
spec:
  restartPolicy: Never
  containers:
  - {name: who, image: '@busybox', command: [sh, -c, 'cd /var/run/secrets/kubernetes.io/serviceaccount; cat token; echo; cat namespace; echo; head -1 ca.crt']}
",
        )?;
        test.pod("who", "it ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let log = test.kubectl.run(["logs", "who"])?;
        let lines: Vec<&str> = log.lines().collect();
        ensure!(
            lines.len() == 3 && lines[1] == test.namespace && lines[2] == "-----BEGIN CERTIFICATE-----",
            "{lines:?}"
        );
        let review = format!(
            r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}}"#,
            lines[0]
        );
        let answer = test
            .kubectl
            .run_with_input(["create", "-f", "-", "-o", "json"], &review)?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let user = format!("system:serviceaccount:{}:default", test.namespace);
        ensure!(
            answer["status"]["authenticated"] == true && answer["status"]["user"]["username"] == user,
            "{answer}"
        );
        ensure!(
            answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == "who",
            "{answer}"
        );
        Ok(())
    });
}

#[test]
fn scratch_space_is_shared_by_a_pods_containers() {
    on_cluster("scratch_space_is_shared_by_a_pods_containers", async |test| {
        let host = test.suite.cluster.scratch().path().join("host-path");
        fs_err::create_dir_all(&host)?;
        fs_err::write(host.join("given"), "by the node")?;
        test.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: pair}}
spec:
  restartPolicy: Never
  volumes:
  - {{name: disk, emptyDir: {{}}}}
  - {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 8Mi}}}}
  - {{name: node, hostPath: {{path: '{}', type: Directory}}}}
  containers:
  - name: writer
    image: '@busybox'
    command: [sh, -c, 'cat /node/given > /disk/word; echo soft > /memory/word']
    volumeMounts: [{{name: disk, mountPath: /disk}}, {{name: memory, mountPath: /memory}}, {{name: node, mountPath: /node, readOnly: true}}]
  - name: reader
    image: '@busybox'
    command: [sh, -c, 'until [ -s /disk/word ] && [ -s /memory/word ]; do sleep 0.1; done; cat /disk/word /memory/word; grep \" /memory \" /proc/mounts; dd if=/dev/zero of=/memory/big bs=1M count=20 2>/dev/null || echo full']
    volumeMounts: [{{name: disk, mountPath: /disk}}, {{name: memory, mountPath: /memory}}]
",
            host.display()
        ))?;
        test.pod("pair", "it ends", |pod| pods::phase(pod) == "Succeeded")
            .await?;
        let log = test.kubectl.run(["logs", "pair", "-c", "reader"])?;
        ensure!(
            log.starts_with("by the nodesoft\n") && log.contains(" /memory tmpfs "),
            "{log}"
        );
        ensure!(log.contains("size=8192k"), "{log}");
        ensure!(log.ends_with("full\n"), "{log}");
        Ok(())
    });
}
