//! The phase: auraed's, within the rules of the API.

use auraed_api::schedule::v0::Phase;

use super::Scope;
use crate::pod::is_static;

pub(super) struct Outcome {
    /// What the pod is by its containers.
    pub(super) computed: String,
    /// What may be told now.
    pub(super) phase: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

pub(super) fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Terminal phases never change, and none is told while a container still runs: others may use then what it held.
pub(super) fn outcome(scope: Scope<'_>, running: bool) -> Outcome {
    let old = scope.old;
    let computed = match scope.seen.phase() {
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        // Nothing will run any more, so the pod must end somehow; a manifest's pod may be started again.
        _ if scope.seen.finished && !is_static(scope.pod) => "Failed",
        Phase::Running => "Running",
        Phase::Pending | Phase::Unspecified => "Pending",
    };
    if is_terminal(old.phase.as_deref()) {
        let phase = old.phase.clone().unwrap_or_default();
        let (reason, message) = (old.reason.clone(), old.message.clone());
        return Outcome {
            computed: phase.clone(),
            phase,
            reason,
            message,
        };
    }
    if is_terminal(Some(computed)) && running {
        return Outcome {
            computed: computed.to_owned(),
            phase: old.phase.clone().unwrap_or_else(|| "Running".to_owned()),
            reason: old.reason.clone(),
            message: old.message.clone(),
        };
    }
    let same = old.phase.as_deref() == Some(computed);
    let told = |seen: &str, old: &Option<String>| match seen {
        "" if same => old.clone(),
        "" => None,
        seen => Some(seen.to_owned()),
    };
    Outcome {
        computed: computed.to_owned(),
        phase: computed.to_owned(),
        reason: told(&scope.seen.reason, &old.reason),
        message: told(&scope.seen.message, &old.message),
    }
}
