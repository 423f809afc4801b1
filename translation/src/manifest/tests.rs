use serde_json::json;

use super::*;

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

fn error(yaml: &str) -> String {
    parse(&documents(yaml)).unwrap_err().to_string()
}

#[test]
fn a_file_holds_pods_and_what_they_refer_to() {
    let manifest = parse(&documents(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { color: blue }
---
apiVersion: v1
kind: Secret
metadata: { name: login, namespace: shop }
data: { user: YWRh }
stringData: { password: hunter2 }
---
---
apiVersion: v1
kind: Pod
metadata: { name: one }
spec:
  containers:
  - name: main
    image: busybox
    resources: { limits: { cpu: 1, memory: 64Mi }, requests: { cpu: 0.5 } }
  volumes:
  - name: scratch
    emptyDir: { medium: Memory, sizeLimit: 1048576 }
---
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Pod, metadata: { name: two }, spec: { containers: [] } }
---
apiVersion: v1
kind: PodList
items:
- { metadata: { name: three }, spec: { containers: [] } }
"#,
    ))
    .unwrap();
    let names: Vec<_> = manifest
        .pods
        .iter()
        .map(|pod| pod.metadata.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
    let spec = manifest.pods[0].spec.as_ref().unwrap();
    let resources = spec.containers[0].resources.as_ref().unwrap();
    assert_eq!(resources.limits.as_ref().unwrap()["cpu"].0, "1");
    assert_eq!(resources.requests.as_ref().unwrap()["cpu"].0, "0.5");
    let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    assert_eq!(
        manifest.objects.config_maps[&key("default", "settings")]
            .data
            .as_ref()
            .unwrap()["color"],
        "blue"
    );
    let secret = &manifest.objects.secrets[&key("shop", "login")];
    assert_eq!(secret.data.as_ref().unwrap()["user"].0, b"ada");
    assert_eq!(secret.data.as_ref().unwrap()["password"].0, b"hunter2");
    assert_eq!(secret.string_data, None);
}

#[test]
fn slips_are_told_with_their_place() {
    let pod = |rest: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: p }}\nspec:\n  containers:\n  - {rest}\n")
    };
    assert_eq!(
        error(&pod("{ name: a, imag: busybox }")),
        "document 1: unknown field spec.containers[0].imag"
    );
    assert_eq!(
        error(&pod("{ name: a, image: busybox, args: [1] }")),
        "document 1: spec.containers[0].args[0]: invalid type: integer `1`, expected a string"
    );
    assert_eq!(
        error(&pod(
            "{ name: a, image: busybox, ports: [{ containerPort: http }] }"
        )),
        "document 1: spec.containers[0].ports[0].containerPort: invalid type: string \"http\", expected i32"
    );
    assert_eq!(error("name: p\n"), "document 1: apiVersion and kind are missing");
    assert!(
        error("apiVersion: apps/v1\nkind: Deployment\n")
            .starts_with("document 1: Deployment (apps/v1) cannot be used here")
    );
}

#[test]
fn a_malformed_secret_is_not_quoted() {
    let message = error("apiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata: { password: 12345 }\n");
    assert_eq!(
        message,
        "document 1: data.password: data must be base64 text, stringData text"
    );
}

#[test]
fn a_static_pod_is_named_after_its_node_and_keeps_its_identity() {
    let pod: Pod =
        serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": { "containers": [] } }))
            .unwrap();
    let seen = "2026-01-02T03:04:05.6Z".parse().unwrap();
    let one = static_pod(pod.clone(), "Node-A", "file", "/etc/aurae/web.yaml", seen);
    let uid = one.metadata.uid.clone().unwrap();
    assert_eq!(one.metadata.name.as_deref(), Some("web-node-a"));
    assert_eq!(one.metadata.namespace.as_deref(), Some("default"));
    assert!(
        uid.len() == 32 && uid.bytes().all(|c| c.is_ascii_hexdigit()),
        "{uid}"
    );
    let annotations = one.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_eq!(annotations["kubernetes.io/config.seen"], "2026-01-02T03:04:05.6Z");
    assert_eq!(annotations["kubernetes.io/config.hash"], uid);
    let spec = one.spec.as_ref().unwrap();
    assert_eq!(spec.node_name.as_deref(), Some("Node-A"));
    assert_eq!(
        spec.tolerations.as_ref().unwrap()[0].effect.as_deref(),
        Some("NoExecute")
    );
    let again = static_pod(
        pod.clone(),
        "Node-A",
        "file",
        "/etc/aurae/web.yaml",
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(again.metadata.uid.as_ref(), Some(&uid));
    let elsewhere = static_pod(pod, "Node-A", "file", "/etc/aurae/other.yaml", seen);
    assert_ne!(elsewhere.metadata.uid.as_ref(), Some(&uid));
}

#[test]
fn the_hash_is_that_of_its_definition() {
    assert_eq!(fnv(&[]), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    assert_eq!(fnv(&["a"]), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    assert_eq!(fnv(&["foo", "bar"]), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
}
