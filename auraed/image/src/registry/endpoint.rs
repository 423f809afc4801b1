//! Where a repository is served: its mirrors, then its registry.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::FetchError;
use crate::Reference;
use crate::config::RegistryConfig;

/// One place that may serve a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Ends with `/v2/`.
    pub(super) base: Url,
    /// `host[:port]` as credentials name it.
    pub(super) host: String,
    /// The repository there, with the mirror's prefix.
    pub(super) repository: String,
    /// The registry that a mirror stands in for; it is told, as one mirror may serve several.
    pub(super) stands_for: Option<String>,
    pub(super) trust: Trust,
}

/// How a place proves that it is who it should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// Plain HTTP: not at all.
    None,
    System,
    File(PathBuf),
}

/// The places for a reference, in the order to ask them.
pub(super) fn endpoints(
    configs: &[RegistryConfig],
    reference: &Reference,
) -> Result<Vec<Endpoint>, FetchError> {
    let registry = reference.registry();
    let mut endpoints = Vec::new();
    for mirror in config_of(configs, registry)
        .map(|config| config.mirrors.as_slice())
        .unwrap_or_default()
    {
        let mut endpoint = mirror_endpoint(configs, mirror, reference.repository())?;
        endpoint.stands_for = Some(registry.to_owned());
        endpoints.push(endpoint);
    }
    let (scheme, trust) = transport(configs, registry);
    let address = if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    };
    endpoints.push(Endpoint {
        base: base(scheme, address)?,
        host: registry.to_owned(),
        repository: reference.repository().to_owned(),
        stands_for: None,
        trust,
    });
    Ok(endpoints)
}

fn mirror_endpoint(
    configs: &[RegistryConfig],
    mirror: &str,
    repository: &str,
) -> Result<Endpoint, FetchError> {
    let (scheme, rest) = match mirror.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        Some(_) => {
            return Err(FetchError::Address {
                text: mirror.to_owned(),
            });
        }
        None => (None, mirror),
    };
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let (default_scheme, default_trust) = transport(configs, host);
    let (scheme, trust) = match scheme {
        Some("http") => ("http", Trust::None),
        Some(_) if default_trust == Trust::None => ("https", Trust::System),
        Some(_) => ("https", default_trust),
        None => (default_scheme, default_trust),
    };
    Ok(Endpoint {
        base: base(scheme, host)?,
        host: host.to_owned(),
        repository: if prefix.is_empty() {
            repository.to_owned()
        } else {
            format!("{prefix}/{repository}")
        },
        stands_for: None,
        trust,
    })
}

fn config_of<'a>(configs: &'a [RegistryConfig], host: &str) -> Option<&'a RegistryConfig> {
    configs.iter().find(|config| config.host == host)
}

fn transport(configs: &[RegistryConfig], host: &str) -> (&'static str, Trust) {
    let config = config_of(configs, host);
    if config
        .and_then(|config| config.plain_http)
        .unwrap_or_else(|| is_loopback(host))
    {
        return ("http", Trust::None);
    }
    match config.and_then(|config| config.ca_file.clone()) {
        Some(file) => ("https", Trust::File(file)),
        None => ("https", Trust::System),
    }
}

fn base(scheme: &str, host: &str) -> Result<Url, FetchError> {
    let bad = || FetchError::Address {
        text: host.to_owned(),
    };
    let url = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| bad())?;
    // What a host cannot hold would have become a part of something else.
    let whole = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/v2/"
        && url.query().is_none();
    if whole && !host.is_empty() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(bad())
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(configs: &[RegistryConfig], reference: &str) -> Vec<String> {
        let endpoints = endpoints(configs, &reference.parse().unwrap()).unwrap();
        endpoints
            .into_iter()
            .map(|endpoint| format!("{}{}", endpoint.base, endpoint.repository))
            .collect()
    }

    #[test]
    fn loopback_is_plain_and_everything_else_is_not() {
        for (reference, place) in [
            ("busybox", "https://registry-1.docker.io/v2/library/busybox"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a"),
            ("127.9.9.9:5000/a", "http://127.9.9.9:5000/v2/a"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a"),
            ("localhost/a", "http://localhost/v2/a"),
            ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a"),
            ("127.example.com/a", "https://127.example.com/v2/a"),
        ] {
            assert_eq!(places(&[], reference), [place]);
        }
        let tls = RegistryConfig {
            host: "127.0.0.1:5000".into(),
            plain_http: Some(false),
            ..Default::default()
        };
        assert_eq!(
            places(&[tls], "127.0.0.1:5000/a"),
            ["https://127.0.0.1:5000/v2/a"]
        );
    }

    #[test]
    fn mirrors_come_first_and_may_have_a_prefix() {
        let config = RegistryConfig {
            host: "docker.io".into(),
            mirrors: vec![
                "127.0.0.1:5000".into(),
                "https://harbor.example/proxy/".into(),
                "http://m.example".into(),
            ],
            ..Default::default()
        };
        assert_eq!(
            places(&[config], "busybox"),
            [
                "http://127.0.0.1:5000/v2/library/busybox",
                "https://harbor.example/v2/proxy/library/busybox",
                "http://m.example/v2/library/busybox",
                "https://registry-1.docker.io/v2/library/busybox",
            ]
        );
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for bad in ["ftp://x", "", "a b", "user@host", "host?x", "host#x", "http://"] {
            let config = RegistryConfig {
                host: "docker.io".into(),
                mirrors: vec![bad.into()],
                ..Default::default()
            };
            assert!(
                endpoints(&[config], &"busybox".parse().unwrap()).is_err(),
                "{bad}"
            );
        }
    }
}
