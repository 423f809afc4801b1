//! The table of pods: which there are, and a worker for each. One task owns it.
//!
//! Pods that auraed has from the API server ([`super::API_SOURCE`]), or from a manifest that is no more, and that nobody
//! wants are orphans: forgotten once both sides told all that they have. Pods of other sources (the command line's) are
//! nobody's business here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auraed_api::schedule::v0::{PodStatus, RemoveRequest};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

use super::{API_SOURCE, Context, Directory, Inbox, Input, Origin, StaticPod, View, decide, worker, write};

/// Seconds that an orphan has to end (kubelet's).
const ORPHAN_GRACE: u64 = 1;

struct Entry {
    origin: Origin,
    inbox: watch::Sender<Inbox>,
    views: watch::Receiver<View>,
    running: bool,
}

/// What the sources told completely, so that absence means something.
#[derive(Default)]
struct Complete {
    api: bool,
    manifests: bool,
    aurae: bool,
}

struct Table {
    context: Arc<Context>,
    directory: Directory,
    manifests: Option<PathBuf>,
    pods: HashMap<String, Entry>,
    workers: JoinSet<()>,
    ids: HashMap<Id, String>,
    /// auraed's pods, also those that are nobody's here.
    observed: BTreeMap<String, Arc<PodStatus>>,
    /// Mirrors in the API, by the static pod's UID.
    mirrors: BTreeMap<String, Arc<Pod>>,
    /// Static pods that wait for one of their name to end.
    queued: Vec<StaticPod>,
    /// UIDs told since the API began to tell all.
    listed: Option<BTreeSet<String>>,
    complete: Complete,
    session: u64,
}

/// Runs until all senders are gone.
pub async fn run(
    context: Arc<Context>,
    directory: Directory,
    manifests: Option<PathBuf>,
    mut inputs: mpsc::Receiver<Input>,
) {
    let mut table = Table {
        complete: Complete {
            api: context.cluster.is_none(),
            manifests: manifests.is_none(),
            aurae: false,
        },
        context,
        directory,
        manifests,
        pods: HashMap::new(),
        workers: JoinSet::new(),
        ids: HashMap::new(),
        observed: BTreeMap::new(),
        mirrors: BTreeMap::new(),
        queued: Vec::new(),
        listed: None,
        session: 0,
    };
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => table.take(input),
                None => return,
            },
            Some(ended) = table.workers.join_next_with_id() => match ended {
                Ok((id, ())) => table.ended(id, false),
                Err(error) => {
                    if error.is_panic() {
                        tracing::error!("a pod's worker panicked and is started again");
                    }
                    table.ended(error.id(), true);
                }
            },
        }
    }
}

impl Table {
    fn take(&mut self, input: Input) {
        match input {
            Input::ApiBegins => self.listed = Some(BTreeSet::new()),
            Input::ApiPod(pod) => self.api_pod(pod),
            Input::ApiGone(pod) => self.api_gone(&pod),
            Input::ApiComplete => self.api_complete(),
            Input::Manifests(pods) => self.static_pods(pods),
            Input::AuraeBegins => {
                self.session += 1;
                self.observed.clear();
                self.all_told(false);
            }
            Input::AuraeStatus(status) => self.aurae_status(status),
            Input::AuraeRemoved(id) => {
                self.observed.remove(&id);
                if let Some(entry) = self.pods.get(&id) {
                    entry.inbox.send_modify(|inbox| {
                        inbox.observed = None;
                        inbox.forgotten += 1;
                    });
                }
            }
            Input::AuraeComplete => {
                self.complete.aurae = true;
                self.all_told(true);
                self.remove_orphans();
            }
            Input::AuraeLost => {
                self.complete.aurae = false;
                self.all_told(false);
            }
        }
    }

    /// Tells every worker whether auraed's view is complete.
    fn all_told(&mut self, synced: bool) {
        let (session, observed) = (self.session, &self.observed);
        for (uid, entry) in &self.pods {
            entry.inbox.send_modify(|inbox| {
                inbox.session = session;
                inbox.synced = synced;
                if synced {
                    inbox.observed = observed.get(uid).cloned();
                }
            });
        }
    }

    fn aurae_status(&mut self, status: Arc<PodStatus>) {
        let known = self.observed.get(&status.id);
        if known.is_some_and(|known| known.revision > status.revision) {
            return;
        }
        self.observed.insert(status.id.clone(), Arc::clone(&status));
        // Before all were told, a worker would take the absence of others for the truth.
        if self.complete.aurae
            && let Some(entry) = self.pods.get(&status.id)
        {
            entry.inbox.send_modify(|inbox| inbox.observed = Some(status));
        }
    }

    fn api_pod(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.clone());
        }
        if write::is_mirror(&pod) {
            self.mirror(&pod, true);
            return;
        }
        match self.pods.get(&uid) {
            Some(entry) => entry.inbox.send_modify(|inbox| inbox.pod = pod),
            None => self.begin(uid, Origin::Api, pod),
        }
    }

    fn api_gone(&mut self, pod: &Arc<Pod>) {
        if write::is_mirror(pod) {
            self.mirror(pod, false);
            return;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if let Some(entry) = self.pods.get(uid) {
            entry.inbox.send_modify(|inbox| inbox.gone = true);
        }
    }

    /// What was not told is gone.
    fn api_complete(&mut self) {
        let Some(listed) = self.listed.take() else { return };
        for (uid, entry) in &self.pods {
            if entry.origin == Origin::Api && !listed.contains(uid) {
                entry.inbox.send_modify(|inbox| inbox.gone = true);
            }
        }
        let lost: Vec<Arc<Pod>> = self
            .mirrors
            .values()
            .filter(|mirror| {
                mirror
                    .metadata
                    .uid
                    .as_ref()
                    .is_none_or(|uid| !listed.contains(uid))
            })
            .cloned()
            .collect();
        for mirror in lost {
            self.mirror(&mirror, false);
        }
        self.complete.api = true;
        self.remove_orphans();
    }

    /// A mirror is there, or no more.
    fn mirror(&mut self, mirror: &Arc<Pod>, there: bool) {
        let owner = decide::hash(mirror).unwrap_or_default().to_owned();
        let known = self.mirrors.get(&owner);
        if there {
            self.mirrors.insert(owner.clone(), Arc::clone(mirror));
        } else if known.is_some_and(|known| known.metadata.uid == mirror.metadata.uid) {
            self.mirrors.remove(&owner);
        } else {
            return;
        }
        let now = self.mirrors.get(&owner).cloned();
        match self.pods.get(&owner) {
            Some(entry) => {
                self.directory
                    .set_mirror(&owner, now.as_ref().and_then(|now| now.metadata.uid.clone()));
                entry.inbox.send_modify(|inbox| inbox.mirror = now);
            }
            None if there && self.complete.manifests => self.delete_mirror(mirror),
            None => {}
        }
    }

    /// Takes a mirror away whose static pod is no more.
    fn delete_mirror(&self, mirror: &Arc<Pod>) {
        let Some(cluster) = self.context.cluster.clone() else {
            return;
        };
        let target = write::Target {
            pod: Arc::clone(mirror),
            node: Default::default(),
        };
        tokio::spawn(async move {
            // One that cannot be deleted now is told of again by the next full list.
            write::perform(cluster, target, decide::Write::DeleteMirror).await
        });
    }

    fn static_pods(&mut self, pods: Vec<StaticPod>) {
        let wanted: BTreeSet<&str> = pods
            .iter()
            .filter_map(|pod| pod.pod.metadata.uid.as_deref())
            .collect();
        for (uid, entry) in &self.pods {
            if entry.origin != Origin::Api {
                let gone = !wanted.contains(uid.as_str());
                entry
                    .inbox
                    .send_if_modified(|inbox| std::mem::replace(&mut inbox.gone, gone) != gone);
            }
        }
        let first = !self.complete.manifests;
        self.complete.manifests = true;
        self.queued = pods;
        self.dequeue();
        if first {
            let strays: Vec<Arc<Pod>> = self
                .mirrors
                .iter()
                .filter(|(owner, _)| !self.pods.contains_key(*owner))
                .map(|(_, mirror)| Arc::clone(mirror))
                .collect();
            for stray in strays {
                self.delete_mirror(&stray);
            }
            self.remove_orphans();
        }
    }

    /// Begins static pods whose name is free: of two with one name the second waits for the first to end.
    fn dequeue(&mut self) {
        let queued = std::mem::take(&mut self.queued);
        for StaticPod { path, pod } in queued {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if self.pods.contains_key(&uid) {
                continue;
            }
            let taken = self.pods.values().any(|entry| {
                let other = &entry.inbox.borrow().pod.metadata;
                entry.origin != Origin::Api
                    && other.name == pod.metadata.name
                    && other.namespace == pod.metadata.namespace
            });
            if taken {
                self.queued.push(StaticPod { path, pod });
            } else {
                self.begin(uid, Origin::Manifest(path), pod);
            }
        }
    }

    fn begin(&mut self, uid: String, origin: Origin, pod: Arc<Pod>) {
        let mirror = match origin {
            Origin::Api => None,
            Origin::Manifest(_) => self.mirrors.get(&uid).cloned(),
        };
        let view = View {
            pod: Arc::clone(&pod),
            status: Arc::new(pod.status.clone().unwrap_or_default()),
        };
        let mirror_uid = mirror.as_ref().and_then(|mirror| mirror.metadata.uid.clone());
        let inbox = Inbox {
            pod,
            gone: false,
            mirror,
            observed: self.observed.get(&uid).cloned(),
            forgotten: 0,
            session: self.session,
            synced: self.complete.aurae,
        };
        let (inbox, views) = (watch::Sender::new(inbox), watch::Sender::new(view));
        self.directory.insert(&uid, views.subscribe());
        self.directory.set_mirror(&uid, mirror_uid);
        let entry = Entry {
            origin,
            inbox,
            views: views.subscribe(),
            running: false,
        };
        self.pods.insert(uid.clone(), entry);
        self.spawn(&uid, views);
    }

    fn spawn(&mut self, uid: &str, views: watch::Sender<View>) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.running = true;
        let (context, origin) = (Arc::clone(&self.context), entry.origin.clone());
        let worker = worker::run_pod(context, origin, entry.inbox.subscribe(), views);
        let handle = self.workers.spawn(worker);
        self.ids.insert(handle.id(), uid.to_owned());
    }

    /// A worker is done, or broke.
    fn ended(&mut self, id: Id, broke: bool) {
        let Some(uid) = self.ids.remove(&id) else { return };
        if broke {
            let Some(entry) = self.pods.get(&uid) else { return };
            let view = entry.views.borrow().clone();
            let views = watch::Sender::new(view);
            self.directory.insert(&uid, views.subscribe());
            self.spawn(&uid, views);
            return;
        }
        self.pods.remove(&uid);
        self.directory.remove(&uid);
        self.dequeue();
    }

    /// Forgets what auraed runs for us and nobody wants.
    fn remove_orphans(&self) {
        if !(self.complete.api && self.complete.manifests && self.complete.aurae) {
            return;
        }
        for (id, status) in &self.observed {
            if self.pods.contains_key(id) || !self.is_ours(&status.source) {
                continue;
            }
            tracing::info!(pod = %format!("{}/{}", status.namespace, status.name), id, "removing an orphan");
            let mut schedule = self.context.aurae.control.schedule();
            let request = RemoveRequest {
                pod: id.clone(),
                grace_period_seconds: Some(ORPHAN_GRACE),
            };
            tokio::spawn(async move {
                // If auraed goes away in between, its next complete list brings it here again.
                schedule.remove(request).await.err()
            });
        }
    }

    /// Whether pods of this source are to be judged by what we know.
    fn is_ours(&self, source: &str) -> bool {
        if source == API_SOURCE {
            return self.context.cluster.is_some();
        }
        let Some(manifests) = &self.manifests else {
            return false;
        };
        let path = Path::new(source);
        path == manifests || path.parent() == Some(manifests)
    }
}
