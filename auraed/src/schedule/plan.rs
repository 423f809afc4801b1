//! What would be done with a pod, and what stands against it.

use auraed_api::schedule::v0 as api;
use auraed_types::Problem;

/// The answer to a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What would be done, in order.
    pub steps: Vec<PlanStep>,
    /// What stands against it; empty means that the pod would be accepted.
    pub refusals: Vec<Problem>,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// pull, sandbox, volume, container, wait.
    pub kind: &'static str,
    /// What it acts on.
    pub subject: String,
    /// How.
    pub detail: String,
}

impl From<&Plan> for api::PlanResponse {
    fn from(plan: &Plan) -> api::PlanResponse {
        let step = |step: &PlanStep| api::PlanStep {
            kind: step.kind.to_owned(),
            subject: step.subject.clone(),
            detail: step.detail.clone(),
        };
        let refusal = |problem: &Problem| api::Refusal {
            field: problem.field.clone(),
            reason: problem.reason.clone(),
        };
        api::PlanResponse {
            steps: plan.steps.iter().map(step).collect(),
            refusals: plan.refusals.iter().map(refusal).collect(),
        }
    }
}
