//! Tokens of one pod's service account: asked for when first wanted, bound to the pod, anew at 80 % of their life (at
//! most 24 h). A token whose renewal fails is used until it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use translation::{References, TokenKey};

use super::ResolveError;
use crate::backoff::{Backoff, jitter};
use crate::cluster::{CallError, Cluster};

const FORBIDDEN_TRIES: u32 = 8;
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long until a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The tokens of a pod.
#[derive(Debug)]
pub(super) struct Tokens {
    account: String,
    pod: (String, String),
    wanted: Vec<TokenKey>,
    have: BTreeMap<TokenKey, Token>,
}

#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Instant,
    ends_at: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Tokens {
    pub(super) fn of(pod: &Pod, references: &References) -> Tokens {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Tokens {
            account: references.service_account.clone(),
            pod: (text(&pod.metadata.name), text(&pod.metadata.uid)),
            wanted: references.tokens.clone(),
            have: BTreeMap::new(),
        }
    }

    /// All tokens, asking for those that are missing or old.
    pub(super) async fn get(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
    ) -> Result<BTreeMap<TokenKey, String>, ResolveError> {
        let now = Instant::now();
        let old: Vec<TokenKey> = self
            .wanted
            .iter()
            .filter(|key| self.have.get(key).is_none_or(|token| token.renew_at <= now))
            .cloned()
            .collect();
        let asked = old.iter().map(|key| self.ask(cluster, namespace, key));
        match try_join_all(asked).await {
            Ok(tokens) => self.have.extend(old.into_iter().zip(tokens)),
            Err(error) => {
                let usable = |key: &TokenKey| self.have.get(key).is_some_and(|token| token.ends_at > now);
                if !old.iter().all(usable) {
                    return Err(ResolveError::Token {
                        account: self.account.clone(),
                        source: error,
                    });
                }
                tracing::warn!(account = %self.account, "a token is not renewed: {}", crate::chain::sources(&error));
                for key in &old {
                    if let Some(token) = self.have.get_mut(key) {
                        token.renew_at = now + RETRY;
                    }
                }
            }
        }
        Ok(self
            .have
            .iter()
            .map(|(key, token)| (key.clone(), token.text.clone()))
            .collect())
    }

    /// Returns when a token should be renewed; never where there is none.
    pub(super) async fn old(&self) {
        match self.have.values().map(|token| token.renew_at).min() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    async fn ask(&self, cluster: &Cluster, namespace: &str, key: &TokenKey) -> Result<Token, CallError> {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        for _ in 1..FORBIDDEN_TRIES {
            match self.ask_once(cluster, namespace, key).await {
                // The node authorizer learns of a pod a moment after we do.
                Err(error) if error.is_forbidden() => tokio::time::sleep(backoff.delay()).await,
                other => return other,
            }
        }
        self.ask_once(cluster, namespace, key).await
    }

    async fn ask_once(&self, cluster: &Cluster, namespace: &str, key: &TokenKey) -> Result<Token, CallError> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(self.pod.0.clone()),
                    uid: Some(self.pod.1.clone()),
                }),
                expiration_seconds: Some(key.expiration_seconds),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = cluster.namespaced(namespace);
        let asked_at = Instant::now();
        let answer = cluster
            .call(api.create_token_request(&self.account, &PostParams::default(), &request))
            .await?
            .status
            .unwrap_or_default();
        let now = Timestamp::now();
        let life = answer
            .expiration_timestamp
            .map(|ends| life(ends.0, now))
            .unwrap_or_default();
        let text = answer.token.unwrap_or_default();
        Ok(Token {
            text,
            renew_at: asked_at + renewal(life),
            ends_at: asked_at + life,
        })
    }
}

fn life(ends: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(ends.duration_since(now)).unwrap_or_default()
}

/// 80 % of the life, at most a day, a little earlier or later so that many do not come at once.
fn renewal(life: Duration) -> Duration {
    let due = (life.mul_f64(0.8)).min(LONGEST);
    due.saturating_sub(jitter(Duration::from_secs(10), 1.0).saturating_sub(Duration::from_secs(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_at_four_fifths_of_the_life() {
        let due = renewal(Duration::from_secs(3600));
        assert!(
            due <= Duration::from_secs(2880) && due >= Duration::from_secs(2870),
            "{due:?}"
        );
        assert!(renewal(Duration::from_secs(1_000_000)) <= LONGEST);
        assert_eq!(renewal(Duration::ZERO), Duration::ZERO);
    }
}
