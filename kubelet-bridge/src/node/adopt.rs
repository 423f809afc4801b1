//! Creates the Node, or takes over the one that is there.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};

use crate::cluster::{CallError, Cluster};

/// Labels that follow the machine even on a Node that was made by somebody else; other labels are set at creation alone.
const LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const ANNOTATIONS: [&str; 1] = ["volumes.kubernetes.io/controller-managed-attach-detach"];

/// The Node in the API, and whether it was there before.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) node: Node,
    pub(super) existed: bool,
}

/// Creates `wanted` where `create`, else waits for nothing: the Node must be there.
pub(super) async fn adopt(cluster: &Cluster, wanted: &Node, create: bool) -> Result<Adopted, CallError> {
    let api: Api<Node> = cluster.all();
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    if create {
        match cluster.call(api.create(&PostParams::default(), wanted)).await {
            Ok(node) => return Ok(Adopted { node, existed: false }),
            // A node that may not be created may yet be there and be ours.
            Err(error) if error.is_conflict() || error.is_forbidden() => {
                return match take_over(cluster, &api, name, wanted).await {
                    Err(missing) if missing.is_not_found() => Err(error),
                    other => other,
                };
            }
            Err(error) => return Err(error),
        }
    }
    take_over(cluster, &api, name, wanted).await
}

async fn take_over(
    cluster: &Cluster,
    api: &Api<Node>,
    name: &str,
    wanted: &Node,
) -> Result<Adopted, CallError> {
    let node = cluster.call(api.get(name)).await?;
    let Some(patch) = metadata(&node, wanted) else {
        return Ok(Adopted { node, existed: true });
    };
    let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let node = cluster.call(api.patch(name, &parameters, &patch)).await?;
    Ok(Adopted { node, existed: true })
}

/// The patch that sets labels and annotations which follow the machine; none where they stand.
fn metadata(node: &Node, wanted: &Node) -> Option<Value> {
    let differing = |keys: &[&str], have: &Option<_>, want: &Option<std::collections::BTreeMap<_, _>>| {
        let value = |map: &Option<std::collections::BTreeMap<String, String>>, key: &str| {
            map.as_ref().and_then(|map| map.get(key)).cloned()
        };
        keys.iter()
            .filter_map(|key| {
                let wanted = value(want, key)?;
                (value(have, key).as_ref() != Some(&wanted))
                    .then(|| ((*key).to_owned(), Value::String(wanted)))
            })
            .collect::<Map<String, Value>>()
    };
    let labels = differing(&LABELS, &node.metadata.labels, &wanted.metadata.labels);
    let annotations = differing(
        &ANNOTATIONS,
        &node.metadata.annotations,
        &wanted.metadata.annotations,
    );
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    Some(json!({ "metadata": { "labels": labels, "annotations": annotations } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_machine_are_set_and_others_left() {
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n", "labels": {
            "kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux", "team": "theirs" } } }))
        .expect("a node");
        let wanted: Node = serde_json::from_value(json!({ "metadata": { "name": "n", "labels": {
            "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "team": "ours" } } }))
        .expect("a node");
        let patch = metadata(&node, &wanted).expect("something differs");
        assert_eq!(
            patch["metadata"]["labels"],
            json!({ "kubernetes.io/arch": "amd64" })
        );
        assert_eq!(metadata(&wanted, &wanted), None);
    }
}
