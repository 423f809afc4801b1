//! `aurae plan`: what this node would do with a file, and what it refuses, without doing it.

use crate::arguments::FileOptions;
use crate::failure::Failure;
use crate::manifest::{self, Refused};
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::observe::v0::GetNodeRequest;
use auraed_api::schedule::v0::{PlanRequest, PlanResponse, PlanStep, Refusal};
use std::process::ExitCode;

/// Prints the plan; fails where anything is refused.
pub(crate) async fn plan(session: &Session, options: FileOptions) -> Result<ExitCode, Failure> {
    let client = session.connect().await?;
    let node = client.observe().get_node(GetNodeRequest {}).await?.into_inner();
    let mut refused = false;
    for translated in manifest::load(&options.filename, &node)? {
        let (name, plan) = match translated {
            Ok(pod) => {
                let name = format!("{}/{}", pod.namespace, pod.name);
                (
                    name,
                    client
                        .schedule()
                        .plan(PlanRequest { pod: Some(pod) })
                        .await?
                        .into_inner(),
                )
            }
            Err(problems) => from_problems(problems),
        };
        refused |= !plan.refusals.is_empty();
        print(session, &name, &plan)?;
    }
    Ok(ExitCode::from(u8::from(refused)))
}

fn from_problems(refused: Refused) -> (String, PlanResponse) {
    let refusals = refused
        .problems
        .into_iter()
        .map(|(field, reason)| Refusal { field, reason });
    (
        refused.name,
        PlanResponse {
            steps: Vec::new(),
            refusals: refusals.collect(),
        },
    )
}

fn print(session: &Session, name: &str, plan: &PlanResponse) -> Result<(), Failure> {
    if session.json() {
        let mut value = message::to_json("aurae.schedule.v0.PlanResponse", plan)?;
        value["pod"] = name.into();
        return Ok(printer::json(&value)?);
    }
    printer::line(&format!("pod {name}"))?;
    if plan.refusals.is_empty() {
        let row = |(number, step): (usize, &PlanStep)| {
            vec![
                format!("  {}", number + 1),
                step.kind.clone(),
                step.subject.clone(),
                step.detail.clone(),
            ]
        };
        printer::table(
            &["  STEP", "WHAT", "OF", "HOW"],
            plan.steps.iter().enumerate().map(row),
        )?;
    } else {
        let row = |refusal: &Refusal| vec![format!("  {}", refusal.field), refusal.reason.clone()];
        printer::table(&["  REFUSED", "BECAUSE"], plan.refusals.iter().map(row))?;
    }
    Ok(())
}
