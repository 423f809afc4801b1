//! The reference plugins (bridge, host-local, portmap, bandwidth, loopback) as a chain.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use auraed_cni::{Attachment, Bandwidth, Error, NetworkConfig, PortMapping, capability};

use crate::place::{Of, Place, ask, list, names, namespace, on_node, path_of, run, serve, within};

const ONE: &str = r#"[{"subnet": "10.123.0.0/24"}]"#;
const BOTH: &str = r#"[{"subnet": "fd00:123::/64"}], [{"subnet": "10.123.0.0/24"}]"#;

fn chain(place: &Place, version: &str, ranges: &str) -> NetworkConfig {
    list(&format!(
        r#"{{"cniVersion": "{version}", "name": "ref", "plugins": [
  {{"type": "bridge", "bridge": "cni-test0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": "{leases}",
              "ranges": [{ranges}],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}},
  {{"type": "bandwidth", "capabilities": {{"bandwidth": true}}}},
  {{"type": "loopback"}}
]}}"#,
        leases = place.path("leases").display()
    ))
}

fn attachment(id: &str, namespace: &OwnedFd) -> Attachment {
    let ports = [PortMapping {
        host_port: 8080,
        container_port: 80,
        protocol: "tcp".to_owned(),
        host_address: String::new(),
    }];
    let limits = Bandwidth {
        ingress_rate: 100_000_000,
        ingress_burst: 100_000_000,
        egress_rate: 100_000_000,
        egress_burst: 100_000_000,
    };
    Attachment {
        id: id.to_owned(),
        interface: "eth0".to_owned(),
        namespace: path_of(namespace),
        arguments: vec![("IgnoreUnknown".to_owned(), "1".to_owned())],
        capabilities: BTreeMap::from([
            (
                capability::PORT_MAPPINGS.to_owned(),
                serde_json::to_value(ports).unwrap(),
            ),
            (
                capability::BANDWIDTH.to_owned(),
                serde_json::to_value(limits).unwrap(),
            ),
        ]),
    }
}

fn leases(place: &Place) -> Vec<String> {
    let mut leases = names(&place.path("leases/ref"));
    leases.retain(|name| !name.starts_with("last_reserved") && name != "lock");
    leases
}

/// Rules and devices that plugins made on the node for somebody.
fn traces() -> (usize, usize) {
    let rules = run("nft", &["list", "ruleset"]);
    let links = run("ip", &["-o", "link"]);
    (
        rules.matches("chain CNI-").count() - rules.matches("chain CNI-HOSTPORT").count(),
        links.matches(": veth").count() + links.matches(": bwp").count(),
    )
}

#[test]
fn a_chain_gives_a_network_that_can_be_checked_and_goes_again() {
    let test = "a_chain_gives_a_network_that_can_be_checked_and_goes_again";
    if let Some(place) = Place::with_reference(Of::Debian, test) {
        lives_and_goes(&place, "1.0.0");
    }
}

#[test]
fn so_it_does_with_the_plugins_of_today() {
    let test = "so_it_does_with_the_plugins_of_today";
    if let Some(place) = Place::with_reference(Of::Today, test) {
        lives_and_goes(&place, "1.1.0");
    }
}

fn lives_and_goes(place: &Place, version: &str) {
    on_node(|| async {
        let (runtime, config) = (place.runtime(), chain(place, version, ONE));
        runtime.status(&config).await.unwrap();
        let pod = namespace();
        let wanted = attachment("pod-1", &pod);
        let added = runtime.add(&config, &wanted).await.unwrap();
        let addresses = added.addresses("eth0");
        assert_eq!(addresses.len(), 1);
        assert_eq!(runtime.added("pod-1", "eth0").await.unwrap(), Some(added));
        assert_eq!(leases(place).len(), 1);

        within(&pod, || serve(80));
        assert_eq!(
            ask(addresses[0], 80).as_deref(),
            Some("10.123.0.1"),
            "node to pod"
        );
        assert!(
            ask(IpAddr::from([127, 0, 0, 1]), 8080).is_some(),
            "the host port leads to the pod"
        );
        let qdiscs = run("tc", &["qdisc"]);
        assert_eq!(
            qdiscs.matches("tbf").count(),
            2,
            "both directions are limited: {qdiscs}"
        );

        runtime.check("pod-1", "eth0", &wanted.namespace).await.unwrap();
        // Another daemon has another descriptor of it.
        let elsewhere = pod.try_clone().unwrap();
        place
            .runtime()
            .check("pod-1", "eth0", &path_of(&elsewhere))
            .await
            .unwrap();
        within(&pod, || run("ip", &["address", "flush", "dev", "eth0"]));
        let error = runtime
            .check("pod-1", "eth0", &wanted.namespace)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Refused { plugin, .. } if plugin == "bridge"),
            "{error}"
        );

        assert!(traces().0 > 0 && traces().1 > 0);
        assert!(
            runtime
                .delete("pod-1", "eth0", Some(&wanted.namespace))
                .await
                .unwrap()
        );
        assert_eq!((leases(place), place.records()), (vec![], vec![]));
        assert_eq!(traces().1, 0, "{}", run("ip", &["-o", "link"]));
        assert!(
            within(&pod, || run("ip", &["-o", "link"])).lines().count() == 1,
            "lo stays"
        );
        assert_eq!(ask(IpAddr::from([127, 0, 0, 1]), 8080), None);
        assert!(
            !runtime
                .delete("pod-1", "eth0", Some(&wanted.namespace))
                .await
                .unwrap()
        );
        runtime.check("pod-1", "eth0", &wanted.namespace).await.unwrap();
    });
}

#[test]
fn collecting_leaves_what_is_valid() {
    let Some(place) = Place::with_reference(Of::Today, "collecting_leaves_what_is_valid") else {
        return;
    };
    on_node(|| async {
        let (runtime, config) = (place.runtime(), chain(&place, "1.1.0", ONE));
        let (a, b, c) = (namespace(), namespace(), namespace());
        for (id, namespace) in [("a", &a), ("b", &b), ("c", &c)] {
            let wanted = attachment(id, namespace);
            runtime.add(&config, &wanted).await.unwrap();
        }
        assert_eq!(leases(&place).len(), 3);
        let errors = runtime.collect(Some(&config), |id| id != "c").await;
        assert!(
            errors.is_empty(),
            "they take GC, though they have nothing to do for it: {errors:?}"
        );
        assert_eq!((leases(&place).len(), place.records().len()), (2, 2));
        runtime.check("a", "eth0", &path_of(&a)).await.unwrap();
    });
}

#[test]
fn addresses_of_both_families_are_carried_in_the_networks_order() {
    let Some(place) = Place::with_reference(
        Of::Debian,
        "addresses_of_both_families_are_carried_in_the_networks_order",
    ) else {
        return;
    };
    place.add_ip6tables();
    on_node(|| async {
        let (runtime, pod) = (place.runtime(), namespace());
        let wanted = attachment("pod-1", &pod);
        let added = runtime.add(&chain(&place, "1.0.0", BOTH), &wanted).await.unwrap();
        let addresses = added.addresses("eth0");
        assert!(
            addresses.len() == 2 && addresses[0].is_ipv6() && addresses[1].is_ipv4(),
            "{addresses:?}"
        );
        let inside = within(&pod, || run("ip", &["-o", "address", "show", "dev", "eth0"]));
        for address in addresses {
            assert!(inside.contains(&address.to_string()), "{address}: {inside}");
        }
        assert!(
            runtime
                .delete("pod-1", "eth0", Some(&wanted.namespace))
                .await
                .unwrap()
        );
        assert_eq!(leases(&place), Vec::<String>::new());
    });
}

#[test]
fn every_version_that_the_plugins_speak_works() {
    let Some(place) = Place::with_reference(Of::Debian, "every_version_that_the_plugins_speak_works") else {
        return;
    };
    on_node(|| async {
        let runtime = place.runtime();
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            let pod = namespace();
            let wanted = attachment("pod-1", &pod);
            let added = runtime.add(&chain(&place, version, ONE), &wanted).await.unwrap();
            assert_eq!(
                (added.version().as_str(), added.addresses("eth0").len()),
                (version, 1)
            );
            runtime.check("pod-1", "eth0", &wanted.namespace).await.unwrap();
            runtime
                .delete("pod-1", "eth0", Some(&wanted.namespace))
                .await
                .unwrap();
            assert_eq!(leases(&place), Vec::<String>::new(), "{version}");
        }
        let pod = namespace();
        let error = runtime
            .add(&chain(&place, "1.1.0", ONE), &attachment("pod-1", &pod))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Refused { object, .. } if object.code == 1),
            "{error}"
        );
        assert_eq!(
            place.records(),
            ["pod-1-eth0.json"],
            "DEL could not be done either"
        );
        let both = list(
            r#"{"cniVersion": "1.0.0", "cniVersions": ["1.1.0"], "name": "ref", "plugins": [{"type": "loopback"}]}"#,
        );
        let error = runtime.add(&both, &attachment("pod-2", &pod)).await;
        assert_eq!(
            error.unwrap().version().as_str(),
            "1.0.0",
            "the plugin speaks no later one"
        );
    });
}

#[test]
fn what_a_namespace_leaves_goes_with_the_configuration_of_then() {
    let Some(place) = Place::with_reference(
        Of::Debian,
        "what_a_namespace_leaves_goes_with_the_configuration_of_then",
    ) else {
        return;
    };
    on_node(|| async {
        let pod = namespace();
        place
            .runtime()
            .add(&chain(&place, "1.0.0", ONE), &attachment("pod-1", &pod))
            .await
            .unwrap();
        assert_eq!(leases(&place).len(), 1);
        drop(pod);
        // Nobody but the record knows the configuration any more.
        assert!(place.runtime().delete("pod-1", "eth0", None).await.unwrap());
        assert_eq!((leases(&place), place.records()), (vec![], vec![]));
        assert_eq!(ask(IpAddr::from([127, 0, 0, 1]), 8080), None);
    });
}

#[test]
fn an_interrupted_addition_is_taken_back_at_the_next_start() {
    let Some(place) = Place::with_reference(
        Of::Debian,
        "an_interrupted_addition_is_taken_back_at_the_next_start",
    ) else {
        return;
    };
    place.fifo("ready");
    place.plugin(
        "stuck",
        r#"[ "$CNI_COMMAND" = ADD ] || exit 0; echo > $here/ready; sleep 1000"#,
    );
    let config = list(&format!(
        r#"{{"cniVersion": "1.0.0", "name": "ref", "plugins": [
  {{"type": "bridge", "bridge": "cni-test0", "ipam": {{"type": "host-local", "dataDir": "{}",
    "subnet": "10.123.0.0/24"}}}}, {{"type": "stuck"}}]}}"#,
        place.path("leases").display()
    ));
    on_node(|| async {
        let pod = namespace();
        let runtime = place.runtime();
        let (wanted, ready) = (attachment("pod-1", &pod), place.path("ready"));
        {
            let mut adding = std::pin::pin!(runtime.add(&config, &wanted));
            let until_stuck = tokio::task::spawn_blocking(move || fs_err::read(ready).unwrap());
            tokio::select! {
                _ = &mut adding => panic!("it is stuck"),
                _ = until_stuck => {}
            }
        }
        assert_eq!(leases(&place).len(), 1, "the first plugin has done its work");
        assert_eq!(place.records(), ["pod-1-eth0.json"]);
        assert_eq!(runtime.added("pod-1", "eth0").await.unwrap(), None);
        drop(pod);
        let errors = place.runtime().collect(None, |_| true).await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!((leases(&place), place.records()), (vec![], vec![]));
    });
}
