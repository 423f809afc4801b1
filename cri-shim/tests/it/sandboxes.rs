//! A sandbox's life.

use cri_api::v1 as cri;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::node::{FOREVER, container_config, on_node, sandbox_config};

#[test]
fn a_sandbox_lives_and_every_call_may_be_repeated() {
    on_node(
        "a_sandbox_lives_and_every_call_may_be_repeated",
        async |mut cri| {
            let config = sandbox_config("life");
            let id = cri.run_sandbox(&config).await;
            assert_eq!(cri.run_sandbox(&config).await, id);
            let answer = cri.sandbox_status(&id).await.unwrap();
            let status = answer.status.unwrap();
            assert_eq!(status.id, id);
            assert_eq!(status.metadata, config.metadata);
            assert_eq!(status.state(), cri::PodSandboxState::SandboxReady);
            assert!(status.created_at > 0 && answer.timestamp >= status.created_at);
            assert_eq!(status.labels, config.labels);
            assert_eq!(status.annotations, config.annotations);
            let address = status.network.unwrap().ip;
            assert!(address.parse::<std::net::IpAddr>().is_ok(), "{address:?}");
            let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
            assert_eq!(options.network(), cri::NamespaceMode::Pod);
            assert!(answer.info["info"].contains("\"pid\""), "{:?}", answer.info);

            cri.stop_sandbox(&id).await;
            cri.stop_sandbox(&id).await;
            let status = cri.sandbox_status(&id).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::PodSandboxState::SandboxNotready);
            let again = cri.try_sandbox(&config).await.unwrap_err();
            assert_eq!(again.code(), Code::AlreadyExists, "{again:?}");

            cri.remove_sandbox(&id).await;
            cri.remove_sandbox(&id).await;
            cri.stop_sandbox(&id).await;
            assert_eq!(cri.sandbox_status(&id).await.unwrap_err().code(), Code::NotFound);
            // What was removed may be made again.
            assert_eq!(cri.run_sandbox(&config).await, id);
            cri.remove_sandbox(&id).await;
        },
    );
}

#[test]
fn lists_are_filtered_and_streamed_alike() {
    on_node("lists_are_filtered_and_streamed_alike", async |mut cri| {
        let (first, second) = (sandbox_config("list"), sandbox_config("list"));
        let ready = cri.run_sandbox(&first).await;
        let stopped = cri.run_sandbox(&second).await;
        cri.stop_sandbox(&stopped).await;
        let by_label = cri::PodSandboxFilter {
            label_selector: first.labels.clone(),
            ..Default::default()
        };
        let by_state = |state: cri::PodSandboxState| cri::PodSandboxFilter {
            state: Some(cri::PodSandboxStateValue { state: state as i32 }),
            ..Default::default()
        };
        let by_id = |id: &str| cri::PodSandboxFilter {
            id: id.to_owned(),
            ..Default::default()
        };
        let cases = [
            (by_label, vec![&ready], vec![&stopped]),
            (
                by_state(cri::PodSandboxState::SandboxReady),
                vec![&ready],
                vec![&stopped],
            ),
            (
                by_state(cri::PodSandboxState::SandboxNotready),
                vec![&stopped],
                vec![&ready],
            ),
            (by_id(&ready), vec![&ready], vec![&stopped]),
            (by_id(&stopped[..12]), vec![&stopped], vec![&ready]),
            (by_id("0123456789ab"), vec![], vec![&ready, &stopped]),
            (cri::PodSandboxFilter::default(), vec![&ready, &stopped], vec![]),
        ];
        for (filter, wanted, unwanted) in cases {
            let request = cri::ListPodSandboxRequest {
                filter: Some(filter.clone()),
            };
            let listed = cri
                .runtime
                .list_pod_sandbox(request)
                .await
                .unwrap()
                .into_inner()
                .items;
            let request = cri::StreamPodSandboxesRequest {
                filter: Some(filter.clone()),
            };
            let mut stream = cri
                .runtime
                .stream_pod_sandboxes(request)
                .await
                .unwrap()
                .into_inner();
            let mut streamed = Vec::new();
            while let Some(list) = stream.next().await {
                streamed.extend(list.unwrap().pod_sandboxes);
            }
            for items in [listed, streamed] {
                let has = |id: &&String| items.iter().any(|item| item.id == **id);
                assert!(wanted.iter().all(has), "{filter:?}");
                assert!(!unwanted.iter().any(has), "{filter:?}");
            }
        }
        cri.remove_sandbox(&ready).await;
        cri.remove_sandbox(&stopped).await;
    });
}

#[test]
fn a_stopped_sandboxs_containers_have_ended_and_a_removed_ones_are_gone() {
    on_node(
        "a_stopped_sandboxs_containers_have_ended_and_a_removed_ones_are_gone",
        async |mut cri| {
            let config = sandbox_config("containers");
            let sandbox = cri.run_sandbox(&config).await;
            let container = cri
                .run_container(&sandbox, &container_config("main", FOREVER), &config)
                .await;
            let answer = cri.sandbox_status(&sandbox).await.unwrap();
            assert_eq!(answer.containers_statuses.len(), 1);
            assert_eq!(answer.containers_statuses[0].id, container);
            cri.stop_sandbox(&sandbox).await;
            let status = cri.container_status(&container).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::ContainerState::ContainerExited);
            cri.remove_sandbox(&sandbox).await;
            let gone = cri.container_status(&container).await.unwrap_err();
            assert_eq!(gone.code(), Code::NotFound);
        },
    );
}

#[test]
fn resources_of_a_sandbox_are_taken_note_of() {
    on_node("resources_of_a_sandbox_are_taken_note_of", async |mut cri| {
        let config = sandbox_config("resources");
        let id = cri.run_sandbox(&config).await;
        let request = |id: &str| cri::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.to_owned(),
            resources: Some(cri::LinuxContainerResources {
                cpu_shares: 100,
                ..Default::default()
            }),
            ..Default::default()
        };
        cri.runtime
            .update_pod_sandbox_resources(request(&id))
            .await
            .unwrap();
        cri.remove_sandbox(&id).await;
        let gone = cri
            .runtime
            .update_pod_sandbox_resources(request(&id))
            .await
            .unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    });
}
