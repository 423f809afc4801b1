//! The task that owns the Node object.
//!
//! ```text
//! no facts ──GetNode──► facts ──create or adopt──► registered ──► compute every 10 s ─┬─ changed: PATCH now
//!    ▲                                                 ▲                              └─ else: PATCH after 5 min
//!    └── auraed away, never seen                       └──── auraed comes or goes: compute now
//! ```
//!
//! Failures are retried with back-off; the last facts stand in for those of an auraed that is away.

use std::sync::Arc;
use std::time::Duration;

use auraed_api::observe::v0::{GetNodeRequest, GetNodeResponse};
use auraed_api::runtime::v0::ListImagesRequest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use translation::node::Registration;

use super::subnets::Subnets;
use super::{KUBELET_VERSION, Link, NodeView, adopt, images, lease, patch, searches};
use crate::aurae::Aurae;
use crate::backoff::{Backoff, jitter};
use crate::cluster::{CallError, Cluster};
use crate::flags::NodeSettings;
use crate::report::Recorder;

/// kubelet's nodeStatusReportFrequency: how long an unchanged status may stay unsent.
const REPORT_PERIOD: Duration = Duration::from_secs(300);
const FACTS_TIMEOUT: Duration = Duration::from_secs(5);
/// An auraed that is back within this was never away to the cluster: pods run on, and a node that is not ready for a
/// moment costs all its pods their readiness. (kubelet has 30 s for its runtime.)
const AWAY_GRACE: Duration = Duration::from_secs(10);
/// Until the node was ready once, facts are asked for this often, for at most two minutes.
const EAGER_PERIOD: Duration = Duration::from_millis(200);
const EAGER_FOR: Duration = Duration::from_secs(120);

/// Everything the task works with.
#[derive(Debug)]
pub struct Keeper {
    settings: NodeSettings,
    registration: Registration,
    aurae: Aurae,
    cluster: Option<Cluster>,
    recorder: Recorder,
    link: watch::Receiver<Link>,
    views: watch::Sender<Option<Arc<NodeView>>>,
    object: watch::Sender<Option<Arc<Node>>>,
    facts: Option<GetNodeResponse>,
    reported: Option<Instant>,
    started: Instant,
    was_ready: bool,
    searches: Vec<String>,
    away_since: Option<Instant>,
    subnets: Subnets,
}

impl Keeper {
    /// Prepares; `port` is where the kubelet API really listens.
    pub fn new(
        settings: NodeSettings,
        port: u16,
        aurae: Aurae,
        cluster: Option<Cluster>,
        recorder: Recorder,
        link: watch::Receiver<Link>,
    ) -> Keeper {
        let registration = registration(&settings, port);
        Keeper {
            settings,
            registration,
            aurae,
            cluster,
            recorder,
            link,
            views: watch::Sender::new(None),
            object: watch::Sender::new(None),
            facts: None,
            reported: None,
            started: Instant::now(),
            was_ready: false,
            searches: searches::own(),
            away_since: None,
            subnets: Subnets::default(),
        }
    }

    /// What others may know of the node.
    pub fn views(&self) -> super::NodeViews {
        self.views.subscribe()
    }

    /// Keeps the Node for ever.
    pub async fn run(mut self) {
        if let Some(cluster) = self.cluster.clone() {
            tokio::spawn(lease::renew(cluster, self.object.subscribe()));
        }
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
        loop {
            self.link.mark_unchanged();
            self.learn().await;
            let wait = match self.report().await {
                Ok(()) => {
                    backoff.reset();
                    self.period()
                }
                Err(error) => {
                    self.complain(&error);
                    error.retry_after().unwrap_or_else(|| backoff.delay())
                }
            };
            let object = self.object.borrow().clone();
            if let Some(object) = object {
                self.subnets.tell(&self.aurae, &object).await;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn period(&self) -> Duration {
        if !self.was_ready && self.started.elapsed() < EAGER_FOR && *self.link.borrow() == Link::Up {
            EAGER_PERIOD
        } else {
            let period = jitter(self.settings.status_period, 0.04);
            if self.away_since.is_some() {
                period.min(AWAY_GRACE)
            } else {
                period
            }
        }
    }

    /// Says why the Node cannot be written, where the API server said it (its absence is told by the connection).
    fn complain(&self, error: &CallError) {
        if error.is_answer() {
            tracing::warn!(node = %self.settings.name, "cannot write the Node, trying again: {error}");
        }
    }

    /// Asks auraed for the node's facts.
    async fn learn(&mut self) {
        let asked = tokio::time::timeout(FACTS_TIMEOUT, async {
            self.aurae.control.observe().get_node(GetNodeRequest {}).await
        });
        let problem = match asked.await {
            Ok(Ok(answer)) => {
                self.facts = Some(answer.into_inner());
                None
            }
            Ok(Err(status)) => Some(format!("auraed is away: {}", crate::aurae::reason(&status))),
            Err(_) => Some("auraed does not answer".to_owned()),
        };
        let away = match &problem {
            Some(_) => self.away_since.get_or_insert_with(Instant::now).elapsed(),
            None => {
                self.away_since = None;
                Duration::ZERO
            }
        };
        let Some(facts) = &mut self.facts else { return };
        if let Some(problem) = problem.filter(|_| away >= AWAY_GRACE) {
            facts.problems = vec![problem];
        }
        let view = self.view();
        self.views.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| {
                current.uid == view.uid
                    && current.node.hostname == view.node.hostname
                    && current.node.allocatable == view.node.allocatable
            });
            if !same {
                *current = Some(Arc::new(view));
            }
            !same
        });
    }

    fn view(&self) -> NodeView {
        let facts = self.facts.clone().unwrap_or_default();
        let status = translation::node::status(&self.registration, &facts, None, Timestamp::now());
        let hostname = facts.hostname;
        let node = translation::Node {
            name: self.settings.name.clone(),
            hostname,
            addresses: self.registration.addresses.clone(),
            cluster_domain: self.settings.cluster_domain.clone(),
            cluster_dns: self.settings.cluster_dns.clone(),
            host_searches: self.searches.clone(),
            allocatable: status.allocatable.unwrap_or_default(),
            seccomp_default: self.settings.seccomp_default,
            allowed_unsafe_sysctls: self.settings.allowed_unsafe_sysctls.clone(),
        };
        let uid = self
            .object
            .borrow()
            .as_ref()
            .and_then(|object| object.metadata.uid.clone());
        NodeView { node, uid }
    }

    /// Brings the API's Node up to date.
    async fn report(&mut self) -> Result<(), CallError> {
        let (Some(cluster), Some(facts)) = (self.cluster.clone(), self.facts.clone()) else {
            return Ok(());
        };
        let now = Timestamp::now();
        let object = self.object.borrow().clone();
        let Some(object) = object else {
            return self.register(&cluster, &facts, now).await;
        };
        let old = object.status.clone().unwrap_or_default();
        let mut new = translation::node::status(&self.registration, &facts, Some(&old), now);
        if facts.problems.is_empty() {
            new.images = self.images().await;
        } else {
            new.images = old.images.clone();
        }
        let patch = patch::between(&old, &new);
        let due = self.reported.is_none_or(|at| at.elapsed() >= REPORT_PERIOD);
        if !patch.changed && !due {
            return Ok(());
        }
        let api: Api<Node> = cluster.all();
        let body = Patch::Strategic(json!({ "status": patch.body }));
        let parameters = PatchParams::default();
        let written = api.patch_status(&self.settings.name, &parameters, &body);
        let node = cluster.call(written).await?;
        self.written(node, Some(&old));
        Ok(())
    }

    async fn register(
        &mut self,
        cluster: &Cluster,
        facts: &GetNodeResponse,
        now: Timestamp,
    ) -> Result<(), CallError> {
        let mut wanted = translation::node::object(&self.registration, facts, now);
        if let Some(status) = &mut wanted.status {
            status.images = self.images().await;
        }
        let adopted = adopt::adopt(cluster, &wanted, self.settings.register).await?;
        let how = if adopted.existed { "adopted" } else { "created" };
        tracing::info!(node = %self.settings.name, how, "the Node is registered");
        let uid = adopted.node.metadata.uid.clone();
        self.recorder
            .node(uid.as_deref(), false, "Starting", "Starting kubelet.");
        let old_boot = |status: &NodeStatus| status.node_info.as_ref().map(|info| info.boot_id.clone());
        let rebooted = adopted
            .node
            .status
            .as_ref()
            .and_then(old_boot)
            .is_some_and(|boot| !boot.is_empty() && !facts.boot_id.is_empty() && boot != facts.boot_id);
        if adopted.existed && rebooted {
            let message = format!(
                "Node {} has been rebooted, boot id: {}",
                self.settings.name, facts.boot_id
            );
            self.recorder.node(uid.as_deref(), true, "Rebooted", &message);
        }
        if adopted.existed {
            self.object.send_replace(Some(Arc::new(adopted.node)));
            // Its status is another life's.
            self.reported = None;
            return Box::pin(self.report()).await;
        }
        self.written(adopted.node, None);
        // A moment later the cluster has assigned subnets to it, which the answer to a report tells.
        self.reported = None;
        Ok(())
    }

    /// Takes note of the Node as the API now has it.
    fn written(&mut self, node: Node, old: Option<&NodeStatus>) {
        self.reported = Some(Instant::now());
        let ready = node.status.as_ref().and_then(readiness);
        let was = old.and_then(readiness);
        let uid = node.metadata.uid.clone();
        if ready != was {
            let name = &self.settings.name;
            match ready {
                Some(true) => {
                    tracing::info!(node = %name, "the node is ready");
                    let message = format!("Node {name} status is now: NodeReady");
                    self.recorder.node(uid.as_deref(), false, "NodeReady", &message);
                }
                _ => {
                    tracing::warn!(node = %name, "the node is not ready");
                    let message = format!("Node {name} status is now: NodeNotReady");
                    self.recorder
                        .node(uid.as_deref(), false, "NodeNotReady", &message);
                }
            }
        }
        self.was_ready |= ready == Some(true);
        self.object.send_replace(Some(Arc::new(node)));
        let view = self.view();
        self.views.send_if_modified(|current| {
            let news = current.as_ref().is_none_or(|current| current.uid != view.uid);
            if news {
                *current = Some(Arc::new(view));
            }
            news
        });
    }

    async fn images(&self) -> Option<Vec<k8s_openapi::api::core::v1::ContainerImage>> {
        let listed = self
            .aurae
            .control
            .images()
            .list_images(ListImagesRequest {})
            .await
            .ok()?;
        let images = images::listed(listed.into_inner().images);
        (!images.is_empty()).then_some(images)
    }
}

fn readiness(status: &NodeStatus) -> Option<bool> {
    let ready = status
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    Some(ready.status == "True")
}

fn registration(settings: &NodeSettings, port: u16) -> Registration {
    let addresses = if settings.addresses.is_empty() {
        super::address::own()
    } else {
        settings.addresses.clone()
    };
    Registration {
        name: settings.name.clone(),
        // kubelet takes the name that it was given for its host name as well.
        hostname: settings.name.clone(),
        addresses,
        labels: settings.labels.clone(),
        taints: settings.taints.clone(),
        provider_id: settings.provider_id.clone(),
        port,
        max_pods: settings.max_pods,
        reserved: settings.reserved.clone(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        declared_features: vec!["ExtendWebSocketsToKubelet".to_owned()],
    }
}
