//! The embedded pod network: one bridge with the pods' veth pairs, masquerade to the outside, host ports.
//!
//! [`Network`] owns the bridge, the addresses on it and one nftables table, all in the network namespace that the
//! daemon runs in, and all set up in process over netlink: nothing to install, no program run. The daemon calls it at
//! start ([`Network::start`]), once per pod ([`Network::attach`], [`Network::detach`]), after a crash
//! ([`Network::reconcile`]) and when the pods' subnets change ([`Network::serve_subnets`]). Addresses are given out elsewhere
//! (the daemon's state).
//!
//! ```text
//!  pod netns            daemon's netns
//!  eth0 10.88.0.7/16 ── v1f2e3d4c5b6a ─┐
//!  eth0 10.88.0.8/16 ── v0a9b8c7d6e5f ─┴─ aurae0 10.88.0.1/16 ── routing ── the node's interfaces
//!                                         nft table `ip aurae`: masquerade out, dnat of host ports in
//! ```
//!
//! The kernel is the only memory: interfaces carry the pod's id as their alias, host ports are elements of nftables
//! maps. A bridge may serve several subnets, each with a gateway's address and masquerading of its own: pods of one reach
//! those of another by routing, over the same bridge. A pod's network namespace is held by the pod's processes and never pinned by a mount, so that its end takes
//! the interfaces with it. What the kernel cannot do (no nat) is a [`Warning`], not a failure.

mod config;
mod endpoint;
mod error;
mod link;
mod netns;
mod nft;
mod reconcile;
mod shape;
mod sysctl;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;

pub use config::{Ipv4Subnet, NetworkConfig, PortMapping, Protocol};
pub use endpoint::{Attachment, Endpoint, Limits, Live, Reconciled};
pub use error::{NetworkError, Warning};
pub use netns::namespace;

use nft::{Entry, Table};

/// The interface's name inside the pod.
pub const POD_INTERFACE: &str = "eth0";

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
    /// Sets up the bridge with its gateway addresses, forwarding, and the nftables table; adopts what is there already.
    ///
    /// All of it, now and later, is in the network namespace of the calling thread. Must be called within a tokio
    /// runtime, whose tasks then carry the netlink connection.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for an unusable configuration, else the step that failed.
    pub async fn start(
        config: NetworkConfig,
        subnets: &[Ipv4Subnet],
    ) -> Result<(Network, Vec<Warning>), NetworkError> {
        config.check()?;
        let mut warnings = Vec::new();
        let (connection, links, _) = rtnetlink::new_connection().map_err(|source| NetworkError::Link {
            action: "open a netlink socket".to_owned(),
            source,
        })?;
        tokio::spawn(connection);
        let opened = Table::open(&config.table);
        let bridge = link::ensure_bridge(&links, &config).await?;
        let network = Network {
            config,
            links,
            bridge,
            table: None,
        };
        network.serve_addresses(subnets).await?;
        warnings.extend(sysctl::wanted(&network.config.bridge).into_iter().filter_map(
            |(path, value, effect)| {
                sysctl::set(&path, value)
                    .err()
                    .map(|source| Warning::Sysctl { path, effect, source })
            },
        ));
        let installed = match opened {
            Ok(table) => {
                let (bridge, subnets) = (network.config.bridge.clone(), subnets.to_vec());
                in_table(&Arc::new(table), move |table| {
                    table.install(&bridge, &subnets).map(|()| table)
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
        Ok((Network { table, ..network }, warnings))
    }

    /// Makes the bridge's addresses and the masquerading agree with these subnets, and no others.
    ///
    /// Pods of a subnet that stays notice nothing of it. May be repeated.
    ///
    /// # Errors
    /// The first step that failed; a later call goes on from there.
    pub async fn serve_subnets(&self, subnets: &[Ipv4Subnet]) -> Result<(), NetworkError> {
        self.serve_addresses(subnets).await?;
        let Some(table) = &self.table else {
            return Ok(());
        };
        let (bridge, subnets) = (self.config.bridge.clone(), subnets.to_vec());
        in_table(table, move |table| table.renew_rules(&bridge, &subnets)).await
    }

    /// An address of the node's in this subnet, with its interface's name; the bridge's own are none.
    ///
    /// # Errors
    /// The list that failed.
    pub async fn node_address_in(
        &self,
        subnet: Ipv4Subnet,
    ) -> Result<Option<(String, Ipv4Addr)>, NetworkError> {
        let found = link::address_in(&self.links, self.bridge, subnet).await;
        found.map_err(|source| NetworkError::Link {
            action: "list the node's addresses".to_owned(),
            source,
        })
    }

    /// Makes a network namespace for a pod, with its address and limits on its `eth0`, and serves its host ports.
    ///
    /// # Errors
    /// [`NetworkError::PortTaken`], [`NetworkError::NoNat`], [`NetworkError::NoLimits`] or the step that failed; nothing is left
    /// behind then.
    pub async fn attach(&self, pod: &Endpoint<'_>) -> Result<Attachment, NetworkError> {
        let (attached, served) = tokio::join!(
            self.attach_interface(pod),
            self.serve(pod.id, pod.address, pod.ports)
        );
        match (attached, served) {
            (Ok(attachment), Ok(())) => Ok(attachment),
            // The namespace goes with its descriptor, and takes the interfaces along.
            (Ok(_), Err(error)) => Err(error),
            (Err(error), served) => {
                if served.is_ok()
                    && !pod.ports.is_empty()
                    && let Err(left) = self.detach(pod.id, pod.address).await
                {
                    tracing::warn!(pod = pod.id, error = %left, "host ports of a pod that was not attached stay behind");
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
        for name in reconcile::stale_interfaces(self.interfaces().await?, live, &self.config.bridge) {
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

    async fn serve_addresses(&self, subnets: &[Ipv4Subnet]) -> Result<(), NetworkError> {
        let addresses = link::set_addresses(&self.links, self.bridge, subnets).await;
        addresses.map_err(|source| NetworkError::Link {
            action: format!("set the addresses of bridge {}", self.config.bridge),
            source,
        })
    }

    async fn attach_interface(&self, pod: &Endpoint<'_>) -> Result<Attachment, NetworkError> {
        let made = netns::create(pod.user.cloned()).await;
        let namespace = made.map_err(|source| NetworkError::Namespace {
            action: "make",
            source,
        })?;
        let connected = self.connect(&namespace, pod).await;
        let netns = namespace.close().await;
        connected.map(|interface| Attachment { netns, interface })
    }

    /// Makes the pair and sets it up; answers the node's end's name.
    async fn connect(
        &self,
        namespace: &netns::Namespace,
        pod: &Endpoint<'_>,
    ) -> Result<String, NetworkError> {
        let [name, other] = interface_names(pod.id, &self.config.bridge);
        let name = match self.add_pair(namespace, &name, pod).await {
            // It is another daemon's, for a pod of the same id.
            Err(NetworkError::Link { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => {
                self.add_pair(namespace, &other, pod).await?;
                other
            }
            made => {
                made?;
                name
            }
        };
        let (configured, finished, limited) = tokio::join!(
            link::configure_pod(&namespace.links, pod),
            link::finish_pair(&self.links, &name, pod.id),
            link::limit(&self.links, &name, pod.limits.ingress_bits),
        );
        let finished = finished.map_err(|source| NetworkError::Link {
            action: format!("set up interface {name}"),
            source,
        });
        configured.and(finished).and(limited)?;
        Ok(name)
    }

    async fn add_pair(
        &self,
        namespace: &netns::Namespace,
        name: &str,
        pod: &Endpoint<'_>,
    ) -> Result<(), NetworkError> {
        let pair = link::Pair {
            name,
            bridge: self.bridge,
            mtu: self.config.mtu,
            netns: namespace.descriptor.as_fd(),
            address: pod.address,
        };
        let made = match link::add_pair(&self.links, &pair).await {
            // The pod's earlier namespace is still there, or is on its way out.
            Err(error)
                if error.raw_os_error() == Some(libc::EEXIST)
                    && self.is_interface_of(name, pod.id).await? =>
            {
                self.remove_interface(name).await?;
                link::add_pair(&self.links, &pair).await
            }
            result => result,
        };
        made.map_err(|source| NetworkError::Link {
            action: format!("make interface {name}"),
            source,
        })
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
        let is = link::is_pair_of(&self.links, name, self.bridge, id).await;
        is.map_err(|source| NetworkError::Link {
            action: format!("look for interface {name}"),
            source,
        })
    }

    async fn remove_interface(&self, name: &str) -> Result<(), NetworkError> {
        let removed = link::remove(&self.links, name).await;
        removed.map_err(|source| NetworkError::Link {
            action: format!("delete interface {name}"),
            source,
        })
    }
}

/// Names of the interface on the bridge that is pod `id`'s, by hash: the first, or the second where another network of this
/// machine has one of the first name.
fn interface_names(id: &str, bridge: &str) -> [String; 2] {
    [fnv(id), fnv(&format!("{bridge}/{id}"))]
        .map(|hash| format!("v{:012x}", (hash ^ (hash >> 48)) & 0xffff_ffff_ffff))
}

/// The text's FNV-1a hash: the same in every version.
fn fnv(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    text.bytes()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
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
