//! What kubelet-bridge does not run, and says.

use std::time::Duration;

use anyhow::ensure;
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
        let said = wait::until(Duration::from_secs(30), "the refusal", async || {
            let described = test.kubectl.run(["describe", "pod", "too-much"])?;
            Ok(described.contains("iscsi").then_some(described))
        });
        let described = said.await?;
        ensure!(
            described.contains("Failed") || described.contains("Warning"),
            "{described}"
        );
        Ok(())
    });
}
