//! From the wire message to a [`Container`].

use std::collections::BTreeSet;
use std::time::Duration;

use auraed_api::runtime::v0 as api;

use super::decode::{check_absolute, check_relative};
use super::{
    Container, DEFAULT_TERMINATION_MESSAGE_PATH, EnvironmentSource, EnvironmentVariable, Handler, HttpGet,
    MountPropagation, PodField, Port, Probe, Protocol, PullPolicy, Resources, Seccomp, Security,
    TerminationMessagePolicy, VolumeMount,
};
use crate::id::{ContainerName, VolumeName};
use crate::invalid::Checker;
use crate::secret::Secret;

/// All of capabilities(7), Linux 6.18, without `CAP_`, and `ALL`.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

pub(super) fn container(message: api::Container, init: bool, checker: &mut Checker) -> Option<Container> {
    let name = checker.take("name", ContainerName::new(message.name));
    if message.image.is_empty() {
        checker.refuse("image", "must not be empty");
    }
    for (field, texts) in [("command", &message.command), ("args", &message.args)] {
        if texts.iter().any(|text| text.contains('\0')) {
            checker.refuse(field, "must not contain NUL");
        }
    }
    let pull_policy = pull_policy(message.image_pull_policy, &message.image, checker);
    let working_directory = Some(message.working_directory).filter(|path| !path.is_empty());
    if let Some(Err(reason)) = working_directory.as_deref().map(check_absolute) {
        checker.refuse("working_directory", reason);
    }
    let mut termination_message_path = message.termination_message_path;
    if termination_message_path.is_empty() {
        DEFAULT_TERMINATION_MESSAGE_PATH.clone_into(&mut termination_message_path);
    } else if let Err(reason) = check_absolute(&termination_message_path) {
        checker.refuse("termination_message_path", reason);
    }
    let env = environment(message.env, checker);
    let privileged = message
        .security
        .as_ref()
        .is_some_and(|security| security.privileged);
    let mounts = mounts(message.mounts, privileged, checker);
    let resources = checker.at("resources", |checker| {
        resources(message.resources.unwrap_or_default(), checker)
    });
    let security = checker.at("security", |checker| {
        security(message.security.unwrap_or_default(), checker)
    });
    let termination_message_policy =
        match api::TerminationMessagePolicy::try_from(message.termination_message_policy) {
            Ok(api::TerminationMessagePolicy::Unspecified) => TerminationMessagePolicy::File,
            Ok(api::TerminationMessagePolicy::FallbackToLogsOnError) => {
                TerminationMessagePolicy::FallbackToLogsOnError
            }
            Err(_) => {
                checker.refuse("termination_message_policy", "is not known to this node");
                TerminationMessagePolicy::File
            }
        };
    let ports = ports(message.ports, checker);
    let sidecar = sidecar(message.restart_policy, init, checker);
    let startup_probe = probe("startup_probe", message.startup_probe, true, checker);
    let readiness_probe = probe("readiness_probe", message.readiness_probe, false, checker);
    let liveness_probe = probe("liveness_probe", message.liveness_probe, true, checker);
    let post_start = hook("post_start", message.post_start, checker);
    let pre_stop = hook("pre_stop", message.pre_stop, checker);
    let container = Container {
        name: name?,
        image: message.image,
        pull_policy,
        command: message.command,
        args: message.args,
        working_directory,
        env,
        mounts,
        resources,
        security,
        tty: message.tty,
        stdin: message.stdin,
        stdin_once: message.stdin_once,
        termination_message_path,
        termination_message_policy,
        ports,
        sidecar,
        startup_probe,
        readiness_probe,
        liveness_probe,
        post_start,
        pre_stop,
    };
    if init && !container.sidecar {
        refuse_on_plain_init(&container, checker);
    }
    Some(container)
}

/// A plain init container ends by itself: nobody waits for it to be ready or stops it for its health.
fn refuse_on_plain_init(container: &Container, checker: &mut Checker) {
    let given = [
        ("startup_probe", container.startup_probe.is_some()),
        ("readiness_probe", container.readiness_probe.is_some()),
        ("liveness_probe", container.liveness_probe.is_some()),
        ("post_start", container.post_start.is_some()),
        ("pre_stop", container.pre_stop.is_some()),
    ];
    for (field, _) in given.into_iter().filter(|(_, given)| *given) {
        checker.refuse(
            field,
            "is only for containers and for init containers with restart_policy ALWAYS",
        );
    }
}

fn pull_policy(value: i32, image: &str, checker: &mut Checker) -> PullPolicy {
    match api::ImagePullPolicy::try_from(value) {
        Ok(api::ImagePullPolicy::Unspecified) => default_pull_policy(image),
        Ok(api::ImagePullPolicy::Always) => PullPolicy::Always,
        Ok(api::ImagePullPolicy::IfNotPresent) => PullPolicy::IfNotPresent,
        Ok(api::ImagePullPolicy::Never) => PullPolicy::Never,
        Err(_) => {
            checker.refuse("image_pull_policy", format!("{value} is not known to this node"));
            PullPolicy::IfNotPresent
        }
    }
}

/// Always for the tag `latest`, given or implied; a digest needs no second look.
fn default_pull_policy(image: &str) -> PullPolicy {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains('@') {
        return PullPolicy::IfNotPresent;
    }
    match last.split_once(':') {
        None | Some((_, "latest")) => PullPolicy::Always,
        Some(_) => PullPolicy::IfNotPresent,
    }
}

fn environment(messages: Vec<api::EnvironmentVariable>, checker: &mut Checker) -> Vec<EnvironmentVariable> {
    use api::environment_variable::Source;
    let mut variables = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        if message.name.is_empty() || message.name.contains(['=', '\0']) {
            checker.refuse(
                &format!("env[{index}].name"),
                "must not be empty, and have no '=' and NUL",
            );
        }
        let source = match message.source {
            None => EnvironmentSource::Value(Secret::default()),
            Some(Source::Value(value) | Source::Template(value)) if value.contains('\0') => {
                checker.refuse(&format!("env[{index}]"), "must not contain NUL");
                continue;
            }
            Some(Source::Value(value)) => EnvironmentSource::Value(Secret::new(value)),
            Some(Source::Template(value)) => EnvironmentSource::Template(Secret::new(value)),
            Some(Source::Field(field)) => match api::PodField::try_from(field) {
                Ok(api::PodField::Address) => EnvironmentSource::Field(PodField::Address),
                Ok(api::PodField::Addresses) => EnvironmentSource::Field(PodField::Addresses),
                Ok(api::PodField::Unspecified) | Err(_) => {
                    checker.refuse(
                        &format!("env[{index}].field"),
                        format!("{field} is not known to this node"),
                    );
                    continue;
                }
            },
        };
        variables.push(EnvironmentVariable {
            name: message.name,
            source,
            sensitive: message.sensitive,
        });
    }
    variables
}

fn mounts(messages: Vec<api::VolumeMount>, privileged: bool, checker: &mut Checker) -> Vec<VolumeMount> {
    let mut paths = BTreeSet::new();
    let mut mounts = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        checker.at(format!("mounts[{index}]"), |checker| {
            if let Err(reason) = check_absolute(&message.path) {
                checker.refuse("path", reason);
            } else if !paths.insert(message.path.trim_end_matches('/').to_owned()) {
                checker.refuse("path", format!("\"{}\" is mounted twice", message.path));
            }
            if let Err(reason) = check_relative(&message.sub_path) {
                checker.refuse("sub_path", reason);
            }
            let propagation = match api::MountPropagation::try_from(message.propagation) {
                Ok(api::MountPropagation::Unspecified) => MountPropagation::Private,
                Ok(api::MountPropagation::HostToContainer) => MountPropagation::HostToContainer,
                Ok(api::MountPropagation::Bidirectional) => MountPropagation::Bidirectional,
                Err(_) => {
                    checker.refuse("propagation", "is not known to this node");
                    MountPropagation::Private
                }
            };
            if propagation == MountPropagation::Bidirectional && !privileged {
                checker.refuse("propagation", "BIDIRECTIONAL is for privileged containers only");
            }
            if let Some(volume) = checker.take("volume", VolumeName::new(message.volume)) {
                let sub_path = Some(message.sub_path).filter(|path| !path.is_empty());
                let (path, read_only) = (message.path, message.read_only);
                mounts.push(VolumeMount {
                    volume,
                    path,
                    read_only,
                    sub_path,
                    propagation,
                });
            }
        });
    }
    mounts
}

fn resources(message: api::Resources, checker: &mut Checker) -> Resources {
    let pairs = [
        (
            "cpu_request_millicores",
            message.cpu_request_millicores,
            message.cpu_limit_millicores,
        ),
        (
            "memory_request_bytes",
            message.memory_request_bytes,
            message.memory_limit_bytes,
        ),
    ];
    for (field, request, limit) in pairs {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            checker.refuse(
                field,
                format!("{request} must not be more than the limit, {limit}"),
            );
        }
    }
    Resources {
        cpu_request: message.cpu_request_millicores,
        cpu_limit: message.cpu_limit_millicores,
        memory_request: message.memory_request_bytes,
        memory_limit: message.memory_limit_bytes,
        pids_limit: message.pids_limit,
    }
}

fn security(message: api::SecurityContext, checker: &mut Checker) -> Security {
    let add_capabilities = capabilities("add_capabilities", message.add_capabilities, checker);
    let drop_capabilities = capabilities("drop_capabilities", message.drop_capabilities, checker);
    let seccomp = match api::SeccompProfile::try_from(message.seccomp) {
        Ok(api::SeccompProfile::Unspecified) => Seccomp::Default,
        Ok(api::SeccompProfile::Unconfined) => Seccomp::Unconfined,
        Err(_) => {
            checker.refuse(
                "seccomp",
                format!("{} is not known to this node", message.seccomp),
            );
            Seccomp::Default
        }
    };
    Security {
        run_as_user: message.run_as_user,
        run_as_group: message.run_as_group,
        run_as_non_root: message.run_as_non_root,
        supplemental_groups: message.supplemental_groups,
        add_capabilities,
        drop_capabilities,
        privileged: message.privileged,
        read_only_root: message.read_only_root,
        no_new_privileges: message.no_new_privileges,
        seccomp,
        unmasked_proc: message.unmasked_proc,
    }
}

fn capabilities(field: &str, names: Vec<String>, checker: &mut Checker) -> Vec<String> {
    let mut parse = |(index, name): (usize, String)| {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if !CAPABILITIES.contains(&short) {
            checker.refuse(
                &format!("{field}[{index}]"),
                format!("\"{name}\" is not a capability this node knows"),
            );
        }
        short.to_owned()
    };
    names.into_iter().enumerate().map(&mut parse).collect()
}

fn ports(messages: Vec<api::Port>, checker: &mut Checker) -> Vec<Port> {
    let mut ports = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        checker.at(format!("ports[{index}]"), |checker| {
            let container_port = port_number("container_port", message.container_port, checker);
            let host_port = match message.host_port {
                0 => None,
                given => Some(port_number("host_port", given, checker)),
            };
            let host_address = match message.host_address.as_str() {
                "" => None,
                text => checker.take(
                    "host_address",
                    text.parse()
                        .map_err(|_| format!("\"{text}\" is not an IP address")),
                ),
            };
            let protocol = match api::Protocol::try_from(message.protocol) {
                Ok(api::Protocol::Unspecified) => Protocol::Tcp,
                Ok(api::Protocol::Udp) => Protocol::Udp,
                Ok(api::Protocol::Sctp) => Protocol::Sctp,
                Err(_) => {
                    checker.refuse(
                        "protocol",
                        format!("{} is not known to this node", message.protocol),
                    );
                    Protocol::Tcp
                }
            };
            ports.push(Port {
                name: message.name,
                container_port,
                host_port,
                host_address,
                protocol,
            });
        });
    }
    ports
}

fn port_number(field: &str, value: u32, checker: &mut Checker) -> u16 {
    match u16::try_from(value) {
        Ok(port) if port > 0 => port,
        _ => {
            checker.refuse(field, format!("must be between 1 and 65535, not {value}"));
            1
        }
    }
}

fn sidecar(value: i32, init: bool, checker: &mut Checker) -> bool {
    match (api::RestartPolicy::try_from(value), init) {
        (Ok(api::RestartPolicy::Unspecified), _) => false,
        (Ok(api::RestartPolicy::Always), true) => true,
        (_, true) => {
            checker.refuse("restart_policy", "must be ALWAYS or absent on an init container");
            false
        }
        (_, false) => {
            checker.refuse("restart_policy", "is only for init containers");
            false
        }
    }
}

fn probe(field: &str, message: Option<api::Probe>, once: bool, checker: &mut Checker) -> Option<Probe> {
    let message = message?;
    checker.at(field, |checker| {
        let handler = handler("handler", message.handler, checker)?;
        if matches!(handler, Handler::Sleep(_)) {
            checker.refuse("handler", "must not be sleep");
        }
        if once && message.success_threshold > 1 {
            checker.refuse("success_threshold", "must be 1");
        }
        if message.termination_grace_seconds == Some(0) {
            checker.refuse("termination_grace_seconds", "must be at least 1");
        }
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Some(Probe {
            handler,
            initial_delay: seconds(message.initial_delay_seconds),
            timeout: seconds(or(message.timeout_seconds, 1)),
            period: seconds(or(message.period_seconds, 10)),
            success_threshold: or(message.success_threshold, 1),
            failure_threshold: or(message.failure_threshold, 3),
            termination_grace: message.termination_grace_seconds.map(Duration::from_secs),
        })
    })
}

fn hook(field: &str, message: Option<api::Handler>, checker: &mut Checker) -> Option<Handler> {
    message.and_then(|message| handler(field, Some(message), checker))
}

fn handler(field: &str, message: Option<api::Handler>, checker: &mut Checker) -> Option<Handler> {
    use api::handler::Action;
    checker.at(field, |checker| {
        match message.and_then(|message| message.action) {
            Some(Action::Exec(exec)) => {
                if exec.command.is_empty() {
                    checker.refuse("exec.command", "must not be empty");
                }
                Some(Handler::Exec {
                    command: exec.command,
                })
            }
            Some(Action::HttpGet(get)) => {
                let plain = |text: &str| !text.contains(|c: char| c.is_control());
                if !get
                    .headers
                    .iter()
                    .all(|header| plain(&header.name) && plain(&header.value))
                {
                    checker.refuse("http_get.headers", "must not contain control characters");
                }
                let path = if get.path.starts_with('/') {
                    get.path
                } else {
                    format!("/{}", get.path)
                };
                Some(Handler::Http(HttpGet {
                    host: Some(get.host).filter(|host| !host.is_empty()),
                    port: port_number("http_get.port", get.port, checker),
                    path,
                    https: get.https,
                    headers: get
                        .headers
                        .into_iter()
                        .map(|header| (header.name, header.value))
                        .collect(),
                }))
            }
            Some(Action::TcpSocket(tcp)) => Some(Handler::Tcp {
                host: Some(tcp.host).filter(|host| !host.is_empty()),
                port: port_number("tcp_socket.port", tcp.port, checker),
            }),
            Some(Action::Sleep(sleep)) => Some(Handler::Sleep(Duration::from_secs(sleep.seconds))),
            None => {
                checker.refuse("", "must have an action that this node knows");
                None
            }
        }
    })
}
