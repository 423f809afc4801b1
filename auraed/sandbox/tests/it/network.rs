//! The pod network, each test in a network namespace of its own that plays the node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what was skipped, and figures")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use auraed_sandbox::network::{
    Attachment, Endpoint, Ipv4Subnet, Limits, Live, Network, NetworkConfig, NetworkError, PortMapping,
    Protocol, Reconciled, Warning,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

mod life;
mod limits;
mod ports;
mod reach;
mod subnets;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const POD_A: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
const POD_B: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PATIENCE: Duration = Duration::from_secs(10);

fn config() -> NetworkConfig {
    NetworkConfig {
        bridge: "aurae0".to_owned(),
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
    Network::start(config(), &[subnet("10.88.0.0/16")]).await.unwrap()
}

fn subnet(text: &str) -> Ipv4Subnet {
    text.parse().unwrap()
}

fn endpoint<'a>(id: &'a str, address: Ipv4Addr, ports: &'a [PortMapping]) -> Endpoint<'a> {
    Endpoint {
        id,
        address,
        subnet: subnet("10.88.0.0/16"),
        ports,
        limits: Limits::default(),
        user: None,
    }
}

async fn attach(
    network: &Network,
    id: &str,
    address: Ipv4Addr,
    ports: &[PortMapping],
) -> Result<Attachment, NetworkError> {
    network.attach(&endpoint(id, address, ports)).await
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
    let a = attach(network, "a", POD_A, &[]).await.unwrap();
    let b = attach(network, "b", POD_B, &[]).await.unwrap();
    (a, b)
}
