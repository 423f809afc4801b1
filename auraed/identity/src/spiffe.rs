//! SPIFFE ids of clients: `spiffe://<trust domain>/tenant/<tenant>/client/<name>`.

use rustls::pki_types::CertificateDer;
use std::fmt;
use std::str::FromStr;
use x509_parser::extensions::GeneralName;

/// The trust domain: 1 to 253 characters of `[a-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

/// Whose objects a client works on: a DNS label (RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// A client's name in its tenant: 1 to 63 characters of `[a-z0-9._-]`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientName(String);

/// A client: its tenant and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// Whose objects it works on.
    pub tenant: Tenant,
    /// Its name in the tenant.
    pub name: ClientName,
}

/// A text is no name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: {rule}")]
pub struct InvalidName {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

/// A certificate names no client of this daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClientId {
    /// The certificate cannot be read.
    #[error("the client's certificate cannot be read")]
    Certificate,
    /// SPIFFE X509-SVID, section 2: exactly one URI SAN.
    #[error("the client's certificate has {0} URI names where it must have one")]
    Count(usize),
    /// The id is not of a client of this trust domain.
    #[error("{0:?} is no client of this daemon")]
    Form(String),
}

impl Tenant {
    /// The tenant of the node's own administration, which may do everything.
    #[must_use]
    pub fn system() -> Self {
        Self("system".into())
    }

    /// Whether this is the node's own administration.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0 == "system"
    }
}

impl ClientName {
    pub(crate) fn administrator() -> Self {
        Self("admin".into())
    }
}

impl TrustDomain {
    /// The id of the daemon itself.
    pub(crate) fn daemon_id(&self) -> String {
        format!("spiffe://{}/auraed", self.0)
    }

    pub(crate) fn client_id(&self, client: &ClientId) -> String {
        format!(
            "spiffe://{}/tenant/{}/client/{}",
            self.0, client.tenant, client.name
        )
    }

    fn parse_client(&self, id: &str) -> Option<ClientId> {
        let path = id.strip_prefix("spiffe://")?.strip_prefix(self.0.as_str())?;
        let (tenant, name) = path.strip_prefix("/tenant/")?.split_once("/client/")?;
        Some(ClientId {
            tenant: tenant.parse().ok()?,
            name: name.parse().ok()?,
        })
    }
}

impl ClientId {
    pub(crate) fn of_certificate(
        certificate: &CertificateDer<'_>,
        domain: &TrustDomain,
    ) -> Result<Self, InvalidClientId> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| InvalidClientId::Certificate)?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| InvalidClientId::Certificate)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris[..] {
            [uri] => domain
                .parse_client(uri)
                .ok_or_else(|| InvalidClientId::Form(uri.to_owned())),
            _ => Err(InvalidClientId::Count(uris.len())),
        }
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = is_name(text, 253, b"._-");
        let rule = "1 to 253 characters of a-z, 0-9, '.', '_' and '-'";
        valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| invalid(text, "trust domain", rule))
    }
}

impl FromStr for Tenant {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = is_name(text, 63, b"-");
        let rule = "1 to 63 characters of a-z, 0-9 and '-', no '-' at the ends";
        valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| invalid(text, "tenant", rule))
    }
}

impl FromStr for ClientName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = is_name(text, 63, b"._-");
        let rule = "1 to 63 characters of a-z, 0-9, '.', '_' and '-', a letter or digit at the ends";
        valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| invalid(text, "client name", rule))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

fn invalid(text: &str, kind: &'static str, rule: &'static str) -> InvalidName {
    InvalidName {
        text: text.to_owned(),
        kind,
        rule,
    }
}

fn is_name(text: &str, longest: usize, inner: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes.iter().all(|byte| plain(byte) || inner.contains(byte))
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        "aurae.local".parse().unwrap()
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let client = ClientId {
            tenant: "team-a".parse().unwrap(),
            name: "kubelet-bridge".parse().unwrap(),
        };
        let id = domain().client_id(&client);
        assert_eq!(id, "spiffe://aurae.local/tenant/team-a/client/kubelet-bridge");
        assert_eq!(domain().parse_client(&id), Some(client));
    }

    #[test]
    fn foreign_and_malformed_ids_name_nobody() {
        for id in [
            "",
            "spiffe://aurae.local",
            "spiffe://aurae.local.evil/tenant/system/client/x",
            "spiffe://aurae.localx/tenant/system/client/x",
            "spiffe://other/tenant/system/client/x",
            "spiffe://aurae.local/tenant//client/x",
            "spiffe://aurae.local/tenant/system/client/",
            "spiffe://aurae.local/tenant/system/client/../admin",
            "spiffe://aurae.local/tenant/a/client/b/client/c",
            "https://aurae.local/tenant/system/client/x",
        ] {
            assert_eq!(domain().parse_client(id), None, "{id}");
        }
    }

    #[test]
    fn names_are_checked() {
        assert!("a".repeat(63).parse::<Tenant>().is_ok());
        for bad in ["", "A", "-a", "a-", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
            assert!(bad.parse::<ClientName>().is_err(), "{bad}");
        }
        let error = "Team A".parse::<Tenant>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"Team A\" is no tenant: 1 to 63 characters of a-z, 0-9 and '-', no '-' at the ends"
        );
    }
}
