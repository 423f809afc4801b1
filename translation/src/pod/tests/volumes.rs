use auraed_api::schedule::v0::volume::Source as VolumeSource;
use auraed_api::schedule::v0::{EmptyDirectory, Files, HostPath, HostPathType};

use super::*;

fn source(spec: &str, source: &str) -> VolumeSource {
    let pod = pod(&format!("{spec}\n  volumes:\n  - name: data\n{source}"), "");
    let mut objects = objects();
    let token = |audience: &str, seconds| TokenKey {
        audience: audience.to_owned(),
        expiration_seconds: seconds,
    };
    objects.tokens = [
        (token("", 3607), "a.b.c".to_owned()),
        (token("vault", 600), "d.e.f".to_owned()),
    ]
    .into();
    to_aurae(&pod, &objects, &node())
        .unwrap()
        .volumes
        .remove(0)
        .source
        .unwrap()
}

fn files(spec: &str, text: &str) -> Files {
    match source(spec, text) {
        VolumeSource::Files(files) => files,
        other => panic!("{other:?}"),
    }
}

fn listing(files: &Files) -> Vec<(&str, &str, u32, Option<u32>)> {
    let text = |content: &[u8]| std::str::from_utf8(content).unwrap().to_owned().leak() as &str;
    files
        .files
        .iter()
        .map(|file| (file.path.as_str(), text(&file.content), file.mode, file.owner))
        .collect()
}

#[test]
fn empty_directories_know_their_size() {
    let of = |text: &str, container: &str| {
        let pod = pod(
            &format!("  volumes: [{{ name: data, emptyDir: {text} }}]"),
            container,
        );
        match translated(&pod).volumes.remove(0).source.unwrap() {
            VolumeSource::EmptyDirectory(EmptyDirectory {
                memory,
                size_limit_bytes,
            }) => (memory, size_limit_bytes),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of("{}", ""), (false, None));
    assert_eq!(of("{ sizeLimit: 1Mi }", ""), (false, Some(1 << 20)));
    // No limit of its own: what the pod may use, else what the node gives.
    assert_eq!(of("{ medium: Memory }", ""), (true, Some(1 << 30)));
    let limited = "    resources: { limits: { memory: 64Mi } }";
    assert_eq!(of("{ medium: Memory }", limited), (true, Some(64 << 20)));
    assert_eq!(
        of("{ medium: Memory, sizeLimit: 128Mi }", limited),
        (true, Some(64 << 20))
    );
    assert_eq!(
        of("{ medium: Memory, sizeLimit: 1Mi }", limited),
        (true, Some(1 << 20))
    );
}

#[test]
fn paths_of_the_node_keep_their_type() {
    let found = source("", "    hostPath: { path: /dev/null, type: CharDevice }");
    let expected = HostPath {
        path: "/dev/null".to_owned(),
        r#type: HostPathType::CharacterDevice.into(),
    };
    assert_eq!(found, VolumeSource::HostPath(expected));
}

#[test]
fn config_maps_and_secrets_become_files() {
    let found = files("", "    configMap: { name: settings }");
    assert!(!found.sensitive);
    assert_eq!(
        listing(&found),
        [
            ("COLOR", "blue", 0o644, None),
            ("blob", "\0\x01", 0o644, None),
            ("log.level", "debug", 0o644, None)
        ]
    );
    let found = files(
        "",
        "    secret: { secretName: login, defaultMode: 256, items: [{ key: user, path: a/b }, { key: password, path: c, mode: 511 }] }",
    );
    assert!(found.sensitive);
    assert_eq!(
        listing(&found),
        [("a/b", "ada", 0o400, None), ("c", "hunter2", 0o777, None)]
    );
    let found = files("", "    secret: { secretName: none, optional: true }");
    assert_eq!(listing(&found), []);
    let found = files(
        "",
        "    configMap: { name: settings, optional: true, items: [{ key: none, path: x }] }",
    );
    assert_eq!(listing(&found), []);
}

#[test]
fn the_pods_group_may_read() {
    let found = files(
        "  securityContext: { fsGroup: 2000 }",
        "    secret: { secretName: login, defaultMode: 256 }",
    );
    assert_eq!(
        listing(&found),
        [("password", "hunter2", 0o440, None), ("user", "ada", 0o440, None)]
    );
}

#[test]
fn the_downward_api_writes_lines() {
    let found = files(
        "",
        "    downwardAPI:
      items:
      - { path: labels, fieldRef: { fieldPath: metadata.labels } }
      - { path: cpu, resourceFieldRef: { containerName: main, resource: limits.cpu, divisor: 1m } }
      - { path: name, mode: 256, fieldRef: { fieldPath: metadata.name } }",
    );
    assert_eq!(
        listing(&found),
        [
            ("cpu", "2000", 0o644, None),
            ("labels", "app=\"web\"", 0o644, None),
            ("name", "web", 0o400, None)
        ]
    );
}

/// What the API server adds to every pod.
const ACCESS: &str = "    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken: { path: token, expirationSeconds: 3607 }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
      - downwardAPI: { items: [{ path: namespace, fieldRef: { apiVersion: v1, fieldPath: metadata.namespace } }] }";

#[test]
fn the_service_accounts_volume_is_complete() {
    let pod = pod(&format!("  volumes:\n  - name: kube-api-access-x\n{ACCESS}"), "");
    let references = crate::references(&pod);
    assert_eq!(
        references.config_maps,
        [("kube-root-ca.crt".to_owned(), false)].into()
    );
    assert_eq!(
        references.tokens,
        [TokenKey {
            audience: String::new(),
            expiration_seconds: 3607
        }]
    );
    let mut objects = objects();
    let found = to_aurae(&pod, &objects, &node()).unwrap_err();
    let messages: Vec<_> = found.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to fetch token: no token of service account \"default\" was given",
            "MountVolume.SetUp failed for volume \"kube-api-access-x\" : configmap \"kube-root-ca.crt\" not found",
        ]
    );
    assert!(
        found
            .iter()
            .all(|problem| problem.kind == Kind::Waiting { event: "FailedMount" })
    );
    objects
        .tokens
        .insert(references.tokens[0].clone(), "a.b.c".to_owned());
    let key = ("shop".to_owned(), "kube-root-ca.crt".to_owned());
    objects.config_maps.insert(key, yaml("{ data: { ca.crt: PEM } }"));
    let volumes = crate::volumes(&pod, &objects, &node()).unwrap();
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0].0, "kube-api-access-x");
    assert!(volumes[0].1.sensitive);
    assert_eq!(
        listing(&volumes[0].1),
        [
            ("ca.crt", "PEM", 0o644, None),
            ("namespace", "shop", 0o644, None),
            ("token", "a.b.c", 0o644, None)
        ]
    );
}

#[test]
fn a_token_is_for_whom_it_belongs_to() {
    let token = "    projected: { sources: [{ serviceAccountToken: { path: token, audience: vault, expirationSeconds: 600 } }] }";
    assert_eq!(listing(&files("", token)), [("token", "d.e.f", 0o644, None)]);
    assert_eq!(
        listing(&files("  securityContext: { runAsUser: 1000 }", token)),
        [("token", "d.e.f", 0o600, Some(1000))]
    );
    assert_eq!(
        listing(&files("  securityContext: { fsGroup: 2000 }", token)),
        [("token", "d.e.f", 0o640, None)]
    );
}

#[test]
fn missing_objects_and_keys_make_the_pod_wait() {
    let message = |text: &str| {
        let problems = problems(&pod(&format!("  volumes:\n  - name: data\n    {text}"), ""));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].kind, Kind::Waiting { event: "FailedMount" });
        let prefix = "MountVolume.SetUp failed for volume \"data\" : ";
        problems[0].message.strip_prefix(prefix).unwrap().to_owned()
    };
    assert_eq!(
        message("configMap: { name: none }"),
        "configmap \"none\" not found"
    );
    assert_eq!(
        message("secret: { secretName: none }"),
        "secret \"none\" not found"
    );
    assert_eq!(
        message("configMap: { name: settings, items: [{ key: k, path: k }] }"),
        "configmap references non-existent config key: k"
    );
    assert_eq!(
        message("secret: { secretName: login, items: [{ key: k, path: k }] }"),
        "references non-existent secret key: k"
    );
}

#[test]
fn paths_that_lead_out_of_a_volume_are_refused() {
    for path in ["../up", "/abs", "a/../../b", "..data", "\"\""] {
        let text = format!(
            "  volumes: [{{ name: data, configMap: {{ name: settings, items: [{{ key: COLOR, path: {path} }}] }} }}]"
        );
        let found = problems(&pod(&text, ""));
        assert!(found[0].is_final(), "{path}: {found:?}");
    }
}

#[test]
fn a_mount_without_a_volume_is_refused() {
    let found = problems(&pod("", "    volumeMounts: [{ name: none, mountPath: /x }]"));
    assert_eq!(found[0].field, "spec.containers[0].volumeMounts[0].name");
    assert_eq!(found[0].message, "there is no volume \"none\"");
}

#[test]
fn references_are_optional_where_every_use_is() {
    let pod = pod(
        "  serviceAccountName: robot
  enableServiceLinks: false
  imagePullSecrets: [{ name: pull }, { name: pull }]
  volumes:
  - { name: a, configMap: { name: both, optional: true } }
  - { name: b, secret: { secretName: never, optional: true } }",
        "    envFrom: [{ configMapRef: { name: both } }]
    env: [{ name: X, valueFrom: { secretKeyRef: { name: never, key: k, optional: true } } }]",
    );
    let expected = crate::References {
        config_maps: [("both".to_owned(), false)].into(),
        secrets: [("never".to_owned(), true)].into(),
        pull_secrets: vec!["pull".to_owned()],
        tokens: Vec::new(),
        service_account: "robot".to_owned(),
        services: false,
    };
    assert_eq!(crate::references(&pod), expected);
}
