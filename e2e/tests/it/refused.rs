//! What kubelet-bridge does not run, and says.

use anyhow::{Context, ensure};
use e2e::suite::PATIENCE;
use e2e::wait;

use crate::on_cluster;

#[test]
fn what_cannot_be_run_is_refused_with_its_field() {
    on_cluster("what_cannot_be_run_is_refused_with_its_field", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: too-much}
spec:
  volumes: [{name: data, iscsi: {targetPortal: '10.0.0.1:3260', iqn: 'iqn.2001-04.com.example:storage', lun: 0}}]
  containers:
  - {name: too-much, image: '@busybox', command: [sleep, '3600'], volumeMounts: [{name: data, mountPath: /data}]}
",
        )?;
        // The event follows the status.
        wait::until(PATIENCE, "the refusal", async || {
            let described = test.kubectl.run(["describe", "pod", "too-much"])?;
            let (pod, events) = described.split_once("Events:").context("no events")?;
            ensure!(
                pod.contains("iscsi") && events.contains("Warning") && events.contains("iscsi"),
                "{described}"
            );
            Ok(Some(()))
        })
        .await
    });
}
