//! The tables against the interface's descriptors, and against what is done.

use std::path::Path;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

use super::super::{Refused, container, credentials, node, sandbox};
use super::*;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(cri_api::DESCRIPTORS).unwrap()
}

fn descriptor(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    pool.get_message_by_name(&format!("runtime.v1.{name}")).unwrap()
}

const ROOTS: [&Message; 5] = [
    &POD_SANDBOX_CONFIG,
    &CONTAINER_CONFIG,
    &PULLED_IMAGE,
    &AUTH_CONFIG,
    &RUNTIME_CONFIG,
];

#[test]
fn every_field_of_the_interface_is_listed() {
    let pool = pool();
    let mut problems = Vec::new();
    for root in ROOTS {
        compare(root, &descriptor(&pool, root.name), &mut problems);
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

fn compare(of: &Message, real: &MessageDescriptor, problems: &mut Vec<String>) {
    let listed: Vec<_> = of.fields.iter().map(|field| field.name).collect();
    let fields: Vec<_> = real.fields().map(|field| field.name().to_owned()).collect();
    for name in fields.iter().filter(|name| !listed.contains(&name.as_str())) {
        problems.push(format!("{}.{name} is not listed", of.title()));
    }
    for field in of.fields {
        let Some(descriptor) = real.get_field_by_name(field.name) else {
            problems.push(format!("{}.{} does not exist", of.title(), field.name));
            continue;
        };
        let message = match descriptor.kind() {
            Kind::Message(message) if !descriptor.is_map() => Some(message),
            _ => None,
        };
        match (message, field.of, field.verdict) {
            (Some(message), Some(of), _) if message.name() == of.name => {
                compare(of, &message, problems);
            }
            (Some(message), of, Verdict::Mapped(_)) => problems.push(format!(
                "the fields of {}.{} are those of {}, not of {of:?}",
                real.name(),
                field.name,
                message.name()
            )),
            _ => {}
        }
    }
}

type Reached = (
    aurae::SandboxSpec,
    aurae::ContainerSpec,
    aurae::PullImageRequest,
    Option<aurae::AssignPodSubnetsRequest>,
);

/// What is asked for, so that each field can be set alone.
#[derive(Clone)]
struct Asked {
    sandbox: cri::PodSandboxConfig,
    container: cri::ContainerConfig,
    pulled: cri::ImageSpec,
    auth: cri::AuthConfig,
    runtime: cri::RuntimeConfig,
}

impl Asked {
    /// The least that is taken, with one of everything that there may be several of.
    fn least() -> Asked {
        Asked {
            sandbox: cri::PodSandboxConfig {
                metadata: Some(cri::PodSandboxMetadata {
                    name: "p".into(),
                    ..Default::default()
                }),
                port_mappings: vec![cri::PortMapping::default()],
                log_directory: "/logs".into(),
                ..Default::default()
            },
            container: cri::ContainerConfig {
                metadata: Some(cri::ContainerMetadata {
                    name: "c".into(),
                    ..Default::default()
                }),
                image: Some(cri::ImageSpec {
                    image: "i".into(),
                    ..Default::default()
                }),
                envs: vec![cri::KeyValue::default()],
                mounts: vec![cri::Mount {
                    host_path: "/m".into(),
                    ..Default::default()
                }],
                devices: vec![cri::Device::default()],
                cdi_devices: vec![cri::CdiDevice::default()],
                ..Default::default()
            },
            pulled: cri::ImageSpec::default(),
            auth: cri::AuthConfig {
                username: "u".into(),
                ..Default::default()
            },
            runtime: cri::RuntimeConfig::default(),
        }
    }

    fn root(&self, root: &Message, pool: &DescriptorPool) -> DynamicMessage {
        let bytes = match (root.name, root.place) {
            ("PodSandboxConfig", _) => self.sandbox.encode_to_vec(),
            ("ContainerConfig", _) => self.container.encode_to_vec(),
            ("AuthConfig", _) => self.auth.encode_to_vec(),
            ("RuntimeConfig", _) => self.runtime.encode_to_vec(),
            _ => self.pulled.encode_to_vec(),
        };
        DynamicMessage::decode(descriptor(pool, root.name), bytes.as_slice()).unwrap()
    }

    fn with(&self, root: &Message, message: &DynamicMessage) -> Asked {
        let mut asked = self.clone();
        match (root.name, root.place) {
            ("PodSandboxConfig", _) => asked.sandbox = message.transcode_to().unwrap(),
            ("ContainerConfig", _) => asked.container = message.transcode_to().unwrap(),
            ("AuthConfig", _) => asked.auth = message.transcode_to().unwrap(),
            ("RuntimeConfig", _) => asked.runtime = message.transcode_to().unwrap(),
            _ => asked.pulled = message.transcode_to().unwrap(),
        }
        asked
    }

    /// All that reaches auraed.
    fn reaches(&self) -> Result<Reached, Refused> {
        let sandbox = sandbox::spec(&self.sandbox, "")?;
        let container = container::spec("s", &self.container, &self.sandbox)?;
        let pull = aurae::PullImageRequest {
            reference: self.pulled.image.clone(),
            credentials: credentials(&self.auth)?.into_iter().collect(),
        };
        Ok((sandbox, container, pull, node::pod_subnets(&self.runtime)))
    }
}

/// Fields that mean something only beside others, with what has to be there first; and values that are not the first
/// that comes to mind.
fn prepare(path: &str, asked: &mut Asked) -> Option<Value> {
    let mount = &mut asked.container.mounts[0];
    let options = |asked: &mut Asked| {
        let linux = asked.container.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().pid = cri::NamespaceMode::Target as i32;
        security.namespace_options.get_or_insert_default().target_id = "t".into();
    };
    match path {
        "ContainerConfig.mounts.recursive_read_only" => mount.readonly = true,
        "ContainerConfig.mounts.image_sub_path" => {
            mount.host_path.clear();
            mount.image.get_or_insert_default().image = "i".into();
        }
        _ if path.starts_with("ContainerConfig.mounts.image.") => {
            mount.host_path.clear();
            mount.image.get_or_insert_default().image = "j".into();
        }
        "ContainerConfig.linux.security_context.namespace_options.target_id" => options(asked),
        "ContainerConfig.linux.security_context.seccomp.localhost_ref"
        | "ContainerConfig.linux.security_context.apparmor.localhost_ref" => {
            let linux = asked.container.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            let profile = cri::SecurityProfile {
                profile_type: cri::security_profile::ProfileType::Localhost as i32,
                localhost_ref: "p".into(),
            };
            security.seccomp = Some(profile.clone());
            security.apparmor = Some(profile);
        }
        "ContainerConfig.linux.security_context.seccomp.profile_type"
        | "ContainerConfig.linux.security_context.apparmor.profile_type" => {
            let linux = asked.container.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            security.seccomp = Some(cri::SecurityProfile::default());
            security.apparmor = Some(cri::SecurityProfile::default());
        }
        "ContainerConfig.linux.security_context.run_as_group.value" => {
            let linux = asked.container.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            security.run_as_user = Some(cri::Int64Value { value: 1 });
        }
        "ContainerConfig.linux.security_context.seccomp_profile_path" => {
            return Some(Value::String("runtime/default".into()));
        }
        "ContainerConfig.linux.security_context.apparmor_profile" => {
            return Some(Value::String("unconfined".into()));
        }
        "ContainerConfig.devices.permissions" => return Some(Value::String("rw".into())),
        "ContainerConfig.log_path" => return Some(Value::String("c/0.log".into())),
        "PodSandboxConfig.log_directory" => return Some(Value::String("/other".into())),
        "PodSandboxConfig.port_mappings.host_ip" => return Some(Value::String("127.0.0.1".into())),
        "AuthConfig.auth" => {
            asked.auth.username.clear();
            return Some(Value::String("dTpw".into()));
        }
        "AuthConfig.identity_token" | "AuthConfig.registry_token" => asked.auth.username.clear(),
        "PodSandboxConfig.linux.security_context.namespace_options.network" => {
            return Some(Value::EnumNumber(cri::NamespaceMode::Node as i32));
        }
        _ if path.ends_with("userns_options.mode") => {
            let with_ids = || cri::NamespaceOption {
                userns_options: Some(cri::UserNamespace {
                    uids: vec![cri::IdMapping::default()],
                    ..Default::default()
                }),
                ..Default::default()
            };
            let linux = asked.container.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().namespace_options = Some(with_ids());
            let linux = asked.sandbox.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().namespace_options = Some(with_ids());
            return Some(Value::EnumNumber(cri::NamespaceMode::Node as i32));
        }
        _ => {}
    }
    None
}

/// Calls `check` with each path of fields from a root to one that has no table of its own.
fn each(of: &'static Message, path: &mut Vec<&'static Field>, check: &mut dyn FnMut(&[&'static Field])) {
    for field in of.fields {
        path.push(field);
        match field.of {
            Some(of) => each(of, path, check),
            None => check(path),
        }
        path.pop();
    }
}

/// Sets the field at the end of a path, making what is not there yet.
fn set(message: &mut DynamicMessage, path: &[&'static Field], given: Option<Value>) {
    let (first, rest) = path.split_first().unwrap();
    let field = message.descriptor().get_field_by_name(first.name).unwrap();
    if rest.is_empty() {
        let one = given.unwrap_or_else(|| sample(&field.kind()));
        let value = if field.is_map() {
            Value::Map([(MapKey::String("k".into()), Value::String("v".into()))].into())
        } else if field.is_list() {
            Value::List(vec![one])
        } else {
            one
        };
        message.set_field(&field, value);
        return;
    }
    let Kind::Message(of) = field.kind() else {
        panic!("{} has no fields", first.name);
    };
    let mut element = match message.get_field(&field).into_owned() {
        Value::List(elements) => elements.first().cloned(),
        value if message.has_field(&field) => Some(value),
        _ => None,
    }
    .unwrap_or_else(|| Value::Message(DynamicMessage::new(of)));
    if let Value::Message(element) = &mut element {
        set(element, rest, given);
    }
    let value = if field.is_list() {
        Value::List(vec![element])
    } else {
        element
    };
    message.set_field(&field, value);
}

/// A value that is not the one of an absent field.
fn sample(kind: &Kind) -> Value {
    match kind {
        Kind::String => Value::String("sample".into()),
        Kind::Bytes => Value::Bytes(b"sample".to_vec().into()),
        Kind::Bool => Value::Bool(true),
        Kind::Int32 => Value::I32(7),
        Kind::Int64 => Value::I64(7),
        Kind::Uint32 => Value::U32(7),
        Kind::Uint64 => Value::U64(7),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Message(of) => Value::Message(DynamicMessage::new(of.clone())),
        other => panic!("no sample of {other:?}"),
    }
}

#[test]
fn what_is_said_of_a_field_is_done() {
    let pool = pool();
    let mut count = 0;
    for root in ROOTS {
        each(root, &mut Vec::new(), &mut |path| {
            count += 1;
            let names: Vec<_> = path.iter().map(|field| field.name).collect();
            let shown = format!("{}.{}", root.name, names.join("."));
            let mut before = Asked::least();
            let given = prepare(&shown, &mut before);
            let mut message = before.root(root, &pool);
            set(&mut message, path, given);
            let after = before.with(root, &message).reaches();
            let before = before
                .reaches()
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            match path.last().unwrap().verdict {
                Verdict::Mapped(_) => {
                    let after = after.unwrap_or_else(|error| panic!("{shown}: {error}"));
                    assert_ne!(after, before, "{shown} is dropped");
                }
                Verdict::Ignored(_) => {
                    let after = after.unwrap_or_else(|error| panic!("{shown}: {error}"));
                    assert_eq!(after, before, "{shown} is not ignored");
                }
                Verdict::Refused(_) => {
                    let refused = after.expect_err(&shown);
                    let last = format!(".{}", names[names.len() - 1]);
                    assert!(
                        refused.fields.iter().any(|one| one.field.ends_with(&last)),
                        "{shown}: {refused}"
                    );
                }
            }
        });
    }
    assert!(count > 100, "{count} fields");
}

/// Values at the ends of what a field can hold.
fn extremes(kind: &Kind) -> Vec<Value> {
    let text = [
        "",
        "/",
        "..",
        "/../..",
        "\0",
        "localhost/",
        "ü\u{202e}",
        "-1",
        "9".repeat(400).as_str(),
    ]
    .map(|text| Value::String(text.to_owned()));
    match kind {
        Kind::String => text.to_vec(),
        Kind::Bytes => vec![Value::Bytes(vec![0xff, 0].into())],
        Kind::Bool => vec![Value::Bool(false)],
        Kind::Int32 => vec![Value::I32(i32::MIN), Value::I32(-1), Value::I32(i32::MAX)],
        Kind::Int64 => vec![Value::I64(i64::MIN), Value::I64(-1), Value::I64(i64::MAX)],
        Kind::Uint32 => vec![Value::U32(0), Value::U32(u32::MAX)],
        Kind::Uint64 => vec![Value::U64(0), Value::U64(u64::MAX)],
        Kind::Enum(_) => vec![Value::EnumNumber(-1), Value::EnumNumber(99)],
        _ => Vec::new(),
    }
}

/// A request is taken or refused with its field; whatever it holds, it is no reason to fall over.
#[test]
fn extreme_values_are_taken_or_refused() {
    let pool = pool();
    let mut refused = 0;
    for root in ROOTS {
        each(root, &mut Vec::new(), &mut |path| {
            let names: Vec<_> = path.iter().map(|field| field.name).collect();
            let shown = format!("{}.{}", root.name, names.join("."));
            let mut asked = Asked::least();
            prepare(&shown, &mut asked);
            let mut message = asked.root(root, &pool);
            let kind = last_kind(&message.descriptor(), path);
            for value in extremes(&kind) {
                set(&mut message, path, Some(value));
                if let Err(error) = asked.with(root, &message).reaches() {
                    assert!(!error.fields.is_empty() && !error.to_string().is_empty());
                    refused += 1;
                }
            }
        });
    }
    assert!(refused > 20, "{refused}");
}

fn last_kind(of: &MessageDescriptor, path: &[&'static Field]) -> Kind {
    let (first, rest) = path.split_first().unwrap();
    let kind = of.get_field_by_name(first.name).unwrap().kind();
    match &kind {
        Kind::Message(of) if !rest.is_empty() => last_kind(of, rest),
        _ => kind,
    }
}

#[test]
fn the_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coverage-cri.md");
    if std::env::var_os("AURAE_UPDATE").is_some() {
        fs_err::write(&path, document()).unwrap();
    }
    let page = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(
        page == document(),
        "docs/coverage-cri.md is stale: AURAE_UPDATE=1 cargo test -p translation cri"
    );
}
