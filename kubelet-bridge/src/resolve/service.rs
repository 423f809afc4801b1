//! Services, for the environment of pods that want them (`enableServiceLinks`). One watch of all, started by the first
//! such pod; it never ends, because nearly every pod wants them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::cluster::Cluster;

type Known = BTreeMap<(String, String), Service>;

/// All services; none until they were listed once.
#[derive(Debug)]
pub(super) struct Services {
    cluster: Cluster,
    started: AtomicBool,
    known: watch::Sender<Option<Known>>,
}

impl Services {
    pub(super) fn new(cluster: Cluster) -> Services {
        Services {
            cluster,
            started: AtomicBool::new(false),
            known: watch::Sender::new(None),
        }
    }

    /// Starts the watch, if it does not run yet.
    pub(super) fn start(&self) {
        if !self.started.swap(true, Ordering::Relaxed) {
            tokio::spawn(follow(self.cluster.clone(), self.known.clone()));
        }
    }

    /// What a pod of `namespace` may see, once services were listed.
    pub(super) async fn of(&self, namespace: &str) -> Vec<Service> {
        let mut known = self.known.subscribe();
        let Ok(known) = known.wait_for(Option::is_some).await else {
            return Vec::new();
        };
        let visible =
            |key: &(String, String)| key.0 == namespace || (key.0 == "default" && key.1 == "kubernetes");
        known
            .iter()
            .flatten()
            .filter(|(key, _)| visible(key))
            .map(|(_, service)| service.clone())
            .collect()
    }
}

async fn follow(cluster: Cluster, known: watch::Sender<Option<Known>>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let mut changed = cluster.changed();
        let place = cluster.watch_client();
        let api: Api<Service> = Api::all(place.client());
        let config = watcher::Config::default().any_semantic();
        let mut stream = std::pin::pin!(watcher::watcher(api, config));
        let mut fresh = Known::new();
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
                    take(event, &mut fresh, &known);
                }
                Some(Err(error)) => {
                    crate::source::note(&cluster, error);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }
}

fn take(event: Event<Service>, fresh: &mut Known, known: &watch::Sender<Option<Known>>) {
    let key = |service: &Service| (service.namespace().unwrap_or_default(), service.name_any());
    match event.modify(strip) {
        Event::Init => fresh.clear(),
        Event::InitApply(service) => {
            fresh.insert(key(&service), service);
        }
        Event::InitDone => {
            known.send_replace(Some(std::mem::take(fresh)));
        }
        Event::Apply(service) => known.send_modify(|known| {
            known.get_or_insert_default().insert(key(&service), service);
        }),
        Event::Delete(service) => known.send_modify(|known| {
            known.get_or_insert_default().remove(&key(&service));
        }),
    }
}

/// Only addresses and ports matter.
fn strip(service: &mut Service) {
    service.metadata.managed_fields = None;
    service.metadata.annotations = None;
    service.metadata.labels = None;
    service.status = None;
}
