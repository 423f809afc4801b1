use super::*;

fn values(container: &runtime::Container) -> Vec<(String, String, bool)> {
    let text = |source: &Option<Source>| match source.as_ref().unwrap() {
        Source::Value(value) => value.clone(),
        Source::Template(value) => format!("template {value}"),
        Source::Field(field) => format!("field {:?}", runtime::PodField::try_from(*field).unwrap()),
    };
    container
        .env
        .iter()
        .map(|one| (one.name.clone(), text(&one.source), one.sensitive))
        .collect()
}

fn env(spec: &str, container: &str) -> Vec<(String, String, bool)> {
    values(&main(&pod(spec, container)))
}

fn plain(pairs: &[(&str, &str)]) -> Vec<(String, String, bool)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned(), false))
        .collect()
}

#[test]
fn literals_are_templates_where_they_refer_to_something() {
    let found = env(
        "",
        "    env: [{ name: A, value: plain }, { name: B, value: '-$(A)-' }, { name: C }]",
    );
    assert_eq!(
        found,
        plain(&[("A", "plain"), ("B", "template -$(A)-"), ("C", "")])
    );
}

#[test]
fn fields_of_the_pod_are_read_here_but_for_its_addresses() {
    let fields = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels['app']",
        "metadata.labels['none']",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let list: String = fields
        .iter()
        .map(|field| {
            format!("    - {{ name: X, valueFrom: {{ fieldRef: {{ fieldPath: \"{field}\" }} }} }}\n")
        })
        .collect();
    let found = env("  serviceAccountName: robot", &format!("    env:\n{list}"));
    let found: Vec<_> = found.iter().map(|(_, value, _)| value.as_str()).collect();
    let expected = [
        "web",
        "shop",
        "0a1b2c3d",
        "web",
        "",
        "node-a",
        "robot",
        "192.0.2.1",
        "192.0.2.1,2001:db8::1",
        "field Address",
        "field Addresses",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_pod_on_the_host_network_has_the_nodes_addresses() {
    let container = "    env:
    - { name: A, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
    - { name: B, valueFrom: { fieldRef: { fieldPath: status.podIPs } } }";
    let found = env("  hostNetwork: true", container);
    assert_eq!(
        found,
        plain(&[("A", "192.0.2.1"), ("B", "192.0.2.1,2001:db8::1")])
    );
}

#[test]
fn resources_are_divided_and_rounded_up() {
    let of = |resource: &str, divisor: &str, resources: &str| {
        let container = format!(
            "    resources: {resources}\n    env: [{{ name: X, valueFrom: {{ resourceFieldRef: {{ resource: {resource}, divisor: '{divisor}' }} }} }}]"
        );
        env("", &container)[0].1.clone()
    };
    let given = "{ limits: { cpu: 1250m, memory: 100M }, requests: { cpu: 250m, memory: 32Mi } }";
    assert_eq!(of("limits.cpu", "0", given), "2");
    assert_eq!(of("limits.cpu", "1m", given), "1250");
    assert_eq!(of("requests.cpu", "1", given), "1");
    assert_eq!(of("limits.memory", "1Mi", given), "96");
    assert_eq!(
        of("requests.memory", "", &given.replace("32Mi", "'33554433'")).as_str(),
        "33554433"
    );
    assert_eq!(of("requests.memory", "1Mi", given), "32");
    // What has no limit may have all that the node gives; what asks for nothing asks for nothing.
    assert_eq!(of("limits.cpu", "1", "{}"), "2");
    assert_eq!(of("limits.memory", "1Mi", "{}"), "1024");
    assert_eq!(of("limits.ephemeral-storage", "1Gi", "{}"), "10");
    assert_eq!(of("requests.memory", "1Mi", "{}"), "0");
}

#[test]
fn keys_of_objects_are_read_and_secrets_marked() {
    let found = env(
        "",
        "    envFrom:
    - { prefix: S_, configMapRef: { name: settings } }
    - { secretRef: { name: login } }
    - { configMapRef: { name: absent, optional: true } }
    env:
    - { name: COLOR, valueFrom: { configMapKeyRef: { name: settings, key: COLOR } } }
    - { name: PASSWORD, valueFrom: { secretKeyRef: { name: login, key: password } } }
    - { name: GONE, valueFrom: { secretKeyRef: { name: login, key: none, optional: true } } }
    - { name: GONE, valueFrom: { configMapKeyRef: { name: none, key: none, optional: true } } }",
    );
    let secret = |name: &str, value: &str| (name.to_owned(), value.to_owned(), true);
    let mut expected = plain(&[("S_COLOR", "blue"), ("S_log.level", "debug")]);
    expected.extend([secret("password", "hunter2"), secret("user", "ada")]);
    expected.extend(plain(&[("COLOR", "blue")]));
    expected.push(secret("PASSWORD", "hunter2"));
    assert_eq!(found, expected);
}

#[test]
fn what_is_missing_is_told_as_kubelet_tells_it() {
    let of = |container: &str| problems(&pod("", container)).remove(0);
    let one = |source: &str| of(&format!("    env: [{{ name: X, valueFrom: {{ {source} }} }}]"));
    let problem = one("configMapKeyRef: { name: none, key: k }");
    assert_eq!(
        problem.kind,
        Kind::Config {
            container: "main".to_owned()
        }
    );
    assert_eq!(problem.field, "spec.containers[0].env[0].valueFrom");
    assert_eq!(problem.message, "configmap \"none\" not found");
    assert_eq!(
        one("secretKeyRef: { name: none, key: k }").message,
        "secret \"none\" not found"
    );
    assert_eq!(
        one("configMapKeyRef: { name: settings, key: k }").message,
        "couldn't find key k in ConfigMap shop/settings"
    );
    assert_eq!(
        one("secretKeyRef: { name: login, key: k }").message,
        "couldn't find key k in Secret shop/login"
    );
    assert_eq!(
        one("fieldRef: { fieldPath: status.phase }").message,
        "unsupported fieldPath: status.phase"
    );
    assert_eq!(
        one("resourceFieldRef: { resource: limits.disk }").message,
        "unsupported container resource : limits.disk"
    );
    let problem = of("    envFrom: [{ secretRef: { name: none } }]");
    assert_eq!(problem.field, "spec.containers[0].envFrom[0].secretRef");
    let problem = one("secretKeyRef: { name: binary, key: bytes }");
    assert_eq!(
        problem.message,
        "key bytes in secret \"binary\" is not text and cannot be an environment variable"
    );
}

fn service(namespace: &str, name: &str, address: &str) -> k8s_openapi::api::core::v1::Service {
    yaml(&format!(
        "metadata: {{ namespace: {namespace}, name: {name} }}
spec:
  clusterIP: {address}
  ports: [{{ name: http, port: 80 }}, {{ name: dns-udp, port: 53, protocol: UDP }}]"
    ))
}

#[test]
fn services_come_first_with_all_their_names() {
    let mut objects = objects();
    objects.services = vec![
        service("shop", "my-db", "10.96.1.1"),
        service("shop", "headless", "None"),
        service("other", "elsewhere", "10.96.1.2"),
        service("default", "kubernetes", "10.96.0.1"),
    ];
    let named = |pod: &Pod| {
        let container = to_aurae(pod, &objects, &node()).unwrap().containers.remove(0);
        values(&container)
    };
    let found = named(&pod("", "    env: [{ name: LAST, value: x }]"));
    let of_db: Vec<_> = found
        .iter()
        .filter(|(name, ..)| name.starts_with("MY_DB"))
        .cloned()
        .collect();
    let expected = plain(&[
        ("MY_DB_SERVICE_HOST", "10.96.1.1"),
        ("MY_DB_SERVICE_PORT", "80"),
        ("MY_DB_PORT", "tcp://10.96.1.1:80"),
        ("MY_DB_SERVICE_PORT_HTTP", "80"),
        ("MY_DB_PORT_80_TCP", "tcp://10.96.1.1:80"),
        ("MY_DB_PORT_80_TCP_PROTO", "tcp"),
        ("MY_DB_PORT_80_TCP_PORT", "80"),
        ("MY_DB_PORT_80_TCP_ADDR", "10.96.1.1"),
        ("MY_DB_SERVICE_PORT_DNS_UDP", "53"),
        ("MY_DB_PORT_53_UDP", "udp://10.96.1.1:53"),
        ("MY_DB_PORT_53_UDP_PROTO", "udp"),
        ("MY_DB_PORT_53_UDP_PORT", "53"),
        ("MY_DB_PORT_53_UDP_ADDR", "10.96.1.1"),
    ]);
    assert_eq!(of_db, expected);
    assert!(found.iter().any(|(name, ..)| name == "KUBERNETES_SERVICE_HOST"));
    assert_eq!(found.last().unwrap().0, "LAST");
    assert!(
        !found
            .iter()
            .any(|(name, ..)| name.starts_with("ELSEWHERE") || name.starts_with("HEADLESS"))
    );
    let without = named(&pod("  enableServiceLinks: false", ""));
    assert!(without.iter().all(|(name, ..)| name.starts_with("KUBERNETES_")) && !without.is_empty());
}
