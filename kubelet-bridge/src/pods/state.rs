//! What a worker knows of its pod, and how news change it. Pure: no I/O, no clock but the one handed in.

use std::sync::Arc;

use auraed_api::schedule::v0::PodStatus as Observed;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use serde_json::Value;
use translation::Problem;

use super::{Inbox, Origin};

/// One pod.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it comes from.
    pub origin: Origin,
    /// What should run.
    pub pod: Arc<Pod>,
    /// It should run no more, and nobody waits for its status.
    pub gone: bool,
    /// The API's object that its status goes to: the pod itself, or a static pod's mirror.
    pub object: Option<Arc<Pod>>,
    /// auraed's view.
    pub observed: Option<Arc<Observed>>,
    /// Which connection to auraed this is.
    pub session: u64,
    /// `observed` is up to date.
    pub synced: bool,
    /// auraed may have been given it, in that session.
    pub handed: Option<u64>,
    /// auraed has this, since that session.
    pub applied: Option<Applied>,
    /// What stands against it.
    pub stands: Stands,
    /// What it refers to changed since auraed was given it.
    pub stale: bool,
    /// auraed was told to stop it, in that session, with this grace.
    pub stopping: Option<(u64, u64)>,
    /// auraed was told to forget it and did.
    pub removed: bool,
    /// The API was told to forget it and did.
    pub deleted: bool,
    is_handing_over: bool,
    /// A patch that changed nothing in the API's object as we know it.
    pub futile: Option<Value>,
    /// How often auraed said that it forgot the pod.
    pub forgotten: u32,
    told_mirror: Option<Arc<Pod>>,
}

/// What auraed was given.
#[derive(Clone, Debug)]
pub struct Applied {
    /// In which session.
    pub session: u64,
    /// As it was.
    pub pod: Arc<Pod>,
}

/// What stands against a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stands {
    /// Nothing.
    #[default]
    Nothing,
    /// Objects that it refers to; their appearance may mend it.
    Waiting(Vec<Problem>),
    /// This node will not run it.
    Refused(Vec<Problem>),
}

impl State {
    /// Begins with what the table knows.
    pub fn new(origin: Origin, inbox: Inbox) -> State {
        let object = match origin {
            Origin::Api => Some(Arc::clone(&inbox.pod)),
            Origin::Manifest(_) => inbox.mirror.clone(),
        };
        State {
            origin,
            pod: inbox.pod,
            gone: inbox.gone,
            object,
            observed: inbox.observed,
            session: inbox.session,
            synced: inbox.synced,
            handed: None,
            applied: None,
            stands: Stands::Nothing,
            stale: false,
            stopping: None,
            removed: false,
            deleted: false,
            is_handing_over: false,
            futile: None,
            forgotten: inbox.forgotten,
            told_mirror: inbox.mirror,
        }
    }

    /// Takes news from the table.
    pub fn told(&mut self, inbox: Inbox) {
        self.gone |= inbox.gone;
        self.session = inbox.session;
        self.synced = inbox.synced;
        // What finished stays so, even where auraed was made to forget it: its last status may not be in the API yet.
        let finished = self.observed.as_ref().is_some_and(|observed| observed.finished);
        if inbox.observed.is_some() || (inbox.synced && !finished) {
            self.observed = inbox.observed;
        }
        if inbox.forgotten != self.forgotten {
            self.forgotten = inbox.forgotten;
            self.applied = None;
            if !self.is_handing_over {
                self.handed = None;
            }
        }
        match self.origin {
            Origin::Api => {
                let object = fresher(self.object.as_ref(), inbox.pod);
                if changed(&self.pod, &object) && matches!(self.stands, Stands::Waiting(_)) {
                    self.stands = Stands::Nothing;
                }
                if self
                    .object
                    .as_ref()
                    .is_none_or(|old| version(old) != version(&object))
                {
                    self.futile = None;
                }
                self.pod = Arc::clone(&object);
                self.object = Some(object);
            }
            Origin::Manifest(_) => {
                self.pod = inbox.pod;
                // News alone: what we wrote ourselves is newer than what was told before.
                let same = match (&self.told_mirror, &inbox.mirror) {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    self.told_mirror.clone_from(&inbox.mirror);
                    self.futile = None;
                    self.object = inbox.mirror.map(|mirror| fresher(self.object.as_ref(), mirror));
                }
            }
        }
    }

    /// Takes the API's answer to a write: its status and version are the newest. A `patch` that changed nothing there
    /// is not sent again, whatever the API server made of it.
    pub fn wrote(&mut self, mut answer: Pod, patch: Option<Value>) {
        tidy(&mut answer);
        let Some(object) = &mut self.object else {
            if matches!(self.origin, Origin::Manifest(_)) {
                self.object = Some(Arc::new(answer));
            }
            return;
        };
        if object.metadata.uid != answer.metadata.uid || version(&answer) < version(object) {
            return;
        }
        let moved = version(&answer) != version(object);
        self.futile = patch.filter(|_| !moved);
        let newest = Arc::make_mut(object);
        newest.status = answer.status;
        newest.metadata.resource_version = answer.metadata.resource_version;
        if self.origin == Origin::Api {
            self.pod = Arc::clone(object);
        }
    }

    /// The status in the API, as far as we know.
    pub fn reported(&self) -> Option<&PodStatus> {
        self.object.as_ref()?.status.as_ref()
    }

    /// The phase in the API is one that never changes.
    pub fn is_terminal(&self) -> bool {
        let phase = self.reported().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// Somebody deletes it.
    pub fn is_deleting(&self) -> bool {
        self.origin == Origin::Api && self.pod.metadata.deletion_timestamp.is_some()
    }

    /// auraed has nothing of it that runs or will.
    pub fn is_over(&self) -> bool {
        let over = match &self.observed {
            Some(observed) => observed.finished,
            None => !self.is_handed_over(),
        };
        self.synced && over
    }

    /// auraed may have been given some state of it and will tell of it.
    pub fn is_handed_over(&self) -> bool {
        self.is_handing_over || self.handed == Some(self.session)
    }

    /// It is being handed over from now on.
    pub fn hands_over(&mut self) {
        self.handed = Some(self.session);
        self.is_handing_over = true;
    }

    /// auraed took it, in the state and session that it was handed over in.
    pub fn took(&mut self, applied: Applied, forgotten: u32) {
        self.is_handing_over = false;
        self.handed = Some(self.session);
        self.stands = Stands::Nothing;
        // Unless it was removed by somebody else meanwhile.
        self.applied = (forgotten == self.forgotten).then_some(applied);
    }

    /// auraed surely does not have it from us: it was not asked, said no, or does not know it.
    pub fn took_not(&mut self) {
        self.is_handing_over = false;
        self.handed = None;
        self.applied = None;
    }

    /// Something was not done; where that was handing over, auraed `surely` does not have it, or perhaps.
    pub fn failed(&mut self, surely: bool) {
        if std::mem::take(&mut self.is_handing_over) && surely {
            self.handed = None;
        }
    }

    /// auraed may know of it.
    pub fn may_exist(&self) -> bool {
        !self.removed && (self.observed.is_some() || self.handed.is_some())
    }

    /// What auraed was given, in this session, is what should run.
    pub fn is_applied(&self) -> bool {
        let applied = self.applied.as_ref();
        applied.is_some_and(|applied| applied.session == self.session && !changed(&applied.pod, &self.pod))
    }

    /// The seconds that its processes have to end.
    pub fn grace(&self) -> u64 {
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or_default();
        let spec = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        let own = spec.map_or(30, seconds);
        let asked = self.pod.metadata.deletion_grace_period_seconds.map(seconds);
        asked.unwrap_or(own).max(1)
    }
}

/// Takes away what nobody here reads, and writes what is absent in one way: the API server tells a state that is none as
/// an empty one.
pub fn tidy(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    let Some(status) = &mut pod.status else { return };
    let lists = [
        &mut status.container_statuses,
        &mut status.init_container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in lists.into_iter().flatten().flatten() {
        for state in [&mut container.state, &mut container.last_state] {
            if *state == Some(ContainerState::default()) {
                *state = None;
            }
        }
    }
}

/// The newer of two states of one object. A watch lags behind the answers to our own writes: its status is taken only
/// where it is not older than what we know.
fn fresher(known: Option<&Arc<Pod>>, told: Arc<Pod>) -> Arc<Pod> {
    let Some(known) = known else { return told };
    if known.metadata.uid != told.metadata.uid || version(&told) >= version(known) {
        return told;
    }
    let mut mixed = Pod::clone(&told);
    mixed.status.clone_from(&known.status);
    mixed
        .metadata
        .resource_version
        .clone_from(&known.metadata.resource_version);
    Arc::new(mixed)
}

/// Resource versions of one kind of object can be compared as numbers.
fn version(pod: &Pod) -> u64 {
    let version = pod.metadata.resource_version.as_deref();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// What auraed must be told of: the spec, labels, annotations.
fn changed(old: &Arc<Pod>, new: &Arc<Pod>) -> bool {
    !Arc::ptr_eq(old, new)
        && (old.spec != new.spec
            || old.metadata.labels != new.metadata.labels
            || old.metadata.annotations != new.metadata.annotations
            || old.metadata.generation != new.metadata.generation)
}
