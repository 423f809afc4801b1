//! Who to be at a registry: the credentials that a caller gives, and those of a docker `config.json`.
//!
//! Matching is the kubelet's: host labels may hold `*`, ports must be equal, a path must be a beginning of the
//! repository's, and longer ones come first. All that match are tried, one after another, until the registry takes one.

mod docker_config;

use std::fmt;

pub(crate) use docker_config::{DockerConfigError, read as read_docker_config};

/// Credentials for one registry, or for a part of it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `host[:port][/path]` as in a docker `config.json`; labels of the host may hold `*`. Empty fits every registry.
    pub registry: String,
    /// With `password`.
    pub username: String,
    /// With `username`.
    pub password: String,
    /// An OAuth2 refresh token; wins over name and password where it is not empty.
    pub identity_token: String,
    /// Given to the registry as it is, as a bearer token; wins over all others where it is not empty.
    pub registry_token: String,
}

/// What one credential proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Password {
        username: String,
        password: String,
    },
    /// Exchanged for an access token at the registry's token service.
    IdentityToken(String),
    /// Given to the registry as it is.
    RegistryToken(String),
}

/// A secret and where it may be used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) registry: String,
    pub(crate) secret: Secret,
}

impl From<&Credentials> for Option<Entry> {
    fn from(credentials: &Credentials) -> Option<Entry> {
        let secret = if !credentials.registry_token.is_empty() {
            Secret::RegistryToken(credentials.registry_token.clone())
        } else if !credentials.identity_token.is_empty() {
            Secret::IdentityToken(credentials.identity_token.clone())
        } else if !credentials.username.is_empty() {
            let (username, password) = (credentials.username.clone(), credentials.password.clone());
            Secret::Password { username, password }
        } else {
            return None;
        };
        Some(Entry {
            registry: credentials.registry.clone(),
            secret,
        })
    }
}

/// The secrets for a repository in the order to try them: those given first, and of each list the longest match first.
pub(crate) fn matching(lists: &[&[Entry]], host: &str, repository: &str) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for list in lists {
        let mut entries: Vec<_> = list
            .iter()
            .filter(|entry| fits(&entry.registry, host, repository))
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(normalize(&entry.registry).len()));
        for entry in entries {
            if !secrets.contains(&entry.secret) {
                secrets.push(entry.secret.clone());
            }
        }
    }
    secrets
}

fn fits(pattern: &str, host: &str, repository: &str) -> bool {
    let pattern = normalize(pattern);
    if pattern.is_empty() {
        return true;
    }
    let (pattern_host, pattern_path) = pattern.split_once('/').unwrap_or((&pattern, ""));
    host_fits(pattern_host, &normalize(host)) && path_fits(pattern_path, repository)
}

/// Drops the scheme, the API version that docker writes into its keys, and docker.io's other names.
fn normalize(registry: &str) -> String {
    let rest = registry
        .strip_prefix("https://")
        .or_else(|| registry.strip_prefix("http://"))
        .unwrap_or(registry);
    let rest = rest.trim_end_matches('/');
    let rest = rest
        .strip_suffix("/v1")
        .or_else(|| rest.strip_suffix("/v2"))
        .unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    if path.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern_name, pattern_port) = split_port(pattern);
    let (name, port) = split_port(host);
    pattern_port == port
        && pattern_name.split('.').count() == name.split('.').count()
        && pattern_name
            .split('.')
            .zip(name.split('.'))
            .all(|(pattern, label)| label_fits(pattern, label))
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

/// `*` stands for any run of characters of one label.
fn label_fits(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern.eq_ignore_ascii_case(label);
    };
    let Some(mut label) = label.strip_prefix(start) else {
        return false;
    };
    let mut pieces: Vec<_> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match label.split_once(piece) {
            Some((_, rest)) => label = rest,
            None => return false,
        }
    }
    label.ends_with(end)
}

fn path_fits(pattern: &str, repository: &str) -> bool {
    repository
        .strip_prefix(pattern)
        .is_some_and(|rest| pattern.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Secret::Password { .. } => "Password",
            Secret::IdentityToken(_) => "IdentityToken",
            Secret::RegistryToken(_) => "RegistryToken",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(registry: &str) -> Entry {
        let secret = Secret::Password {
            username: registry.to_owned(),
            password: String::new(),
        };
        Entry {
            registry: registry.to_owned(),
            secret,
        }
    }

    fn users(given: &[&str], configured: &[&str], host: &str, repository: &str) -> Vec<String> {
        let given: Vec<_> = given.iter().map(|registry| entry(registry)).collect();
        let configured: Vec<_> = configured.iter().map(|registry| entry(registry)).collect();
        let secrets = matching(&[&given, &configured], host, repository);
        let name = |secret| match secret {
            Secret::Password { username, .. } => username,
            Secret::IdentityToken(token) | Secret::RegistryToken(token) => token,
        };
        secrets.into_iter().map(name).collect()
    }

    #[test]
    fn the_longest_match_comes_first_and_given_ones_before_configured_ones() {
        let given = [
            "",
            "example.com",
            "example.com/team/app",
            "example.com/team",
            "other.com",
        ];
        let configured = ["example.com/team/app/deep", "https://example.com/v1/"];
        assert_eq!(
            users(&given, &configured, "example.com", "team/app"),
            [
                "example.com/team/app",
                "example.com/team",
                "example.com",
                "",
                "https://example.com/v1/"
            ]
        );
    }

    #[test]
    fn docker_keys_and_wildcards_match() {
        for (pattern, host, fit) in [
            ("https://index.docker.io/v1/", "docker.io", true),
            ("registry-1.docker.io", "docker.io", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("a*c.example.com", "abbc.example.com", true),
            ("a*c.example.com", "abbd.example.com", false),
            ("127.0.0.1:5000", "127.0.0.1:5000", true),
            ("127.0.0.1:5000", "127.0.0.1:5001", false),
            ("127.0.0.1", "127.0.0.1:5000", false),
            ("EXAMPLE.com", "example.com", true),
        ] {
            assert_eq!(fits(pattern, host, "a/b"), fit, "{pattern} {host}");
        }
        assert!(!fits("example.com/te", "example.com", "team/app"));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = Credentials {
            password: "hunter2".into(),
            identity_token: "hunter2".into(),
            registry_token: "hunter2".into(),
            ..Credentials::default()
        };
        let entry: Option<Entry> = (&credentials).into();
        assert!(!format!("{credentials:?}{:?}", entry.map(|entry| entry.secret)).contains("hunter2"));
    }
}
