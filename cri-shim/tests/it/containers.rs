//! A container's life, and what is asked of one that runs.

use std::path::Path;
use std::time::{Duration, Instant};

use cri_api::v1 as cri;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::node::{FOREVER, PATIENCE, busybox, container_config, on_node, prepared, sandbox_config};

#[test]
fn a_container_lives_and_every_call_may_be_repeated() {
    on_node(
        "a_container_lives_and_every_call_may_be_repeated",
        async |mut cri| {
            let sandbox_config = sandbox_config("container");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let image = cri.pull(&busybox()).await;
            let config = container_config("main", "echo said; exit 3");
            let id = cri.try_create(&sandbox, &config, &sandbox_config).await.unwrap();
            assert_eq!(
                cri.try_create(&sandbox, &config, &sandbox_config).await.unwrap(),
                id
            );
            let status = cri.container_status(&id).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::ContainerState::ContainerCreated);
            assert_eq!((status.started_at, status.finished_at), (0, 0));

            cri.try_start(&id).await.unwrap();
            let status = cri.ended(&id).await;
            assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
            assert!(status.created_at > 0 && status.started_at >= status.created_at);
            assert!(status.finished_at >= status.started_at);
            assert_eq!(status.metadata, config.metadata);
            assert_eq!(status.labels, config.labels);
            assert_eq!(status.image_id, image);
            assert_eq!(status.image.unwrap().image, "busybox");
            assert!(status.image_ref.contains("sha256:"), "{}", status.image_ref);
            let log = fs_err::read_to_string(&status.log_path).unwrap();
            assert!(log.ends_with("stdout F said\n"), "{log:?}");
            assert!(status.log_path.starts_with(&sandbox_config.log_directory));

            cri.stop_container(&id, 0).await;
            cri.stop_container(&id, 0).await;
            cri.remove_container(&id).await;
            cri.remove_container(&id).await;
            cri.stop_container(&id, 0).await;
            assert_eq!(
                cri.container_status(&id).await.unwrap_err().code(),
                Code::NotFound
            );
            assert!(Path::new(&sandbox_config.log_directory).exists());
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn a_container_is_stopped_by_its_signal_or_killed() {
    on_node(
        "a_container_is_stopped_by_its_signal_or_killed",
        async |mut cri| {
            let sandbox_config = sandbox_config("stop");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let polite = cri::ContainerConfig {
                stop_signal: cri::Signal::Sigusr1 as i32,
                ..container_config("polite", &prepared("'exit 7' USR1"))
            };
            let stubborn = container_config("stubborn", &prepared("'' TERM"));
            let first = cri.run_container(&sandbox, &polite, &sandbox_config).await;
            let second = cri.run_container(&sandbox, &stubborn, &sandbox_config).await;
            cri.prepared(&first).await;
            cri.prepared(&second).await;
            let status = cri.container_status(&first).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::ContainerState::ContainerRunning);
            assert_eq!(status.stop_signal(), cri::Signal::Sigusr1);
            cri.stop_container(&first, 20).await;
            assert_eq!(cri.ended(&first).await.exit_code, 7);
            let begun = Instant::now();
            cri.stop_container(&second, 1).await;
            assert!(begun.elapsed() >= Duration::from_secs(1));
            assert_eq!(cri.ended(&second).await.exit_code, 137);
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn commands_are_run_to_their_end() {
    on_node("commands_are_run_to_their_end", async |mut cri| {
        let sandbox_config = sandbox_config("exec");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = container_config("main", FOREVER);
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let done = cri
            .exec(&id[..16], &["sh", "-c", "echo out; echo err >&2; exit 5"], 0)
            .await
            .unwrap();
        assert_eq!(
            (done.stdout.as_slice(), done.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(done.exit_code, 5);

        let late = cri.exec(&id, &["sleep", "1234567"], 1).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);
        // The call ends when the program is gone.
        let killed = "ps -o args | grep '[s]leep 1234567'; echo killed";
        let done = cri.exec(&id, &["sh", "-c", killed], 60).await.unwrap();
        assert_eq!(done.stdout, b"killed\n", "{done:?}");

        let missing = cri.exec(&id, &["/no/such/program"], 0).await;
        assert!(missing.is_err() || missing.is_ok_and(|done| done.exit_code != 0));
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn what_a_command_leaves_running_does_not_keep_its_caller() {
    on_node(
        "what_a_command_leaves_running_does_not_keep_its_caller",
        async |mut cri| {
            let sandbox_config = sandbox_config("left");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let config = container_config("main", FOREVER);
            let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
            // One that is silent, and one that says something again and again.
            for left in ["sleep 100000", "while echo .; do sleep 0.001; done"] {
                let script = format!("echo own; ({left}) & exit 3");
                let command = ["sh", "-c", &script];
                let running = cri.exec(&id, &command, 0);
                let done = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
                assert!(done.stdout.starts_with(b"own\n"), "{done:?}");
                assert_eq!(done.exit_code, 3);
            }
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn output_beyond_a_message_is_dropped() {
    on_node("output_beyond_a_message_is_dropped", async |mut cri| {
        let sandbox_config = sandbox_config("output");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = container_config("main", FOREVER);
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let script = "head -c 20000000 /dev/zero; head -c 5000000 /dev/zero >&2; exit 9";
        let done = cri.exec(&id, &["sh", "-c", script], 60).await.unwrap();
        assert_eq!(done.exit_code, 9);
        let kept = done.stdout.len() + done.stderr.len();
        assert!((16_000_000..16 * 1024 * 1024).contains(&kept), "{kept}");
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn limits_are_set_changed_and_told() {
    on_node("limits_are_set_changed_and_told", async |mut cri| {
        let sandbox_config = sandbox_config("limits");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = cri::ContainerConfig {
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(cri::LinuxContainerResources {
                    cpu_period: 100_000,
                    cpu_quota: 50_000,
                    cpu_shares: 512,
                    memory_limit_in_bytes: 64 << 20,
                    oom_score_adj: 500,
                    ..Default::default()
                }),
                security_context: None,
            }),
            ..container_config("main", FOREVER)
        };
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let resources = |status: cri::ContainerStatus| status.resources.unwrap().linux.unwrap();
        let before = resources(cri.container_status(&id).await.unwrap().status.unwrap());
        assert_eq!(
            (before.cpu_quota, before.memory_limit_in_bytes),
            (50_000, 64 << 20)
        );
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(cri::LinuxContainerResources {
                cpu_quota: 70_000,
                memory_limit_in_bytes: 96 << 20,
                ..Default::default()
            }),
            ..Default::default()
        };
        cri.runtime.update_container_resources(request).await.unwrap();
        let after = resources(cri.container_status(&id).await.unwrap().status.unwrap());
        assert_eq!((after.cpu_quota, after.memory_limit_in_bytes), (70_000, 96 << 20));
        assert_eq!((after.cpu_period, after.cpu_shares), (100_000, 512));
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn a_log_goes_on_in_a_new_file() {
    on_node("a_log_goes_on_in_a_new_file", async |mut cri| {
        let sandbox_config = sandbox_config("log");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let config = container_config("main", "while true; do echo tick; sleep 0.05; done");
        let id = cri.run_container(&sandbox, &config, &sandbox_config).await;
        let path = cri.container_status(&id).await.unwrap().status.unwrap().log_path;
        fs_err::rename(&path, format!("{path}.1")).unwrap();
        let request = cri::ReopenContainerLogRequest {
            container_id: id.clone(),
        };
        cri.runtime.reopen_container_log(request.clone()).await.unwrap();
        assert!(Path::new(&path).exists());
        cri.stop_container(&id, 0).await;
        let ended = cri.runtime.reopen_container_log(request).await.unwrap_err();
        assert_eq!(ended.code(), Code::FailedPrecondition);
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn lists_are_filtered_and_streamed_alike() {
    on_node(
        "containers: lists_are_filtered_and_streamed_alike",
        async |mut cri| {
            let sandbox_config = sandbox_config("list");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            cri.pull(&busybox()).await;
            let mut ids = Vec::new();
            for name in ["created", "running", "exited"] {
                let config = container_config(name, FOREVER);
                ids.push(cri.try_create(&sandbox, &config, &sandbox_config).await.unwrap());
            }
            cri.try_start(&ids[1]).await.unwrap();
            cri.try_start(&ids[2]).await.unwrap();
            cri.stop_container(&ids[2], 0).await;
            let state = |state: cri::ContainerState| Some(cri::ContainerStateValue { state: state as i32 });
            let of = |filter: cri::ContainerFilter| cri::ContainerFilter {
                pod_sandbox_id: sandbox.clone(),
                ..filter
            };
            let cases = [
                (of(cri::ContainerFilter::default()), vec![0, 1, 2]),
                (
                    of(cri::ContainerFilter {
                        state: state(cri::ContainerState::ContainerCreated),
                        ..Default::default()
                    }),
                    vec![0],
                ),
                (
                    of(cri::ContainerFilter {
                        state: state(cri::ContainerState::ContainerRunning),
                        ..Default::default()
                    }),
                    vec![1],
                ),
                (
                    of(cri::ContainerFilter {
                        state: state(cri::ContainerState::ContainerExited),
                        ..Default::default()
                    }),
                    vec![2],
                ),
                (
                    of(cri::ContainerFilter {
                        label_selector: [("test".to_owned(), "running".to_owned())].into(),
                        ..Default::default()
                    }),
                    vec![1],
                ),
                (
                    cri::ContainerFilter {
                        id: ids[0][..20].to_owned(),
                        ..Default::default()
                    },
                    vec![0],
                ),
            ];
            for (filter, wanted) in cases {
                let request = cri::ListContainersRequest {
                    filter: Some(filter.clone()),
                };
                let listed = cri
                    .runtime
                    .list_containers(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .containers;
                let request = cri::StreamContainersRequest {
                    filter: Some(filter.clone()),
                };
                let mut stream = cri.runtime.stream_containers(request).await.unwrap().into_inner();
                let mut streamed = Vec::new();
                while let Some(list) = stream.next().await {
                    streamed.extend(list.unwrap().containers);
                }
                for containers in [listed, streamed] {
                    let mut found: Vec<_> = containers.iter().map(|one| &one.id).collect();
                    let mut expected: Vec<_> = wanted.iter().map(|index: &usize| &ids[*index]).collect();
                    found.sort();
                    expected.sort();
                    assert_eq!(found, expected, "{filter:?}");
                    for one in containers {
                        let status = cri.container_status(&one.id).await.unwrap().status.unwrap();
                        let expected = cri::Container {
                            id: status.id,
                            pod_sandbox_id: sandbox.clone(),
                            metadata: status.metadata,
                            image: status.image,
                            image_ref: status.image_ref,
                            image_id: status.image_id,
                            state: status.state,
                            created_at: status.created_at,
                            labels: status.labels,
                            annotations: status.annotations,
                        };
                        assert_eq!(one, expected);
                        assert!(one.created_at > 0);
                    }
                }
            }
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn urls_are_given_for_what_runs_alone() {
    on_node("urls_are_given_for_what_runs_alone", async |mut cri| {
        let sandbox_config = sandbox_config("urls");
        let sandbox = cri.run_sandbox(&sandbox_config).await;
        let id = cri
            .run_container(&sandbox, &container_config("main", FOREVER), &sandbox_config)
            .await;
        let exec = |cmd: &[&str], tty, stderr| cri::ExecRequest {
            container_id: id.clone(),
            cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
            stdout: true,
            tty,
            stderr,
            ..Default::default()
        };
        let forward = |port| cri::PortForwardRequest {
            pod_sandbox_id: sandbox.clone(),
            port: vec![port],
        };
        let attach = cri::AttachRequest {
            container_id: id.clone(),
            stdout: true,
            ..Default::default()
        };
        let urls = [
            cri.runtime
                .exec(exec(&["true"], false, true))
                .await
                .unwrap()
                .into_inner()
                .url,
            cri.runtime.attach(attach.clone()).await.unwrap().into_inner().url,
            cri.runtime
                .port_forward(forward(80))
                .await
                .unwrap()
                .into_inner()
                .url,
        ];
        for url in &urls {
            assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        }
        let wrong = [
            cri.runtime.exec(exec(&[], false, true)).await.unwrap_err(),
            cri.runtime.exec(exec(&["true"], true, true)).await.unwrap_err(),
            cri.runtime.port_forward(forward(65_536)).await.unwrap_err(),
        ];
        for status in wrong {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        }
        cri.stop_sandbox(&sandbox).await;
        let ended = [
            cri.runtime.exec(exec(&["true"], false, true)).await.unwrap_err(),
            cri.runtime.attach(attach).await.unwrap_err(),
            cri.runtime.port_forward(forward(80)).await.unwrap_err(),
        ];
        for status in ended {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        }
        cri.remove_sandbox(&sandbox).await;
    });
}
