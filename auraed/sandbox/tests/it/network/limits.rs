//! Limits of bandwidth, measured on the link.

use super::*;

const MEGABIT: u64 = 1_000_000;

/// How long so many bytes take; they are sent from here, and counted by who listens.
fn send(listener: TcpListener, netns: Option<&OwnedFd>, to: Ipv4Addr, bytes: usize) -> Duration {
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.len()
    });
    let start = Instant::now();
    let work = || {
        let mut stream = TcpStream::connect((to, 90)).unwrap();
        stream.write_all(&vec![0; bytes]).unwrap();
    };
    match netns {
        Some(netns) => within(netns, work),
        None => work(),
    }
    assert_eq!(received.join().unwrap(), bytes);
    start.elapsed()
}

#[test]
fn a_pod_receives_and_sends_no_faster_than_its_limits() {
    on_node(|| async {
        let (network, _) = start().await;
        let limited = Endpoint {
            limits: Limits {
                ingress_bits: 8 * MEGABIT,
                egress_bits: 4 * MEGABIT,
            },
            ..endpoint("a", POD_A, &[])
        };
        let pod = match network.attach(&limited).await {
            Ok(pod) => pod,
            Err(NetworkError::NoLimits) => {
                println!("skipped: {}", NetworkError::NoLimits);
                assert!(
                    !interfaces().iter().any(|name| name.starts_with('v')),
                    "it is refused whole"
                );
                return;
            }
            Err(error) => panic!("{error:?}"),
        };
        let outer = run("tc", &["qdisc", "show", "dev", &pod.interface]);
        assert!(
            outer.contains("qdisc tbf") && outer.contains("rate 8Mbit"),
            "{outer}"
        );
        let inner = within(&pod.netns, || run("tc", &["qdisc", "show", "dev", "eth0"]));
        assert!(
            inner.contains("qdisc tbf") && inner.contains("rate 4Mbit"),
            "{inner}"
        );

        // A second's worth each, of which the bucket holds a part at the beginning.
        let there = within(&pod.netns, || TcpListener::bind((POD_A, 90)).unwrap());
        let received = send(there, None, POD_A, 1_000_000);
        let here = TcpListener::bind((GATEWAY, 90)).unwrap();
        let sent = send(here, Some(&pod.netns), GATEWAY, 500_000);
        println!("a megabyte at 8 Mbit/s: {received:?}; half of one at 4 Mbit/s: {sent:?}");
        for took in [received, sent] {
            assert!(took > Duration::from_millis(750), "{took:?}");
        }
    });
}

#[test]
fn every_rate_is_one_that_the_kernel_takes() {
    on_node(|| async {
        let (network, _) = start().await;
        for bits in [1, 1000, 10_000 * MEGABIT, 1_000_000_000 * MEGABIT, u64::MAX] {
            let limits = Limits {
                ingress_bits: bits,
                egress_bits: bits,
            };
            let limited = Endpoint {
                limits,
                ..endpoint("a", POD_A, &[])
            };
            match network.attach(&limited).await {
                Ok(_) | Err(NetworkError::NoLimits) => {}
                Err(error) => panic!("{bits}: {error:?}"),
            }
        }
    });
}
