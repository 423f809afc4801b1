//! The run lane: what a worker does to auraed. Each operation is idempotent, so that a repeat after a failure is safe.

use std::sync::Arc;

use auraed_api::mount::v0::UpdateFilesRequest;
use auraed_api::schedule::v0::volume::Source;
use auraed_api::schedule::v0::{self as schedule, NowRequest, RemoveRequest, StopRequest};
use k8s_openapi::api::core::v1::Pod;
use tonic::{Code, Status};
use translation::{Kind, Problem};

use super::decide::Run;
use super::{API_SOURCE, Context, Origin};
use crate::node::NodeView;
use crate::resolve::{Held, ResolveError};

/// `status.reason` of a pod that auraed will not take.
const INVALID: &str = "InvalidPod";

/// What an operation needs of the worker's state.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it comes from.
    pub origin: Origin,
    /// What should run.
    pub pod: Arc<Pod>,
    /// auraed knows it already.
    pub exists: bool,
    /// The connection to auraed that this is for.
    pub session: u64,
    /// How often auraed had forgotten it.
    pub forgotten: u32,
}

/// How an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// auraed has it.
    Applied,
    /// It cannot be handed over as things are.
    Stands(Vec<Problem>),
    /// Its volumes are up to date.
    Refreshed,
    /// auraed was told to stop it, with this grace.
    Stopped(u64),
    /// auraed does not know it.
    Unknown,
    /// auraed has nothing of it.
    Removed,
    /// Not done; trying again may help.
    Failed(RunError),
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Objects cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// auraed is away, or said no.
    #[error("auraed: {}", crate::aurae::reason(.0))]
    Aurae(Box<Status>),
}

impl RunError {
    /// What was asked was surely not done.
    pub fn is_answer(&self) -> bool {
        match self {
            RunError::Aurae(status) => !crate::aurae::is_away(status),
            // auraed was not asked.
            RunError::Resolve(_) => true,
        }
    }

    /// Nobody need be told: auraed could not be reached, and its return is noticed; or the pod is no more.
    pub fn is_quiet(&self) -> bool {
        match self {
            RunError::Aurae(status) => crate::aurae::is_away(status),
            RunError::Resolve(error) => error.is_of_no_pod(),
        }
    }
}

impl From<Status> for RunError {
    fn from(status: Status) -> Self {
        RunError::Aurae(Box::new(status))
    }
}

/// Does it; what the pod refers to is handed back beside the outcome.
pub async fn perform(
    context: Arc<Context>,
    subject: Subject,
    run: Run,
    mut held: Option<Held>,
) -> (Outcome, Option<Held>) {
    let result = match run {
        Run::Apply => apply(&context, &subject, &mut held).await,
        Run::Refresh => refresh(&context, &subject, &mut held).await,
        Run::Stop(grace) => stop(&context, &subject, grace).await,
        Run::Remove(grace) => remove(&context, &subject, grace).await,
    };
    (result.unwrap_or_else(Outcome::Failed), held)
}

async fn apply(context: &Context, subject: &Subject, held: &mut Option<Held>) -> Result<Outcome, RunError> {
    let pod = &subject.pod;
    let refused: Vec<Problem> = final_problems(pod);
    if !refused.is_empty() {
        return Ok(Outcome::Stands(refused));
    }
    let held = hold(context, subject, held);
    let (objects, node) = tokio::join!(held.objects(), node(context));
    let objects = objects?;
    let mut wanted = match translation::pod::to_aurae(pod, &objects, &node.node) {
        Ok(wanted) => wanted,
        Err(problems) => return Ok(Outcome::Stands(problems)),
    };
    if !subject.exists {
        for warning in translation::pod::warnings(pod, &objects, &node.node) {
            context.recorder.problem(pod, &warning);
        }
    }
    drop(objects);
    wanted.source = source(&subject.origin);
    let files = if subject.exists {
        files(&wanted)
    } else {
        Vec::new()
    };
    let id = wanted.id.clone();
    let handed = context
        .aurae
        .control
        .schedule()
        .now(NowRequest { pod: Some(wanted) })
        .await;
    if let Err(status) = handed {
        return match status.code() {
            Code::InvalidArgument => Ok(Outcome::Stands(vec![Problem {
                kind: Kind::Refused(INVALID),
                field: "spec".into(),
                message: status.message().to_owned(),
            }])),
            _ => Err(status.into()),
        };
    }
    update(context, &id, files).await?;
    Ok(Outcome::Applied)
}

/// What no object can mend: known before anything is fetched.
fn final_problems(pod: &Pod) -> Vec<Problem> {
    translation::pod::refusals(pod)
        .into_iter()
        .filter(|refusal| refusal.stops)
        .map(|refusal| Problem {
            kind: Kind::Refused(refusal.status_reason),
            field: refusal.field,
            message: refusal.reason,
        })
        .collect()
}

fn source(origin: &Origin) -> String {
    match origin {
        Origin::Api => API_SOURCE.to_owned(),
        Origin::Manifest(path) => path.display().to_string(),
    }
}

/// Holds what the pod refers to; what is held already is kept where it is the same.
fn hold<'a>(context: &Context, subject: &Subject, held: &'a mut Option<Held>) -> &'a mut Held {
    let references = translation::references(&subject.pod);
    if held.as_ref().is_some_and(|held| !held.is_of(&references)) {
        *held = None;
    }
    held.get_or_insert_with(|| {
        let resolver = match (&subject.origin, &context.resolver) {
            (Origin::Api, Some(resolver)) => resolver,
            _ => &context.local,
        };
        resolver.hold(&subject.pod, references)
    })
}

/// The node, once auraed told its facts.
async fn node(context: &Context) -> Arc<NodeView> {
    let mut views = context.node.clone();
    let known = views.wait_for(Option::is_some).await.map(|view| view.clone());
    match known {
        Ok(Some(view)) => view,
        // The program is going down.
        _ => std::future::pending().await,
    }
}

fn files(pod: &schedule::Pod) -> Vec<(String, schedule::Files)> {
    let files = |volume: &schedule::Volume| match &volume.source {
        Some(Source::Files(files)) => Some((volume.name.clone(), files.clone())),
        _ => None,
    };
    pod.volumes.iter().filter_map(files).collect()
}

async fn update(context: &Context, id: &str, files: Vec<(String, schedule::Files)>) -> Result<(), RunError> {
    for (volume, files) in files {
        let request = UpdateFilesRequest {
            pod: id.to_owned(),
            volume: volume.clone(),
            files: Some(files),
        };
        match context.aurae.control.mount().update_files(request).await {
            Ok(answer) => {
                if answer.into_inner().changed {
                    tracing::debug!(pod = id, volume, "updated");
                }
            }
            // It ended meanwhile.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(())
}

async fn refresh(context: &Context, subject: &Subject, held: &mut Option<Held>) -> Result<Outcome, RunError> {
    let pod = &subject.pod;
    let held = hold(context, subject, held);
    let (objects, node) = tokio::join!(held.objects(), node(context));
    match translation::volumes(pod, &objects?, &node.node) {
        Ok(files) => update(context, &id(pod), files).await?,
        // An object went away under a running pod: what was mounted stays.
        Err(problems) => {
            for problem in problems {
                context.recorder.problem(pod, &problem);
            }
        }
    }
    Ok(Outcome::Refreshed)
}

async fn stop(context: &Context, subject: &Subject, grace: u64) -> Result<Outcome, RunError> {
    let request = StopRequest {
        pod: id(&subject.pod),
        grace_period_seconds: Some(grace),
    };
    match context.aurae.control.schedule().stop(request).await {
        Ok(_) => Ok(Outcome::Stopped(grace)),
        Err(status) if status.code() == Code::NotFound => Ok(Outcome::Unknown),
        Err(status) => Err(status.into()),
    }
}

async fn remove(context: &Context, subject: &Subject, grace: u64) -> Result<Outcome, RunError> {
    let request = RemoveRequest {
        pod: id(&subject.pod),
        grace_period_seconds: Some(grace),
    };
    match context.aurae.control.schedule().remove(request).await {
        Ok(_) => Ok(Outcome::Removed),
        Err(status) if status.code() == Code::NotFound => Ok(Outcome::Removed),
        Err(status) => Err(status.into()),
    }
}

fn id(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
