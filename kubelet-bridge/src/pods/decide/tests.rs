//! Steps of a pod, by what is known of it.

use std::path::Path;
use std::sync::Arc;

use auraed_api::schedule::v0 as schedule;
use serde_json::json;
use translation::{Kind, Problem};

use super::*;
use crate::pods::Inbox;
use crate::pods::state::Applied;

fn pod(extra: Value) -> Arc<Pod> {
    let mut object = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "5" },
        "spec": { "containers": [{ "name": "c", "image": "i" }], "terminationGracePeriodSeconds": 20 },
    });
    merge(&mut object, extra);
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn deleting(grace: i64, phase: &str) -> Arc<Pod> {
    pod(json!({
        "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace },
        "status": { "phase": phase },
    }))
}

fn observed(finished: bool) -> Option<Arc<schedule::PodStatus>> {
    Some(Arc::new(schedule::PodStatus {
        id: "u".into(),
        finished,
        ..schedule::PodStatus::default()
    }))
}

fn inbox(pod: Arc<Pod>, observed: Option<Arc<schedule::PodStatus>>) -> Inbox {
    Inbox {
        pod,
        gone: false,
        mirror: None,
        observed,
        forgotten: 0,
        session: 1,
        synced: true,
    }
}

fn state(pod: Arc<Pod>, observed: Option<Arc<schedule::PodStatus>>) -> State {
    State::new(Origin::Api, inbox(pod, observed))
}

fn applied(mut state: State) -> State {
    state.hands_over();
    let applied = Applied {
        session: state.session,
        pod: Arc::clone(&state.pod),
    };
    state.took(applied, 0);
    state
}

fn problem(kind: Kind) -> Problem {
    Problem {
        kind,
        field: "spec".into(),
        message: "m".into(),
    }
}

#[test]
fn a_new_pod_is_handed_over_once() {
    let mut new = state(pod(json!({})), None);
    assert_eq!(run(&new), Some(Run::Apply));
    new = applied(new);
    assert_eq!(run(&new), None);
    new.stale = true;
    assert_eq!(run(&new), Some(Run::Refresh));
}

#[test]
fn nothing_is_done_before_auraed_told_all() {
    let mut new = state(pod(json!({})), None);
    new.synced = false;
    assert_eq!(run(&new), None);
    new.gone = true;
    assert_eq!(run(&new), None);
    assert!(!is_done(&new));
}

#[test]
fn an_auraed_that_is_back_is_told_again() {
    let mut state = applied(state(pod(json!({})), observed(false)));
    let mut news = inbox(Arc::clone(&state.pod), observed(false));
    news.session = 2;
    state.told(news);
    assert_eq!(run(&state), Some(Run::Apply));
}

#[test]
fn a_pod_that_somebody_removed_from_auraed_is_handed_over_again() {
    let mut state = applied(state(pod(json!({})), observed(false)));
    let mut news = inbox(Arc::clone(&state.pod), None);
    news.forgotten = 1;
    state.told(news);
    assert_eq!(run(&state), Some(Run::Apply));
}

#[test]
fn a_change_of_the_spec_is_handed_over_and_a_change_of_the_status_is_not() {
    let mut state = applied(state(pod(json!({})), observed(false)));
    let status = pod(json!({ "metadata": { "resourceVersion": "6" }, "status": { "phase": "Running" } }));
    state.told(inbox(status, observed(false)));
    assert_eq!(run(&state), None);
    let labels = pod(json!({ "metadata": { "resourceVersion": "7", "labels": { "a": "b" } } }));
    state.told(inbox(labels, observed(false)));
    assert_eq!(run(&state), Some(Run::Apply));
}

#[test]
fn a_terminal_pod_is_never_started_again() {
    for phase in ["Succeeded", "Failed"] {
        let ended = state(pod(json!({ "status": { "phase": phase } })), None);
        assert_eq!(run(&ended), None);
    }
    let known = state(pod(json!({})), observed(true));
    assert_eq!(run(&known), None, "over in auraed, and the API does not know yet");
}

#[test]
fn a_terminal_pod_that_runs_is_stopped() {
    let evicted = state(pod(json!({ "status": { "phase": "Failed" } })), observed(false));
    assert_eq!(run(&evicted), Some(Run::Stop(20)));
}

#[test]
fn deletion_stops_then_removes() {
    let mut going = applied(state(deleting(7, "Running"), observed(false)));
    assert_eq!(run(&going), Some(Run::Stop(7)));
    going.stopping = Some((1, 7));
    assert_eq!(run(&going), None);
    going.observed = observed(true);
    assert_eq!(run(&going), None, "the last status comes first");
    let ended = applied(state(deleting(7, "Succeeded"), observed(true)));
    assert_eq!(run(&ended), Some(Run::Remove(7)));
    assert_eq!(write(&ended, None, true), Some(Write::Delete));
}

#[test]
fn a_shorter_grace_stops_again() {
    let mut state = applied(state(deleting(30, "Running"), observed(false)));
    state.stopping = Some((1, 30));
    assert_eq!(run(&state), None);
    let shorter = pod(
        json!({ "metadata": { "resourceVersion": "6", "deletionGracePeriodSeconds": 0,
        "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
    );
    state.told(inbox(shorter, observed(false)));
    assert_eq!(run(&state), Some(Run::Stop(1)));
}

#[test]
fn a_pod_that_was_never_handed_over_is_deleted_after_its_last_status() {
    let fresh = state(deleting(30, "Pending"), None);
    assert_eq!(run(&fresh), None);
    assert!(matches!(
        write(
            &fresh,
            Some(&PodStatus {
                phase: Some("Failed".into()),
                ..PodStatus::default()
            }),
            true
        ),
        Some(Write::Patch(_))
    ));
    let ended = state(deleting(30, "Failed"), None);
    assert_eq!(write(&ended, None, true), Some(Write::Delete));
}

#[test]
fn a_pod_that_was_handed_over_and_not_told_of_is_not_over() {
    let state = applied(state(deleting(30, "Failed"), None));
    assert_eq!(write(&state, None, true), None);
    assert_eq!(run(&state), Some(Run::Stop(30)));
}

#[test]
fn a_pod_that_vanished_is_removed() {
    let mut state = applied(state(pod(json!({})), observed(false)));
    state.gone = true;
    assert_eq!(run(&state), Some(Run::Remove(20)));
    assert!(!is_done(&state));
    state.removed = true;
    assert_eq!(run(&state), None);
    assert!(is_done(&state));
}

#[test]
fn what_waits_for_objects_is_tried_when_one_changes() {
    let mut waiting = state(pod(json!({})), None);
    waiting.stands = Stands::Waiting(vec![problem(Kind::Waiting { event: "FailedMount" })]);
    assert_eq!(run(&waiting), None);
    waiting.stale = true;
    assert_eq!(run(&waiting), Some(Run::Apply));
}

#[test]
fn a_refused_pod_is_not_run() {
    let mut refused = state(pod(json!({})), None);
    refused.stands = Stands::Refused(vec![problem(Kind::Refused("UnsupportedPod"))]);
    assert_eq!(run(&refused), None);
}

#[test]
fn a_watch_that_lags_does_not_bring_an_old_status_back() {
    let mut state = state(pod(json!({})), observed(false));
    let answer = pod(json!({ "metadata": { "resourceVersion": "9" }, "status": { "phase": "Running" } }));
    state.wrote(Pod::clone(&answer), None);
    let late = pod(
        json!({ "metadata": { "resourceVersion": "7", "labels": { "new": "label" } },
        "status": { "phase": "Pending" } }),
    );
    state.told(inbox(late, observed(false)));
    assert_eq!(
        state.reported().and_then(|status| status.phase.as_deref()),
        Some("Running")
    );
    assert!(state.pod.metadata.labels.is_some());
}

#[test]
fn a_patch_that_changes_nothing_is_not_repeated() {
    let mut state = state(pod(json!({})), observed(false));
    let desired = PodStatus {
        phase: Some("Running".into()),
        ..PodStatus::default()
    };
    let Some(Write::Patch(body)) = write(&state, Some(&desired), true) else {
        panic!("no patch")
    };
    let unmoved = Pod::clone(&state.pod);
    state.wrote(unmoved, Some(body));
    assert_eq!(write(&state, Some(&desired), true), None);
    let other = pod(json!({ "metadata": { "resourceVersion": "6" } }));
    state.told(inbox(other, observed(false)));
    assert!(write(&state, Some(&desired), true).is_some());
}

fn static_state(mirror: Option<Arc<Pod>>) -> State {
    let origin = Origin::Manifest(Arc::from(Path::new("/m/web.yaml")));
    let pod = pod(json!({ "metadata": { "annotations": { "kubernetes.io/config.hash": "u" } } }));
    State::new(
        origin,
        Inbox {
            mirror,
            ..inbox(pod, None)
        },
    )
}

fn mirror(hash: &str) -> Arc<Pod> {
    pod(json!({ "metadata": { "uid": "m", "annotations": { "kubernetes.io/config.hash": hash } } }))
}

#[test]
fn a_static_pod_gets_a_mirror_once_the_node_is_there() {
    let bare = static_state(None);
    assert_eq!(write(&bare, None, false), None);
    assert_eq!(write(&bare, None, true), Some(Write::CreateMirror));
    let right = static_state(Some(mirror("u")));
    assert_eq!(write(&right, None, true), None);
    let wrong = static_state(Some(mirror("other")));
    assert_eq!(write(&wrong, None, true), Some(Write::DeleteMirror));
}

#[test]
fn a_manifest_that_is_gone_takes_pod_and_mirror_along() {
    let mut state = applied(static_state(Some(mirror("u"))));
    state.gone = true;
    assert_eq!(run(&state), Some(Run::Remove(20)));
    assert_eq!(write(&state, None, true), Some(Write::DeleteMirror));
    state.removed = true;
    assert!(!is_done(&state));
    state.object = None;
    assert!(is_done(&state));
}

#[test]
fn the_deletion_of_a_mirror_does_not_stop_the_static_pod() {
    let deleted = pod(
        json!({ "metadata": { "uid": "m", "deletionTimestamp": "2026-01-01T00:00:00Z",
        "annotations": { "kubernetes.io/config.hash": "u" } } }),
    );
    let state = applied(static_state(Some(deleted)));
    assert_eq!(run(&state), None);
    assert_eq!(write(&state, None, true), Some(Write::DeleteMirror));
}
