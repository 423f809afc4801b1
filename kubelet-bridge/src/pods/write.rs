//! The write lane: what a worker does to the API server.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};

use super::decide::{Write, hash};
use crate::cluster::{CallError, Cluster};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// How a write ended.
#[derive(Debug)]
pub enum Outcome {
    /// The object as it is now.
    Wrote(Box<Pod>),
    /// There is no such object (any more).
    Gone,
    /// Not done; trying again may help.
    Failed(CallError),
}

/// What a write needs to know.
#[derive(Clone, Debug)]
pub struct Target {
    /// The API's object, or the static pod whose mirror is to be made.
    pub pod: Arc<Pod>,
    /// The Node, as the owner of mirrors.
    pub node: (String, String),
}

/// Does it.
pub async fn perform(cluster: Cluster, target: Target, write: Write) -> Outcome {
    let namespace = target.pod.metadata.namespace.as_deref().unwrap_or("default");
    let name = target.pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = cluster.namespaced(namespace);
    match write {
        Write::Patch(body) => {
            let (parameters, body) = (PatchParams::default(), Patch::Strategic(body));
            wrote(cluster.call(api.patch_status(name, &parameters, &body)).await)
        }
        Write::CreateMirror => {
            let mirror = mirror(&target);
            wrote(cluster.call(api.create(&PostParams::default(), &mirror)).await)
        }
        Write::Delete | Write::DeleteMirror => {
            let parameters = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: target.pod.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match cluster.call(api.delete(name, &parameters)).await {
                Ok(_) => Outcome::Gone,
                Err(error) if is_gone(&error) => Outcome::Gone,
                Err(error) => Outcome::Failed(error),
            }
        }
    }
}

fn wrote(result: Result<Pod, CallError>) -> Outcome {
    match result {
        Ok(pod) => Outcome::Wrote(Box::new(pod)),
        Err(error) if is_gone(&error) => Outcome::Gone,
        Err(error) => Outcome::Failed(error),
    }
}

/// No object of the name, or one with another UID.
fn is_gone(error: &CallError) -> bool {
    error.is_not_found() || (error.is_conflict() && error.to_string().contains("UID"))
}

/// The object by which the API shows a static pod.
fn mirror(target: &Target) -> Pod {
    let mut mirror = Pod::clone(&target.pod);
    let (name, uid) = target.node.clone();
    let hash = hash(&target.pod).unwrap_or_default().to_owned();
    mirror.status = None;
    mirror.metadata.uid = None;
    mirror.metadata.resource_version = None;
    mirror
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(MIRROR.to_owned(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name,
        uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}

/// True for the API's picture of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(MIRROR))
}
