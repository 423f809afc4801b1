//! Whom a container runs as, and what that may do.

use super::invalid;
use crate::runtime::sandboxes::error::SandboxError;
use crate::server::chain;
use api::SecurityProfileKind as Kind;
use auraed_api::runtime::v0 as api;
use auraed_image::ImageConfig;
use auraed_sandbox::{Capabilities, Seccomp, User, seccomp::Profile};
use std::path::Path;
use std::sync::Arc;

/// What root may do, and what others keep.
pub(super) struct Sets {
    pub(super) effective: Capabilities,
    pub(super) ambient: Capabilities,
}

pub(super) fn capabilities(security: &api::ProcessSecurity) -> Result<Sets, SandboxError> {
    let upper =
        |names: &[String]| -> Vec<String> { names.iter().map(|name| name.to_ascii_uppercase()).collect() };
    let add = upper(&security.add_capabilities);
    let drop = upper(&security.drop_capabilities);
    let ambient = upper(&security.ambient_capabilities);
    let add = [add, ambient.clone()].concat();
    let effective = Capabilities::default_with(&add, &drop)
        .map_err(|error| invalid("security.capabilities", error.to_string()))?;
    let ambient = Capabilities::default_with(&ambient, &["ALL".to_owned()])
        .map_err(|error| invalid("security.ambient_capabilities", error.to_string()))?;
    Ok(Sets { effective, ambient })
}

/// The caller's user, else the image's.
pub(super) fn user(security: &api::ProcessSecurity, image: &ImageConfig) -> User {
    let name = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(user), _) => user.to_string(),
        (None, "") => image.user.clone(),
        (None, name) => name.to_owned(),
    };
    User {
        name,
        group: security.run_as_group,
        additional_groups: security.supplemental_groups.clone(),
        strict_groups: security.strict_supplemental_groups,
    }
}

/// The filter; a profile's file is read here.
pub(super) fn seccomp(security: &api::ProcessSecurity) -> Result<Seccomp, SandboxError> {
    let profile = security.seccomp.clone().unwrap_or_default();
    match profile.kind() {
        _ if security.privileged => Ok(Seccomp::Unconfined),
        Kind::Unspecified => Ok(Seccomp::Default),
        Kind::Unconfined => Ok(Seccomp::Unconfined),
        Kind::Localhost => {
            let refused = |reason: String| invalid("security.seccomp.localhost", reason);
            let profile =
                Profile::read(Path::new(&profile.localhost)).map_err(|error| refused(chain(&error)))?;
            Ok(Seccomp::Profile(Arc::new(profile)))
        }
    }
}

/// The profile by name, if there is to be one: the node's default where none is asked for, as far as the node has one.
pub(super) fn apparmor(security: &api::ProcessSecurity) -> Option<String> {
    let profile = security.apparmor.clone().unwrap_or_default();
    match profile.kind() {
        _ if security.privileged => None,
        Kind::Unspecified => auraed_sandbox::apparmor::default_profile().map(str::to_owned),
        Kind::Unconfined => None,
        Kind::Localhost => Some(profile.localhost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_number_goes_before_its_name_and_the_images() {
        let image = ImageConfig {
            user: "web:www".into(),
            ..ImageConfig::default()
        };
        let mut security = api::ProcessSecurity::default();
        assert_eq!(user(&security, &image).name, "web:www");
        security.run_as_username = "other".into();
        assert_eq!(user(&security, &image).name, "other");
        security.run_as_user = Some(7);
        security.run_as_group = Some(8);
        let user = user(&security, &image);
        assert_eq!((user.name.as_str(), user.group), ("7", Some(8)));
    }

    #[test]
    fn capabilities_are_of_any_case_and_ambient_ones_are_had() {
        let security = api::ProcessSecurity {
            add_capabilities: vec!["net_admin".into()],
            drop_capabilities: vec!["ALL".into()],
            ambient_capabilities: vec!["Net_Raw".into()],
            ..api::ProcessSecurity::default()
        };
        let sets = capabilities(&security).unwrap();
        assert!(sets.effective.has("NET_ADMIN") && sets.effective.has("NET_RAW"));
        assert!(!sets.effective.has("CHOWN"));
        assert!(sets.ambient.has("NET_RAW") && !sets.ambient.has("NET_ADMIN"));
    }
}
