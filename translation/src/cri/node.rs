//! The runtime itself: its version, whether it is ready, what it can do.

use std::collections::HashMap;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use serde_json::json;

/// The version of kubelet's runtime API, which has not changed since 2016.
const KUBELET_API: &str = "0.1.0";

/// Who answers.
#[must_use]
pub fn version(runtime: &aurae::GetRuntimeResponse) -> cri::VersionResponse {
    cri::VersionResponse {
        version: KUBELET_API.to_owned(),
        runtime_name: "aurae".to_owned(),
        runtime_version: runtime.version.clone(),
        runtime_api_version: "v1".to_owned(),
    }
}

/// What the caller has to know before it makes cgroups.
#[must_use]
pub fn configuration() -> cri::RuntimeConfigResponse {
    cri::RuntimeConfigResponse {
        linux: Some(cri::LinuxRuntimeConfiguration {
            cgroup_driver: cri::CgroupDriver::Cgroupfs as i32,
        }),
    }
}

/// How the runtime is. An auraed that cannot be reached (with the reason) is a runtime that is not ready, and no failure
/// of this call: so a node's conditions say what is wrong with it.
#[must_use]
pub fn status(runtime: Result<&aurae::GetRuntimeResponse, &str>, verbose: bool) -> cri::StatusResponse {
    let conditions = match runtime {
        Ok(runtime) => vec![
            condition("RuntimeReady", None),
            condition(
                "NetworkReady",
                (!runtime.network_ready).then_some(("NetworkPluginNotReady", &runtime.network_message)),
            ),
        ],
        Err(reason) => vec![
            condition("RuntimeReady", Some(("AuraedUnavailable", reason))),
            condition("NetworkReady", Some(("AuraedUnavailable", reason))),
        ],
    };
    let runtime = runtime.ok();
    cri::StatusResponse {
        status: Some(cri::RuntimeStatus { conditions }),
        info: runtime.filter(|_| verbose).map(info).unwrap_or_default(),
        runtime_handlers: runtime
            .map(|runtime| runtime.handlers.iter().map(handler).collect())
            .unwrap_or_default(),
        features: runtime.map(|runtime| cri::RuntimeFeatures {
            supplemental_groups_policy: runtime.supplemental_groups_policy,
            user_namespaces_host_network: false,
            mount_options: false,
        }),
    }
}

/// The pods' subnets as the caller says them, one or one of each family with a comma between; none if it says nothing.
#[must_use]
pub fn pod_subnets(config: &cri::RuntimeConfig) -> Option<aurae::AssignPodSubnetsRequest> {
    let text = &config.network_config.as_ref()?.pod_cidr;
    let subnets = text.split(',').map(|subnet| subnet.trim().to_owned());
    (!text.is_empty()).then(|| aurae::AssignPodSubnetsRequest {
        subnets: subnets.collect(),
    })
}

/// What became of them, for a log.
#[must_use]
pub fn subnet_use(assigned: &aurae::AssignPodSubnetsResponse) -> String {
    match assigned.r#use() {
        aurae::PodSubnetUse::Served if assigned.unused.is_empty() => {
            "new pods get their addresses there".to_owned()
        }
        aurae::PodSubnetUse::Served => format!(
            "new pods get their addresses there, but for {}: their network has no such family",
            assigned.unused.join(", ")
        ),
        aurae::PodSubnetUse::Configured => {
            format!(
                "auraed's configuration names {}, which stays",
                assigned.configured
            )
        }
        aurae::PodSubnetUse::Plugins => "network plugins decide about addresses".to_owned(),
        aurae::PodSubnetUse::NoNetwork => "there is no pod network".to_owned(),
        aurae::PodSubnetUse::Unspecified => "auraed does not say what became of them".to_owned(),
    }
}

fn condition(kind: &str, against: Option<(&str, &str)>) -> cri::RuntimeCondition {
    let (reason, message) = against.unwrap_or_default();
    cri::RuntimeCondition {
        r#type: kind.to_owned(),
        status: against.is_none(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn handler(handler: &aurae::RuntimeHandler) -> cri::RuntimeHandler {
    cri::RuntimeHandler {
        name: handler.name.clone(),
        features: Some(cri::RuntimeHandlerFeatures {
            recursive_read_only_mounts: handler.recursive_read_only_mounts,
            user_namespaces: handler.user_namespaces,
        }),
    }
}

/// What `crictl info` shows beside the conditions. There is no image of a sandbox.
fn info(runtime: &aurae::GetRuntimeResponse) -> HashMap<String, String> {
    let config = json!({
        "version": runtime.version,
        "imageDirectory": runtime.image_directory,
        "containerDirectory": runtime.container_directory,
        "cgroupDriver": "cgroupfs",
    });
    [("config".to_owned(), config.to_string())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &cri::StatusResponse) -> Vec<(String, bool, String)> {
        let conditions = status.status.clone().unwrap().conditions;
        conditions
            .into_iter()
            .map(|one| (one.r#type, one.status, one.message))
            .collect()
    }

    #[test]
    fn a_daemon_that_is_away_is_a_runtime_that_is_not_ready() {
        let status = status(Err("nobody answers"), true);
        assert_eq!(
            ready(&status),
            [
                ("RuntimeReady".to_owned(), false, "nobody answers".to_owned()),
                ("NetworkReady".to_owned(), false, "nobody answers".to_owned()),
            ]
        );
        assert!(status.info.is_empty());
    }

    #[test]
    fn the_network_may_be_missing_alone() {
        let runtime = aurae::GetRuntimeResponse {
            network_message: "no configuration in /etc/cni/net.d".into(),
            handlers: vec![aurae::RuntimeHandler::default()],
            ..Default::default()
        };
        let status = status(Ok(&runtime), false);
        assert!(ready(&status)[0].1);
        assert!(!ready(&status)[1].1);
        assert_eq!(status.runtime_handlers[0].name, "");
    }
    #[test]
    fn subnets_of_both_families_are_taken_apart() {
        let subnets = |text: &str| {
            let network_config = Some(cri::NetworkConfig {
                pod_cidr: text.into(),
            });
            let request = pod_subnets(&cri::RuntimeConfig { network_config });
            request.map(|request| request.subnets)
        };
        assert_eq!(subnets("10.1.0.0/24").unwrap(), ["10.1.0.0/24"]);
        assert_eq!(
            subnets("10.1.0.0/24, fd00::/64").unwrap(),
            ["10.1.0.0/24", "fd00::/64"]
        );
        // What is wrong is auraed's to say.
        assert_eq!(subnets(",").unwrap(), ["", ""]);
        assert_eq!(subnets(""), None);
        assert_eq!(pod_subnets(&cri::RuntimeConfig::default()), None);
    }

    #[test]
    fn what_became_of_subnets_is_told() {
        let mut assigned = aurae::AssignPodSubnetsResponse::default();
        assigned.set_use(aurae::PodSubnetUse::Served);
        assert_eq!(subnet_use(&assigned), "new pods get their addresses there");
        assigned.unused.push("fd00::/64".into());
        assert!(subnet_use(&assigned).contains("but for fd00::/64"));
        assigned.set_use(aurae::PodSubnetUse::Configured);
        assigned.configured = "10.9.0.0/24".into();
        assert!(subnet_use(&assigned).contains("names 10.9.0.0/24"));
    }
}
