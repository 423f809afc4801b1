//! A change of the pods' subnet under pods that run.

use super::*;

const NEW_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 2);

fn old_subnet() -> Ipv4Subnet {
    subnet("10.88.0.0/16")
}

fn new_subnet() -> Ipv4Subnet {
    subnet("10.244.3.0/24")
}

async fn attach_new(network: &Network) -> Attachment {
    let new = Endpoint {
        subnet: new_subnet(),
        ..endpoint("new", NEW_POD, &[])
    };
    network.attach(&new).await.unwrap()
}

fn bridge_addresses() -> Vec<String> {
    let list = run("ip", &["-4", "-o", "address", "show", "aurae0"]);
    let mut addresses: Vec<_> = list
        .lines()
        .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
        .collect();
    addresses.sort_unstable();
    addresses
}

#[test]
fn pods_of_two_subnets_reach_each_other_and_outside() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let old = attach(&network, "old", POD_A, &[]).await.unwrap();
        network
            .serve_subnets(&[new_subnet(), old_subnet()])
            .await
            .unwrap();
        let new = attach_new(&network).await;
        assert_eq!(bridge_addresses(), ["10.244.3.1/24", "10.88.0.1/16"]);
        let outside = outside();
        for server in [&old.netns, &new.netns, &outside] {
            within(server, || serve(80));
        }
        let see = |from: &OwnedFd, to| within(from, || ask(to, 80));
        assert_eq!(see(&old.netns, NEW_POD).as_deref(), Some("10.88.0.2"));
        assert_eq!(see(&new.netns, POD_A).as_deref(), Some("10.244.3.2"));
        for pod in [&old.netns, &new.netns] {
            assert_eq!(see(pod, OUTSIDE).as_deref(), Some("192.0.2.1"));
        }
        assert_eq!(ask(NEW_POD, 80).as_deref(), Some("10.244.3.1"), "node to pod");

        // The next daemon finds it so; the last pod of the old subnet takes it along.
        drop(network);
        let (network, _) = Network::start(config(), &[new_subnet(), old_subnet()])
            .await
            .unwrap();
        assert_eq!(see(&old.netns, OUTSIDE).as_deref(), Some("192.0.2.1"));
        network.serve_subnets(&[new_subnet()]).await.unwrap();
        assert_eq!(bridge_addresses(), ["10.244.3.1/24"]);
        assert!(!run("nft", &["list", "ruleset"]).contains("10.88"));
        assert_eq!(see(&new.netns, OUTSIDE).as_deref(), Some("192.0.2.1"));
    });
}

#[test]
fn connections_and_host_ports_outlive_the_change() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let old = attach(&network, "old", POD_A, &[tcp(None, 8080, 80)])
            .await
            .unwrap();
        within(&old.netns, || serve(80));
        let outside = outside();
        let listener = within(&outside, || TcpListener::bind((OUTSIDE, 90)).unwrap());
        let mut near = within(&old.netns, || TcpStream::connect((OUTSIDE, 90)).unwrap());
        let (mut far, _) = listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        for subnets in [vec![new_subnet(), old_subnet()], vec![old_subnet()]] {
            network.serve_subnets(&subnets).await.unwrap();
            let mut byte = [0];
            near.write_all(b"a").unwrap();
            far.read_exact(&mut byte).unwrap();
            far.write_all(b"b").unwrap();
            near.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"b");
            assert_eq!(within(&outside, || ask(NODE, 8080)).as_deref(), Some("192.0.2.2"));
        }
    });
}

#[test]
fn subnets_that_overlap_are_served_beside_each_other() {
    on_node(|| async {
        let (network, _) = start().await;
        let old = attach(&network, "old", POD_A, &[]).await.unwrap();
        let inner = subnet("10.88.3.0/24");
        network.serve_subnets(&[inner, old_subnet()]).await.unwrap();
        assert_eq!(bridge_addresses(), ["10.88.0.1/16", "10.88.3.1/24"]);
        let address = Ipv4Addr::new(10, 88, 3, 2);
        let new = Endpoint {
            subnet: inner,
            ..endpoint("new", address, &[])
        };
        let new = network.attach(&new).await.unwrap();
        within(&old.netns, || serve(80));
        within(&new.netns, || serve(80));
        assert_eq!(
            within(&old.netns, || ask(address, 80)).as_deref(),
            Some("10.88.0.2")
        );
        assert_eq!(
            within(&new.netns, || ask(POD_A, 80)).as_deref(),
            Some("10.88.3.2")
        );
    });
}

#[test]
fn an_address_of_the_nodes_own_is_found() {
    on_node(|| async {
        let (network, _) = start().await;
        let _outside = outside();
        let found = network.node_address_in(subnet("192.0.0.0/16")).await.unwrap();
        assert_eq!(found, Some(("out0".to_owned(), NODE)));
        // The bridge's own are no obstacle.
        for free in [subnet("10.0.0.0/8"), subnet("192.0.3.0/24")] {
            assert_eq!(network.node_address_in(free).await.unwrap(), None, "{free}");
        }
    });
}
