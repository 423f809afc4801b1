//! What has to change for interfaces and host ports to agree with the pods that live: decided here, done elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::nft::Entry;
use super::{Live, interface_names};

/// Host ports to take out, and to put in with their pod's id.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Ports<'a> {
    pub(super) remove: Vec<Entry>,
    pub(super) add: Vec<(&'a str, Entry)>,
}

/// Names of the interfaces on the bridge that belong to no live pod.
pub(super) fn stale_interfaces(present: Vec<String>, live: &[Live], bridge: &str) -> Vec<String> {
    let wanted: BTreeSet<_> = live
        .iter()
        .flat_map(|pod| interface_names(&pod.id, bridge))
        .collect();
    present
        .into_iter()
        .filter(|name| is_ours(name) && !wanted.contains(name))
        .collect()
}

/// The difference between the host ports that are there and those that should be.
pub(super) fn ports<'a>(present: &[Entry], live: &'a [Live]) -> Ports<'a> {
    ports_of(
        present,
        live.iter().flat_map(|pod| {
            pod.ports
                .iter()
                .map(|port| (pod.id.as_str(), Entry::new(pod.address, port)))
        }),
    )
}

fn ports_of<'a>(present: &[Entry], wanted: impl Iterator<Item = (&'a str, Entry)>) -> Ports<'a> {
    let wanted: BTreeMap<_, _> = wanted.map(|(pod, entry)| (entry, pod)).collect();
    let remove: Vec<_> = present
        .iter()
        .filter(|entry| !wanted.contains_key(entry))
        .cloned()
        .collect();
    let add = wanted
        .into_iter()
        .filter(|(entry, _)| !present.contains(entry))
        .map(|(entry, pod)| (pod, entry));
    Ports {
        remove,
        add: add.collect(),
    }
}

/// Bytes of the names that [`interface_names`] makes.
const INTERFACE_NAME: usize = 13;

// Someone else may have put an interface on the bridge.
fn is_ours(name: &str) -> bool {
    name.len() == INTERFACE_NAME
        && name
            .strip_prefix('v')
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::network::{PortMapping, Protocol};

    fn port(host_port: u16) -> PortMapping {
        PortMapping {
            protocol: Protocol::Tcp,
            host_address: None,
            host_port,
            container_port: 80,
        }
    }

    fn pod(id: &str, last: u8, ports: &[u16]) -> Live {
        let ports = ports.iter().copied().map(port).collect();
        Live {
            id: id.to_owned(),
            address: Ipv4Addr::new(10, 88, 0, last),
            ports,
        }
    }

    #[test]
    fn only_our_own_stale_interfaces_go() {
        let names = |id: &str| interface_names(id, "aurae0");
        let [first, second] = names("a");
        let [stale, _] = names("b");
        let others = ["veth-other".to_owned(), "v1".to_owned()];
        let present = [first, second, stale.clone()].into_iter().chain(others);
        assert_eq!(
            stale_interfaces(present.collect(), &[pod("a", 2, &[])], "aurae0"),
            [stale]
        );
    }

    #[test]
    fn ports_move_to_who_should_have_them() {
        let live = [pod("a", 2, &[1, 2]), pod("b", 3, &[3])];
        let entry = |last, number| Entry::new(Ipv4Addr::new(10, 88, 0, last), &port(number));
        // 1 is right, 3 leads to a pod that is gone, 4 is no one's any more, 2 is lost.
        let present = [entry(2, 1), entry(9, 3), entry(9, 4)];
        let change = ports(&present, &live);
        assert_eq!(change.remove, [entry(9, 3), entry(9, 4)]);
        assert_eq!(change.add.len(), 2);
        assert!(change.add.contains(&("a", entry(2, 2))) && change.add.contains(&("b", entry(3, 3))));
        let present = [entry(2, 1), entry(2, 2), entry(3, 3)];
        assert_eq!(ports(&present, &live), Ports::default());
    }
}
