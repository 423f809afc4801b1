//! Interfaces, addresses and routes, over rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::{Ipv4Subnet, NetworkConfig, NetworkError, POD_INTERFACE};

/// The pod's side and the node's side of a pair of interfaces.
pub(super) struct Pair<'a> {
    /// The node's end.
    pub(super) name: &'a str,
    /// Index of the bridge.
    pub(super) bridge: u32,
    /// Bytes; the kernel's default if absent.
    pub(super) mtu: Option<u32>,
    /// The pod's namespace.
    pub(super) netns: BorrowedFd<'a>,
    /// The pod's address.
    pub(super) address: Ipv4Addr,
}

/// Makes the bridge, or takes the one that is there, with the gateway's address and no other IPv4 address. Its index.
pub(super) async fn ensure_bridge(links: &Handle, config: &NetworkConfig) -> Result<u32, NetworkError> {
    let name = &config.bridge;
    let gateway = config.subnet.gateway();
    let failed = |what: &str| link_error(format!("{what} bridge {name}"));
    let mut found = find(links, name).await.map_err(failed("look for"))?;
    if found.is_none() {
        // With an address of its own, because it would otherwise take on one of its pods' and change it with them.
        let message = LinkBridge::new(name).address(hardware_address(gateway)).up();
        links
            .link()
            .add(with_mtu(message, config.mtu).build())
            .execute()
            .await
            .map_err(to_io)
            .map_err(failed("make"))?;
        found = find(links, name).await.map_err(failed("look for"))?;
    } else {
        let message = LinkMessageBuilder::<LinkUnspec>::default()
            .name(name.clone())
            .up();
        if found.as_ref().is_some_and(is_bridge) {
            links
                .link()
                .set(with_mtu(message, config.mtu).build())
                .execute()
                .await
                .map_err(to_io)
                .map_err(failed("bring up"))?;
        }
    }
    let Some(bridge) = found.filter(is_bridge) else {
        return Err(NetworkError::NotABridge(name.clone()));
    };
    let index = bridge.header.index;
    ensure_address(links, index, gateway, config.subnet.prefix())
        .await
        .map_err(failed("set the address of"))?;
    Ok(index)
}

/// Makes the pair, with one end on the bridge and up, the other inside the namespace from the start and still down:
/// the kernel opens no veth before both are there.
pub(super) async fn add_pair(links: &Handle, pair: &Pair<'_>) -> io::Result<()> {
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(POD_INTERFACE.to_owned())
        .address(hardware_address(pair.address))
        .setns_by_fd(pair.netns.as_raw_fd());
    let outside = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(pair.name.to_owned())
        .controller(pair.bridge)
        .up();
    let outside = with_mtu(outside, pair.mtu);
    let outside = outside.set_info_data(InfoData::Veth(InfoVeth::Peer(with_mtu(inside, pair.mtu).build())));
    links.link().add(outside.build()).execute().await.map_err(to_io)
}

/// Inside the pod's namespace: loopback and interface up, the interface's address, the route to everywhere.
pub(super) async fn configure_pod(
    links: &Handle,
    address: Ipv4Addr,
    subnet: Ipv4Subnet,
) -> Result<(), NetworkError> {
    let lo = LinkUnspec::new_with_name("lo").up().build();
    links
        .link()
        .set(lo)
        .execute()
        .await
        .map_err(to_io)
        .map_err(link_error("bring up a pod's lo".to_owned()))?;
    let failed = |what: &str| link_error(format!("{what} of a pod's {POD_INTERFACE}"));
    let index = find(links, POD_INTERFACE)
        .await
        .map_err(failed("ask for the index"))?;
    let index = index
        .map(|link| link.header.index)
        .ok_or(io::ErrorKind::NotFound.into());
    let index = index.map_err(failed("ask for the index"))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    links
        .link()
        .set(up)
        .execute()
        .await
        .map_err(to_io)
        .map_err(failed("change the state"))?;
    let add = links.address().add(index, IpAddr::V4(address), subnet.prefix());
    add.execute()
        .await
        .map_err(to_io)
        .map_err(failed("set the address"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(subnet.gateway())
        .output_interface(index)
        .build();
    links
        .route()
        .add(route)
        .execute()
        .await
        .map_err(to_io)
        .map_err(failed("set the default route"))
}

/// Names of the veth interfaces on the bridge.
pub(super) async fn pairs_on(links: &Handle, bridge: u32) -> io::Result<Vec<String>> {
    let all: Vec<_> = links.link().get().execute().try_collect().await.map_err(to_io)?;
    let ours = all.iter().filter(|link| has_kind(link, &InfoKind::Veth));
    let ours = ours.filter(|link| link.attributes.contains(&LinkAttribute::Controller(bridge)));
    Ok(ours.filter_map(name_of).map(str::to_owned).collect())
}

/// What the kernel does not take at the pair's creation: the pod's id beside the node's end, for people, and hairpin.
///
/// With br_netfilter, which many nodes have, a host port's destination is changed inside of the bridge, and a pod that
/// reaches itself that way would have its packets sent back to the port that they came from.
pub(super) async fn finish_pair(links: &Handle, name: &str, id: &str) -> io::Result<()> {
    let message = LinkBridgePort::new(0)
        .name(name)
        .alias(shortened(id))
        .hairpin(true)
        .build();
    links.link().set_port(message).execute().await.map_err(to_io)
}

/// What of a pod's id fits beside an interface (linux/if.h: IFALIASZ).
pub(super) fn shortened(id: &str) -> String {
    id.chars().take(63).collect()
}

/// What is written beside an interface.
pub(super) async fn alias_of(links: &Handle, name: &str) -> io::Result<Option<String>> {
    let link = find(links, name).await?;
    Ok(link.and_then(|link| {
        link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfAlias(alias) => Some(alias),
            _ => None,
        })
    }))
}

/// Deletes an interface; succeeds if it is gone. Takes the kernel 14 to 20 ms.
pub(super) async fn remove(links: &Handle, name: &str) -> io::Result<()> {
    let Some(link) = find(links, name).await? else {
        return Ok(());
    };
    match links.link().del(link.header.index).execute().await.map_err(to_io) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}

/// The locally administered hardware address that belongs to an address: whoever has the address next has it too, so
/// that no neighbour's cache goes stale.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58], address.octets().as_slice()].concat()
}

fn with_mtu<T>(message: LinkMessageBuilder<T>, mtu: Option<u32>) -> LinkMessageBuilder<T> {
    match mtu {
        Some(mtu) => message.mtu(mtu),
        None => message,
    }
}

async fn find(links: &Handle, name: &str) -> io::Result<Option<LinkMessage>> {
    match links
        .link()
        .get()
        .match_name(name)
        .execute()
        .try_next()
        .await
        .map_err(to_io)
    {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        result => result,
    }
}

async fn ensure_address(links: &Handle, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let get = links.address().get().set_link_index_filter(index).execute();
    let present: Vec<_> = get.try_collect().await.map_err(to_io)?;
    let mut there = false;
    for message in present
        .into_iter()
        .filter(|message| message.header.family == AddressFamily::Inet)
    {
        let same = message
            .attributes
            .contains(&AddressAttribute::Local(IpAddr::V4(address)));
        if same && message.header.prefix_len == prefix {
            there = true;
        } else {
            links.address().del(message).execute().await.map_err(to_io)?;
        }
    }
    if there {
        return Ok(());
    }
    links
        .address()
        .add(index, IpAddr::V4(address), prefix)
        .execute()
        .await
        .map_err(to_io)
}

fn is_bridge(link: &LinkMessage) -> bool {
    has_kind(link, &InfoKind::Bridge)
}

fn has_kind(link: &LinkMessage, kind: &InfoKind) -> bool {
    let mut attributes = link.attributes.iter();
    attributes.any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(kind.clone())),
        _ => false,
    })
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn link_error(action: String) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Link { action, source }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
