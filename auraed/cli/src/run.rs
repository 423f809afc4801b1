//! `aurae run`: hands a file's pods to the daemon and waits until they run.

use crate::arguments::RunOptions;
use crate::events;
use crate::failure::Failure;
use crate::manifest;
use crate::message;
use crate::printer;
use crate::ps;
use crate::session::Session;
use auraed_api::observe::v0::{EventsRequest, GetNodeRequest};
use auraed_api::schedule::v0::watch_response::Event as Change;
use auraed_api::schedule::v0::{NowRequest, Phase, Pod, PodStatus, RemoveRequest, WatchRequest};
use auraed_client::Client;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs every pod of the files.
pub(crate) async fn run(session: &Session, options: RunOptions) -> Result<(), Failure> {
    let client = session.connect().await?;
    let node = client.observe().get_node(GetNodeRequest {}).await?.into_inner();
    let mut pods = Vec::new();
    for translated in manifest::load(&options.files.filename, &node)? {
        // Nothing of a file runs where a part of it cannot.
        pods.push(translated.map_err(|refused| {
            let problems = refused
                .problems
                .iter()
                .map(|(field, reason)| format!("\n  {field}: {reason}"));
            Failure::new(format!(
                "this node cannot run {}:{}",
                refused.name,
                problems.collect::<String>()
            ))
            .hint("`aurae plan -f` shows all that would be done and refused")
        })?);
    }
    let mut ids = Vec::new();
    for pod in pods {
        ids.push(start(session, &client, pod, options.replace).await?);
    }
    if options.detach {
        return Ok(());
    }
    let narrator = (!session.json()).then(|| tokio::spawn(narrate(client.clone(), ids.clone())));
    let waited = tokio::time::timeout(Duration::from_secs(options.timeout), settled(&client, &ids)).await;
    if let Some(narrator) = narrator {
        narrator.abort();
    }
    let statuses = waited.map_err(|_elapsed| {
        Failure::new(format!("not running after {} s; the pods go on", options.timeout))
            .hint("`aurae ps -c` shows what each container waits for, `aurae events` what happened")
    })??;
    report(session, &statuses)
}

async fn start(session: &Session, client: &Client, pod: Pod, replace: bool) -> Result<String, Failure> {
    let mut schedule = client.schedule();
    let id = pod.id.clone();
    if replace {
        match schedule
            .remove(RemoveRequest {
                pod: id.clone(),
                grace_period_seconds: None,
            })
            .await
        {
            Err(status) if status.code() != tonic::Code::NotFound => return Err(status.into()),
            _ => {}
        }
    }
    let status = schedule
        .now(NowRequest { pod: Some(pod) })
        .await?
        .into_inner()
        .status
        .unwrap_or_default();
    let name = format!("{}/{}", status.namespace, status.name);
    if status.finished || status.stopping {
        return Err(
            Failure::new(format!("pod {name} was run before and has ended")).hint(format!(
                "`aurae run --replace` runs it anew, `aurae rm {name}` removes it"
            )),
        );
    }
    if !session.json() {
        printer::note(&format!("pod {name} accepted"));
    }
    Ok(id)
}

/// Says on standard error what happens to these pods.
async fn narrate(client: Client, ids: Vec<String>) {
    let request = EventsRequest {
        pod: String::new(),
        follow: true,
    };
    let Ok(stream) = client.observe().events(request).await else {
        return;
    };
    let mut stream = stream.into_inner();
    while let Ok(Some(response)) = stream.message().await {
        if let Some(event) = response.event.filter(|event| ids.contains(&event.pod_id)) {
            printer::note(&events::sentence(&event));
        }
    }
}

/// The statuses once every container of every pod has started, or the pod has ended.
async fn settled(client: &Client, ids: &[String]) -> Result<Vec<PodStatus>, Failure> {
    let mut seen = BTreeMap::new();
    let mut watch = client
        .schedule()
        .watch(WatchRequest { pod: String::new() })
        .await?
        .into_inner();
    while let Some(response) = watch.message().await? {
        match response.event {
            Some(Change::Changed(status)) if ids.contains(&status.id) => {
                seen.insert(status.id.clone(), status);
            }
            Some(Change::Removed(id)) if ids.contains(&id) => {
                return Err(Failure::new(format!("pod {id} was removed meanwhile")));
            }
            _ => continue,
        }
        if ids.iter().all(|id| seen.get(id).is_some_and(is_settled)) {
            return Ok(seen.into_values().collect());
        }
    }
    Err(Failure::new("auraed went away"))
}

fn is_settled(status: &PodStatus) -> bool {
    match status.phase() {
        Phase::Succeeded | Phase::Failed => true,
        Phase::Running => status
            .containers
            .iter()
            .all(|container| container.started || ps::has_ended(container)),
        Phase::Unspecified | Phase::Pending => false,
    }
}

fn report(session: &Session, statuses: &[PodStatus]) -> Result<(), Failure> {
    for status in statuses {
        if session.json() {
            printer::json(&message::to_json("aurae.schedule.v0.PodStatus", status)?)?;
        }
    }
    if !session.json() {
        ps::print_table(statuses)?;
    }
    match statuses.iter().find(|status| status.phase() == Phase::Failed) {
        Some(status) => Err(Failure::new(format!(
            "pod {}/{} failed: {}",
            status.namespace,
            status.name,
            ps::summary(status)
        ))
        .hint(format!(
            "`aurae logs {}/{}` shows what it said",
            status.namespace, status.name
        ))),
        None => Ok(()),
    }
}
