//! Whether somebody may: SubjectAccessReview on `nodes/<subresource>` of this node.

use std::time::Duration;

use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;

use super::authentication::User;
use super::cache::Cache;
use super::refusal::Refusal;
use crate::chain;
use crate::cluster::Cluster;

/// Kubelet's `authorization.webhook.cacheAuthorizedTTL` and `cacheUnauthorizedTTL`.
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);

type Key = (User, &'static str, &'static str);

pub(super) struct Authorization {
    cluster: Cluster,
    node: String,
    decisions: Cache<Key, bool>,
}

impl Authorization {
    pub(super) fn new(cluster: Cluster, node: String) -> Self {
        Self {
            cluster,
            node,
            decisions: Cache::new(),
        }
    }

    /// Lets pass whoever may act on any one of the path's subresources.
    pub(super) async fn check(&self, user: &User, method: &Method, path: &str) -> Result<(), Refusal> {
        let verb = verb(method);
        let subresources = subresources(path);
        for subresource in subresources {
            if self.allowed(user, verb, subresource).await? {
                return Ok(());
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])",
            user.name,
            subresources.join(" ")
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, message))
    }

    async fn allowed(
        &self,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, Refusal> {
        let key = (user.clone(), verb, subresource);
        if let Some(decision) = self.decisions.get(&key) {
            return Ok(decision);
        }
        let review = self.review(user, verb, subresource);
        let api = self.cluster.all::<SubjectAccessReview>();
        let answer = self
            .cluster
            .call(api.create(&PostParams::default(), &review))
            .await
            .map_err(|error| {
                let message = format!(
                    "Authorization error (user={}, verb={verb}, subresource={subresource})",
                    user.name
                );
                tracing::warn!("{message}: {}", chain::sources(&error));
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            })?;
        let decision = answer.status.is_some_and(|status| status.allowed);
        self.decisions
            .put(key, decision, if decision { ALLOWED_TTL } else { DENIED_TTL });
        Ok(decision)
    }

    fn review(&self, user: &User, verb: &str, subresource: &str) -> SubjectAccessReview {
        let attributes = ResourceAttributes {
            verb: Some(verb.into()),
            version: Some("v1".into()),
            resource: Some("nodes".into()),
            subresource: Some(subresource.into()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        };
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                resource_attributes: Some(attributes),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresources that a path stands for; any one suffices (kubelet's `NodeRequestAttributes`).
fn subresources(path: &str) -> &'static [&'static str] {
    match path.split('/').nth(1).unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "statusz" => &["statusz"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" | "flagz" => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/healthz/syncloop"), ["healthz", "proxy"]);
        assert_eq!(subresources("/exec/default/web/c"), ["proxy"]);
        assert_eq!(subresources("/metrics/resource"), ["metrics"]);
        assert_eq!(subresources("/"), ["proxy"]);
    }
}
