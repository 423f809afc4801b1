//! What an earlier daemon, a crash or another network left, and what is left in the end.

use super::*;

#[test]
fn start_adopts_what_is_there() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let nat = warnings.is_empty();
        let ports = if nat {
            vec![tcp(None, 8080, 80)]
        } else {
            Vec::new()
        };
        let a = attach(&network, "a", POD_A, &ports).await.unwrap();
        let rules = || {
            if nat {
                run("nft", &["list", "ruleset"])
            } else {
                String::new()
            }
        };
        let before = rules();
        drop(network);
        run("ip", &["address", "add", "10.99.0.1/24", "dev", "aurae0"]);
        run("ip", &["address", "del", "10.88.0.1/16", "dev", "aurae0"]);
        let (_network, _) = start().await;
        assert_eq!(rules(), before);
        let addresses = run("ip", &["-4", "address", "show", "aurae0"]);
        assert!(
            addresses.contains("inet 10.88.0.1/16") && !addresses.contains("10.99"),
            "{addresses}"
        );
        within(&a.netns, || serve(80));
        assert!(ask(POD_A, 80).is_some());
    });
}

#[test]
fn reconcile_removes_what_is_stale_and_restores_what_is_lost() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let nat = warnings.is_empty();
        let ports = |number| {
            if nat {
                vec![tcp(None, number, 80)]
            } else {
                Vec::new()
            }
        };
        let a = attach(&network, "a", POD_A, &ports(8080)).await.unwrap();
        let b = attach(&network, "b", POD_B, &ports(8081)).await.unwrap();
        if nat {
            run("nft", &["flush", "map", "ip", "aurae", "ports"]);
            run(
                "nft",
                &[
                    "add",
                    "element",
                    "ip",
                    "aurae",
                    "ports",
                    "{ udp . 9 : 10.88.0.9 . 9 }",
                ],
            );
        }
        let live = [Live {
            id: "a".to_owned(),
            address: POD_A,
            ports: ports(8080),
        }];
        let expected = Reconciled {
            removed_interfaces: vec![b.interface.clone()],
            removed_ports: usize::from(nat),
            added_ports: usize::from(nat),
        };
        assert_eq!(network.reconcile(&live).await.unwrap(), expected);
        assert_eq!(network.reconcile(&live).await.unwrap(), Reconciled::default());
        let left = interfaces();
        assert!(
            left.contains(&a.interface) && !left.contains(&b.interface),
            "{left:?}"
        );
        if nat {
            within(&a.netns, || serve(80));
            assert!(ask(GATEWAY, 8080).is_some());
            assert_eq!(ask(GATEWAY, 8081), None);
        }
    });
}

#[test]
fn remove_leaves_nothing() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let before = interfaces();
        assert!(before.contains(&"aurae0".to_owned()));
        let _pods = two_pods(&network).await;
        network.remove().await.unwrap();
        assert_eq!(
            interfaces()
                .iter()
                .filter(|name| name.starts_with('v') || *name == "aurae0")
                .count(),
            0
        );
        if warnings.is_empty() {
            assert_eq!(run("nft", &["list", "ruleset"]), "");
        }
    });
}

#[test]
fn an_interface_goes_with_its_namespace_and_its_id_can_be_used_again() {
    on_node(|| async {
        let (network, _) = start().await;
        for _ in 0..5 {
            // At once: the earlier namespace is still on its way out.
            drop(attach(&network, "a", POD_A, &[]).await.unwrap());
        }
        let start = Instant::now();
        while interfaces().iter().any(|name| name.starts_with('v')) {
            assert!(start.elapsed() < PATIENCE, "{:?}", interfaces());
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_name_that_is_taken_is_told() {
    on_node(|| async {
        run(
            "ip",
            &["link", "add", "aurae0", "type", "veth", "peer", "name", "x"],
        );
        let error = Network::start(config(), &[subnet("10.88.0.0/16")])
            .await
            .unwrap_err();
        assert!(matches!(error, NetworkError::NotABridge(_)), "{error:?}");
    });
}

#[test]
fn two_networks_beside_each_other() {
    on_node(|| async {
        let (network, _) = start().await;
        let other = NetworkConfig {
            bridge: "other0".to_owned(),
            table: "other".to_owned(),
            mtu: None,
        };
        let (other, _) = Network::start(other, &[subnet("10.99.0.0/24")]).await.unwrap();
        let a = attach(&network, "a", POD_A, &[]).await.unwrap();
        let b = Endpoint {
            subnet: subnet("10.99.0.0/24"),
            ..endpoint("b", Ipv4Addr::new(10, 99, 0, 2), &[])
        };
        let b = other.attach(&b).await.unwrap();
        // Pods of one id, as callers choose them, do not know of each other.
        let of_other = Endpoint {
            subnet: subnet("10.99.0.0/24"),
            ..endpoint("a", Ipv4Addr::new(10, 99, 0, 3), &[])
        };
        for _ in 0..2 {
            let of_other = other.attach(&of_other).await.unwrap();
            assert_ne!(of_other.interface, a.interface);
            within(&of_other.netns, || serve(80));
            assert_eq!(ask(Ipv4Addr::new(10, 99, 0, 3), 80).as_deref(), Some("10.99.0.1"));
            within(&a.netns, || run("ip", &["link", "show", "eth0"]));
        }
        other.reconcile(&[]).await.unwrap();
        assert!(interfaces().contains(&a.interface) && !interfaces().contains(&b.interface));
        other.remove().await.unwrap();
        assert!(interfaces().contains(&"aurae0".to_owned()));
    });
}

#[test]
fn a_hundred_pods_are_attached_beside_each_other() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let nat = warnings.is_empty();
        let (mut times, mut kept) = (Vec::new(), Vec::new());
        for number in 2..102 {
            let address = Ipv4Addr::new(10, 88, 0, number);
            let ports = [tcp(None, 8000 + u16::from(number), 80)];
            let ports = if nat { ports.as_slice() } else { &[] };
            let start = Instant::now();
            let pod = attach(&network, &format!("pod-{number}"), address, ports).await;
            times.push(start.elapsed());
            kept.push(pod.unwrap());
        }
        times.sort();
        println!("attach: {:?} (p50), {:?} (p90)", times[50], times[90]);
        let links = interfaces();
        assert!(kept.iter().all(|pod| links.contains(&pod.interface)), "{links:?}");
        let last = &kept[99];
        within(&last.netns, || serve(80));
        let address = Ipv4Addr::new(10, 88, 0, 101);
        assert!(within(&kept[0].netns, || ask(address, 80)).is_some());
        assert!(!nat || ask(GATEWAY, 8101).is_some());
    });
}
