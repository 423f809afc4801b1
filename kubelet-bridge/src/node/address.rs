//! The node's own addresses, where the command line does not give them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses for documentation (RFC 5737, RFC 3849): routed by the default route, never sent to here.
const OUTSIDE: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    ),
    (
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ),
];

/// The addresses that the default routes go out from, IPv4 first; loopback, with a warning, where there is none.
pub fn own() -> Vec<IpAddr> {
    let found: Vec<IpAddr> = OUTSIDE
        .iter()
        .filter_map(|&(any, outside)| source(any, outside))
        .collect();
    if !found.is_empty() {
        return found;
    }
    tracing::warn!(
        "no default route: the node's address is 127.0.0.1; give --node-ip if others must reach it"
    );
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

/// What address a packet to `outside` would come from. Connecting a datagram socket sends nothing.
fn source(any: IpAddr, outside: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(outside, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    (!address.is_unspecified() && !address.is_loopback() && !link_local).then_some(address)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_always_an_address() {
        assert!(!super::own().is_empty());
    }
}
