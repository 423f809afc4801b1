//! Host ports, and the table that leads them.

use super::*;

#[test]
fn host_ports_are_reached_from_everywhere() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let outside = outside();
        let ports = [
            tcp(None, 8080, 80),
            tcp(Some(NODE), 8081, 80),
            tcp(Some(Ipv4Addr::LOCALHOST), 8082, 80),
        ];
        let a = attach(&network, "a", POD_A, &ports).await.unwrap();
        let b = attach(&network, "b", POD_B, &[]).await.unwrap();
        within(&a.netns, || serve(80));
        assert_eq!(
            within(&outside, || ask(NODE, 8080)).as_deref(),
            Some("192.0.2.2"),
            "the source is kept"
        );
        assert_eq!(
            within(&outside, || ask(NODE, 8081)).as_deref(),
            Some("192.0.2.2"),
            "bound to this address"
        );
        assert_eq!(
            within(&outside, || ask(NODE, 8082)),
            None,
            "bound to another address"
        );
        assert_eq!(
            ask(NODE, 8080).as_deref(),
            Some("192.0.2.1"),
            "node by its address"
        );
        assert_eq!(
            ask(Ipv4Addr::LOCALHOST, 8080).as_deref(),
            Some("10.88.0.1"),
            "node by 127.0.0.1"
        );
        assert_eq!(ask(Ipv4Addr::LOCALHOST, 8081), None, "bound to another address");
        assert_eq!(
            ask(Ipv4Addr::LOCALHOST, 8082).as_deref(),
            Some("10.88.0.1"),
            "bound to 127.0.0.1"
        );
        assert_eq!(
            within(&b.netns, || ask(NODE, 8080)).as_deref(),
            Some("10.88.0.1"),
            "from another pod"
        );
        assert_eq!(
            within(&a.netns, || ask(NODE, 8080)).as_deref(),
            Some("10.88.0.1"),
            "from the pod itself"
        );
        network.detach("a", POD_A).await.unwrap();
        assert_eq!(ask(NODE, 8080), None);
        assert_eq!(ask(Ipv4Addr::LOCALHOST, 8082), None);
        network.detach("a", POD_A).await.unwrap();
    });
}

#[test]
fn host_ports_of_udp() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let udp = PortMapping {
            protocol: Protocol::Udp,
            host_address: None,
            host_port: 53,
            container_port: 5353,
        };
        let a = attach(&network, "a", POD_A, &[udp]).await.unwrap();
        let server = within(&a.netns, || {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap()
        });
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"ping", (GATEWAY, 53)).unwrap();
        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..length], peer).unwrap();
        let (length, peer) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer.port()), (b"ping".as_slice(), 53));
    });
}

#[test]
fn a_host_port_has_one_pod() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let port = [tcp(None, 8080, 80)];
        let a = attach(&network, "a", POD_A, &port).await.unwrap();
        let taken = attach(&network, "b", POD_B, &port).await.unwrap_err();
        assert!(matches!(taken, NetworkError::PortTaken { .. }), "{taken:?}");
        // What the refused pod is told to give back is not its own.
        network.detach("b", POD_B).await.unwrap();
        within(&a.netns, || serve(80));
        assert!(ask(GATEWAY, 8080).is_some());
        network.detach("a", POD_A).await.unwrap();
        attach(&network, "b", POD_B, &port).await.unwrap();
    });
}

#[test]
fn many_refused_ports_are_told_and_are_no_other_pods_failure() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let ports: Vec<_> = (0..500).map(|number| tcp(None, 10_000 + number, 80)).collect();
        let _a = attach(&network, "a", POD_A, &ports).await.unwrap();
        let taken = attach(&network, "b", POD_B, &ports).await.unwrap_err();
        assert!(matches!(taken, NetworkError::PortTaken { .. }), "{taken:?}");
        // The kernel's answers to that transaction are not taken for those to this one.
        let c = Ipv4Addr::new(10, 88, 0, 4);
        let c = attach(&network, "c", c, &[tcp(None, 8080, 80)]).await.unwrap();
        within(&c.netns, || serve(80));
        assert!(ask(GATEWAY, 8080).is_some());
    });
}

#[test]
fn the_table_reads_back() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let ports = [tcp(None, 8080, 80), tcp(Some(NODE), 8081, 81)];
        attach(&network, "pod-a", POD_A, &ports).await.unwrap();
        let expected = r#"
            table ip aurae {
                map ports {
                    type inet_proto . inet_service : ipv4_addr . inet_service
                    elements = { tcp . 8080 comment "pod-a" : 10.88.0.2 . 80 }
                }
                map bound {
                    type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service
                    elements = { tcp . 192.0.2.1 . 8081 comment "pod-a" : 10.88.0.2 . 81 }
                }
                chain prerouting {
                    type nat hook prerouting priority dstnat; policy accept;
                    fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @bound
                    fib daddr type local dnat ip to meta l4proto . th dport map @ports
                }
                chain output {
                    type nat hook output priority -100; policy accept;
                    fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @bound
                    fib daddr type local dnat ip to meta l4proto . th dport map @ports
                }
                chain postrouting {
                    type nat hook postrouting priority srcnat; policy accept;
                    ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 oifname != "aurae0" masquerade fully-random
                    oifname "aurae0" ip saddr 10.88.0.0/16 ct status dnat masquerade fully-random
                    oifname "aurae0" ip saddr 127.0.0.0/8 masquerade fully-random
                }
                chain guard {
                    type filter hook prerouting priority raw; policy accept;
                    iifname "aurae0" ip daddr 127.0.0.0/8 drop
                }
            }"#;
        assert_eq!(
            words(&run("nft", &["list", "table", "ip", "aurae"])),
            words(expected)
        );
    });
}

#[test]
fn host_ports_without_nat_are_refused() {
    on_node(|| async {
        let (network, warnings) = start().await;
        if warnings.is_empty() {
            println!("skipped: this kernel has nat");
            return;
        }
        let error = attach(&network, "a", POD_A, &[tcp(None, 8080, 80)])
            .await
            .unwrap_err();
        assert!(matches!(error, NetworkError::NoNat), "{error:?}");
    });
}
