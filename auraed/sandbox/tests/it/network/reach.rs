//! Who reaches whom, and with which address.

use super::*;

#[test]
fn pods_and_node_reach_each_other() {
    on_node(|| async {
        let (network, _) = start().await;
        let (a, b) = two_pods(&network).await;
        within(&b.netns, || serve(80));
        assert_eq!(
            within(&a.netns, || ask(POD_B, 80)).as_deref(),
            Some("10.88.0.2"),
            "pod to pod"
        );
        assert_eq!(ask(POD_B, 80).as_deref(), Some("10.88.0.1"), "node to pod");
        within(&a.netns, || serve(80));
        assert_eq!(
            within(&a.netns, || ask(Ipv4Addr::LOCALHOST, 80)).as_deref(),
            Some("127.0.0.1"),
            "pod to itself"
        );
        serve(81);
        assert_eq!(
            within(&a.netns, || ask(GATEWAY, 81)).as_deref(),
            Some("10.88.0.2"),
            "pod to node"
        );
    });
}

#[test]
fn a_pods_interface_is_as_said() {
    on_node(|| async {
        let config = NetworkConfig {
            mtu: Some(1400),
            ..config()
        };
        let (network, _) = Network::start(config, &[subnet("10.88.0.0/16")]).await.unwrap();
        let a = attach(&network, "a", POD_A, &[]).await.unwrap();
        let inside = within(&a.netns, || run("ip", &["address", "show", "eth0"]));
        for part in [
            "mtu 1400",
            "UP,LOWER_UP",
            "link/ether 0a:58:0a:58:00:02",
            "inet 10.88.0.2/16",
        ] {
            assert!(inside.contains(part), "{part} in {inside}");
        }
        // Its IPv6 address is not held back; the kernel says so a moment later.
        for setting in ["ipv6/conf/eth0/accept_dad", "ipv4/conf/eth0/accept_redirects"] {
            let path = format!("/proc/sys/net/{setting}");
            let value = within(&a.netns, || fs_err::read_to_string(&path).unwrap());
            assert_eq!(value, "0\n", "{setting}");
        }
        let routes = within(&a.netns, || run("ip", &["route", "show"]));
        assert!(routes.contains("default via 10.88.0.1 dev eth0"), "{routes}");
        let link = run("ip", &["-d", "link", "show", &a.interface]);
        for part in ["mtu 1400", "master aurae0", "alias a", "hairpin on"] {
            assert!(link.contains(part), "{part} in {link}");
        }
        // No pod's, whatever its address; and it stays when pods come and go.
        assert!(run("ip", &["link", "show", "aurae0"]).contains("link/ether 0a:59:"));
    });
}

#[test]
fn pods_reach_outside_with_the_nodes_address() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let (a, _) = two_pods(&network).await;
        let outside = outside();
        within(&outside, || serve(80));
        assert_eq!(
            within(&a.netns, || ask(OUTSIDE, 80)).as_deref(),
            Some("192.0.2.1")
        );
    });
}
