//! What a caller may do: a table of methods. What is not in it is denied.
//!
//! Today one tenant, the node's own administration, may do everything. Policies for other tenants come in here: the
//! decision gets the caller and the method, later the object's tenant as well.

use auraed_identity::ClientId;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whoever has a certificate of this node.
    Anyone,
    /// The node's own administration.
    System,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    /// The caller's tenant may not call it.
    Denied,
    /// The daemon has no such method.
    Unknown,
}

/// Every method of the daemon, by its path.
const METHODS: &[(&str, Access)] = &[
    ("/aurae.mount.v0.MountService/UpdateFiles", Access::System),
    ("/aurae.observe.v0.ObserveService/Events", Access::System),
    ("/aurae.observe.v0.ObserveService/GetNode", Access::System),
    ("/aurae.observe.v0.ObserveService/GetTimeline", Access::System),
    ("/aurae.observe.v0.ObserveService/Logs", Access::System),
    (
        "/aurae.runtime.v0.ContainerService/CreateContainer",
        Access::System,
    ),
    ("/aurae.runtime.v0.ContainerService/GetContainer", Access::System),
    (
        "/aurae.runtime.v0.ContainerService/ListContainerStats",
        Access::System,
    ),
    (
        "/aurae.runtime.v0.ContainerService/ListContainers",
        Access::System,
    ),
    (
        "/aurae.runtime.v0.ContainerService/RemoveContainer",
        Access::System,
    ),
    (
        "/aurae.runtime.v0.ContainerService/ReopenContainerLog",
        Access::System,
    ),
    (
        "/aurae.runtime.v0.ContainerService/StartContainer",
        Access::System,
    ),
    ("/aurae.runtime.v0.ContainerService/StopContainer", Access::System),
    (
        "/aurae.runtime.v0.ContainerService/UpdateContainer",
        Access::System,
    ),
    ("/aurae.runtime.v0.ImageService/GetImage", Access::System),
    ("/aurae.runtime.v0.ImageService/GetImageUsage", Access::System),
    ("/aurae.runtime.v0.ImageService/ImportImage", Access::System),
    ("/aurae.runtime.v0.ImageService/ListImages", Access::System),
    ("/aurae.runtime.v0.ImageService/PullImage", Access::System),
    ("/aurae.runtime.v0.ImageService/RemoveImage", Access::System),
    (
        "/aurae.runtime.v0.RuntimeService/AssignPodSubnets",
        Access::System,
    ),
    ("/aurae.runtime.v0.RuntimeService/Attach", Access::System),
    ("/aurae.runtime.v0.RuntimeService/Exec", Access::System),
    ("/aurae.runtime.v0.RuntimeService/GetRuntime", Access::System),
    ("/aurae.runtime.v0.RuntimeService/PortForward", Access::System),
    ("/aurae.runtime.v0.RuntimeService/Signal", Access::System),
    ("/aurae.runtime.v0.SandboxService/CreateSandbox", Access::System),
    ("/aurae.runtime.v0.SandboxService/GetSandbox", Access::System),
    (
        "/aurae.runtime.v0.SandboxService/ListSandboxStats",
        Access::System,
    ),
    ("/aurae.runtime.v0.SandboxService/ListSandboxes", Access::System),
    ("/aurae.runtime.v0.SandboxService/RemoveSandbox", Access::System),
    ("/aurae.runtime.v0.SandboxService/StopSandbox", Access::System),
    ("/aurae.runtime.v0.SandboxService/UpdateSandbox", Access::System),
    ("/aurae.runtime.v0.SandboxService/WatchSandboxes", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Get", Access::System),
    ("/aurae.schedule.v0.ScheduleService/List", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Now", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Plan", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Remove", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Stop", Access::System),
    ("/aurae.schedule.v0.ScheduleService/Watch", Access::System),
    ("/grpc.health.v1.Health/Check", Access::Anyone),
    ("/grpc.health.v1.Health/Watch", Access::Anyone),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Access::Anyone,
    ),
];

/// Whether `caller` may call the method at `path`.
pub(crate) fn decide(caller: &ClientId, path: &str) -> Decision {
    let Ok(index) = METHODS.binary_search_by_key(&path, |(method, _)| method) else {
        return Decision::Unknown;
    };
    match METHODS.get(index) {
        Some((_, Access::Anyone)) => Decision::Allowed,
        Some((_, Access::System)) if caller.tenant.is_system() => Decision::Allowed,
        _ => Decision::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    fn client(tenant: &str) -> ClientId {
        ClientId {
            tenant: tenant.parse().unwrap(),
            name: "x".parse().unwrap(),
        }
    }

    #[test]
    fn every_method_of_the_api_is_in_the_table() {
        let set = FileDescriptorSet::decode(auraed_api::DESCRIPTORS).unwrap();
        let mut count = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert_eq!(decide(&client("system"), &path), Decision::Allowed, "{path}");
                    assert_eq!(decide(&client("other"), &path), Decision::Denied, "{path}");
                    count += 1;
                }
            }
        }
        let own = METHODS
            .iter()
            .filter(|(path, _)| path.starts_with("/aurae."))
            .count();
        assert_eq!(own, count, "the table names a method that the API does not have");
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(METHODS.is_sorted_by_key(|(method, _)| method));
    }

    #[test]
    fn what_is_not_in_the_table_is_denied() {
        for path in [
            "",
            "/",
            "/aurae.schedule.v0.ScheduleService/Nowx",
            "/aurae.schedule.v0.ScheduleService",
        ] {
            assert_eq!(decide(&client("system"), path), Decision::Unknown, "{path}");
        }
    }
}
