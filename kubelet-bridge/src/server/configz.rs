//! `/configz`: how this node is configured, as a KubeletConfiguration. What means nothing here is left out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;
use crate::flags::Settings;

pub(super) async fn configz(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "kubeletconfig": shared.configuration }))
}

/// In the words of `kubelet.config.k8s.io/v1beta1`.
pub(super) fn configuration(settings: &Settings) -> Value {
    let (node, server) = (&settings.node, &settings.server);
    let webhook = json!({ "enabled": true, "cacheTTL": "2m0s" });
    json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": server.listen.ip(),
        "port": server.listen.port(),
        "healthzBindAddress": settings.healthz.map(|address| address.ip()),
        "healthzPort": settings.healthz.map_or(0, |address| address.port()),
        "authentication": {
            "x509": { "clientCAFile": server.client_ca },
            "webhook": webhook,
            "anonymous": { "enabled": false },
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": { "cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s" },
        },
        "clusterDNS": node.cluster_dns,
        "clusterDomain": node.cluster_domain,
        "maxPods": node.max_pods,
        "nodeStatusUpdateFrequency": format!("{}s", node.status_period.as_secs_f64()),
        "nodeLeaseDurationSeconds": 40,
        "staticPodPath": settings.manifests,
        "seccompDefault": node.seccomp_default,
        "allowedUnsafeSysctls": node.allowed_unsafe_sysctls,
        "registerNode": node.register,
    })
}
