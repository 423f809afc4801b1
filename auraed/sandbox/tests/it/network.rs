//! The pod network, each test in a network namespace of its own that plays the node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what was skipped, and figures")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use auraed_sandbox::network::{
    Attachment, Live, Network, NetworkConfig, NetworkError, PortMapping, Protocol, Reconciled, Warning,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const POD_A: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
const POD_B: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PATIENCE: Duration = Duration::from_secs(10);

fn config() -> NetworkConfig {
    NetworkConfig {
        bridge: "aurae0".to_owned(),
        subnet: "10.88.0.0/16".parse().unwrap(),
        table: "aurae".to_owned(),
        mtu: None,
    }
}

#[expect(
    deprecated,
    reason = "of its unsafe successor's two dangers neither is about NEWNET"
)]
fn unshare() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
}

/// Runs a test as a node of its own: a thread in a new network namespace, with a tokio runtime whose threads stay there.
fn on_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare();
            run("ip", &["link", "set", "lo", "up"]);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs something on a thread inside of a namespace.
fn within<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

async fn start() -> (Network, Vec<Warning>) {
    Network::start(config()).await.unwrap()
}

/// None, with a message: the kernel has no nat, and the test is about nothing else.
async fn start_with_nat() -> Option<Network> {
    let (network, warnings) = start().await;
    let lacks = warnings
        .iter()
        .any(|warning| matches!(warning, Warning::NoNat(_)));
    if lacks {
        println!("skipped: {}", warnings[0]);
    }
    (!lacks).then_some(network)
}

fn tcp(host_address: Option<Ipv4Addr>, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        protocol: Protocol::Tcp,
        host_address,
        host_port,
        container_port,
    }
}

/// Answers every connection with the address that it came from, until the process ends.
fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().unwrap().ip();
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
}

/// What the server saw as our address; none if there is no connection.
fn ask(address: Ipv4Addr, port: u16) -> Option<String> {
    let address = SocketAddr::V4(SocketAddrV4::new(address, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A machine beside the node, 192.0.2.2, that knows no way to the pods; the node is 192.0.2.1 to it.
fn outside() -> OwnedFd {
    let netns = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare();
            OwnedFd::from(
                fs_err::File::open("/proc/thread-self/ns/net")
                    .unwrap()
                    .into_file(),
            )
        });
        thread.join().unwrap()
    });
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    run(
        "ip",
        &[
            "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", &path,
        ],
    );
    run("ip", &["address", "add", "192.0.2.1/24", "dev", "out0"]);
    run("ip", &["link", "set", "out0", "up"]);
    within(&netns, || {
        run("ip", &["address", "add", "192.0.2.2/24", "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        run("ip", &["link", "set", "lo", "up"]);
    });
    netns
}

fn interfaces() -> Vec<String> {
    let list = run("ip", &["-o", "link", "show"]);
    list.lines()
        .map(|line| {
            line.split(": ")
                .nth(1)
                .unwrap()
                .split('@')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn two_pods(network: &Network) -> (Attachment, Attachment) {
    let a = network.attach("a", POD_A, &[], None).await.unwrap();
    let b = network.attach("b", POD_B, &[], None).await.unwrap();
    (a, b)
}

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
        assert_eq!(network.gateway(), GATEWAY);
    });
}

#[test]
fn a_pods_interface_is_as_said() {
    on_node(|| async {
        let (network, _) = Network::start(NetworkConfig {
            mtu: Some(1400),
            ..config()
        })
        .await
        .unwrap();
        let a = network.attach("a", POD_A, &[], None).await.unwrap();
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
        assert!(run("ip", &["link", "show", "aurae0"]).contains("link/ether 0a:58:0a:58:00:01"));
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
        let a = network.attach("a", POD_A, &ports, None).await.unwrap();
        let b = network.attach("b", POD_B, &[], None).await.unwrap();
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
        let a = network.attach("a", POD_A, &[udp], None).await.unwrap();
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
        let a = network.attach("a", POD_A, &port, None).await.unwrap();
        let taken = network.attach("b", POD_B, &port, None).await.unwrap_err();
        assert!(matches!(taken, NetworkError::PortTaken { .. }), "{taken:?}");
        // What the refused pod is told to give back is not its own.
        network.detach("b", POD_B).await.unwrap();
        within(&a.netns, || serve(80));
        assert!(ask(GATEWAY, 8080).is_some());
        network.detach("a", POD_A).await.unwrap();
        network.attach("b", POD_B, &port, None).await.unwrap();
    });
}

#[test]
fn the_table_reads_back() {
    on_node(|| async {
        let Some(network) = start_with_nat().await else {
            return;
        };
        let ports = [tcp(None, 8080, 80), tcp(Some(NODE), 8081, 81)];
        network.attach("pod-a", POD_A, &ports, None).await.unwrap();
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
fn start_adopts_what_is_there() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let nat = warnings.is_empty();
        let ports = if nat {
            vec![tcp(None, 8080, 80)]
        } else {
            Vec::new()
        };
        let a = network.attach("a", POD_A, &ports, None).await.unwrap();
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
        let a = network.attach("a", POD_A, &ports(8080), None).await.unwrap();
        let b = network.attach("b", POD_B, &ports(8081), None).await.unwrap();
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
            drop(network.attach("a", POD_A, &[], None).await.unwrap());
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
        let error = Network::start(config()).await.unwrap_err();
        assert!(matches!(error, NetworkError::NotABridge(_)), "{error:?}");
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
        let error = network
            .attach("a", POD_A, &[tcp(None, 8080, 80)], None)
            .await
            .unwrap_err();
        assert!(matches!(error, NetworkError::NoNat), "{error:?}");
    });
}

#[test]
fn two_networks_beside_each_other() {
    on_node(|| async {
        let (network, _) = start().await;
        let other = NetworkConfig {
            bridge: "other0".to_owned(),
            subnet: "10.99.0.0/24".parse().unwrap(),
            table: "other".to_owned(),
            mtu: None,
        };
        let (other, _) = Network::start(other).await.unwrap();
        let a = network.attach("a", POD_A, &[], None).await.unwrap();
        let b = other
            .attach("b", Ipv4Addr::new(10, 99, 0, 2), &[], None)
            .await
            .unwrap();
        other.reconcile(&[]).await.unwrap();
        assert!(interfaces().contains(&a.interface) && !interfaces().contains(&b.interface));
        other.remove().await.unwrap();
        assert!(interfaces().contains(&"aurae0".to_owned()));
    });
}

#[test]
fn a_hundred_attaches_are_quick() {
    on_node(|| async {
        let (network, warnings) = start().await;
        let mut times = Vec::new();
        let mut kept = Vec::new();
        for number in 2..102 {
            let address = Ipv4Addr::new(10, 88, 0, number);
            let ports = [tcp(None, 8000 + u16::from(number), 80)];
            let ports = if warnings.is_empty() {
                ports.as_slice()
            } else {
                &[]
            };
            let start = Instant::now();
            kept.push(
                network
                    .attach(&format!("pod-{number}"), address, ports, None)
                    .await
                    .unwrap(),
            );
            times.push(start.elapsed());
        }
        times.sort();
        println!("attach: {:?} (p50), {:?} (p90)", times[50], times[90]);
        assert!(times[50].as_millis() < 200);
    });
}
