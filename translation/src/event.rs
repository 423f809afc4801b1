//! What auraed reports of a pod, as a Kubernetes event.

use auraed_api::observe::v0 as observe;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pod::{name, namespace};
use crate::{Problem, time};

/// Who tells of pods, to those who filter by it.
const COMPONENT: &str = "kubelet";
const LONGEST_NAME: usize = 253;

/// The event to create for `event`, about `pod`, from the node named `node`.
pub fn to_kubernetes(event: &observe::Event, pod: &Pod, node: &str) -> Event {
    let at = event
        .time
        .as_ref()
        .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let list = if event.init_container {
        "initContainers"
    } else {
        "containers"
    };
    let field = (!event.container.is_empty()).then(|| format!("spec.{list}{{{}}}", event.container));
    let kind = if event.warning { "Warning" } else { "Normal" };
    about(
        pod,
        node,
        kind,
        &event.reason,
        &event.message,
        field,
        at.unwrap_or_default(),
    )
}

/// The event that tells the owner of `pod` of a problem.
pub fn of_problem(problem: &Problem, pod: &Pod, node: &str, now: Timestamp) -> Event {
    let field = problem
        .container(pod)
        .map(|(list, name)| format!("spec.{list}{{{name}}}"));
    let message = match problem.kind {
        crate::Kind::Config { .. } => format!("Error: {}", problem.message),
        crate::Kind::Refused(crate::problem::UNSUPPORTED) => problem.to_string(),
        _ => problem.message.clone(),
    };
    about(pod, node, "Warning", problem.event(), &message, field, now)
}

fn about(
    pod: &Pod,
    node: &str,
    kind: &str,
    reason: &str,
    message: &str,
    field_path: Option<String>,
    at: Timestamp,
) -> Event {
    let (pod_name, namespace) = (name(pod), namespace(pod));
    let suffix = format!(".{:x}", at.as_nanosecond());
    let end = pod_name.floor_char_boundary(LONGEST_NAME - suffix.len());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}{suffix}", &pod_name[..end])),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod_name.to_owned()),
            namespace: Some(namespace.to_owned()),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        },
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        type_: Some(kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(time::whole(at)),
        last_timestamp: Some(time::whole(at)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Kind;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "7" },
            "spec": { "initContainers": [{ "name": "first" }], "containers": [{ "name": "main" }] },
        }))
        .unwrap()
    }

    #[test]
    fn an_event_of_a_container_points_at_it() {
        let seen = observe::Event {
            time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 255,
            }),
            container: "first".to_owned(),
            init_container: true,
            reason: "Started".to_owned(),
            message: "Container started".to_owned(),
            ..observe::Event::default()
        };
        let event = to_kubernetes(&seen, &pod(), "node-a");
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": { "name": "web.3b9acaff", "namespace": "shop" },
                "involvedObject": {
                    "apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop", "uid": "u-1",
                    "resourceVersion": "7", "fieldPath": "spec.initContainers{first}",
                },
                "reason": "Started", "message": "Container started", "type": "Normal", "count": 1,
                "firstTimestamp": "1970-01-01T00:00:01Z", "lastTimestamp": "1970-01-01T00:00:01Z",
                "source": { "component": "kubelet", "host": "node-a" },
                "reportingComponent": "kubelet", "reportingInstance": "node-a",
            })
        );
    }

    #[test]
    fn a_problem_of_a_container_is_an_error_of_it() {
        let problem = Problem {
            kind: Kind::Config {
                container: "main".to_owned(),
            },
            field: "spec.containers[0].env[0].valueFrom".to_owned(),
            message: "configmap \"settings\" not found".to_owned(),
        };
        let event = of_problem(&problem, &pod(), "node-a", Timestamp::UNIX_EPOCH);
        assert_eq!(
            event.involved_object.field_path.as_deref(),
            Some("spec.containers{main}")
        );
        assert_eq!(
            event.message.as_deref(),
            Some("Error: configmap \"settings\" not found")
        );
        assert_eq!(event.reason.as_deref(), Some("Failed"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }

    #[test]
    fn a_long_name_leaves_room_for_the_time() {
        let mut pod = pod();
        pod.metadata.name = Some("a".repeat(253));
        let event = to_kubernetes(&observe::Event::default(), &pod, "n");
        assert!(event.metadata.name.unwrap().len() <= 253);
    }
}
