//! `aurae ps`: the pods of this node.

use crate::arguments::PsOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::schedule::v0::container_state::State;
use auraed_api::schedule::v0::watch_response::Event as Change;
use auraed_api::schedule::v0::{ContainerStatus, GetRequest, ListRequest, Phase, PodStatus, WatchRequest};
use auraed_client::Client;
use jiff::{SignedDuration, Timestamp};

const STATUS: &str = "aurae.schedule.v0.PodStatus";

/// Lists pods, or follows them.
pub(crate) async fn ps(session: &Session, options: PsOptions) -> Result<(), Failure> {
    let client = session.connect().await?;
    if options.watch {
        return watch(session, &client, &options).await;
    }
    let statuses = statuses(&client, &options.pods).await?;
    if session.json() {
        let pods = statuses
            .iter()
            .map(|status| message::to_json(STATUS, status))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(printer::json(&serde_json::json!({ "pods": pods }))?);
    }
    if options.containers {
        print_containers(&statuses)
    } else {
        print_table(&statuses)
    }
}

async fn statuses(client: &Client, pods: &[String]) -> Result<Vec<PodStatus>, Failure> {
    let mut schedule = client.schedule();
    if pods.is_empty() {
        return Ok(schedule.list(ListRequest {}).await?.into_inner().statuses);
    }
    let mut found = Vec::new();
    for pod in pods {
        found.extend(
            schedule
                .get(GetRequest { pod: pod.clone() })
                .await?
                .into_inner()
                .status,
        );
    }
    Ok(found)
}

async fn watch(session: &Session, client: &Client, options: &PsOptions) -> Result<(), Failure> {
    if options.pods.len() > 1 {
        return Err(Failure::usage("--watch follows one pod or all"));
    }
    let request = WatchRequest {
        pod: options.pods.first().cloned().unwrap_or_default(),
    };
    let mut changes = client.schedule().watch(request).await?.into_inner();
    while let Some(response) = changes.message().await? {
        match response.event {
            Some(Change::Changed(status)) if session.json() => {
                printer::json_line(&message::to_json(STATUS, &status)?)?
            }
            Some(Change::Changed(status)) => printer::line(&row(&status).join("   "))?,
            Some(Change::Removed(id)) if session.json() => {
                printer::json_line(&serde_json::json!({ "removed": id }))?
            }
            Some(Change::Removed(id)) => printer::line(&format!("{id}   removed"))?,
            _ => {}
        }
    }
    Err(Failure::new("auraed went away"))
}

/// One line a pod.
pub(crate) fn print_table(statuses: &[PodStatus]) -> Result<(), Failure> {
    Ok(printer::table(
        &[
            "NAMESPACE",
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "ADDRESS",
            "AGE",
        ],
        statuses.iter().map(row),
    )?)
}

fn row(status: &PodStatus) -> Vec<String> {
    let ready = status
        .containers
        .iter()
        .filter(|container| container.ready)
        .count();
    let restarts: u32 = status
        .containers
        .iter()
        .map(|container| container.restart_count)
        .sum();
    let address = status
        .sandbox
        .as_ref()
        .and_then(|sandbox| sandbox.addresses.first())
        .cloned();
    vec![
        status.namespace.clone(),
        status.name.clone(),
        format!("{ready}/{}", status.containers.len()),
        summary(status),
        restarts.to_string(),
        address.unwrap_or_else(|| "-".into()),
        age(status.started_at.as_ref()),
    ]
}

fn print_containers(statuses: &[PodStatus]) -> Result<(), Failure> {
    let rows = statuses.iter().flat_map(|status| {
        let containers = status.init_containers.iter().chain(&status.containers);
        containers.map(move |container| {
            let (state, since) = state(container);
            vec![
                format!("{}/{}", status.namespace, status.name),
                container.name.clone(),
                state,
                container.restart_count.to_string(),
                since,
                container.image.clone(),
                container.container_id.get(..12).unwrap_or("-").to_owned(),
            ]
        })
    });
    Ok(printer::table(
        &["POD", "CONTAINER", "STATE", "RESTARTS", "SINCE", "IMAGE", "ID"],
        rows,
    )?)
}

/// A container's state and how long it is in it.
fn state(container: &ContainerStatus) -> (String, String) {
    match container.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Waiting(waiting)) if waiting.message.is_empty() => (waiting.reason.clone(), "-".into()),
        Some(State::Waiting(waiting)) => (format!("{}: {}", waiting.reason, waiting.message), "-".into()),
        Some(State::Running(running)) => ("Running".into(), age(running.started_at.as_ref())),
        Some(State::Terminated(ended)) => (
            format!("{} ({})", ended.reason, ended.exit_code),
            age(ended.finished_at.as_ref()),
        ),
        None => ("-".into(), "-".into()),
    }
}

/// True where the container's last run is over.
pub(crate) fn has_ended(container: &ContainerStatus) -> bool {
    matches!(
        container.state.as_ref().and_then(|state| state.state.as_ref()),
        Some(State::Terminated(_))
    )
}

/// The one word that tells most: what the pod waits for, how it ended, or its phase.
pub(crate) fn summary(status: &PodStatus) -> String {
    if status.stopping && !status.finished {
        return "Stopping".into();
    }
    if !status.reason.is_empty() {
        return status.reason.clone();
    }
    let states = status
        .init_containers
        .iter()
        .chain(&status.containers)
        .filter_map(|container| container.state.as_ref());
    for state in states.filter_map(|state| state.state.as_ref()) {
        match state {
            State::Waiting(waiting) if !waiting.reason.is_empty() => return waiting.reason.clone(),
            State::Terminated(ended) if ended.exit_code != 0 => return ended.reason.clone(),
            _ => {}
        }
    }
    match status.phase() {
        Phase::Unspecified => "Unknown",
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Completed",
        Phase::Failed => "Failed",
    }
    .into()
}

/// How long ago, in the largest unit that says enough: 12s, 5m, 3h, 2d.
pub(crate) fn age(since: Option<&prost_types::Timestamp>) -> String {
    let Some(since) = since.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()) else {
        return "-".into();
    };
    short(Timestamp::now().duration_since(since))
}

fn short(age: SignedDuration) -> String {
    match age.as_secs().max(0) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auraed_api::schedule::v0::{ContainerState, Waiting};

    #[test]
    fn a_wait_tells_more_than_the_phase() {
        let waiting = Waiting {
            reason: "ImagePullBackOff".into(),
            message: String::new(),
        };
        let state = Some(ContainerState {
            state: Some(State::Waiting(waiting)),
        });
        let container = ContainerStatus {
            state,
            ..ContainerStatus::default()
        };
        let status = PodStatus {
            phase: Phase::Pending.into(),
            containers: vec![container],
            ..PodStatus::default()
        };
        assert_eq!(summary(&status), "ImagePullBackOff");
    }

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 120, 7200, 172_800].map(|seconds| short(SignedDuration::from_secs(seconds)));
        assert_eq!(ages, ["0s", "119s", "2m", "2h", "2d"]);
    }
}
