//! `/containerLogs`: what a container wrote, as text.

use std::sync::Arc;

use auraed_api::observe::v0::{LogLine, LogsRequest, LogsResponse};
use auraed_api::runtime::v0::ContainerReference;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use serde::Deserialize;
use tonic::Streaming;

use super::Shared;
use super::refusal::Refusal;
use crate::aurae;

/// The query, as `v1.PodLogOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<i64>,
}

/// Streams a container's log.
pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    query: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(options) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let pod = shared
        .pods
        .find(&namespace, &name, None)
        .ok_or_else(|| Refusal::not_found(format!("pod \"{name}\" does not exist")))?;
    if !has_container(&pod, &container) {
        return Err(Refusal::not_found(format!(
            "container \"{container}\" not found in pod \"{name}\""
        )));
    }
    available(&pod, &name, &container, options.previous).map_err(Refusal::bad_request)?;
    let request = request(&pod, container, &options, Timestamp::now())?;
    let limit = request.limit_bytes;
    let answer = shared.aurae.streams.observe().logs(request).await;
    let stream = answer
        .map_err(|status| Refusal::bad_request(aurae::reason(&status)))?
        .into_inner();
    Ok(Response::new(Body::from_stream(text(
        stream,
        options.timestamps,
        limit,
    ))))
}

fn request(pod: &Pod, container: String, options: &Options, now: Timestamp) -> Result<LogsRequest, Refusal> {
    let invalid = |message: &str| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message);
    let positive = |name: &str, value: Option<i64>, least: i64| match value {
        Some(value) if value < least => Err(invalid(&format!("{name}: must be at least {least}"))),
        Some(value) => Ok(Some(value.unsigned_abs())),
        None => Ok(None),
    };
    let since_seconds = positive("sinceSeconds", options.since_seconds, 1)?;
    let since = match (since_seconds, options.since_time) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "at most one of sinceTime or sinceSeconds may be specified",
            ));
        }
        (Some(seconds), None) => {
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, time) => time,
    };
    Ok(LogsRequest {
        container: Some(ContainerReference {
            pod: pod.metadata.uid.clone().unwrap_or_default(),
            container,
        }),
        follow: options.follow,
        previous: options.previous,
        tail_lines: positive("tailLines", options.tail_lines, 0)?,
        since: since.map(|time| prost_types::Timestamp {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        }),
        limit_bytes: positive("limitBytes", options.limit_bytes, 1)?,
    })
}

/// The log as a body: lines whole, each with its time in front where that is wanted, cut at exactly `limit` bytes.
fn text(
    stream: Streaming<LogsResponse>,
    timestamps: bool,
    limit: Option<u64>,
) -> impl Stream<Item = Result<Bytes, tonic::Status>> {
    let cut = Cut {
        left: limit,
        begins: true,
        timestamps,
    };
    stream::try_unfold((stream, cut), async |(mut stream, mut cut)| {
        if cut.left == Some(0) {
            return Ok(None);
        }
        let response = stream.message().await?;
        Ok(response.map(|response| (cut.text(&response.lines), (stream, cut))))
    })
}

/// Where in the text we are.
struct Cut {
    /// Bytes until the limit.
    left: Option<u64>,
    /// A line begins here.
    begins: bool,
    timestamps: bool,
}

impl Cut {
    fn text(&mut self, lines: &[LogLine]) -> Bytes {
        let mut text = BytesMut::new();
        for line in lines {
            append(&mut text, line, self.timestamps && self.begins);
            self.begins = !line.partial;
        }
        if let Some(left) = &mut self.left {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= text.len() as u64;
        }
        text.freeze()
    }
}

fn append(text: &mut BytesMut, line: &LogLine, with_time: bool) {
    if with_time {
        let time = line
            .time
            .as_ref()
            .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
            .unwrap_or_default();
        text.extend_from_slice(format!("{time:.9} ").as_bytes());
    }
    text.extend_from_slice(&line.content);
    if !line.partial {
        text.extend_from_slice(b"\n");
    }
}

/// True where the pod has a container of this name.
pub(super) fn has_container(pod: &Pod, container: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let init = spec.init_containers.iter().flatten();
    spec.containers
        .iter()
        .chain(init)
        .any(|candidate| candidate.name == container)
}

/// Whether there is a log yet, in the words that kubectl shows (kubelet's `validateContainerLogStatus`).
fn available(pod: &Pod, name: &str, container: &str, previous: bool) -> Result<(), String> {
    let status = status_of(pod, container);
    let Some(status) = status else {
        return Err(format!(
            "container \"{container}\" in pod \"{name}\" is not available"
        ));
    };
    let ended_before = status
        .last_state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some());
    if previous {
        return if ended_before {
            Ok(())
        } else {
            Err(format!(
                "previous terminated container \"{container}\" in pod \"{name}\" not found"
            ))
        };
    }
    match status.state.as_ref() {
        Some(
            ContainerState { running: Some(_), .. }
            | ContainerState {
                terminated: Some(_), ..
            },
        ) => Ok(()),
        _ if ended_before => Ok(()),
        state => {
            let reason = state
                .and_then(|state| state.waiting.as_ref())
                .and_then(|waiting| waiting.reason.as_deref());
            let why = match reason {
                Some("ImagePullBackOff") => "trying and failing to pull image",
                Some("ErrImagePull") => "image can't be pulled",
                Some(reason) => reason,
                None => "no logs yet",
            };
            Err(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: {why}"
            ))
        }
    }
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let regular = status.container_statuses.iter().flatten();
    regular
        .chain(status.init_container_statuses.iter().flatten())
        .find(|candidate| candidate.name == container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(state: &serde_json::Value) -> Pod {
        let status = serde_json::json!({ "containerStatuses": [{
            "name": "c", "image": "busybox", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] });
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web", "uid": "u" },
            "spec": { "containers": [{ "name": "c" }] },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_container_that_waits_says_for_what() {
        let waiting = pod(&serde_json::json!({ "waiting": { "reason": "ImagePullBackOff" } }));
        let message = available(&waiting, "web", "c", false).unwrap_err();
        assert_eq!(
            message,
            "container \"c\" in pod \"web\" is waiting to start: trying and failing to pull image"
        );
        let running = pod(&serde_json::json!({ "running": {} }));
        assert_eq!(available(&running, "web", "c", false), Ok(()));
        let message = available(&running, "web", "c", true).unwrap_err();
        assert_eq!(
            message,
            "previous terminated container \"c\" in pod \"web\" not found"
        );
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        let pod = pod(&serde_json::json!({ "running": {} }));
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100);
        let with = |options: Options| request(&pod, "c".into(), &options, now);
        assert!(
            with(Options {
                tail_lines: Some(-1),
                ..Options::default()
            })
            .is_err()
        );
        assert!(
            with(Options {
                limit_bytes: Some(0),
                ..Options::default()
            })
            .is_err()
        );
        let since = with(Options {
            since_seconds: Some(40),
            ..Options::default()
        })
        .unwrap()
        .since
        .unwrap();
        assert_eq!(since.seconds, 60);
    }

    #[test]
    fn times_have_nine_digits_once_a_line() {
        let time = Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 500,
        });
        let mut text = BytesMut::new();
        append(
            &mut text,
            &LogLine {
                time,
                content: b"a".to_vec(),
                ..LogLine::default()
            },
            true,
        );
        assert_eq!(text, "1970-01-01T00:00:01.000000500Z a\n");
    }

    #[test]
    fn the_text_is_cut_at_the_limit_newlines_and_times_counted() {
        let line = |content: &str| LogLine {
            time: Some(prost_types::Timestamp::default()),
            content: content.as_bytes().to_vec(),
            ..LogLine::default()
        };
        let cut = |limit, timestamps| {
            let mut cut = Cut {
                left: Some(limit),
                begins: true,
                timestamps,
            };
            let text = [cut.text(&[line("line 1")]), cut.text(&[line("line 2")])].concat();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(cut(6, false), "line 1");
        assert_eq!(cut(9, false), "line 1\nli");
        assert_eq!(cut(33, true), "1970-01-01T00:00:00.000000000Z li");
        assert_eq!(cut(100, false), "line 1\nline 2\n");
    }
}
