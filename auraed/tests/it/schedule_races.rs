//! Callers that do not know of each other.

use crate::machine::PATIENCE;
use crate::node::{Node, pod, shell};
use auraed_api::runtime::v0::RestartPolicy;
use auraed_api::schedule::v0::{ListRequest, NowRequest, RemoveRequest, StopRequest};
use auraed_client::Client;
use std::time::Duration;
use tonic::Code;

/// The same sequence of numbers at each run (a linear congruential generator, Knuth's constants).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Starts, stops and removes two pods in any order.
async fn meddle(client: Client, seed: u64) {
    let mut numbers = Numbers(seed);
    for _ in 0..15 {
        let name = ["one", "two"][usize::try_from(numbers.below(2)).unwrap()];
        let grace_period_seconds = Some(0);
        let result = match numbers.below(4) {
            0 | 1 => {
                let script = if numbers.below(2) == 0 {
                    "exit 0"
                } else {
                    "trap 'exit 0' TERM; sleep 1000 & wait"
                };
                let pod = Some(pod(name, RestartPolicy::OnFailure, vec![shell("main", script)]));
                client.schedule().now(NowRequest { pod }).await.map(drop)
            }
            2 => client
                .schedule()
                .stop(StopRequest {
                    pod: name.into(),
                    grace_period_seconds,
                })
                .await
                .map(drop),
            _ => client
                .schedule()
                .remove(RemoveRequest {
                    pod: name.into(),
                    grace_period_seconds,
                })
                .await
                .map(drop),
        };
        if let Err(status) = result {
            // It is being removed for somebody else.
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        }
    }
}

#[tokio::test]
async fn callers_that_fight_over_pods_leave_nothing_behind() {
    let Some(node) = Node::new("callers_that_fight_over_pods_leave_nothing_behind").await else {
        return;
    };
    let callers: Vec<_> = (0..6)
        .map(|seed| tokio::spawn(meddle(node.client.clone(), seed)))
        .collect();
    for caller in callers {
        tokio::time::timeout(2 * PATIENCE, caller).await.unwrap().unwrap();
    }
    node.remove("one").await;
    node.remove("two").await;
    let left = node
        .client
        .schedule()
        .list(ListRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(left.statuses.is_empty(), "{left:?}");
    node.finish().await;
}

#[tokio::test]
async fn a_pod_that_is_sent_while_another_of_its_id_goes_is_made_in_the_end() {
    let name = "a_pod_that_is_sent_while_another_of_its_id_goes_is_made_in_the_end";
    let Some(node) = Node::new(name).await else {
        return;
    };
    let wanted = || pod("again", RestartPolicy::Never, vec![shell("main", "exit 0")]);
    let send = async || {
        let request = NowRequest { pod: Some(wanted()) };
        node.client.schedule().now(request).await.map(drop)
    };
    let remove = |client: Client| async move {
        let request = RemoveRequest {
            pod: "again".into(),
            grace_period_seconds: Some(0),
        };
        client.schedule().remove(request).await.map(drop)
    };
    for round in 0..25 {
        send().await.unwrap();
        let going = tokio::spawn(remove(node.client.clone()));
        while !going.is_finished() {
            if let Err(status) = send().await {
                assert_eq!(status.code(), Code::FailedPrecondition, "{round}: {status:?}");
            }
        }
        going.await.unwrap().unwrap();
        // Whichever it is now, it has a status of its own.
        send().await.unwrap();
        node.until("again", |_| true).await;
        remove(node.client.clone()).await.unwrap();
    }
    node.finish().await;
}

#[tokio::test]
async fn a_pod_whose_sender_goes_away_is_made_all_the_same() {
    let Some(node) = Node::new("a_pod_whose_sender_goes_away_is_made_all_the_same").await else {
        return;
    };
    let wanted = |number: u64| {
        let name = format!("pod-{number}");
        pod(&name, RestartPolicy::Never, vec![shell("main", "exit 0")])
    };
    for number in 0..40 {
        let request = NowRequest {
            pod: Some(wanted(number)),
        };
        let (mut schedule, patience) = (node.client.schedule(), Duration::from_micros(number * 75));
        let _ = tokio::time::timeout(patience, schedule.now(request)).await;
    }
    for number in 0..40 {
        tokio::time::timeout(PATIENCE, node.run(wanted(number)))
            .await
            .unwrap();
        node.until(&format!("pod-{number}"), |status| status.finished)
            .await;
        node.remove(&format!("pod-{number}")).await;
    }
    node.finish().await;
}

/// Who asks for a pod is told by the answer whether it was run before.
#[tokio::test]
async fn a_new_pod_is_answered_as_it_was_taken_on() {
    let Some(node) = Node::new("a_new_pod_is_answered_as_it_was_taken_on").await else {
        return;
    };
    let quick = |name: &str| pod(name, RestartPolicy::Never, vec![shell("main", "exit 0")]);
    let names: Vec<String> = (0..40).map(|number| format!("pod-{number}")).collect();
    // At once, so that writing them down takes longer than running them.
    let starts: Vec<_> = names
        .iter()
        .map(|name| {
            let (client, pod) = (node.client.clone(), quick(name));
            tokio::spawn(async move { client.schedule().now(NowRequest { pod: Some(pod) }).await })
        })
        .collect();
    for start in starts {
        let status = start.await.unwrap().unwrap().into_inner().status.unwrap();
        assert!(!status.finished, "{status:?}");
    }
    for name in &names {
        node.until(name, |status| status.finished).await;
    }
    let again = NowRequest {
        pod: Some(quick("pod-0")),
    };
    let again = node.client.schedule().now(again).await.unwrap();
    assert!(again.into_inner().status.unwrap().finished);
    for name in &names {
        node.remove(name).await;
    }
    node.finish().await;
}

#[tokio::test]
async fn many_pods_at_once_all_run_and_all_go() {
    let Some(node) = Node::new("many_pods_at_once_all_run_and_all_go").await else {
        return;
    };
    let names: Vec<String> = (0..30).map(|number| format!("pod-{number}")).collect();
    let script = "trap 'exit 0' TERM; sleep 1000 & wait";
    let starts: Vec<_> = names
        .iter()
        .map(|name| {
            let (client, pod) = (
                node.client.clone(),
                pod(name, RestartPolicy::Always, vec![shell("main", script)]),
            );
            tokio::spawn(async move { client.schedule().now(NowRequest { pod: Some(pod) }).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let mut addresses = std::collections::BTreeSet::new();
    for name in &names {
        let status = node.until_running(name).await;
        addresses.extend(status.sandbox.unwrap().addresses);
    }
    assert_eq!(addresses.len(), names.len());
    let removals: Vec<_> = names
        .iter()
        .map(|name| {
            let (client, pod) = (node.client.clone(), name.clone());
            let request = RemoveRequest {
                pod,
                grace_period_seconds: Some(5),
            };
            tokio::spawn(async move { client.schedule().remove(request).await })
        })
        .collect();
    for removal in removals {
        tokio::time::timeout(PATIENCE, removal)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    node.finish().await;
}
