//! Callers that do not know of each other, and that do not always wait for an answer.

use super::{container, sandbox};
use crate::machine::PATIENCE;
use crate::node::Node;
use crate::schedule_races::Numbers;
use auraed_api::runtime::v0 as api;
use auraed_client::Client;
use std::time::Duration;
use tonic::{Code, Status};

/// One call on one of two sandboxes or of their containers.
async fn call(client: &Client, what: u64, pod: &str, main: &str) -> Result<(), Status> {
    let (sandboxes, containers) = (&mut client.sandboxes(), &mut client.containers());
    let (id, main_id) = (pod.to_owned(), main.to_owned());
    let resources = Some(api::LinuxResources {
        memory_bytes: Some(64 << 20),
        ..api::LinuxResources::default()
    });
    match what {
        0 | 1 => {
            let request = api::CreateSandboxRequest {
                spec: Some(sandbox(pod)),
            };
            sandboxes.create_sandbox(request).await.map(drop)
        }
        2 | 3 => {
            let script = "trap 'exit 0' TERM; sleep 1000 & wait";
            let spec = Some(container(main, pod, script));
            let request = api::CreateContainerRequest { spec };
            containers.create_container(request).await.map(drop)
        }
        4..=6 => {
            let request = api::StartContainerRequest { id: main_id };
            containers.start_container(request).await.map(drop)
        }
        7 => {
            let request = api::StopContainerRequest {
                id: main_id,
                grace_seconds: 1,
            };
            containers.stop_container(request).await.map(drop)
        }
        8 => {
            let request = api::RemoveContainerRequest { id: main_id };
            containers.remove_container(request).await.map(drop)
        }
        9 => {
            let request = api::StopSandboxRequest { id };
            sandboxes.stop_sandbox(request).await.map(drop)
        }
        10 => {
            let request = api::RemoveSandboxRequest { id };
            sandboxes.remove_sandbox(request).await.map(drop)
        }
        11 => {
            let request = api::UpdateContainerRequest {
                id: main_id,
                resources,
            };
            containers.update_container(request).await.map(drop)
        }
        12 => {
            let request = api::UpdateSandboxRequest { id, resources };
            sandboxes.update_sandbox(request).await.map(drop)
        }
        13 => {
            let request = api::ListSandboxStatsRequest::default();
            sandboxes.list_sandbox_stats(request).await.map(drop)
        }
        _ => {
            let start = api::ExecStart {
                container: Some(api::ContainerReference {
                    container: main_id,
                    ..api::ContainerReference::default()
                }),
                command: vec!["sleep".into(), "0.05".into()],
                ..api::ExecStart::default()
            };
            let request = api::ExecRequest {
                event: Some(api::exec_request::Event::Start(start)),
            };
            let answers = client.runtime().exec(tokio_stream::iter([request])).await?;
            let mut answers = answers.into_inner();
            while answers.message().await?.is_some() {}
            Ok(())
        }
    }
}

/// Answers how many calls succeeded.
async fn meddle(client: Client, seed: u64) -> usize {
    let mut numbers = Numbers(seed);
    let mut done = 0;
    for _ in 0..60 {
        let pod = ["one", "two"][usize::try_from(numbers.below(2)).unwrap()];
        let main = format!("{pod}-{}", numbers.below(2));
        let what = numbers.below(15);
        let calling = call(&client, what, pod, &main);
        // Every fourth caller goes away, at once or in the middle.
        let waits = match numbers.below(4) {
            0 => Duration::from_micros(numbers.below(8_000)),
            _ => PATIENCE,
        };
        match tokio::time::timeout(waits, calling).await {
            Err(_) => assert!(waits < PATIENCE, "call {what} on {main} is not answered"),
            Ok(Ok(())) => done += 1,
            // It is not there, not in that state, or on its way out; but what is there is whole.
            Ok(Err(status)) => assert!(
                matches!(status.code(), Code::FailedPrecondition | Code::NotFound)
                    && !status.message().contains("is lost"),
                "call {what} on {main}: {status:?}"
            ),
        }
    }
    done
}

#[tokio::test]
async fn callers_that_fight_over_sandboxes_leave_nothing_behind() {
    let Some(node) = Node::new("callers_that_fight_over_sandboxes_leave_nothing_behind").await else {
        return;
    };
    let callers: Vec<_> = (0..6)
        .map(|seed| tokio::spawn(meddle(node.client.clone(), seed)))
        .collect();
    let mut done = 0;
    for caller in callers {
        done += tokio::time::timeout(4 * PATIENCE, caller).await.unwrap().unwrap();
    }
    println!("{done} calls of 360 succeeded");
    assert!(done >= 36, "{done} calls succeeded: there was no fight");
    for pod in ["one", "two"] {
        node.discard(pod).await;
    }
    assert_eq!(
        node.sandboxes(api::ListSandboxesRequest::default()).await,
        [""; 0]
    );
    assert_eq!(
        node.containers(api::ListContainersRequest::default()).await,
        [""; 0]
    );
    // What was removed goes in its own time; nothing else is left while the daemon runs.
    let left = |name: &str| {
        let entries = fs_err::read_dir(node.machine.path(name)).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    let emptied = async {
        while !left("state/sandboxes/.removed").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.unwrap();
    assert_eq!(left("state/sandboxes"), [".removed"]);
    assert_eq!(left("run/pods"), [""; 0]);
    node.finish().await;
}

#[tokio::test]
async fn a_container_that_is_made_while_another_of_its_id_goes_has_all_it_needs() {
    let name = "a_container_that_is_made_while_another_of_its_id_goes_has_all_it_needs";
    let Some(node) = Node::new(name).await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let mut spec = container("main", "pod", "exec sleep 1000");
    spec.env.push(api::KeyValue {
        name: "A".into(),
        value: "1".into(),
    });
    let mut started = 0;
    for round in 0..150 {
        node.make_container(spec.clone()).await.unwrap();
        let making = async {
            tokio::time::sleep(Duration::from_micros(round * 10)).await;
            node.make_container(spec.clone()).await.unwrap();
        };
        tokio::join!(node.remove_container("main"), making);
        match node.start_container("main").await {
            Ok(()) => started += 1,
            // It was made again, which changed nothing, before it was removed.
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{round}: {status:?}"),
        }
        node.remove_container("main").await;
    }
    assert!(started > 0, "none was made while another went");
    node.discard("pod").await;
    node.finish().await;
}
