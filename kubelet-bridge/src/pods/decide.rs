//! What to do next about a pod, from what is known of it. Pure.
//!
//! ```text
//! towards auraed:   Apply ──► (Refresh)* ──► Stop ──► Remove
//! towards the API:  Patch* ──────────────► Patch with a terminal phase ──► Delete
//! ```
//!
//! A pod whose phase in the API is terminal is never started again. Nothing is done to auraed before it told all its
//! pods, because only then "it does not know this one" is true.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;

use super::Origin;
use super::state::{Stands, State};

/// Towards auraed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Resolve, translate and hand over.
    Apply,
    /// Replace the content of volumes.
    Refresh,
    /// Stop with this grace.
    Stop(u64),
    /// Forget it, stopping it first with this grace.
    Remove(u64),
}

/// Towards the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Patch the status.
    Patch(Value),
    /// Delete the object, which is over.
    Delete,
    /// Make the mirror of a static pod.
    CreateMirror,
    /// Take a mirror away that is wrong.
    DeleteMirror,
}

/// The next step towards auraed.
pub fn run(state: &State) -> Option<Run> {
    if !state.synced || state.removed {
        return None;
    }
    let ended = state.deleted || state.gone;
    if ended {
        return state.may_exist().then(|| Run::Remove(state.grace()));
    }
    let finished = state.observed.as_ref().is_some_and(|observed| observed.finished);
    if state.is_deleting() {
        // The last status is safe in the API: nothing of the pod is wanted any more.
        if state.is_terminal() && finished {
            return Some(Run::Remove(state.grace()));
        }
        return stop(state);
    }
    if state.is_terminal() || matches!(state.stands, Stands::Refused(_)) {
        return stop(state);
    }
    if finished {
        return None;
    }
    if matches!(state.stands, Stands::Waiting(_)) {
        return state.stale.then_some(Run::Apply);
    }
    if !state.is_applied() {
        return Some(Run::Apply);
    }
    state.stale.then_some(Run::Refresh)
}

/// Stops what runs; again only for a shorter grace, or where another auraed may not have heard it.
fn stop(state: &State) -> Option<Run> {
    let runs = match &state.observed {
        Some(observed) => !observed.finished,
        // Handed over a moment ago, and not told of yet.
        None => state.is_handed_over(),
    };
    let grace = state.grace();
    let told = state
        .stopping
        .is_some_and(|(session, told)| session == state.session && told <= grace);
    (runs && !told).then_some(Run::Stop(grace))
}

/// The next step towards the API server; `desired` is the status that it should have.
pub fn write(state: &State, desired: Option<&PodStatus>, node_known: bool) -> Option<Write> {
    match state.origin {
        Origin::Api => write_own(state, desired),
        Origin::Manifest(_) => write_mirror(state, desired, node_known),
    }
}

fn write_own(state: &State, desired: Option<&PodStatus>) -> Option<Write> {
    if state.gone || state.deleted {
        return None;
    }
    if state.is_deleting() && state.is_terminal() && (state.is_over() || state.removed) {
        return Some(Write::Delete);
    }
    patch(state, desired?)
}

fn write_mirror(state: &State, desired: Option<&PodStatus>, node_known: bool) -> Option<Write> {
    let Some(mirror) = &state.object else {
        return (!state.gone && node_known).then_some(Write::CreateMirror);
    };
    if state.gone || mirror.metadata.deletion_timestamp.is_some() || hash(mirror) != hash(&state.pod) {
        return Some(Write::DeleteMirror);
    }
    patch(state, desired?)
}

fn patch(state: &State, desired: &PodStatus) -> Option<Write> {
    let object = state.object.as_ref()?;
    let empty = PodStatus::default();
    let reported = object.status.as_ref().unwrap_or(&empty);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let patch = translation::status::patch(reported, desired, uid)?;
    (state.futile.as_ref() != Some(&patch)).then_some(Write::Patch(patch))
}

/// Which static pod a mirror is of.
pub fn hash(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get("kubernetes.io/config.hash").map(String::as_str)
}

/// Nothing is left to do, now or later.
pub fn is_done(state: &State) -> bool {
    let mirrored = matches!(state.origin, Origin::Manifest(_)) && state.object.is_some();
    state.gone && state.synced && !state.may_exist() && !mirrored
}

#[cfg(test)]
mod tests;
