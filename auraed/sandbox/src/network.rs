//! The embedded pod network: one bridge with the pods' veth pairs, masquerade to the outside, host ports.
//!
//! [`Network`] owns the bridge, the addresses on it and one nftables table, all in the network namespace that the
//! daemon runs in, and all set up in process over netlink: nothing to install, no program run. The daemon calls it at
//! start ([`Network::start`]), once per pod ([`Network::attach`], [`Network::detach`]) and after a crash
//! ([`Network::reconcile`]). Addresses are given out elsewhere (the daemon's state).
//!
//! ```text
//!  pod netns            daemon's netns
//!  eth0 10.88.0.7/16 ── v1f2e3d4c5b6a ─┐
//!  eth0 10.88.0.8/16 ── v0a9b8c7d6e5f ─┴─ aurae0 10.88.0.1/16 ── routing ── the node's interfaces
//!                                         nft table `ip aurae`: masquerade out, dnat of host ports in
//! ```
//!
//! The kernel is the only memory: interfaces carry the pod's id as their alias, host ports are elements of nftables
//! maps. A pod's network namespace is held by the pod's processes and never pinned by a mount, so that its end takes
//! the interfaces with it. What the kernel cannot do (no nat) is a [`Warning`], not a failure.

mod config;
mod error;
mod link;
mod netns;
mod nft;
mod reconcile;
mod sys;
mod sysctl;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

pub use config::{Ipv4Subnet, NetworkConfig, PortMapping, Protocol};
pub use error::{NetworkError, Warning};
pub use netns::namespace;

use nft::{Entry, Table};

use crate::UserNamespace;

/// The interface's name inside the pod.
pub const POD_INTERFACE: &str = "eth0";

/// A pod that should be attached, for [`Network::reconcile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The pod's id, as given to [`Network::attach`].
    pub id: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The pod's host ports.
    pub ports: Vec<PortMapping>,
}

/// A pod's fresh network namespace with its interface up and addressed.
#[derive(Debug)]
pub struct Attachment {
    /// The namespace; it lives as long as this descriptor or a process in it.
    pub netns: OwnedFd,
    /// Name of the interface's end on the bridge.
    pub interface: String,
}

/// What [`Network::reconcile`] found and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Interfaces of pods that are no longer there, deleted.
    pub removed_interfaces: Vec<String>,
    /// Host port mappings taken out of the table.
    pub removed_ports: usize,
    /// Host port mappings put back into the table.
    pub added_ports: usize,
}

/// Handle to the daemon's pod network.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    links: rtnetlink::Handle,
    bridge: u32,
    /// None: the kernel has no nat.
    table: Option<Arc<Table>>,
}

impl Network {
    /// Sets up the bridge with its gateway address, forwarding, and the nftables table; adopts what is there already.
    ///
    /// All of it, now and later, is in the network namespace of the calling thread. Must be called within a tokio
    /// runtime, whose tasks then carry the netlink connection.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for an unusable configuration, else the step that failed.
    pub async fn start(config: NetworkConfig) -> Result<(Network, Vec<Warning>), NetworkError> {
        config.check()?;
        let mut warnings = Vec::new();
        let (connection, links, _) = rtnetlink::new_connection().map_err(|source| NetworkError::Link {
            action: "open a netlink socket".to_owned(),
            source,
        })?;
        tokio::spawn(connection);
        let opened = Table::open(&config.table);
        let bridge = link::ensure_bridge(&links, &config).await?;
        warnings.extend(
            sysctl::wanted(&config.bridge)
                .into_iter()
                .filter_map(|(path, value, effect)| {
                    sysctl::set(&path, value)
                        .err()
                        .map(|source| Warning::Sysctl { path, effect, source })
                }),
        );
        let installed = match opened {
            Ok(table) => {
                let (bridge, subnet) = (config.bridge.clone(), config.subnet);
                in_table(&Arc::new(table), move |table| {
                    table.install(&bridge, subnet).map(|()| table)
                })
                .await
            }
            Err(source) => Err(nft_error(nft::Refused {
                step: "open a socket",
                source,
            })),
        };
        let table = match installed {
            Ok(table) => Some(table),
            Err(NetworkError::Nft { source, .. }) if is_unsupported(&source) => {
                warnings.push(Warning::NoNat(source));
                None
            }
            Err(error) => return Err(error),
        };
        Ok((
            Network {
                config,
                links,
                bridge,
                table,
            },
            warnings,
        ))
    }

    /// The bridge's own address: the pods' default route.
    pub fn gateway(&self) -> Ipv4Addr {
        self.config.subnet.gateway()
    }

    /// The pods' subnet.
    pub fn subnet(&self) -> Ipv4Subnet {
        self.config.subnet
    }

    /// Makes a network namespace for pod `id` whose `eth0` has `address`, and serves its host ports. The namespace belongs to
    /// `user`, or to the node's user namespace.
    ///
    /// # Errors
    /// [`NetworkError::PortTaken`], [`NetworkError::NoNat`] or the step that failed; nothing is left behind then.
    pub async fn attach(
        &self,
        id: &str,
        address: Ipv4Addr,
        ports: &[PortMapping],
        user: Option<&UserNamespace>,
    ) -> Result<Attachment, NetworkError> {
        let (attached, served) = tokio::join!(
            self.attach_interface(id, address, user.cloned()),
            self.serve(id, address, ports)
        );
        match (attached, served) {
            (Ok(attachment), Ok(())) => Ok(attachment),
            // The namespace goes with its descriptor, and takes the interfaces along.
            (Ok(_), Err(error)) => Err(error),
            (Err(error), served) => {
                if served.is_ok()
                    && !ports.is_empty()
                    && let Err(left) = self.detach(id, address).await
                {
                    tracing::warn!(pod = id, error = %left, "host ports of a pod that was not attached stay behind");
                }
                Err(error)
            }
        }
    }

    /// Stops serving the pod's host ports. Its interfaces go with its namespace, off this path.
    ///
    /// Succeeds for a pod that is not attached. Every host port that leads to `address` is taken out, and no other: a
    /// pod that has none need not come here.
    ///
    /// # Errors
    /// The nftables transaction that failed.
    pub async fn detach(&self, id: &str, address: Ipv4Addr) -> Result<(), NetworkError> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        tracing::debug!(pod = id, %address, "host ports are taken out");
        in_table(table, move |table| {
            let mut entries = list(&table)?;
            entries.retain(|entry| entry.address == address);
            table.change(&entries, &[])
        })
        .await
    }

    /// Makes interfaces and host ports agree with the pods that live: stale ones are deleted, lost host ports restored.
    ///
    /// A pod that is being attached meanwhile must be among `live`.
    ///
    /// # Errors
    /// The first step that failed; a later call goes on from there.
    pub async fn reconcile(&self, live: &[Live]) -> Result<Reconciled, NetworkError> {
        let mut reconciled = Reconciled::default();
        if let Some(table) = &self.table {
            let live = live.to_vec();
            (reconciled.removed_ports, reconciled.added_ports) = in_table(table, move |table| {
                let present = list(&table)?;
                let change = reconcile::ports(&present, &live);
                table.change(&change.remove, &change.add)?;
                Ok((change.remove.len(), change.add.len()))
            })
            .await?;
        }
        for name in reconcile::stale_interfaces(self.interfaces().await?, live) {
            self.remove_interface(&name).await?;
            reconciled.removed_interfaces.push(name);
        }
        Ok(reconciled)
    }

    /// Takes down table, bridge and every pod interface on it. Nothing can be attached after it.
    ///
    /// # Errors
    /// The first step that failed.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        if let Some(table) = &self.table {
            in_table(table, |table| table.remove()).await?;
        }
        for name in self.interfaces().await? {
            self.remove_interface(&name).await?;
        }
        self.remove_interface(&self.config.bridge).await
    }

    async fn attach_interface(
        &self,
        id: &str,
        address: Ipv4Addr,
        user: Option<UserNamespace>,
    ) -> Result<Attachment, NetworkError> {
        let made = netns::create(user).await;
        let namespace = made.map_err(|source| NetworkError::Namespace {
            action: "make",
            source,
        })?;
        let name = interface_name(id);
        let connected = self.connect(&namespace, &name, id, address).await;
        let netns = namespace.close().await;
        connected.map(|()| Attachment {
            netns,
            interface: name,
        })
    }

    async fn connect(
        &self,
        namespace: &netns::Namespace,
        name: &str,
        id: &str,
        address: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        let netns = namespace.descriptor.as_fd();
        let pair = link::Pair {
            name,
            bridge: self.bridge,
            mtu: self.config.mtu,
            netns,
            address,
        };
        let failed = |what: &str| {
            let action = format!("{what} interface {name}");
            move |source| NetworkError::Link { action, source }
        };
        match link::add_pair(&self.links, &pair).await {
            // The pod's earlier namespace is still there, or is on its way out.
            Err(error)
                if error.raw_os_error() == Some(libc::EEXIST) && self.is_interface_of(name, id).await? =>
            {
                self.remove_interface(name).await?;
                link::add_pair(&self.links, &pair).await
            }
            result => result,
        }
        .map_err(failed("make"))?;
        let (configured, finished) = tokio::join!(
            link::configure_pod(&namespace.links, address, self.config.subnet),
            link::finish_pair(&self.links, name, id),
        );
        configured.and(finished.map_err(failed("set up")))
    }

    async fn serve(&self, id: &str, address: Ipv4Addr, ports: &[PortMapping]) -> Result<(), NetworkError> {
        if ports.is_empty() {
            return Ok(());
        }
        let table = self.table.as_ref().ok_or(NetworkError::NoNat)?;
        let (id, entries) = (
            id.to_owned(),
            ports
                .iter()
                .map(|port| Entry::new(address, port))
                .collect::<Vec<_>>(),
        );
        let served = in_table(table, move |table| {
            let add: Vec<_> = entries.into_iter().map(|entry| (id.as_str(), entry)).collect();
            table.change(&[], &add)
        });
        match served.await {
            Err(NetworkError::Nft { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) =>
            {
                let ports: Vec<_> = ports.iter().map(PortMapping::to_string).collect();
                Err(NetworkError::PortTaken {
                    port: ports.join(", "),
                })
            }
            served => served,
        }
    }

    async fn interfaces(&self) -> Result<Vec<String>, NetworkError> {
        let listed = link::pairs_on(&self.links, self.bridge).await;
        listed.map_err(|source| NetworkError::Link {
            action: "list interfaces".to_owned(),
            source,
        })
    }

    async fn is_interface_of(&self, name: &str, id: &str) -> Result<bool, NetworkError> {
        let alias = link::alias_of(&self.links, name).await;
        let alias = alias.map_err(|source| NetworkError::Link {
            action: format!("look for interface {name}"),
            source,
        })?;
        // Gone meanwhile is as good as ours.
        Ok(alias.is_none_or(|alias| alias == link::shortened(id)))
    }

    async fn remove_interface(&self, name: &str) -> Result<(), NetworkError> {
        let removed = link::remove(&self.links, name).await;
        removed.map_err(|source| NetworkError::Link {
            action: format!("delete interface {name}"),
            source,
        })
    }
}

/// Name of the interface on the bridge that is pod `id`'s: `v` and 48 bits of the id's FNV-1a hash.
fn interface_name(id: &str) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = id
        .bytes()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("v{:012x}", (hash ^ (hash >> 48)) & 0xffff_ffff_ffff)
}

/// Runs a transaction on a thread that may wait: another program's may be under way.
async fn in_table<T: Send + 'static>(
    table: &Arc<Table>,
    work: impl FnOnce(Arc<Table>) -> Result<T, nft::Refused> + Send + 'static,
) -> Result<T, NetworkError> {
    let table = Arc::clone(table);
    let done = tokio::task::spawn_blocking(move || work(table)).await;
    let done = done.unwrap_or_else(|error| {
        Err(nft::Refused {
            step: "run",
            source: io::Error::other(error),
        })
    });
    done.map_err(nft_error)
}

fn list(table: &Table) -> Result<Vec<Entry>, nft::Refused> {
    table.entries().map_err(|source| nft::Refused {
        step: "list host ports",
        source,
    })
}

fn nft_error(refused: nft::Refused) -> NetworkError {
    NetworkError::Nft {
        action: refused.step.to_owned(),
        source: refused.source,
    }
}

// No nftables, none for IPv4, or no chain or expression of a kind that we need.
fn is_unsupported(error: &io::Error) -> bool {
    let codes = [
        libc::EPROTONOSUPPORT,
        libc::EOPNOTSUPP,
        libc::EAFNOSUPPORT,
        libc::ENOENT,
        libc::EINVAL,
    ];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
