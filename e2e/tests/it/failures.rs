//! What goes wrong is said as a kubelet says it: crash loops, images that are not there or broken, pods that cannot be run.

use anyhow::{Context, ensure};
use e2e::pods;
use e2e::registry::Registry;
use e2e::suite::{PATIENCE, Test, ground};
use e2e::wait;

use crate::on_cluster;

/// Waits until the events of a pod have these words: they follow the status, they do not come with it.
async fn says(test: &Test, pod: &str, words: &[&str]) -> anyhow::Result<()> {
    wait::until(PATIENCE, "the events", async || {
        let events = test.kubectl.run(["events", "--for", &format!("pod/{pod}")])?;
        ensure!(
            words.iter().all(|word| events.contains(word)),
            "{words:?} are not in:\n{events}"
        );
        Ok(Some(()))
    })
    .await
}

#[test]
fn crash_loop_backs_off() {
    on_cluster("crash_loop_backs_off", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec:
  containers:
  - {name: crashing, image: '@busybox', command: [sh, -c, 'echo run; sleep 4; exit 5']}
",
        )?;
        let looping =
            |pod: &k8s_openapi::api::core::v1::Pod| pods::waiting(pod, "crashing") == "CrashLoopBackOff";
        let first = test.pod("crashing", "the first back-off", looping).await?;
        ensure!(
            pods::waiting_message(&first, "crashing").contains("back-off 10s"),
            "{:?}",
            first.status
        );
        ensure!(
            pods::phase(&first) == "Running" && !pods::holds(&first, "Ready"),
            "{:?}",
            first.status
        );
        let longer = |pod: &k8s_openapi::api::core::v1::Pod| {
            looping(pod) && pods::waiting_message(pod, "crashing").contains("back-off 20s")
        };
        let second = test.pod("crashing", "a longer back-off", longer).await?;
        ensure!(
            pods::restarts(&second, "crashing") > pods::restarts(&first, "crashing"),
            "{:?}",
            second.status
        );
        let (end, before) = (
            pods::last_terminated(&second, "crashing"),
            pods::last_terminated(&first, "crashing"),
        );
        let (end, before) = (end.context("no last state")?, before.context("no last state")?);
        ensure!(
            end.exit_code == 5 && end.reason.as_deref() == Some("Error"),
            "{end:?}"
        );
        let (started, ended) = (
            end.started_at.as_ref().context("no start")?,
            before.finished_at.as_ref().context("no end")?,
        );
        let pause = started.0.duration_since(ended.0);
        // Times have whole seconds.
        ensure!(
            pause >= jiff::SignedDuration::from_secs(9),
            "started again after {pause:?}"
        );
        // A kubelet keeps one dead run, and from an end until its next look at the pod, which is the next start, the status names
        // the one before. So it is while a run lasts that both agree.
        wait::until(PATIENCE, "the log of the run before", async || {
            let previous = test.kubectl.run(["logs", "crashing", "--previous"])?;
            Ok((previous == "run\n").then_some(()))
        })
        .await?;
        says(&test, "crashing", &["BackOff"]).await?;
        Ok(())
    });
}

#[test]
fn a_missing_image_is_retried_and_can_be_mended() {
    on_cluster("a_missing_image_is_retried_and_can_be_mended", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: wrong, image: '127.0.0.1:5000/no-such-image:1', command: [sleep, '3600']}
",
        )?;
        let failed = test
            .pod("wrong", "the pull fails", |pod| {
                pods::waiting(pod, "wrong") == "ErrImagePull"
            })
            .await?;
        let message = pods::waiting_message(&failed, "wrong");
        ensure!(message.contains("no-such-image"), "{message}");
        ensure!(pods::phase(&failed) == "Pending", "{:?}", failed.status);
        test.pod("wrong", "the pull is retried later", |pod| {
            pods::waiting(pod, "wrong") == "ImagePullBackOff"
        })
        .await?;
        says(&test, "wrong", &["Failed", "BackOff"]).await?;
        test.kubectl.run([
            "set",
            "image",
            "pod/wrong",
            &format!("wrong={}", Registry::reference("busybox")),
        ])?;
        test.ready("wrong").await?;
        Ok(())
    });
}

#[test]
fn a_corrupt_layer_is_refused() {
    on_cluster("a_corrupt_layer_is_refused", async |test| {
        let ground = ground();
        // An image of its own, so that no other test meets the broken layer.
        let mut store = e2e::images::Store::empty(&ground.scratch.path().join("corrupt"))?;
        store.add_file(
            "corrupt",
            "text",
            b"a file that nobody else has",
            &e2e::images::Spec::default(),
        )?;
        let image = store.image("corrupt")?.clone();
        ground.registry.put(&store, &image, "corrupt", "1")?;
        let layer = image.blobs.last().context("no layer")?;
        ground.registry.corrupt(layer)?;
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  containers:
  - {name: broken, image: '127.0.0.1:5000/corrupt:1', command: [sleep, '3600']}
",
        )?;
        let failed = test
            .pod("broken", "the pull fails", |pod| {
                pods::waiting(pod, "broken") == "ErrImagePull"
            })
            .await?;
        let message = pods::waiting_message(&failed, "broken");
        ensure!(
            message.contains(layer.hex()) || message.contains("digest"),
            "{message}"
        );
        Ok(())
    });
}

#[test]
fn a_program_that_is_not_there_is_said() {
    on_cluster("a_program_that_is_not_there_is_said", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: absent}
spec:
  restartPolicy: Never
  containers:
  - {name: absent, image: '@busybox', command: [no-such-program]}
",
        )?;
        let pod = test
            .pod("absent", "the start fails", |pod| {
                pods::terminated(pod, "absent").is_some()
            })
            .await?;
        let end = pods::terminated(&pod, "absent").context("no end")?;
        ensure!(
            end.reason.as_deref() == Some("StartError") && end.exit_code == 128,
            "{end:?}"
        );
        ensure!(
            end.message
                .as_deref()
                .is_some_and(|message| message.contains("no-such-program")),
            "{end:?}"
        );
        Ok(())
    });
}

#[test]
fn a_missing_config_map_holds_the_container_back() {
    on_cluster("a_missing_config_map_holds_the_container_back", async |test| {
        test.apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: wants}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: wants
    image: '@busybox'
    command: [sh, -c, 'echo $COLOUR; sleep 3600']
    env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: paint, key: colour}}}]
",
        )?;
        let held = test
            .pod("wants", "it says so", |pod| {
                pods::waiting(pod, "wants") == "CreateContainerConfigError"
            })
            .await?;
        ensure!(
            pods::waiting_message(&held, "wants").contains("paint"),
            "{:?}",
            held.status
        );
        test.kubectl
            .run(["create", "configmap", "paint", "--from-literal=colour=green"])?;
        test.ready("wants").await?;
        test.logs("wants", "green\n").await
    });
}
