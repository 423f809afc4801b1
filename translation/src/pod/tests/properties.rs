//! Whatever a pod holds, nothing panics, and what is refused is not run.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Texts that mean something somewhere.
const TEXTS: [&str; 24] = [
    "",
    "a",
    "main",
    "Always",
    "Never",
    "None",
    "Default",
    "ClusterFirst",
    "Memory",
    "1",
    "-1",
    "100m",
    "1Gi",
    "64Mi",
    "..",
    "/",
    "$(A)",
    "metadata.labels['",
    "status.podIP",
    "limits.cpu",
    "settings",
    "login",
    "🦀",
    "net.ipv4.x",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
    ]
}

/// The full pod of the tables' test with some of its parts cut out or put in the place of others.
fn changed(full: Value, changes: Vec<(usize, Option<Value>)>) -> Value {
    let mut value = full;
    for (index, leaf) in changes {
        let mut paths = Vec::new();
        pointers(&value, String::new(), &mut paths);
        let Some(path) = paths.get(index % paths.len().max(1)).cloned() else {
            continue;
        };
        match leaf {
            Some(leaf) => {
                if let Some(place) = value.pointer_mut(&path) {
                    *place = leaf;
                }
            }
            None => {
                let Some((parent, name)) = path.rsplit_once('/') else {
                    continue;
                };
                if let Some(Value::Object(fields)) = value.pointer_mut(parent) {
                    fields.remove(name);
                }
            }
        }
    }
    value
}

fn pointers(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                pointers(value, format!("{path}/{name}"), paths);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                pointers(value, format!("{path}/{index}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

/// A pod that uses most of what is mapped.
fn rich() -> Value {
    let mut container: Value = serde_saphyr::from_str(
        "name: main
image: busybox
command: [sh, -c, $(A)]
env: [{ name: A, value: $(B) }, { name: B, valueFrom: { configMapKeyRef: { name: settings, key: COLOR } } },
  { name: C, valueFrom: { secretKeyRef: { name: login, key: user } } },
  { name: D, valueFrom: { fieldRef: { fieldPath: \"metadata.labels['app']\" } } },
  { name: E, valueFrom: { resourceFieldRef: { resource: limits.cpu, divisor: 1m } } }]
envFrom: [{ prefix: P_, configMapRef: { name: settings } }, { secretRef: { name: login } }]
ports: [{ name: web, containerPort: 80, hostPort: 8080 }]
resources: { limits: { cpu: '1', memory: 64Mi }, requests: { cpu: 100m } }
livenessProbe: { httpGet: { port: web, path: /, httpHeaders: [{ name: A, value: b }] }, periodSeconds: 1 }
readinessProbe: { exec: { command: [check, $(A)] } }
lifecycle: { preStop: { sleep: { seconds: 1 } }, postStart: { tcpSocket: { port: 80 } } }
securityContext: { runAsUser: 1, capabilities: { add: [NET_ADMIN] }, seccompProfile: { type: RuntimeDefault } }
volumeMounts: [{ name: data, mountPath: /data, subPathExpr: $(A) }]",
    )
    .unwrap();
    let main = container.clone();
    container["name"] = "side".into();
    container["ports"][0]["hostPort"] = 8081.into();
    container["restartPolicy"] = "Always".into();
    let mut spec: Map<String, Value> = serde_saphyr::from_str(
        "dnsPolicy: ClusterFirst
dnsConfig: { nameservers: [192.0.2.1], searches: [a.b], options: [{ name: ndots, value: '1' }] }
hostAliases: [{ ip: 192.0.2.2, hostnames: [a] }]
imagePullSecrets: [{ name: login }]
securityContext: { fsGroup: 1, supplementalGroups: [2], sysctls: [{ name: net.ipv4.tcp_syncookies, value: '1' }] }
subdomain: sub
setHostnameAsFQDN: true
volumes:
- { name: data, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
- { name: map, configMap: { name: settings, defaultMode: 292, items: [{ key: COLOR, path: a/b, mode: 256 }] } }
- { name: down, downwardAPI: { items: [{ path: l, fieldRef: { fieldPath: metadata.labels } }] } }
- { name: all, projected: { sources: [{ secret: { name: login } }, { serviceAccountToken: { path: t } }] } }
- { name: host, hostPath: { path: /tmp, type: Directory } }",
    )
    .unwrap();
    spec.insert("containers".to_owned(), json!([main]));
    spec.insert("initContainers".to_owned(), json!([container]));
    json!({ "metadata": { "name": "web", "namespace": "shop", "uid": "u", "labels": { "app": "web" } }, "spec": spec })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_pod_panics(changes in proptest::collection::vec((any::<usize>(), proptest::option::of(leaf())), 0..6)) {
        let Ok(pod) = serde_json::from_value::<Pod>(changed(rich(), changes)) else { return Ok(()) };
        let stops = refusals(&pod).iter().any(|refusal| refusal.stops);
        let result = to_aurae(&pod, &objects(), &node());
        prop_assert!(!(stops && result.is_ok()));
        if let Err(problems) = &result {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(!problem.field.is_empty() && !problem.message.is_empty());
            }
            let now = jiff::Timestamp::UNIX_EPOCH;
            crate::status::refused(&pod, problems, now);
            crate::status::waiting(&pod, problems, &node(), now);
        }
        crate::references(&pod);
        let _ = crate::volumes(&pod, &objects(), &node());
        crate::status::qos(&pod);
    }
}

#[test]
fn the_rich_pod_is_translated() {
    let pod: Pod = serde_json::from_value(rich()).unwrap();
    let mut objects = objects();
    objects.tokens.insert(
        TokenKey {
            audience: String::new(),
            expiration_seconds: 3600,
        },
        "t".to_owned(),
    );
    let translated = to_aurae(&pod, &objects, &node()).unwrap();
    assert_eq!(translated.init_containers.len(), 1);
    assert_eq!(translated.volumes.len(), 5);
    // And auraed takes it.
    auraed_types::pod::Pod::try_from(translated).unwrap();
}
