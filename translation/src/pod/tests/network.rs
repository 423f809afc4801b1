use super::*;

fn names(spec: &str) -> (String, String) {
    let translated = translated(&pod(spec, ""));
    (translated.hostname, translated.fqdn)
}

fn pair(host: &str, full: &str) -> (String, String) {
    (host.to_owned(), full.to_owned())
}

#[test]
fn host_names_follow_the_spec() {
    assert_eq!(names(""), pair("web", ""));
    assert_eq!(names("  hostname: front"), pair("front", ""));
    assert_eq!(
        names("  hostname: front\n  subdomain: db"),
        pair("front", "front.db.shop.svc.cluster.local")
    );
    assert_eq!(
        names("  subdomain: db\n  setHostnameAsFQDN: true"),
        pair("web.db.shop.svc.cluster.local", "web.db.shop.svc.cluster.local")
    );
    assert_eq!(
        names("  hostnameOverride: my.own.name\n  subdomain: db"),
        pair("my.own.name", "")
    );
    assert_eq!(names("  hostNetwork: true"), pair("machine", ""));
    let node = Node {
        hostname: "My_Machine.".to_owned(),
        ..node()
    };
    let found = to_aurae(&pod("  hostNetwork: true", ""), &objects(), &node).unwrap();
    assert_eq!(found.hostname, "my-machine");
}

#[test]
fn a_long_name_is_cut_and_a_long_full_name_waits() {
    let mut long = pod("", "");
    long.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(20)));
    assert_eq!(translated(&long).hostname, "a".repeat(62));
    let mut long = pod("  subdomain: db\n  setHostnameAsFQDN: true", "");
    long.metadata.name = Some("a".repeat(40));
    let found = problems(&long);
    assert_eq!(
        found[0].kind,
        Kind::Waiting {
            event: "FailedCreatePodSandBox"
        }
    );
    assert!(
        found[0]
            .message
            .ends_with("is too long (64 characters is the max, 66 characters requested)"),
        "{}",
        found[0].message
    );
}

fn dns(spec: &str) -> schedule::Dns {
    translated(&pod(spec, "")).dns.unwrap()
}

#[test]
fn dns_follows_its_policy() {
    let host = schedule::Dns {
        include_host: true,
        ..Default::default()
    };
    assert_eq!(dns("  dnsPolicy: Default"), host);
    assert_eq!(dns("  hostNetwork: true"), host);
    assert_eq!(dns("  dnsPolicy: None"), schedule::Dns::default());
    assert_eq!(
        dns("  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet").nameservers,
        ["10.96.0.10"]
    );
}

#[test]
fn dns_of_the_pod_is_merged_in() {
    let found = dns(
        "  dnsConfig: { nameservers: [192.0.2.53, 10.96.0.10], searches: [cluster.local, more.example], options: [{ name: ndots, value: '2' }, { name: edns0 }] }",
    );
    assert_eq!(found.nameservers, ["10.96.0.10", "192.0.2.53"]);
    assert_eq!(
        found.searches,
        [
            "shop.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "example.org",
            "more.example"
        ]
    );
    assert_eq!(found.options, ["ndots:2", "edns0"]);
}

#[test]
fn what_does_not_fit_is_cut_with_a_warning() {
    let searches: Vec<String> = (0..40).map(|index| format!("s{index}.example")).collect();
    let text = format!(
        "  dnsPolicy: None\n  dnsConfig: {{ nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4], searches: [{}] }}",
        searches.join(", ")
    );
    let pod = pod(&text, "");
    let found = translated(&pod).dns.unwrap();
    assert_eq!((found.nameservers.len(), found.searches.len()), (3, 32));
    let warnings = warnings(&pod, &objects(), &node());
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.event() == "DNSConfigForming")
    );
    assert!(
        warnings[0]
            .message
            .ends_with("the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3")
    );
}

#[test]
fn without_a_cluster_dns_the_nodes_own_is_taken_with_a_warning() {
    let node = Node {
        cluster_dns: Vec::new(),
        ..node()
    };
    let found = to_aurae(&pod("", ""), &objects(), &node).unwrap();
    assert!(found.dns.unwrap().include_host);
    let warnings = warnings(&pod("", ""), &objects(), &node);
    assert_eq!(warnings[0].event(), "MissingClusterDNS");
}

#[test]
fn host_aliases_and_ports_on_the_host_network() {
    let found = translated(&pod(
        "  hostNetwork: true\n  hostAliases: [{ ip: 192.0.2.9, hostnames: [a, b] }]",
        "    ports: [{ containerPort: 80, hostPort: 80 }]",
    ));
    assert!(found.host_network);
    assert_eq!(found.host_aliases[0].address, "192.0.2.9");
    assert_eq!(found.host_aliases[0].names, ["a", "b"]);
    assert_eq!(found.containers[0].ports[0].host_port, 0);
}
