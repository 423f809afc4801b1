//! From a [`Pod`] back to the wire message.

use std::time::Duration;

use auraed_api::runtime::v0 as runtime;
use auraed_api::schedule::v0 as api;

use super::{
    Container, EnvironmentSource, EnvironmentVariable, File, Files, Handler, HostPathType, MountPropagation,
    Pod, PodField, Port, Probe, Protocol, PullPolicy, RestartPolicy, Seccomp, Security,
    TerminationMessagePolicy, Volume, VolumeMount, VolumeSource,
};

impl From<&Pod> for api::Pod {
    fn from(pod: &Pod) -> api::Pod {
        api::Pod {
            id: pod.id.to_string(),
            name: pod.name.to_string(),
            namespace: pod.namespace.to_string(),
            labels: pod.labels.clone().into_iter().collect(),
            annotations: pod.annotations.clone().into_iter().collect(),
            generation: pod.generation,
            init_containers: pod.init_containers.iter().map(Into::into).collect(),
            containers: pod.containers.iter().map(Into::into).collect(),
            volumes: pod.volumes.iter().map(Into::into).collect(),
            restart_policy: match pod.restart_policy {
                RestartPolicy::Always => runtime::RestartPolicy::Always,
                RestartPolicy::OnFailure => runtime::RestartPolicy::OnFailure,
                RestartPolicy::Never => runtime::RestartPolicy::Never,
            }
            .into(),
            grace_period_seconds: Some(pod.grace_period.as_secs()),
            active_deadline_seconds: pod.active_deadline.map(|deadline| deadline.as_secs()),
            hostname: pod.hostname.clone(),
            fqdn: pod.fqdn.clone().unwrap_or_default(),
            host_network: pod.host_network,
            host_pid: pod.host_pid,
            host_ipc: pod.host_ipc,
            share_process_namespace: pod.share_process_namespace,
            dns: Some(api::Dns {
                nameservers: pod.dns.nameservers.iter().map(ToString::to_string).collect(),
                searches: pod.dns.searches.clone(),
                options: pod.dns.options.clone(),
                include_host: pod.dns.include_host,
            }),
            host_aliases: pod
                .host_aliases
                .iter()
                .map(|alias| api::HostAlias {
                    address: alias.address.to_string(),
                    names: alias.names.clone(),
                })
                .collect(),
            sysctls: pod.sysctls.clone().into_iter().collect(),
            fs_group: pod.fs_group,
            credentials: pod
                .credentials
                .iter()
                .map(|credentials| runtime::RegistryCredentials {
                    registry: credentials.registry.clone(),
                    username: credentials.username.clone(),
                    password: credentials.password.expose().to_owned(),
                    identity_token: credentials.identity_token.expose().to_owned(),
                    registry_token: credentials.registry_token.expose().to_owned(),
                })
                .collect(),
            source: pod.source.clone(),
        }
    }
}

impl From<&Volume> for api::Volume {
    fn from(volume: &Volume) -> api::Volume {
        use api::volume::Source;
        let source = match &volume.source {
            VolumeSource::EmptyDirectory { memory, size_limit } => {
                Source::EmptyDirectory(api::EmptyDirectory {
                    memory: *memory,
                    size_limit_bytes: *size_limit,
                })
            }
            VolumeSource::HostPath { path, kind } => Source::HostPath(api::HostPath {
                path: path.clone(),
                r#type: host_path_type(*kind).into(),
            }),
            VolumeSource::Files(files) => Source::Files(files.into()),
        };
        api::Volume {
            name: volume.name.to_string(),
            source: Some(source),
        }
    }
}

fn host_path_type(kind: HostPathType) -> api::HostPathType {
    match kind {
        HostPathType::Unchecked => api::HostPathType::Unspecified,
        HostPathType::DirectoryOrCreate => api::HostPathType::DirectoryOrCreate,
        HostPathType::Directory => api::HostPathType::Directory,
        HostPathType::FileOrCreate => api::HostPathType::FileOrCreate,
        HostPathType::File => api::HostPathType::File,
        HostPathType::Socket => api::HostPathType::Socket,
        HostPathType::CharacterDevice => api::HostPathType::CharacterDevice,
        HostPathType::BlockDevice => api::HostPathType::BlockDevice,
    }
}

impl From<&Files> for api::Files {
    fn from(files: &Files) -> api::Files {
        let file = |file: &File| api::File {
            path: file.path.clone(),
            content: file.content.expose().to_vec().into(),
            mode: file.mode,
            owner: file.owner,
        };
        api::Files {
            files: files.files.iter().map(file).collect(),
            sensitive: files.sensitive,
        }
    }
}

impl From<&Container> for runtime::Container {
    fn from(container: &Container) -> runtime::Container {
        runtime::Container {
            name: container.name.to_string(),
            image: container.image.clone(),
            image_pull_policy: match container.pull_policy {
                PullPolicy::Always => runtime::ImagePullPolicy::Always,
                PullPolicy::IfNotPresent => runtime::ImagePullPolicy::IfNotPresent,
                PullPolicy::Never => runtime::ImagePullPolicy::Never,
            }
            .into(),
            command: container.command.clone(),
            args: container.args.clone(),
            working_directory: container.working_directory.clone().unwrap_or_default(),
            env: container.env.iter().map(Into::into).collect(),
            mounts: container.mounts.iter().map(Into::into).collect(),
            resources: Some(runtime::Resources {
                cpu_request_millicores: container.resources.cpu_request,
                cpu_limit_millicores: container.resources.cpu_limit,
                memory_request_bytes: container.resources.memory_request,
                memory_limit_bytes: container.resources.memory_limit,
                pids_limit: container.resources.pids_limit,
            }),
            security: Some((&container.security).into()),
            tty: container.tty,
            stdin: container.stdin,
            stdin_once: container.stdin_once,
            termination_message_path: container.termination_message_path.clone(),
            termination_message_policy: match container.termination_message_policy {
                TerminationMessagePolicy::File => runtime::TerminationMessagePolicy::Unspecified,
                TerminationMessagePolicy::FallbackToLogsOnError => {
                    runtime::TerminationMessagePolicy::FallbackToLogsOnError
                }
            }
            .into(),
            ports: container.ports.iter().map(Into::into).collect(),
            restart_policy: if container.sidecar {
                runtime::RestartPolicy::Always
            } else {
                runtime::RestartPolicy::Unspecified
            }
            .into(),
            startup_probe: container.startup_probe.as_ref().map(Into::into),
            readiness_probe: container.readiness_probe.as_ref().map(Into::into),
            liveness_probe: container.liveness_probe.as_ref().map(Into::into),
            post_start: container.post_start.as_ref().map(Into::into),
            pre_stop: container.pre_stop.as_ref().map(Into::into),
        }
    }
}

impl From<&EnvironmentVariable> for runtime::EnvironmentVariable {
    fn from(variable: &EnvironmentVariable) -> runtime::EnvironmentVariable {
        use runtime::environment_variable::Source;
        let source = match &variable.source {
            EnvironmentSource::Value(value) => Source::Value(value.expose().to_owned()),
            EnvironmentSource::Template(value) => Source::Template(value.expose().to_owned()),
            EnvironmentSource::Field(PodField::Address) => Source::Field(runtime::PodField::Address.into()),
            EnvironmentSource::Field(PodField::Addresses) => {
                Source::Field(runtime::PodField::Addresses.into())
            }
        };
        runtime::EnvironmentVariable {
            name: variable.name.clone(),
            sensitive: variable.sensitive,
            source: Some(source),
        }
    }
}

impl From<&VolumeMount> for runtime::VolumeMount {
    fn from(mount: &VolumeMount) -> runtime::VolumeMount {
        runtime::VolumeMount {
            volume: mount.volume.to_string(),
            path: mount.path.clone(),
            read_only: mount.read_only,
            sub_path: mount.sub_path.clone().unwrap_or_default(),
            propagation: match mount.propagation {
                MountPropagation::Private => runtime::MountPropagation::Unspecified,
                MountPropagation::HostToContainer => runtime::MountPropagation::HostToContainer,
                MountPropagation::Bidirectional => runtime::MountPropagation::Bidirectional,
            }
            .into(),
        }
    }
}

impl From<&Security> for runtime::SecurityContext {
    fn from(security: &Security) -> runtime::SecurityContext {
        runtime::SecurityContext {
            run_as_user: security.run_as_user,
            run_as_group: security.run_as_group,
            run_as_non_root: security.run_as_non_root,
            supplemental_groups: security.supplemental_groups.clone(),
            add_capabilities: security.add_capabilities.clone(),
            drop_capabilities: security.drop_capabilities.clone(),
            privileged: security.privileged,
            read_only_root: security.read_only_root,
            no_new_privileges: security.no_new_privileges,
            seccomp: match security.seccomp {
                Seccomp::Default => runtime::SeccompProfile::Unspecified,
                Seccomp::Unconfined => runtime::SeccompProfile::Unconfined,
            }
            .into(),
            unmasked_proc: security.unmasked_proc,
        }
    }
}

impl From<&Port> for runtime::Port {
    fn from(port: &Port) -> runtime::Port {
        runtime::Port {
            name: port.name.clone(),
            container_port: port.container_port.into(),
            host_port: port.host_port.unwrap_or(0).into(),
            host_address: port
                .host_address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            protocol: match port.protocol {
                Protocol::Tcp => runtime::Protocol::Unspecified,
                Protocol::Udp => runtime::Protocol::Udp,
                Protocol::Sctp => runtime::Protocol::Sctp,
            }
            .into(),
        }
    }
}

impl From<&Probe> for runtime::Probe {
    fn from(probe: &Probe) -> runtime::Probe {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        runtime::Probe {
            handler: Some((&probe.handler).into()),
            initial_delay_seconds: seconds(probe.initial_delay),
            timeout_seconds: seconds(probe.timeout),
            period_seconds: seconds(probe.period),
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            termination_grace_seconds: probe.termination_grace.map(|grace| grace.as_secs()),
        }
    }
}

impl From<&Handler> for runtime::Handler {
    fn from(handler: &Handler) -> runtime::Handler {
        use runtime::handler::Action;
        let action = match handler {
            Handler::Exec { command } => Action::Exec(runtime::ExecAction {
                command: command.clone(),
            }),
            Handler::Http(get) => Action::HttpGet(runtime::HttpGetAction {
                host: get.host.clone().unwrap_or_default(),
                port: get.port.into(),
                path: get.path.clone(),
                https: get.https,
                headers: get
                    .headers
                    .iter()
                    .map(|(name, value)| runtime::HttpHeader {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            }),
            Handler::Tcp { host, port } => Action::TcpSocket(runtime::TcpSocketAction {
                host: host.clone().unwrap_or_default(),
                port: (*port).into(),
            }),
            Handler::Sleep(duration) => Action::Sleep(runtime::SleepAction {
                seconds: duration.as_secs(),
            }),
        };
        runtime::Handler { action: Some(action) }
    }
}
