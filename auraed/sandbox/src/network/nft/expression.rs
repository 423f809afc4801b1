//! The expressions that rules are made of (linux/netfilter/nf_tables.h).
//!
//! Registers are the 32-bit ones, numbered from [`REGISTER`]: a value longer than four bytes takes several.

use std::net::Ipv4Addr;

use super::super::Ipv4Subnet;
use super::message::Attributes;

/// NFT_REG32_00.
pub(super) const REGISTER: u32 = 8;

const ELEMENT: u16 = 1; // NFTA_LIST_ELEM
const VALUE: u16 = 1; // NFTA_DATA_VALUE
const VERDICT: u16 = 2; // NFTA_DATA_VERDICT

/// A rule's expressions, in the order in which they are tried.
pub(super) struct Expressions<'a>(pub(super) &'a mut Attributes);

/// One of a packet's addresses.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Source,
    Destination,
}

/// One of a packet's interfaces.
#[derive(Clone, Copy)]
pub(super) enum Interface {
    In,
    Out,
}

impl Expressions<'_> {
    fn add(&mut self, name: &str, body: impl FnOnce(&mut Attributes)) -> &mut Self {
        self.0.nest(ELEMENT, |expression| {
            expression.text(1, name); // NFTA_EXPR_NAME
            expression.nest(2, body); // NFTA_EXPR_DATA
        });
        self
    }

    /// Goes on only if the register is (not) this.
    fn compare(&mut self, equal: bool, value: &[u8]) -> &mut Self {
        self.add("cmp", |cmp| {
            cmp.number(1, REGISTER); // NFTA_CMP_SREG
            cmp.number(2, u32::from(!equal)); // NFTA_CMP_OP: NFT_CMP_EQ, NFT_CMP_NEQ
            cmp.nest(3, |data| data.bytes(VALUE, value)); // NFTA_CMP_DATA
        })
    }

    /// Keeps these bits of the register.
    fn mask(&mut self, mask: [u8; 4]) -> &mut Self {
        self.add("bitwise", |bitwise| {
            bitwise.number(1, REGISTER); // NFTA_BITWISE_SREG
            bitwise.number(2, REGISTER); // NFTA_BITWISE_DREG
            bitwise.number(3, 4); // NFTA_BITWISE_LEN
            bitwise.nest(4, |data| data.bytes(VALUE, &mask)); // NFTA_BITWISE_MASK
            bitwise.nest(5, |data| data.bytes(VALUE, &[0; 4])); // NFTA_BITWISE_XOR
        })
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) -> &mut Self {
        self.add("payload", |payload| {
            payload.number(1, register); // NFTA_PAYLOAD_DREG
            payload.number(2, base); // NFTA_PAYLOAD_BASE
            payload.number(3, offset); // NFTA_PAYLOAD_OFFSET
            payload.number(4, length); // NFTA_PAYLOAD_LEN
        })
    }

    fn meta(&mut self, register: u32, key: u32) -> &mut Self {
        self.add("meta", |meta| {
            meta.number(1, register); // NFTA_META_DREG
            meta.number(2, key); // NFTA_META_KEY
        })
    }

    /// Loads an IPv4 address of the packet.
    pub(super) fn load_address(&mut self, register: u32, side: Side) -> &mut Self {
        let offset = match side {
            Side::Source => 12,
            Side::Destination => 16,
        };
        self.payload(register, 1, offset, 4) // NFT_PAYLOAD_NETWORK_HEADER
    }

    /// Loads the destination port.
    pub(super) fn load_port(&mut self, register: u32) -> &mut Self {
        self.payload(register, 2, 2, 2) // NFT_PAYLOAD_TRANSPORT_HEADER
    }

    /// Loads the transport protocol's number.
    pub(super) fn load_protocol(&mut self, register: u32) -> &mut Self {
        self.meta(register, 16) // NFT_META_L4PROTO
    }

    /// Goes on if the address is (not) in the subnet.
    pub(super) fn address_in(&mut self, side: Side, inside: bool, subnet: Ipv4Subnet) -> &mut Self {
        self.load_address(REGISTER, side);
        self.mask(subnet.mask().to_be_bytes());
        self.compare(inside, &subnet.address().octets())
    }

    /// Goes on if the address is of 127.0.0.0/8.
    pub(super) fn address_is_loopback(&mut self, side: Side) -> &mut Self {
        self.load_address(REGISTER, side);
        self.mask([255, 0, 0, 0]);
        self.compare(true, &Ipv4Addr::new(127, 0, 0, 0).octets())
    }

    /// Goes on if the interface has (not) this name.
    pub(super) fn interface(&mut self, interface: Interface, is: bool, name: &str) -> &mut Self {
        self.meta(
            REGISTER,
            match interface {
                Interface::In => 6,  // NFT_META_IIFNAME
                Interface::Out => 7, // NFT_META_OIFNAME
            },
        );
        let mut padded = [0; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.compare(is, &padded)
    }

    /// Goes on if the destination is an address of this machine.
    pub(super) fn destination_is_local(&mut self) -> &mut Self {
        self.add("fib", |fib| {
            fib.number(1, REGISTER); // NFTA_FIB_DREG
            fib.number(2, 3); // NFTA_FIB_RESULT: NFT_FIB_RESULT_ADDRTYPE
            fib.number(3, 2); // NFTA_FIB_FLAGS: NFTA_FIB_F_DADDR
        });
        self.compare(true, &2_u32.to_ne_bytes()) // RTN_LOCAL
    }

    /// Goes on if a rule of ours or another has changed the connection's destination.
    pub(super) fn destination_was_changed(&mut self) -> &mut Self {
        const DESTINATION_NAT: u32 = 1 << 5; // IPS_DST_NAT
        self.add("ct", |ct| {
            ct.number(1, REGISTER); // NFTA_CT_DREG
            ct.number(2, 2); // NFTA_CT_KEY: NFT_CT_STATUS
        });
        self.mask(DESTINATION_NAT.to_ne_bytes());
        self.compare(false, &[0; 4])
    }

    /// Goes on if the map has the key that begins at the first register, with the value in its place.
    pub(super) fn look_up(&mut self, map: &str) -> &mut Self {
        self.add("lookup", |lookup| {
            lookup.text(1, map); // NFTA_LOOKUP_SET
            lookup.number(2, REGISTER); // NFTA_LOOKUP_SREG
            lookup.number(3, REGISTER); // NFTA_LOOKUP_DREG
        })
    }

    /// Leads the connection to the address and port in the first two registers.
    pub(super) fn change_destination(&mut self) -> &mut Self {
        self.add("nat", |nat| {
            nat.number(1, 1); // NFTA_NAT_TYPE: NFT_NAT_DNAT
            nat.number(2, 2); // NFTA_NAT_FAMILY: NFPROTO_IPV4
            nat.number(3, REGISTER); // NFTA_NAT_REG_ADDR_MIN
            nat.number(5, REGISTER + 1); // NFTA_NAT_REG_PROTO_MIN
        })
    }

    /// Gives the connection the outgoing interface's address as its source.
    pub(super) fn masquerade(&mut self) -> &mut Self {
        // NFTA_MASQ_FLAGS: NF_NAT_RANGE_PROTO_RANDOM_FULLY. Ports tried in order collide when many pods connect at once.
        self.add("masq", |masq| masq.number(1, 1 << 4))
    }

    /// Drops the packet.
    pub(super) fn drop(&mut self) -> &mut Self {
        self.add("immediate", |immediate| {
            immediate.number(1, 0); // NFTA_IMMEDIATE_DREG: NFT_REG_VERDICT
            immediate.nest(2, |data| data.nest(VERDICT, |verdict| verdict.number(1, 0))); // NFTA_VERDICT_CODE: NF_DROP
        })
    }
}
