//! Pods bound to this node, from the API server: one watch with `spec.nodeName=`, which begins with all of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};

use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::pods::{Input, Inputs};

/// Follows for ever.
pub async fn follow(cluster: Cluster, node: String, inputs: Inputs) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let mut changed = cluster.changed();
        let place = cluster.watch_client();
        let api: Api<Pod> = Api::all(place.client());
        let config = watcher::Config::default()
            .fields(&format!("spec.nodeName={node}"))
            .streaming_lists();
        let mut stream = std::pin::pin!(watcher::watcher(api, config));
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = changed.wait() => break,
            };
            match next {
                None => break,
                Some(Ok(event)) => {
                    cluster.answered();
                    backoff.reset();
                    if inputs.send(input(event)).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    super::note(&cluster, error);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }
}

fn input(event: Event<Pod>) -> Input {
    match event.modify(crate::pods::state::tidy) {
        Event::Init => Input::ApiBegins,
        Event::InitApply(pod) | Event::Apply(pod) => Input::ApiPod(Arc::new(pod)),
        Event::InitDone => Input::ApiComplete,
        Event::Delete(pod) => Input::ApiGone(Arc::new(pod)),
    }
}
