//! What would be done with a pod, and what stands against it. Plain functions; nothing is asked of the node.

use std::sync::Arc;

use auraed_api::schedule::v0 as api;
use auraed_types::pod::{Container, Port, VolumeSource};
use auraed_types::{Pod, Problem};

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

/// What this node cannot run, whatever else is true of the pod.
pub(super) fn refusals(pod: &Pod, has_network: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !pod.host_network && !has_network {
        let reason = "this node has no pod network: only pods with host_network run here";
        problems.push(Problem {
            field: "host_network".to_owned(),
            reason: reason.to_owned(),
        });
    }
    let init = pod
        .init_containers
        .iter()
        .enumerate()
        .map(|entry| ("init_containers", entry));
    let main = pod
        .containers
        .iter()
        .enumerate()
        .map(|entry| ("containers", entry));
    for (list, (index, container)) in init.chain(main) {
        for (place, port) in container.ports.iter().enumerate() {
            if port.host_port.is_some() && port.host_address.is_some_and(|address| address.is_ipv6()) {
                problems.push(Problem {
                    field: format!("{list}[{index}].ports[{place}].host_address"),
                    reason: "host ports are mapped on IPv4 addresses only".to_owned(),
                });
            }
        }
    }
    problems
}

/// The whole plan. `has_image` tells whether a container's image is here.
pub(super) fn plan(
    pod: &Pod,
    has_network: bool,
    has_image: impl Fn(&Container) -> bool,
    others: &[Arc<Pod>],
) -> Plan {
    let refusals = refusals(pod, has_network);
    let mut steps = Vec::new();
    let mut step = |kind, subject: &str, detail: String| {
        steps.push(PlanStep {
            kind,
            subject: subject.to_owned(),
            detail,
        });
    };
    step("sandbox", &pod.full_name(), sandbox_detail(pod));
    for (port, other) in taken_ports(pod, others) {
        step(
            "wait",
            &format!("host port {port}"),
            format!("until pod {other} gives it back"),
        );
    }
    for volume in &pod.volumes {
        step("volume", volume.name.as_str(), volume_detail(&volume.source));
    }
    for container in &pod.init_containers {
        step(
            "pull",
            &container.image,
            pull_detail(container, has_image(container)),
        );
        let detail = if container.sidecar {
            "starts, and runs on beside the others"
        } else {
            "runs to its end"
        };
        step("container", container.name.as_str(), detail.to_owned());
    }
    for container in &pod.containers {
        step(
            "pull",
            &container.image,
            pull_detail(container, has_image(container)),
        );
        step("container", container.name.as_str(), container_detail(container));
    }
    Plan { steps, refusals }
}

fn sandbox_detail(pod: &Pod) -> String {
    let network = if pod.host_network {
        "the node's network"
    } else {
        "an address of the pod network"
    };
    format!(
        "{network}, hostname {}, class {}",
        pod.hostname,
        pod.qos_class().as_str()
    )
}

fn volume_detail(source: &VolumeSource) -> String {
    match source {
        VolumeSource::EmptyDirectory { memory: true, .. } => "an empty directory in memory".to_owned(),
        VolumeSource::EmptyDirectory { memory: false, .. } => "an empty directory on disk".to_owned(),
        VolumeSource::HostPath { path, .. } => format!("{path} of the node"),
        VolumeSource::Files(files) => format!("{} files", files.files.len()),
    }
}

fn pull_detail(container: &Container, here: bool) -> String {
    use auraed_types::pod::PullPolicy::{Always, IfNotPresent, Never};
    match (container.pull_policy, here) {
        (Always, _) => "asked of its registry at each start",
        (IfNotPresent | Never, true) => "on this node already",
        (IfNotPresent, false) => "fetched from its registry",
        (Never, false) => "not on this node, and may not be fetched: the container will wait for it",
    }
    .to_owned()
}

fn container_detail(container: &Container) -> String {
    let probes = [
        ("startup", &container.startup_probe),
        ("readiness", &container.readiness_probe),
        ("liveness", &container.liveness_probe),
    ];
    let probed: Vec<&str> = probes
        .iter()
        .filter(|(_, probe)| probe.is_some())
        .map(|(name, _)| *name)
        .collect();
    if probed.is_empty() {
        "starts".to_owned()
    } else {
        format!("starts; probed for {}", probed.join(", "))
    }
}

/// Host ports that another pod has, with that pod's name.
fn taken_ports(pod: &Pod, others: &[Arc<Pod>]) -> Vec<(u16, String)> {
    let mut taken = Vec::new();
    for (_, port) in pod.host_ports() {
        for other in others.iter().filter(|other| other.id != pod.id) {
            if other.host_ports().any(|(_, theirs)| clash(port, theirs)) {
                taken.extend(port.host_port.map(|number| (number, other.full_name())));
            }
        }
    }
    taken
}

fn clash(one: &Port, other: &Port) -> bool {
    let everywhere = |port: &Port| port.host_ipv4().is_none();
    one.host_port == other.host_port
        && one.protocol == other.protocol
        && (everywhere(one) || everywhere(other) || one.host_ipv4() == other.host_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;
    use auraed_api::runtime::v0 as runtime;

    fn pod(id: &str, host_port: u32, host_address: &str) -> Pod {
        let port = runtime::Port {
            container_port: 80,
            host_port,
            host_address: host_address.into(),
            ..Default::default()
        };
        let container = runtime::Container {
            name: "c".into(),
            image: "example.org/c:1".into(),
            ports: vec![port],
            ..Default::default()
        };
        let init = runtime::Container {
            name: "i".into(),
            ports: vec![],
            ..container.clone()
        };
        let message = api::Pod {
            id: id.into(),
            name: format!("pod-{id}"),
            init_containers: vec![init],
            containers: vec![container],
            volumes: vec![api::Volume {
                name: "v".into(),
                source: Some(api::volume::Source::EmptyDirectory(api::EmptyDirectory::default())),
            }],
            ..Default::default()
        };
        message.try_into().unwrap()
    }

    #[test]
    fn steps_are_named_in_their_order() {
        let plan = plan(&pod("1", 0, ""), true, |_| false, &[]);
        let kinds: Vec<_> = plan.steps.iter().map(|step| step.kind).collect();
        assert_eq!(
            kinds,
            ["sandbox", "volume", "pull", "container", "pull", "container"]
        );
        assert_eq!(plan.refusals, []);
    }

    #[test]
    fn a_host_port_of_another_pod_is_waited_for() {
        let other = Arc::new(pod("2", 8080, ""));
        let plan = plan(&pod("1", 8080, "127.0.0.1"), true, |_| true, &[other]);
        let wait = plan.steps.iter().find(|step| step.kind == "wait").unwrap();
        assert_eq!(
            (wait.subject.as_str(), wait.detail.as_str()),
            ("host port 8080", "until pod default/pod-2 gives it back")
        );
    }

    #[test]
    fn what_the_node_lacks_is_refused_with_the_field() {
        let fields: Vec<_> = refusals(&pod("1", 80, "::1"), false)
            .into_iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(fields, ["host_network", "containers[0].ports[0].host_address"]);
    }
}
