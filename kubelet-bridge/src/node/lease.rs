//! The Lease: the sign of life by which the control plane judges the node. Its own task, so that nothing else can hold
//! it up: renewed every 10 s (jitter 4 %) by a PUT of the object last seen, five tries at once, then the next round.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PostParams};
use tokio::sync::watch;

use crate::backoff::{Backoff, jitter};
use crate::cluster::{CallError, Cluster};

const NAMESPACE: &str = "kube-node-lease";
const PERIOD: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.04;
const TRIES: u32 = 5;

/// Renews for ever, from the moment that the Node is there.
pub(super) async fn renew(cluster: Cluster, mut node: watch::Receiver<Option<Arc<Node>>>) {
    let mut last: Option<Lease> = None;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
    loop {
        let owner = match node.wait_for(Option::is_some).await {
            Ok(node) => node.clone(),
            Err(_) => return,
        };
        let Some(owner) = owner else { continue };
        let wait = match round(&cluster, &owner, &mut last).await {
            Ok(()) => {
                backoff.reset();
                jitter(PERIOD, JITTER)
            }
            Err(error) => {
                tracing::debug!("the lease is not renewed: {}", crate::chain::sources(&error));
                // A lease that was never made is more urgent than one that is late.
                if last.is_none() {
                    backoff.delay()
                } else {
                    PERIOD / 5
                }
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn round(cluster: &Cluster, node: &Node, last: &mut Option<Lease>) -> Result<(), CallError> {
    let mut outcome = once(cluster, node, last).await;
    for _ in 1..TRIES {
        match &outcome {
            Ok(()) => break,
            // Away: the others would wait as long.
            Err(error) if !error.is_answer() => break,
            Err(_) => outcome = once(cluster, node, last).await,
        }
    }
    outcome
}

/// One step: create, renew, or find out what is there.
async fn once(cluster: &Cluster, node: &Node, last: &mut Option<Lease>) -> Result<(), CallError> {
    let api: Api<Lease> = cluster.namespaced(NAMESPACE);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let wanted = translation::node::lease(node, last.as_ref(), jiff::Timestamp::now());
    let written = match last {
        Some(_) => {
            cluster
                .call(api.replace(name, &PostParams::default(), &wanted))
                .await
        }
        None => cluster.call(api.create(&PostParams::default(), &wanted)).await,
    };
    match written {
        Ok(lease) => {
            *last = Some(lease);
            Ok(())
        }
        Err(error) => {
            if error.is_conflict() {
                *last = Some(cluster.call(api.get(name)).await?);
            } else if error.is_not_found() {
                *last = None;
            }
            Err(error)
        }
    }
}
