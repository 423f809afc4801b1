//! Interfaces, addresses and routes, over rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::{Endpoint, Ipv4Subnet, NetworkConfig, NetworkError, POD_INTERFACE, fnv, shape};

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

/// Makes the bridge, or takes the one that is there. Its index.
pub(super) async fn ensure_bridge(links: &Handle, config: &NetworkConfig) -> Result<u32, NetworkError> {
    let name = &config.bridge;
    let failed = |what: &str| link_error(format!("{what} bridge {name}"));
    let mut found = find(links, name).await.map_err(failed("look for"))?;
    if found.is_none() {
        // With an address of its own, because it would otherwise take on one of its pods' and change it with them.
        let message = LinkBridge::new(name).address(bridge_hardware_address(name)).up();
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
    Ok(bridge.header.index)
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

/// Inside the pod's namespace: loopback and interface up, the interface's limit and address, the route to everywhere.
pub(super) async fn configure_pod(links: &Handle, pod: &Endpoint<'_>) -> Result<(), NetworkError> {
    let lo = LinkUnspec::new_with_name("lo").up().build();
    links
        .link()
        .set(lo)
        .execute()
        .await
        .map_err(to_io)
        .map_err(link_error("bring up a pod's lo".to_owned()))?;
    let failed = |what: &str| link_error(format!("{what} of a pod's {POD_INTERFACE}"));
    let index = index_of(links, POD_INTERFACE)
        .await
        .map_err(failed("ask for the index"))?;
    limit_index(links, index, pod.limits.egress_bits)
        .await
        .map_err(limit_error(POD_INTERFACE))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    links
        .link()
        .set(up)
        .execute()
        .await
        .map_err(to_io)
        .map_err(failed("change the state"))?;
    add_address(links, index, pod.address, pod.subnet.prefix())
        .await
        .map_err(failed("set the address"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(pod.subnet.gateway())
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

/// Lets an interface send no more than `bits` a second; 0 is unlimited, which a new one is.
pub(super) async fn limit(links: &Handle, name: &str, bits: u64) -> Result<(), NetworkError> {
    if bits == 0 {
        return Ok(());
    }
    let index = index_of(links, name).await.map_err(limit_error(name))?;
    limit_index(links, index, bits).await.map_err(limit_error(name))
}

async fn limit_index(links: &Handle, index: u32, bits: u64) -> io::Result<()> {
    match bits {
        0 => Ok(()),
        bits => shape::limit(links, index, bits).await,
    }
}

fn limit_error(name: &str) -> impl FnOnce(io::Error) -> NetworkError {
    let action = format!("limit the bandwidth of interface {name}");
    move |source| {
        if shape::is_unsupported(&source) {
            NetworkError::NoLimits
        } else {
            NetworkError::Link { action, source }
        }
    }
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

/// Whether the interface is pod `id`'s on this bridge. One that is gone meanwhile is as good.
pub(super) async fn is_pair_of(links: &Handle, name: &str, bridge: u32, id: &str) -> io::Result<bool> {
    let Some(link) = find(links, name).await? else {
        return Ok(true);
    };
    // It has its alias a moment after it was made: between the two a crash may leave it without.
    let alias = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    });
    let here = link.attributes.contains(&LinkAttribute::Controller(bridge));
    Ok(here && alias.is_none_or(|alias| alias == shortened(id)))
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

/// The bridge's own: also locally administered, and no pod's, whatever addresses pods come to have.
fn bridge_hardware_address(name: &str) -> Vec<u8> {
    let [.., a, b, c, d] = fnv(name).to_be_bytes();
    vec![0x0a, 0x59, a, b, c, d]
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

async fn index_of(links: &Handle, name: &str) -> io::Result<u32> {
    let found = find(links, name).await?;
    found
        .map(|link| link.header.index)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Gives the interface the subnets' gateways' addresses, and takes every other IPv4 address away.
pub(super) async fn set_addresses(links: &Handle, index: u32, subnets: &[Ipv4Subnet]) -> io::Result<()> {
    let get = links.address().get().set_link_index_filter(index).execute();
    let present: Vec<_> = get.try_collect().await.map_err(to_io)?;
    let (right, wrong): (Vec<_>, Vec<_>) = present
        .into_iter()
        .filter_map(|message| Some((address_of(&message)?, message.header.prefix_len, message)))
        .partition(|(address, prefix, _)| {
            subnets
                .iter()
                .any(|subnet| subnet.gateway() == *address && subnet.prefix() == *prefix)
        });
    for (_, _, message) in wrong {
        match links.address().del(message).execute().await.map_err(to_io) {
            // The kernel takes some along with others.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            result => result?,
        }
    }
    for subnet in subnets {
        let (gateway, prefix) = (subnet.gateway(), subnet.prefix());
        if !right
            .iter()
            .any(|(address, length, _)| (*address, *length) == (gateway, prefix))
        {
            add_address(links, index, gateway, prefix).await?;
        }
    }
    Ok(())
}

async fn add_address(links: &Handle, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    links
        .address()
        .add(index, IpAddr::V4(address), prefix)
        .execute()
        .await
        .map_err(to_io)
}

/// An address in the subnet that another interface has, with that one's name.
pub(super) async fn address_in(
    links: &Handle,
    except: u32,
    subnet: Ipv4Subnet,
) -> io::Result<Option<(String, Ipv4Addr)>> {
    let all: Vec<_> = links
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(to_io)?;
    let found = all.iter().find_map(|message| {
        let address = address_of(message).filter(|address| subnet.contains(*address))?;
        (message.header.index != except).then_some((message.header.index, address))
    });
    let Some((index, address)) = found else {
        return Ok(None);
    };
    let link = links.link().get().match_index(index).execute().try_next().await;
    let name = link
        .ok()
        .flatten()
        .and_then(|link| name_of(&link).map(str::to_owned));
    Ok(Some((name.unwrap_or_else(|| index.to_string()), address)))
}

/// An IPv4 address, this end's.
fn address_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
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
