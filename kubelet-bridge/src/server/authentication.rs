//! Who asks: by a client certificate of the client CA, or by a bearer token that the API server knows.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::cache::Cache;
use super::listen::PeerCertificate;
use super::refusal::Refusal;
use crate::chain;
use crate::cluster::Cluster;

/// How long an accepted token is not asked for again; kubelet's `authentication.webhook.cacheTTL`.
const TOKEN_TTL: Duration = Duration::from_secs(120);
/// Longer than any token.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Somebody who is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

pub(super) struct Authentication {
    cluster: Cluster,
    tokens: Cache<String, User>,
}

impl Authentication {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            tokens: Cache::new(),
        }
    }

    /// Tells who it is. Nobody is anonymous here: an unknown one is answered 401.
    pub(super) async fn user(&self, peer: &PeerCertificate, headers: &HeaderMap) -> Result<User, Refusal> {
        if let Some(user) = peer.0.as_ref().and_then(|certificate| certified(certificate)) {
            return Ok(user);
        }
        let unauthorized = || Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized");
        let token = bearer(headers).ok_or_else(unauthorized)?;
        if let Some(user) = self.tokens.get(&token) {
            return Ok(user);
        }
        let user = self.review(&token).await?.ok_or_else(unauthorized)?;
        self.tokens.put(token, user.clone(), TOKEN_TTL);
        Ok(user)
    }

    async fn review(&self, token: &str) -> Result<Option<User>, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let api = self.cluster.all::<TokenReview>();
        let answer = self
            .cluster
            .call(api.create(&PostParams::default(), &review))
            .await
            .map_err(|error| {
                tracing::warn!("a token could not be reviewed: {}", chain::sources(&error));
                Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized")
            })?;
        let status = answer.status.unwrap_or_default();
        Ok(status
            .user
            .filter(|_| status.authenticated == Some(true))
            .map(reviewed))
    }
}

fn reviewed(user: UserInfo) -> User {
    User {
        name: user.username.unwrap_or_default(),
        uid: user.uid,
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

/// A certificate's common name is the user, its organizations are the groups.
fn certified(certificate: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let organizations = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok());
    let mut groups: Vec<String> = organizations.map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    Some(User {
        name,
        groups,
        ..User::default()
    })
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let sound = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN_BYTES;
    sound.then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn a_certificate_names_user_and_groups() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        let certificate = params.self_signed(&key).unwrap();
        let user = certified(certificate.der()).unwrap();
        assert_eq!(user.name, "kube-apiserver-kubelet-client");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    }

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
        headers.insert("authorization", "Bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers).as_deref(), Some("abc"));
    }
}
