//! The pods' subnet as whoever runs the cluster assigns it: what may be assigned, and what becomes of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use auraed_sandbox::network::Ipv4Subnet;

use super::NetworkFailure;

/// What became of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// New owners get their addresses of it. The subnets of the request that nobody gets addresses of are these.
    Served(Vec<String>),
    /// The configuration names this subnet, and it counts.
    Configured(Ipv4Subnet),
    /// Network plugins decide. Nothing was kept.
    Plugins,
    /// There is no pod network. Nothing was kept.
    NoNetwork,
}

/// Why subnets cannot be assigned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// A text is no subnet, or none for pods.
    #[error("{subnet:?} {reason}")]
    Subnet {
        /// The text.
        subnet: String,
        /// What is wrong with it, after it.
        reason: String,
    },
    /// There are none, too many, or none that can be used.
    #[error("{0}")]
    Request(&'static str),
    /// An address of the node's own is in the subnet.
    #[error("{subnet} has the node's own address {address} of interface {interface} in it")]
    NodeAddress {
        /// The subnet.
        subnet: Ipv4Subnet,
        /// The node's.
        address: Ipv4Addr,
        /// Whose it is.
        interface: String,
    },
    /// What would be the network's, gateway's or broadcast address is a pod's.
    #[error("{subnet} needs the address {address}, which {owner} has until it is removed")]
    PodAddress {
        /// The subnet.
        subnet: Ipv4Subnet,
        /// The pod's.
        address: Ipv4Addr,
        /// Its id.
        owner: String,
    },
    /// It was written down or not, and the network does not serve it yet; a repetition goes on from there.
    #[error("cannot serve the subnet")]
    Network(#[from] NetworkFailure),
}

/// Subnets of a request, by family.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subnets {
    pub(super) ipv4: Option<Ipv4Subnet>,
    pub(super) ipv6: Option<String>,
}

impl Subnets {
    /// Takes the texts apart: at most one of each family, and at least one.
    pub(super) fn parse(texts: &[String]) -> Result<Subnets, AssignmentError> {
        let mut subnets = Subnets {
            ipv4: None,
            ipv6: None,
        };
        for text in texts {
            let twice = match parse(text)? {
                Some(subnet) => subnets.ipv4.replace(subnet).is_some(),
                None => subnets.ipv6.replace(text.clone()).is_some(),
            };
            if twice {
                return Err(AssignmentError::Request(
                    "there is more than one subnet of a family",
                ));
            }
        }
        if subnets.ipv4.is_none() && subnets.ipv6.is_none() {
            return Err(AssignmentError::Request("there is no subnet"));
        }
        Ok(subnets)
    }
}

/// An IPv4 subnet that pods can have; none for an IPv6 one.
fn parse(text: &str) -> Result<Option<Ipv4Subnet>, AssignmentError> {
    let invalid = |reason: &str| AssignmentError::Subnet {
        subnet: text.chars().take(64).collect(),
        reason: reason.to_owned(),
    };
    let parts = text.split_once('/').and_then(|(address, prefix)| {
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        Some((
            address.parse().ok()?,
            prefix.parse::<u8>().ok().filter(|_| digits)?,
        ))
    });
    match parts {
        Some((IpAddr::V4(address), prefix @ 0..=32)) => {
            let subnet = Ipv4Subnet::new(address, prefix).map_err(|_| {
                invalid("has no room for pods, or far too much: the prefix must be between 8 and 30")
            })?;
            if is_special(subnet) {
                return Err(invalid(
                    "is no subnet for pods: its addresses have a meaning of their own",
                ));
            }
            Ok(Some(subnet))
        }
        Some((IpAddr::V6(address), prefix @ 8..=126)) if !is_special_v6(address, prefix) => Ok(None),
        Some((IpAddr::V6(_), 0..=128)) => Err(invalid("is no subnet for pods")),
        _ => Err(invalid("is no subnet in CIDR form")),
    }
}

/// This network, loopback, link-local, multicast, reserved (RFC 6890). No prefix is shorter than 8.
fn is_special(subnet: Ipv4Subnet) -> bool {
    let link_local = Ipv4Addr::new(169, 254, 0, 0);
    let first = subnet.address();
    matches!(first.octets()[0], 0 | 127 | 224..) || first.is_link_local() || subnet.contains(link_local)
}

/// Loopback, link-local, multicast.
fn is_special_v6(address: Ipv6Addr, prefix: u8) -> bool {
    let first = address.to_bits() & (u128::MAX << (128 - u32::from(prefix)));
    let first = Ipv6Addr::from_bits(first);
    first.is_unspecified() || first.is_loopback() || first.is_multicast() || first.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Subnets, String> {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Subnets::parse(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn one_of_each_family_is_taken() {
        let v4 = "10.244.3.0/24".parse().unwrap();
        let (ipv4, ipv6) = (Some(v4), Some("fd00:3::/64".to_owned()));
        assert_eq!(
            parsed(&["10.244.3.9/24"]).unwrap(),
            Subnets { ipv4, ipv6: None },
            "the host's bits are left out"
        );
        assert_eq!(
            parsed(&["fd00:3::/64", "10.244.3.0/24"]).unwrap(),
            Subnets {
                ipv4,
                ipv6: ipv6.clone()
            }
        );
        assert_eq!(parsed(&["fd00:3::/64"]).unwrap(), Subnets { ipv4: None, ipv6 });
    }

    #[test]
    fn what_is_no_subnet_for_pods_is_named() {
        for (text, reason) in [
            ("", "no subnet in CIDR form"),
            ("10.0.0.0", "no subnet in CIDR form"),
            ("10.0.0.0/x", "no subnet in CIDR form"),
            ("10.0.0.0/+8", "no subnet in CIDR form"),
            ("10.0.0.0/33", "no subnet in CIDR form"),
            ("10.0.0/24", "no subnet in CIDR form"),
            (" 10.0.0.0/24", "no subnet in CIDR form"),
            ("fd00::/129", "no subnet in CIDR form"),
            ("10.0.0.0/31", "between 8 and 30"),
            ("10.0.0.0/7", "between 8 and 30"),
            ("127.0.0.0/24", "a meaning of their own"),
            ("169.254.7.0/24", "a meaning of their own"),
            ("169.0.0.0/8", "a meaning of their own"),
            ("224.0.0.0/24", "a meaning of their own"),
            ("255.255.255.0/24", "a meaning of their own"),
            ("0.0.0.0/8", "a meaning of their own"),
            ("fe80::/64", "no subnet for pods"),
            ("ff02::/64", "no subnet for pods"),
            ("::/0", "no subnet for pods"),
        ] {
            let error = parsed(&[text]).unwrap_err();
            assert!(error.starts_with(&format!("{text:?} ")), "{error}");
            assert!(error.contains(reason), "{text}: {error}");
        }
        let long = parsed(&[&"x".repeat(10_000)]).unwrap_err();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn none_and_two_of_a_family_are_refused() {
        assert_eq!(parsed(&[]).unwrap_err(), "there is no subnet");
        for twice in [["10.1.0.0/24", "10.2.0.0/24"], ["fd00:1::/64", "fd00:2::/64"]] {
            let error = parsed(&twice).unwrap_err();
            assert_eq!(error, "there is more than one subnet of a family");
        }
    }
}
