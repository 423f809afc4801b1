//! What callers are told when something is wrong.

use cri_api::v1 as cri;
use tonic::Code;

use crate::node::{FOREVER, busybox, container_config, on_node, sandbox_config};

const ABSENT: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn wrong_fields_are_named() {
    on_node("wrong_fields_are_named", async |mut cri| {
        let mut config = sandbox_config("fields");
        config.log_directory = "logs".into();
        config.windows = Some(cri::WindowsPodSandboxConfig::default());
        config
            .annotations
            .insert("kubernetes.io/egress-bandwidth".into(), "fast".into());
        let status = cri.try_sandbox(&config).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        for field in [
            "config.log_directory: ",
            "config.windows: ",
            "config.annotations[kubernetes.io/egress-bandwidth]: ",
        ] {
            assert!(status.message().contains(field), "{}", status.message());
        }
    });
}

#[test]
fn an_unknown_handler_is_named() {
    on_node("an_unknown_handler_is_named", async |mut cri| {
        let request = cri::RunPodSandboxRequest {
            config: Some(sandbox_config("handler")),
            runtime_handler: "no-such-handler".into(),
        };
        let status = cri.runtime.run_pod_sandbox(request).await.unwrap_err();
        assert!(status.message().contains("no-such-handler"), "{status:?}");
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    on_node("what_is_not_there_is_not_found", async |mut cri| {
        let config = container_config("main", FOREVER);
        let create = cri.try_create(ABSENT, &config, &sandbox_config("absent")).await;
        let start = cri.try_start(ABSENT).await;
        let exec = cri.exec(ABSENT, &["true"], 0).await;
        let stats = cri
            .runtime
            .container_stats(cri::ContainerStatsRequest {
                container_id: ABSENT.into(),
            })
            .await;
        let pod_stats = cri
            .runtime
            .pod_sandbox_stats(cri::PodSandboxStatsRequest {
                pod_sandbox_id: ABSENT.into(),
            })
            .await;
        let update = cri
            .runtime
            .update_container_resources(cri::UpdateContainerResourcesRequest {
                container_id: ABSENT.into(),
                ..Default::default()
            })
            .await;
        let log = cri
            .runtime
            .reopen_container_log(cri::ReopenContainerLogRequest {
                container_id: ABSENT.into(),
            })
            .await;
        let statuses = [
            ("create", create.unwrap_err()),
            ("start", start.unwrap_err()),
            ("exec", exec.unwrap_err()),
            ("stats", stats.unwrap_err()),
            ("pod stats", pod_stats.unwrap_err()),
            ("update", update.unwrap_err()),
            ("log", log.unwrap_err()),
            ("status", cri.container_status(ABSENT).await.unwrap_err()),
            ("short", cri.container_status("0000").await.unwrap_err()),
            ("pod", cri.sandbox_status(ABSENT).await.unwrap_err()),
        ];
        for (call, status) in statuses {
            assert_eq!(status.code(), Code::NotFound, "{call}: {status:?}");
        }
        // Stopping and removing what is not there is done already, whatever the id looks like.
        for id in [ABSENT, "00", "5f2b7a52-3a5e-4a8e-8f0e-0a4d3b0c9d11"] {
            cri.stop_container(id, 0).await;
            cri.remove_container(id).await;
            cri.stop_sandbox(id).await;
            cri.remove_sandbox(id).await;
        }
    });
}

#[test]
fn an_empty_id_is_no_id() {
    on_node("an_empty_id_is_no_id", async |mut cri| {
        let status = cri.container_status("").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let status = cri.sandbox_status("").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    });
}

#[test]
fn a_name_is_taken_until_what_has_it_is_removed() {
    on_node("a_name_is_taken_until_what_has_it_is_removed", async |mut cri| {
        let config = sandbox_config("taken");
        let id = cri.run_sandbox(&config).await;
        let other = cri::PodSandboxConfig {
            hostname: "other".into(),
            ..config.clone()
        };
        let status = cri.try_sandbox(&other).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
        cri.pull(&busybox()).await;
        let container = container_config("main", FOREVER);
        cri.try_create(&id, &container, &config).await.unwrap();
        let changed = container_config("main", "exit 1");
        let status = cri.try_create(&id, &changed, &config).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
        cri.remove_sandbox(&id).await;
    });
}

#[test]
fn a_program_that_is_not_there_is_a_failed_start() {
    on_node(
        "a_program_that_is_not_there_is_a_failed_start",
        async |mut cri| {
            let sandbox_config = sandbox_config("program");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            cri.pull(&busybox()).await;
            let config = cri::ContainerConfig {
                command: vec!["/no/such/program".into()],
                ..container_config("main", "")
            };
            let id = cri.try_create(&sandbox, &config, &sandbox_config).await.unwrap();
            let failed = cri.try_start(&id).await.unwrap_err();
            assert!(failed.message().contains("/no/such/program"), "{failed:?}");
            let status = cri.ended(&id).await;
            assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
            let again = cri.try_start(&id).await.unwrap_err();
            assert_eq!(again.code(), Code::FailedPrecondition, "{again:?}");
            let exec = cri.exec(&id, &["true"], 0).await.unwrap_err();
            assert_eq!(exec.code(), Code::FailedPrecondition, "{exec:?}");
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn an_image_must_be_on_the_node() {
    on_node("an_image_must_be_on_the_node", async |mut cri| {
        let sandbox_config = sandbox_config("image");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = cri::ContainerConfig {
            image: Some(cri::ImageSpec {
                image: "127.0.0.1:5000/never-pulled:1".into(),
                ..Default::default()
            }),
            ..container_config("main", FOREVER)
        };
        let status = cri
            .try_create(&sandbox, &config, &sandbox_config)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert!(status.message().contains("never-pulled"), "{status:?}");
        cri.remove_sandbox(&sandbox).await;
    });
}
