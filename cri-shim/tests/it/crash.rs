//! The shim is killed in the middle of each call, and the call made again: the outcome is that of one call.

use std::future::Future;
use std::time::Duration;

use cri_api::v1 as cri;
use e2e::node::Node;
use tonic::{Code, Status};

use crate::node::{Cri, FOREVER, PATIENCE, busybox, container_config, on_own_node, sandbox_config};

/// How long after a call's begin the shim dies, in microseconds: before auraed heard of it, while it works, afterwards.
const MOMENTS: [u64; 6] = [0, 500, 2_000, 8_000, 30_000, 120_000];

/// Makes a call, kills the shim in its middle and starts it again, for each moment; then the call once more.
async fn killed<T, F>(node: &Node, cri: &Cri, call: impl Fn(Cri) -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    for moment in MOMENTS {
        let death = async {
            tokio::time::sleep(Duration::from_micros(moment)).await;
            node.kill_shim();
        };
        let (outcome, ()) = tokio::join!(call(cri.clone()), death);
        if let Err(status) = outcome {
            assert!(
                matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
                "{status:?}"
            );
        }
        node.start_shim().unwrap();
        reconnected(cri).await;
    }
    call(cri.clone()).await
}

/// A client notices that its connection broke with its next call.
async fn reconnected(cri: &Cri) {
    let mut cri = cri.clone();
    let answered = async {
        while cri.runtime.version(cri::VersionRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
}

#[test]
fn a_killed_shim_leaves_nothing_half_done() {
    on_own_node(
        "a_killed_shim_leaves_nothing_half_done",
        "crash",
        async |node, mut cri| {
            let sandbox_config = sandbox_config("crash");
            let pull = async |mut cri: Cri| {
                let request = cri::PullImageRequest {
                    image: Some(cri::ImageSpec {
                        image: busybox(),
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                cri.images.pull_image(request).await.map(drop)
            };
            killed(node, &cri, pull).await.unwrap();

            let sandbox = killed(node, &cri, async |mut cri: Cri| {
                cri.try_sandbox(&sandbox_config).await
            })
            .await
            .unwrap();
            let config = container_config("main", FOREVER);
            let container = killed(node, &cri, async |mut cri: Cri| {
                cri.try_create(&sandbox, &config, &sandbox_config).await
            })
            .await
            .unwrap();
            assert_eq!(count(&mut cri).await, (1, 1));

            let started = killed(node, &cri, async |mut cri: Cri| {
                match cri.try_start(&container).await {
                    // Started before.
                    Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
                    other => other,
                }
            });
            started.await.unwrap();
            let status = cri.container_status(&container).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::ContainerState::ContainerRunning);

            let done = killed(node, &cri, async |mut cri: Cri| {
                cri.exec(&container, &["sh", "-c", "sleep 0.05; echo done"], 30)
                    .await
            });
            assert_eq!(done.await.unwrap().stdout, b"done\n");

            killed(node, &cri, async |mut cri: Cri| {
                let request = cri::StopContainerRequest {
                    container_id: container.clone(),
                    timeout: 10,
                };
                cri.runtime.stop_container(request).await.map(drop)
            })
            .await
            .unwrap();
            assert_eq!(cri.ended(&container).await.exit_code, 0);

            killed(node, &cri, async |mut cri: Cri| {
                let request = cri::RemoveContainerRequest {
                    container_id: container.clone(),
                };
                cri.runtime.remove_container(request).await.map(drop)
            })
            .await
            .unwrap();
            assert_eq!(count(&mut cri).await, (1, 0));

            killed(node, &cri, async |mut cri: Cri| {
                let request = cri::StopPodSandboxRequest {
                    pod_sandbox_id: sandbox.clone(),
                };
                cri.runtime.stop_pod_sandbox(request).await.map(drop)
            })
            .await
            .unwrap();
            killed(node, &cri, async |mut cri: Cri| {
                let request = cri::RemovePodSandboxRequest {
                    pod_sandbox_id: sandbox.clone(),
                };
                cri.runtime.remove_pod_sandbox(request).await.map(drop)
            })
            .await
            .unwrap();
            assert_eq!(count(&mut cri).await, (0, 0));
        },
    );
}

async fn count(cri: &mut Cri) -> (usize, usize) {
    let sandboxes = cri
        .runtime
        .list_pod_sandbox(cri::ListPodSandboxRequest::default())
        .await
        .unwrap()
        .into_inner()
        .items;
    let containers = cri
        .runtime
        .list_containers(cri::ListContainersRequest::default())
        .await
        .unwrap()
        .into_inner()
        .containers;
    (sandboxes.len(), containers.len())
}
