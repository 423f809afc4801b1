//! Who to be at a registry.

use auraed_api::runtime::v0::RegistryCredentials;
use cri_api::v1::AuthConfig;

use super::Refused;
use crate::pod::credentials::{host_and_path, user_and_password};

/// None where nothing is given.
///
/// # Errors
/// [`Refused`] for an `auth` that is not base64 of name and password; what it holds is not told.
pub fn credentials(auth: &AuthConfig) -> Result<Option<RegistryCredentials>, Refused> {
    let mut refused = Refused::default();
    let AuthConfig {
        username,
        password,
        auth,
        server_address,
        identity_token,
        registry_token,
    } = auth;
    let (mut username, mut password) = (username.clone(), password.clone());
    if username.is_empty() && !auth.is_empty() {
        match user_and_password(auth) {
            Ok(both) => (username, password) = both,
            Err(reason) => refused.add("auth.auth", reason),
        }
    }
    let nothing = username.is_empty() && identity_token.is_empty() && registry_token.is_empty();
    refused.unless((!nothing).then(|| RegistryCredentials {
        registry: host_and_path(server_address),
        username,
        password,
        identity_token: identity_token.clone(),
        registry_token: registry_token.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_nobody() {
        assert_eq!(credentials(&AuthConfig::default()), Ok(None));
        let address = AuthConfig {
            server_address: "registry.example".into(),
            ..AuthConfig::default()
        };
        assert_eq!(credentials(&address), Ok(None));
    }

    #[test]
    fn auth_holds_name_and_password() {
        let auth = AuthConfig {
            auth: "dXNlcjpwYXNz".into(),
            server_address: "https://registry.example/v1/".into(),
            ..AuthConfig::default()
        };
        let found = credentials(&auth).unwrap().unwrap();
        assert_eq!(
            (
                found.registry.as_str(),
                found.username.as_str(),
                found.password.as_str()
            ),
            ("registry.example", "user", "pass")
        );
    }

    #[test]
    fn what_is_wrong_is_not_shown() {
        let auth = AuthConfig {
            auth: "not base64!".into(),
            password: "hunter2".into(),
            ..AuthConfig::default()
        };
        let error = credentials(&auth).unwrap_err().to_string();
        assert_eq!(error, "auth.auth: an auth field is not base64");
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
