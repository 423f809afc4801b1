//! The pod network's nftables table: what it holds, and how it is written and read.
//!
//! ```text
//! table ip <name> {
//!   map ports { inet_proto . inet_service : ipv4_addr . inet_service }               host ports on every address
//!   map bound { inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service }   host ports on one address
//!   chain prerouting, output   fib daddr type local dnat ip to … map @bound, then @ports
//!   chain postrouting          masquerade: each subnet's pods to elsewhere, and to host ports; the node's 127.0.0.1 to
//!                              host ports
//!   chain guard                drop what pods send to 127.0.0.0/8, which route_localnet would let in
//! }
//! ```
//!
//! Each change is one transaction: the kernel does all of it or nothing. The maps are the only record of host ports.

mod expression;
mod message;
mod socket;

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Ipv4Subnet, PortMapping, Protocol};
use expression::{Expressions, Interface, REGISTER, Side};
use message::{APPEND, Attributes, Batch, CREATE, Kind, attribute, attributes};
use socket::Socket;

/// nft's own numbers of the types in our maps, six bits each in a concatenation.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;

const ELEMENT: u16 = 1; // NFTA_LIST_ELEM
const VALUE: u16 = 1; // NFTA_DATA_VALUE
/// Elements of one transaction, so that it fits into the socket's buffer.
const CHUNK: usize = 500;

/// The table `ip <name>` in the network namespace where this was opened.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    socket: Mutex<Socket>,
}

/// Which step of a batch the kernel refused, and why. Nothing of the batch was done then.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) step: &'static str,
    pub(super) source: io::Error,
}

/// A host port and where it leads: one element of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    protocol: Protocol,
    host_address: Option<Ipv4Addr>,
    host_port: u16,
    pub(super) address: Ipv4Addr,
    port: u16,
}

/// The two maps. They differ in whether the host's address is part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Ports,
    Bound,
}

impl Table {
    /// Opens a socket; does not touch the table.
    pub(super) fn open(name: &str) -> io::Result<Table> {
        Ok(Table {
            name: name.to_owned(),
            socket: Mutex::new(Socket::open()?),
        })
    }

    /// Makes the table, or replaces its rules and keeps its host ports.
    pub(super) fn install(&self, bridge: &str, subnets: &[Ipv4Subnet]) -> Result<(), Refused> {
        match self.renew_rules(bridge, subnets) {
            // Something of ours is there in another form, made by another version.
            Err(refused) if refused.source.raw_os_error() == Some(libc::EEXIST) => {
                self.remove()?;
                self.renew_rules(bridge, subnets)
            }
            result => result,
        }
    }

    /// Replaces the rules; what else is there stays.
    pub(super) fn renew_rules(&self, bridge: &str, subnets: &[Ipv4Subnet]) -> Result<(), Refused> {
        self.socket().commit(self.installation(bridge, subnets))
    }

    /// Deletes the table, if it is there.
    pub(super) fn remove(&self) -> Result<(), Refused> {
        let mut batch = Batch::new();
        // With the creation in the same transaction the deletion cannot fail for want of a table.
        batch.push(Kind::NewTable, CREATE, "make the table", |table| {
            table.text(1, &self.name)
        });
        batch.push(Kind::DeleteTable, 0, "delete the table", |table| {
            table.text(1, &self.name)
        });
        self.socket().commit(batch)
    }

    /// Takes out and puts in host ports. `add` has each entry's pod, for people who list the table.
    ///
    /// A port that leads elsewhere already is refused with EEXIST or EBUSY. More than a few hundred take several transactions.
    pub(super) fn change(&self, remove: &[Entry], add: &[(&str, Entry)]) -> Result<(), Refused> {
        for chunk in remove.chunks(CHUNK) {
            let mut batch = Batch::new();
            for entry in chunk {
                self.push_element(
                    &mut batch,
                    Kind::DeleteElement,
                    0,
                    "delete a host port",
                    entry,
                    None,
                );
            }
            self.socket().commit(batch)?;
        }
        for chunk in add.chunks(CHUNK) {
            let mut batch = Batch::new();
            for (pod, entry) in chunk {
                self.push_element(
                    &mut batch,
                    Kind::NewElement,
                    CREATE,
                    "add a host port",
                    entry,
                    Some(pod),
                );
            }
            self.socket().commit(batch)?;
        }
        Ok(())
    }

    /// Every host port in the table.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for map in [Map::Ports, Map::Bound] {
            let request = message::dump(Kind::GetElement, |list| {
                list.text(1, &self.name); // NFTA_SET_ELEM_LIST_TABLE
                list.text(2, map.name()); // NFTA_SET_ELEM_LIST_SET
            });
            self.socket().list(&request, |message| {
                for (kind, elements) in message.attributes() {
                    if kind == 3 {
                        // NFTA_SET_ELEM_LIST_ELEMENTS
                        entries.extend(attributes(elements).filter_map(|(_, element)| map.entry(element)));
                    }
                }
            })?;
        }
        Ok(entries)
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        // The socket itself is whole whatever a holder did.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn installation(&self, bridge: &str, subnets: &[Ipv4Subnet]) -> Batch {
        let mut batch = Batch::new();
        batch.push(Kind::NewTable, CREATE, "make the table", |table| {
            table.text(1, &self.name)
        });
        for map in [Map::Ports, Map::Bound] {
            batch.push(Kind::NewSet, CREATE, "make the map of host ports", |set| {
                set.text(1, &self.name); // NFTA_SET_TABLE
                set.text(2, map.name()); // NFTA_SET_NAME
                map.describe(set);
            });
        }
        self.chain(&mut batch, "prerouting", "nat", 0, -100); // NF_INET_PRE_ROUTING, dstnat
        self.chain(&mut batch, "output", "nat", 3, -100); // NF_INET_LOCAL_OUT, dstnat
        for chain in ["prerouting", "output"] {
            for map in [Map::Bound, Map::Ports] {
                self.rule(&mut batch, chain, |rule| {
                    rule.destination_is_local();
                    map.load_key(rule);
                    rule.look_up(map.name()).change_destination();
                });
            }
        }
        self.chain(&mut batch, "postrouting", "nat", 4, 100); // NF_INET_POST_ROUTING, srcnat
        for subnet in subnets {
            self.rule(&mut batch, "postrouting", |rule| {
                rule.address_in(Side::Source, true, *subnet)
                    .address_in(Side::Destination, false, *subnet);
                rule.interface(Interface::Out, false, bridge).masquerade();
            });
            // A pod that reaches a pod by a host port must get its answer from there, not from the pod's own address.
            self.rule(&mut batch, "postrouting", |rule| {
                rule.interface(Interface::Out, true, bridge)
                    .address_in(Side::Source, true, *subnet);
                rule.destination_was_changed().masquerade();
            });
        }
        self.rule(&mut batch, "postrouting", |rule| {
            rule.interface(Interface::Out, true, bridge)
                .address_is_loopback(Side::Source)
                .masquerade();
        });
        self.chain(&mut batch, "guard", "filter", 0, -300); // NF_INET_PRE_ROUTING, raw
        self.rule(&mut batch, "guard", |rule| {
            rule.interface(Interface::In, true, bridge)
                .address_is_loopback(Side::Destination)
                .drop();
        });
        batch
    }

    fn chain(&self, batch: &mut Batch, name: &str, kind: &str, hook: u32, priority: i32) {
        batch.push(Kind::NewChain, CREATE, "make a chain", |chain| {
            chain.text(1, &self.name); // NFTA_CHAIN_TABLE
            chain.text(3, name); // NFTA_CHAIN_NAME
            chain.nest(4, |at| {
                // NFTA_CHAIN_HOOK
                at.number(1, hook); // NFTA_HOOK_HOOKNUM
                at.number(2, priority.cast_unsigned()); // NFTA_HOOK_PRIORITY
            });
            chain.text(7, kind); // NFTA_CHAIN_TYPE
        });
        // Without a rule's handle: all rules of the chain.
        batch.push(Kind::DeleteRule, 0, "clear a chain", |rule| {
            rule.text(1, &self.name); // NFTA_RULE_TABLE
            rule.text(2, name); // NFTA_RULE_CHAIN
        });
    }

    fn rule(&self, batch: &mut Batch, chain: &str, body: impl FnOnce(&mut Expressions<'_>)) {
        let step = match chain {
            "guard" => "make a filter rule",
            _ => "make a nat rule",
        };
        batch.push(Kind::NewRule, CREATE | APPEND, step, |rule| {
            rule.text(1, &self.name); // NFTA_RULE_TABLE
            rule.text(2, chain); // NFTA_RULE_CHAIN
            rule.nest(4, |list| body(&mut Expressions(list))); // NFTA_RULE_EXPRESSIONS
        });
    }

    fn push_element(
        &self,
        batch: &mut Batch,
        kind: Kind,
        flags: u16,
        step: &'static str,
        entry: &Entry,
        pod: Option<&str>,
    ) {
        batch.push(kind, flags, step, |list| {
            list.text(1, &self.name); // NFTA_SET_ELEM_LIST_TABLE
            list.text(2, entry.map().name()); // NFTA_SET_ELEM_LIST_SET
            list.nest(3, |elements| {
                elements.nest(ELEMENT, |element| entry.write(element, pod))
            });
        });
    }
}

impl Map {
    fn name(self) -> &'static str {
        match self {
            Map::Ports => "ports",
            Map::Bound => "bound",
        }
    }

    fn key(self) -> &'static [(u32, u32)] {
        match self {
            Map::Ports => &[(TYPE_PROTOCOL, 1), (TYPE_PORT, 2)],
            Map::Bound => &[(TYPE_PROTOCOL, 1), (TYPE_ADDRESS, 4), (TYPE_PORT, 2)],
        }
    }

    fn describe(self, set: &mut Attributes) {
        let key = self.key();
        let words = |fields: &[(u32, u32)]| u32::try_from(fields.len() * 4).unwrap_or(u32::MAX);
        let type_of = |fields: &[(u32, u32)]| fields.iter().fold(0, |all, (kind, _)| all << 6 | kind);
        let value = [(TYPE_ADDRESS, 4), (TYPE_PORT, 2)];
        set.number(3, 0x08 | 0x80); // NFTA_SET_FLAGS: NFT_SET_MAP, NFT_SET_CONCAT
        set.number(4, type_of(key)); // NFTA_SET_KEY_TYPE
        set.number(5, words(key)); // NFTA_SET_KEY_LEN
        set.number(6, type_of(&value)); // NFTA_SET_DATA_TYPE
        set.number(7, words(&value)); // NFTA_SET_DATA_LEN
        set.nest(9, |description| {
            // NFTA_SET_DESC
            description.nest(2, |fields| {
                // NFTA_SET_DESC_CONCAT
                for (_, length) in key {
                    fields.nest(ELEMENT, |field| field.number(1, *length)); // NFTA_SET_FIELD_LEN
                }
            });
        });
        set.number(10, self as u32 + 1); // NFTA_SET_ID: tells the sets of one transaction apart
    }

    fn load_key(self, rule: &mut Expressions<'_>) {
        rule.load_protocol(REGISTER);
        match self {
            Map::Ports => rule.load_port(REGISTER + 1),
            Map::Bound => rule
                .load_address(REGISTER + 1, Side::Destination)
                .load_port(REGISTER + 2),
        };
    }

    // None: an element that is not of our making.
    fn entry(self, element: &[u8]) -> Option<Entry> {
        let key = attribute(attribute(element, 1)?, VALUE)?; // NFTA_SET_ELEM_KEY
        let value = attribute(attribute(element, 2)?, VALUE)?; // NFTA_SET_ELEM_DATA
        let word =
            |bytes: &[u8], index: usize| bytes.get(index * 4..index * 4 + 4)?.first_chunk::<4>().copied();
        let port = |word: [u8; 4]| u16::from_be_bytes([word[0], word[1]]);
        let (host_address, at) = match self {
            Map::Ports => (None, 1),
            Map::Bound => (Some(Ipv4Addr::from(word(key, 1)?)), 2),
        };
        Some(Entry {
            protocol: Protocol::from_number(word(key, 0)?[0])?,
            host_address,
            host_port: port(word(key, at)?),
            address: Ipv4Addr::from(word(value, 0)?),
            port: port(word(value, 1)?),
        })
    }
}

impl Entry {
    pub(super) fn new(address: Ipv4Addr, mapping: &PortMapping) -> Entry {
        Entry {
            protocol: mapping.protocol,
            host_address: mapping.host_address.filter(|address| !address.is_unspecified()),
            host_port: mapping.host_port,
            address,
            port: mapping.container_port,
        }
    }

    fn map(&self) -> Map {
        if self.host_address.is_some() {
            Map::Bound
        } else {
            Map::Ports
        }
    }

    fn write(&self, element: &mut Attributes, pod: Option<&str>) {
        let port = |port: u16| {
            let [high, low] = port.to_be_bytes();
            [high, low, 0, 0]
        };
        let mut key = vec![self.protocol.number(), 0, 0, 0];
        key.extend(
            self.host_address
                .map(|address| address.octets())
                .into_iter()
                .flatten(),
        );
        key.extend(port(self.host_port));
        element.nest(1, |data| data.bytes(VALUE, &key)); // NFTA_SET_ELEM_KEY
        let Some(pod) = pod else { return };
        let value = [self.address.octets(), port(self.port)].concat();
        element.nest(2, |data| data.bytes(VALUE, &value)); // NFTA_SET_ELEM_DATA
        element.bytes(6, &comment(pod)); // NFTA_SET_ELEM_USERDATA
    }
}

// libnftnl's form: kind 0 (a comment), length with the NUL, text of at most 128 bytes.
fn comment(text: &str) -> Vec<u8> {
    let text: Vec<_> = text
        .bytes()
        .filter(|byte| byte.is_ascii_graphic() && *byte != b'"')
        .take(127)
        .collect();
    let length = u8::try_from(text.len() + 1).unwrap_or(128);
    [&[0, length], text.as_slice(), &[0]].concat()
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_encoding() {
        for host_address in [None, Some(Ipv4Addr::LOCALHOST)] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let mapping = PortMapping {
                    protocol,
                    host_address,
                    host_port: 8080,
                    container_port: 80,
                };
                let entry = Entry::new(Ipv4Addr::new(10, 88, 0, 7), &mapping);
                let bytes = message::dump(Kind::NewElement, |element| entry.write(element, Some("pod")));
                assert_eq!(entry.map().entry(&bytes[20..]), Some(entry));
            }
        }
    }

    #[test]
    fn every_address_is_no_address() {
        let mapping = PortMapping {
            protocol: Protocol::Tcp,
            host_address: Some(Ipv4Addr::UNSPECIFIED),
            host_port: 1,
            container_port: 1,
        };
        assert_eq!(Entry::new(Ipv4Addr::LOCALHOST, &mapping).map(), Map::Ports);
    }

    #[test]
    fn comments_are_short_and_plain() {
        assert_eq!(comment("a\"b\n"), [0, 3, b'a', b'b', 0]);
        assert_eq!(comment(&"x".repeat(300)).len(), 130);
    }
}
