//! What a pod network is configured with, checked.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::NetworkError;

/// What one pod network is made of. Several daemons beside each other differ in all of it, or in their namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Name of the bridge: 1 to 15 letters, digits, `.`, `_` and `-`.
    pub bridge: String,
    /// Name of the nftables table of family `ip`: a letter, then letters, digits, `.`, `_` and `-`.
    pub table: String,
    /// MTU of bridge and pod interfaces in bytes, 576 to 65535; the kernel's default (1500) if absent.
    pub mtu: Option<u32>,
}

/// An IPv4 subnet in CIDR form with room for a gateway and at least one pod (prefix 8 to 30). Its first host address is the
/// gateway, the bridge's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ipv4Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// Transport protocol of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One port of the node that leads into a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The node's address that is taken; every local address, 127.0.0.1 too, if absent or 0.0.0.0.
    pub host_address: Option<Ipv4Addr>,
    /// Port on the node, not 0.
    pub host_port: u16,
    /// Port in the pod, not 0.
    pub container_port: u16,
}

impl NetworkConfig {
    /// # Errors
    /// [`NetworkError::Config`] for the first value that cannot be used.
    pub(super) fn check(&self) -> Result<(), NetworkError> {
        let plain = |text: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let invalid = |field, value: &str, reason| {
            Err(NetworkError::Config {
                field,
                value: value.to_owned(),
                reason,
            })
        };
        if !(1..=15).contains(&self.bridge.len()) || !plain(&self.bridge) || self.bridge.starts_with('.') {
            return invalid(
                "bridge",
                &self.bridge,
                "an interface's name is 1 to 15 letters, digits, '.', '_' or '-'",
            );
        }
        if !self.table.starts_with(|c: char| c.is_ascii_alphabetic())
            || self.table.len() > 63
            || !plain(&self.table)
        {
            return invalid(
                "table",
                &self.table,
                "a table's name is a letter, then letters, digits, '.', '_' or '-'",
            );
        }
        match self.mtu {
            Some(mtu) if !(576..=65535).contains(&mtu) => {
                invalid("mtu", &mtu.to_string(), "it must be between 576 and 65535")
            }
            _ => Ok(()),
        }
    }
}

impl Ipv4Subnet {
    /// The subnet that holds `address`.
    ///
    /// # Errors
    /// A prefix outside 8 to 30.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Subnet, NetworkError> {
        if !(8..=30).contains(&prefix) {
            return Err(NetworkError::Config {
                field: "subnet",
                value: format!("{address}/{prefix}"),
                reason: "the prefix must be between 8 and 30",
            });
        }
        let subnet = Ipv4Subnet { address, prefix };
        Ok(Ipv4Subnet {
            address: Ipv4Addr::from(u32::from(address) & subnet.mask()),
            prefix,
        })
    }

    /// The network's address (all host bits zero).
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Length of the network part in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first host address.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) + 1)
    }

    /// Whether `address` is in the subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address)
    }

    /// The bits of the network part.
    pub(super) fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }
}

impl FromStr for Ipv4Subnet {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Ipv4Subnet, NetworkError> {
        let invalid = |reason| NetworkError::Config {
            field: "subnet",
            value: text.to_owned(),
            reason,
        };
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| invalid("write it as ADDRESS/PREFIX"))?;
        let address = address.parse().map_err(|_| invalid("not an IPv4 address"))?;
        Ipv4Subnet::new(
            address,
            prefix
                .parse()
                .map_err(|_| invalid("the prefix is not a number"))?,
        )
    }
}

impl fmt::Display for Ipv4Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.host_address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        write!(
            formatter,
            "{address}:{}->{}/{}",
            self.host_port, self.container_port, self.protocol
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let subnet: Ipv4Subnet = "10.88.3.4/16".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.88.0.0/16");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 88, 0, 1));
        assert!(
            subnet.contains(Ipv4Addr::new(10, 88, 255, 255)) && !subnet.contains(Ipv4Addr::new(10, 89, 0, 0))
        );
        for text in ["10.88.0.0", "10.88.0.0/31", "10.88.0.0/7", "x/16", "10.0.0.0/x"] {
            assert!(text.parse::<Ipv4Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_mtu_are_checked() {
        let good = NetworkConfig {
            bridge: "aurae0".to_owned(),
            table: "aurae".to_owned(),
            mtu: Some(1400),
        };
        good.check().unwrap();
        for bridge in ["", "sixteen-letters-", "a/b", "..", "a b"] {
            assert!(
                NetworkConfig {
                    bridge: bridge.to_owned(),
                    ..good.clone()
                }
                .check()
                .is_err(),
                "{bridge}"
            );
        }
        for table in ["", "1x", "a b", "a;b"] {
            assert!(
                NetworkConfig {
                    table: table.to_owned(),
                    ..good.clone()
                }
                .check()
                .is_err(),
                "{table}"
            );
        }
        assert!(
            NetworkConfig {
                mtu: Some(100),
                ..good
            }
            .check()
            .is_err()
        );
    }
}
