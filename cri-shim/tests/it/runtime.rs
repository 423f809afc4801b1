//! The runtime itself.

use std::path::Path;

use cri_api::v1 as cri;
use tonic::Code;

use crate::node::{Cri, on_node, on_own_node, sandbox_config};

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

fn pod_cidr(text: &str) -> cri::UpdateRuntimeConfigRequest {
    cri::UpdateRuntimeConfigRequest {
        runtime_config: Some(cri::RuntimeConfig {
            network_config: Some(cri::NetworkConfig {
                pod_cidr: text.into(),
            }),
        }),
    }
}

#[test]
fn subnets_that_are_none_are_refused_and_none_is_accepted() {
    let name = "subnets_that_are_none_are_refused_and_none_is_accepted";
    on_node(name, async |mut cri| {
        for wrong in [
            "10.244.0.0",
            "10.244.0.0/31",
            "10.1.0.0/24,10.2.0.0/24",
            ",",
            "fd00::/64",
        ] {
            let refused = cri.runtime.update_runtime_config(pod_cidr(wrong)).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
        for nothing in [cri::UpdateRuntimeConfigRequest::default(), pod_cidr("")] {
            cri.runtime.update_runtime_config(nothing).await.unwrap();
        }
        // This node's configuration names another one.
        cri.runtime
            .update_runtime_config(pod_cidr("10.244.0.0/24"))
            .await
            .unwrap();
    });
}

#[test]
fn pods_get_addresses_of_the_subnet_that_the_cluster_assigns() {
    let name = "pods_get_addresses_of_the_subnet_that_the_cluster_assigns";
    on_own_node(name, "cidr", async |node, mut cri| {
        let config = fs_err::read_to_string(node.config()).unwrap();
        let unnamed: Vec<_> = config
            .lines()
            .filter(|line| !line.starts_with("subnet"))
            .collect();
        fs_err::write(node.config(), unnamed.join("\n")).unwrap();
        node.kill_auraed();
        node.start_auraed().unwrap();
        let address = async |cri: &mut Cri, id: &str| {
            let status = cri.sandbox_status(id).await.unwrap().status.unwrap();
            status.network.unwrap().ip
        };
        let config = sandbox_config("before");
        let before = cri.run_sandbox(&config).await;
        let kept = address(&mut cri, &before).await;
        assert!(kept.starts_with("10.88."), "{kept}");

        let told = pod_cidr("10.244.7.0/24,fd00:7::/64");
        for _ in 0..2 {
            cri.runtime.update_runtime_config(told.clone()).await.unwrap();
        }
        let after = cri.run_sandbox(&sandbox_config("after")).await;
        assert_eq!(address(&mut cri, &after).await, "10.244.7.2");
        node.kill_auraed();
        node.start_auraed().unwrap();
        assert_eq!(address(&mut cri, &before).await, kept);
        let later = cri.run_sandbox(&sandbox_config("later")).await;
        assert_eq!(address(&mut cri, &later).await, "10.244.7.3");
        for id in [before, after, later] {
            cri.stop_sandbox(&id).await;
            cri.remove_sandbox(&id).await;
        }
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
