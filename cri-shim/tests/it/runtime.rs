//! The runtime itself.

use std::path::Path;

use cri_api::v1 as cri;
use tonic::Code;

use crate::node::{on_node, on_own_node};

#[test]
fn it_says_who_it_is() {
    on_node("it_says_who_it_is", async |mut cri| {
        let version = cri
            .runtime
            .version(cri::VersionRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(version.version, "0.1.0");
        assert_eq!(version.runtime_name, "aurae");
        assert_eq!(version.runtime_api_version, "v1");
        assert!(!version.runtime_version.is_empty());
    });
}

#[test]
fn it_is_ready_and_has_a_default_handler() {
    on_node("it_is_ready_and_has_a_default_handler", async |mut cri| {
        let status = cri
            .runtime
            .status(cri::StatusRequest { verbose: true })
            .await
            .unwrap()
            .into_inner();
        for condition in status.status.unwrap().conditions {
            assert!(condition.status, "{condition:?}");
        }
        assert!(
            status
                .runtime_handlers
                .iter()
                .any(|handler| handler.name.is_empty())
        );
        assert!(status.features.unwrap().supplemental_groups_policy);
        assert!(status.info.contains_key("config"));
    });
}

#[test]
fn addresses_of_pods_are_heard_of() {
    on_node("addresses_of_pods_are_heard_of", async |mut cri| {
        let request = cri::UpdateRuntimeConfigRequest {
            runtime_config: Some(cri::RuntimeConfig {
                network_config: Some(cri::NetworkConfig {
                    pod_cidr: "10.244.0.0/24".into(),
                }),
            }),
        };
        cri.runtime.update_runtime_config(request).await.unwrap();
    });
}

#[test]
fn what_is_not_to_be_had_is_unimplemented() {
    on_node("what_is_not_to_be_had_is_unimplemented", async |mut cri| {
        let container = cri
            .runtime
            .checkpoint_container(cri::CheckpointContainerRequest::default())
            .await
            .unwrap_err();
        let pod = cri
            .runtime
            .checkpoint_pod(cri::CheckpointPodRequest::default())
            .await
            .unwrap_err();
        let restore = cri
            .runtime
            .restore_pod(cri::RestorePodRequest::default())
            .await
            .unwrap_err();
        for status in [container, pod, restore] {
            assert_eq!(status.code(), Code::Unimplemented);
            assert!(status.message().contains("checkpoint"), "{status:?}");
        }
    });
}

#[test]
fn it_runs_as_an_ordinary_user_without_capabilities() {
    on_own_node(
        "it_runs_as_an_ordinary_user_without_capabilities",
        "plain",
        async |node, _| {
            let programs = node.programs();
            let (_, pid) = programs.iter().find(|(name, _)| *name == "cri-shim").unwrap();
            let status =
                fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
            for name in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
                assert_eq!(field(name), "0000000000000000", "{name}");
            }
            assert_eq!(field("NoNewPrivs:"), "1");
        },
    );
}
