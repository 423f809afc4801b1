//! Events of containers and sandboxes, across auraed's death.

use cri_api::v1 as cri;
use cri_api::v1::ContainerEventType as Kind;
use tonic::Streaming;

use crate::node::{Cri, FOREVER, PATIENCE, busybox, container_config, on_own_node, sandbox_config};

type Events = Streaming<cri::ContainerEventResponse>;

impl Cri {
    async fn events(&mut self) -> Events {
        let answer = self.runtime.get_container_events(cri::GetEventsRequest {}).await;
        answer.unwrap().into_inner()
    }
}

/// The next event of this kind about this id.
async fn until(events: &mut Events, id: &str, kind: Kind) -> cri::ContainerEventResponse {
    let waiting = async {
        loop {
            let event = events.message().await.unwrap().unwrap();
            if event.container_id == id && event.container_event_type() == kind {
                return event;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(event) => event,
        Err(_) => panic!("no {kind:?} of {id}"),
    }
}

#[test]
fn events_tell_of_each_change_and_go_on_after_auraed_died() {
    on_own_node(
        "events_tell_of_each_change_and_go_on_after_auraed_died",
        "events",
        async |node, mut cri| {
            let mut events = cri.events().await;
            let first_config = sandbox_config("first");
            let first = cri.run_sandbox(&first_config).await;
            until(&mut events, &first, Kind::ContainerCreatedEvent).await;
            let config = container_config("main", FOREVER);
            let container = cri.run_container(&first, &config, &first_config).await;
            let started = until(&mut events, &container, Kind::ContainerStartedEvent).await;
            assert!(started.created_at > 0);
            let status = started.pod_sandbox_status.unwrap();
            assert_eq!(status.metadata, first_config.metadata);
            assert_eq!(started.containers_statuses[0].id, container);
            cri.stop_container(&container, 0).await;
            let stopped = until(&mut events, &container, Kind::ContainerStoppedEvent).await;
            assert_eq!(
                stopped.containers_statuses[0].state(),
                cri::ContainerState::ContainerExited
            );

            node.kill_auraed();
            node.start_auraed().unwrap();
            // The watch comes back by itself; until it has, what happens is not told.
            let second_config = sandbox_config("second");
            let told = async {
                loop {
                    let second = cri.run_sandbox(&second_config).await;
                    let wait = until(&mut events, &second, Kind::ContainerCreatedEvent);
                    let soon = tokio::time::timeout(std::time::Duration::from_millis(500), wait).await;
                    cri.remove_sandbox(&second).await;
                    if soon.is_ok() {
                        until(&mut events, &second, Kind::ContainerDeletedEvent).await;
                        return;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, told).await.unwrap();
            cri.remove_sandbox(&first).await;
            until(&mut events, &first, Kind::ContainerDeletedEvent).await;
        },
    );
}

#[test]
fn a_reader_that_is_slow_misses_events_and_hears_of_later_ones() {
    on_own_node(
        "a_reader_that_is_slow_misses_events_and_hears_of_later_ones",
        "slow",
        async |_, mut cri| {
            let config = sandbox_config("slow");
            let sandbox = cri.run_sandbox(&config).await;
            cri.pull(&busybox()).await;
            let mut slow = cri.events().await;
            let mut quick = cri.events().await;
            let main = container_config("main", FOREVER);
            // More than all the queues between hold.
            for _ in 0..700 {
                let container = cri.try_create(&sandbox, &main, &config).await.unwrap();
                until(&mut quick, &container, Kind::ContainerCreatedEvent).await;
                cri.remove_container(&container).await;
                until(&mut quick, &container, Kind::ContainerDeletedEvent).await;
            }
            let last = container_config("last", FOREVER);
            let told = async {
                loop {
                    let container = cri.try_create(&sandbox, &last, &config).await.unwrap();
                    let wait = until(&mut slow, &container, Kind::ContainerCreatedEvent);
                    let soon = tokio::time::timeout(std::time::Duration::from_millis(500), wait).await;
                    cri.remove_container(&container).await;
                    if soon.is_ok() {
                        return;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, told).await.unwrap();
            cri.remove_sandbox(&sandbox).await;
        },
    );
}
