//! A container: what is asked for, and how it is.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::{Refused, id, resources, sandbox, signal};

mod mounts;
mod security;
mod status;

pub(super) use status::metadata;
pub use status::{info, item, status};

/// What auraed is asked for, in the sandbox with this (whole) id.
///
/// # Errors
/// [`Refused`], with fields below `config` and `sandbox_config`.
pub fn spec(
    sandbox: &str,
    config: &cri::ContainerConfig,
    sandbox_config: &cri::PodSandboxConfig,
) -> Result<aurae::ContainerSpec, Refused> {
    let mut refused = Refused::default();
    let metadata = config.metadata.clone().unwrap_or_default();
    if metadata.name.is_empty() {
        refused.add("config.metadata.name", "must not be empty");
    }
    let image = config.image.clone().unwrap_or_default();
    if image.image.is_empty() {
        refused.add("config.image.image", "must not be empty");
    }
    if config.windows.is_some() {
        refused.add("config.windows", "this node is not a Windows node");
    }
    let linux = config.linux.clone().unwrap_or_default();
    let stop_signal = signal::name(config.stop_signal).unwrap_or_else(|| {
        refused.add("config.stop_signal", "unknown signal");
        String::new()
    });
    let spec = aurae::ContainerSpec {
        id: id::container(sandbox, &metadata),
        sandbox: sandbox.to_owned(),
        name: metadata.name,
        attempt: metadata.attempt,
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        image: image.image,
        image_shown: image.user_specified_image,
        command: config.command.clone(),
        args: config.args.clone(),
        working_directory: config.working_dir.clone(),
        env: environment(&config.envs, &mut refused),
        mounts: mounts::translate(&config.mounts, &mut refused),
        devices: devices(&config.devices, &mut refused),
        cdi_devices: config
            .cdi_devices
            .iter()
            .map(|device| device.name.clone())
            .collect(),
        log_path: log_path(&sandbox_config.log_directory, &config.log_path, &mut refused),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        resources: linux
            .resources
            .as_ref()
            .map(|given| resources::initial(given, "config.linux.resources", &mut refused)),
        security: Some(security::translate(
            linux.security_context.unwrap_or_default(),
            &mut refused,
        )),
        stop_signal,
    };
    refused.unless(spec)
}

/// Values are bytes in the CRI; a program gets them by a text.
fn environment(variables: &[cri::KeyValue], refused: &mut Refused) -> Vec<aurae::KeyValue> {
    let mut environment = Vec::with_capacity(variables.len());
    for (index, variable) in variables.iter().enumerate() {
        match String::from_utf8(variable.value.clone()) {
            Ok(value) => environment.push(aurae::KeyValue {
                name: variable.key.clone(),
                value,
            }),
            // The value itself may be a secret.
            Err(_) => refused.add(format!("config.envs[{index}].value"), "must be UTF-8"),
        }
    }
    environment
}

fn devices(devices: &[cri::Device], refused: &mut Refused) -> Vec<aurae::ContainerDevice> {
    for (index, device) in devices.iter().enumerate() {
        let permissions = &device.permissions;
        if permissions.chars().any(|one| !"rwm".contains(one)) {
            refused.add(
                format!("config.devices[{index}].permissions"),
                format!("{permissions:?} holds more than r, w and m"),
            );
        }
    }
    let translate = |device: &cri::Device| aurae::ContainerDevice {
        host_path: device.host_path.clone(),
        container_path: device.container_path.clone(),
        permissions: device.permissions.clone(),
    };
    devices.iter().map(translate).collect()
}

/// Below the sandbox's directory, whatever the container says. Without either there is no log.
fn log_path(directory: &str, path: &str, refused: &mut Refused) -> String {
    sandbox::check_directory(directory, "sandbox_config.log_directory", refused);
    if sandbox::leads_up(path) {
        refused.add(
            "config.log_path",
            format!("{path:?} must stay below the sandbox's log_directory"),
        );
    }
    if directory.is_empty() || path.is_empty() {
        return String::new();
    }
    format!(
        "{}/{}",
        directory.trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_stay_below_the_sandboxs_directory() {
        let mut refused = Refused::default();
        assert_eq!(
            log_path("/var/log/pods/a/", "main/0.log", &mut refused),
            "/var/log/pods/a/main/0.log"
        );
        assert_eq!(
            log_path("/var/log/pods/a", "/etc/passwd", &mut refused),
            "/var/log/pods/a/etc/passwd"
        );
        assert_eq!(log_path("", "main/0.log", &mut refused), "");
        assert_eq!(log_path("/var/log/pods/a", "", &mut refused), "");
        assert_eq!(refused, Refused::default());
        log_path("/var/log/pods/a", "main/../../b/0.log", &mut refused);
        log_path("relative", "0.log", &mut refused);
        let fields: Vec<_> = refused.fields.into_iter().map(|one| one.field).collect();
        assert_eq!(fields, ["config.log_path", "sandbox_config.log_directory"]);
    }

    #[test]
    fn a_refused_value_is_not_told() {
        let variable = cri::KeyValue {
            key: "TOKEN".into(),
            value: b"secret\xff".to_vec(),
        };
        let mut refused = Refused::default();
        environment(&[variable], &mut refused);
        assert_eq!(refused.to_string(), "config.envs[0].value: must be UTF-8");
    }
}
