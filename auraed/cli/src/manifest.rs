//! Pods from files: YAML or JSON, Kubernetes' or Aurae's own.

use crate::failure::Failure;
use crate::message;
use auraed_api::observe::v0::GetNodeResponse;
use auraed_api::schedule::v0::Pod;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// `apiVersion` of manifests in the daemon's own words: `kind: Pod` and the fields of `aurae.schedule.v0.Pod`.
pub(crate) const AURAE_API_VERSION: &str = "aurae.dev/v0";

/// More than this is no manifest.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What stands against a pod before the daemon is asked.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The pod's name.
    pub(crate) name: String,
    /// Field and reason.
    pub(crate) problems: Vec<(String, String)>,
}

/// One pod of a file: what to hand to the daemon, or why not.
pub(crate) type Translated = Result<Pod, Refused>;

/// Reads all files, in order. `node` is what a Kubernetes manifest may refer to.
pub(crate) fn load(files: &[PathBuf], node: &GetNodeResponse) -> Result<Vec<Translated>, Failure> {
    let mut pods = Vec::new();
    for file in files {
        let text = read(file)?;
        let found = parse(&text, node).map_err(|reason| {
            Failure::new(format!("{}: {reason}", file.display()))
                .hint("a manifest is YAML or JSON with apiVersion v1 or aurae.dev/v0 and kind Pod; `aurae run --help` says more")
        })?;
        if found.is_empty() {
            return Err(Failure::new(format!("{}: there is no pod in it", file.display())));
        }
        pods.extend(found);
    }
    Ok(pods)
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let length = if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)?
    } else {
        fs_err::File::open(file)?
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)?
    };
    if length as u64 > MAX_BYTES {
        return Err(Failure::new(format!(
            "{}: larger than {MAX_BYTES} bytes",
            file.display()
        )));
    }
    Ok(text)
}

fn parse(text: &str, node: &GetNodeResponse) -> Result<Vec<Translated>, String> {
    // As Kubernetes' tools read it: `defaultMode: 0400` is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())?;
    let (own, kubernetes): (Vec<Value>, Vec<Value>) = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .partition(|document| document["apiVersion"] == AURAE_API_VERSION);
    let mut pods = own
        .into_iter()
        .map(|document| aurae_pod(document).map(Ok))
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = translation::manifest::parse(&kubernetes).map_err(|error| error.to_string())?;
    let node = translation::Node::standalone(node);
    for mut pod in manifest.pods {
        name_pod(&mut pod)?;
        pods.push(
            translation::pod::to_aurae(&pod, &manifest.objects, &node).map_err(|problems| Refused {
                name: pod.metadata.name.clone().unwrap_or_default(),
                problems: problems
                    .into_iter()
                    .map(|problem| (problem.field, problem.message))
                    .collect(),
            }),
        );
    }
    Ok(pods)
}

fn aurae_pod(mut document: Value) -> Result<Pod, String> {
    if document["kind"] != "Pod" {
        return Err(format!(
            "{AURAE_API_VERSION} has no kind {}: only Pod",
            document["kind"]
        ));
    }
    if let Some(fields) = document.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    let mut pod: Pod =
        message::from_json("aurae.schedule.v0.Pod", document).map_err(|failure| failure.to_string())?;
    if pod.namespace.is_empty() {
        pod.namespace = "default".into();
    }
    if pod.id.is_empty() {
        pod.id = identify(&pod.namespace, &pod.name)?;
    }
    Ok(pod)
}

/// A manifest's pod has no uid of an API server: its namespace and name are its identity, so that running a file twice
/// is one pod.
fn name_pod(pod: &mut k8s_openapi::api::core::v1::Pod) -> Result<(), String> {
    let metadata = &mut pod.metadata;
    let Some(name) = metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err("a pod has no metadata.name".into());
    };
    let namespace = metadata.namespace.get_or_insert_with(|| "default".into());
    if metadata.uid.is_none() {
        metadata.uid = Some(identify(namespace, &name)?);
    }
    Ok(())
}

fn identify(namespace: &str, name: &str) -> Result<String, String> {
    let id = format!("{namespace}.{name}");
    if id.len() > 63 {
        return Err(format!(
            "{id} is too long for an id (63 characters): give the pod one (id, or metadata.uid)"
        ));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> GetNodeResponse {
        GetNodeResponse {
            hostname: "alice".into(),
            ..GetNodeResponse::default()
        }
    }

    #[test]
    fn an_aurae_manifest_is_the_message_itself() {
        let text = "apiVersion: aurae.dev/v0\nkind: Pod\nname: web\ncontainers:\n- {name: c, image: busybox, restartPolicy: RESTART_POLICY_NEVER}\n";
        let pods = parse(text, &facts()).unwrap();
        let pod = pods[0].as_ref().unwrap();
        assert_eq!(
            (pod.id.as_str(), pod.containers[0].image.as_str()),
            ("default.web", "busybox")
        );
    }

    #[test]
    fn a_kubernetes_manifest_is_translated() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: busybox}\n---\n";
        let pods = parse(text, &facts()).unwrap();
        assert_eq!(pods[0].as_ref().unwrap().id, "default.web");
    }

    #[test]
    fn modes_are_octal_as_kubernetes_reads_them() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: busybox}\n  \
                    volumes:\n  - {name: v, downwardAPI: {items: [{path: p, mode: 0400, fieldRef: {fieldPath: metadata.name}}]}}\n";
        let pods = parse(text, &facts()).unwrap();
        let Some(auraed_api::schedule::v0::volume::Source::Files(files)) =
            &pods[0].as_ref().unwrap().volumes[0].source
        else {
            panic!("no files");
        };
        assert_eq!(files.files[0].mode, 0o400);
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        let error = parse("apiVersion: aurae.dev/v0\nkind: Pod\nnmae: web\n", &facts()).unwrap_err();
        assert!(error.contains("nmae"), "{error}");
        assert!(parse("apiVersion: aurae.dev/v0\nkind: Podd\n", &facts()).is_err());
        assert!(parse("a: [", &facts()).is_err());
    }
}
