//! The embedded network with the addresses that SQLite gives out. It is set up when the first owner needs it.
//!
//! New owners get addresses of the current subnet: the one that the configuration names, else the one that was assigned, else
//! a default. When it changes, those who have an address keep it, with its gateway and its way out, until the last of the
//! older subnet is gone. Which subnets are served follows from the rows of SQLite and the current one, so that whatever a
//! crash interrupts is put right by whoever looks next.

use std::net::{IpAddr, Ipv4Addr};

use auraed_sandbox::network::{Endpoint, Ipv4Subnet, Limits, Live, Network, NetworkConfig};
use auraed_state::{Address, State, Subnet};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use super::assignment::AssignmentError;
use super::owners::{Given, Owners};
use super::{Attached, NetworkFailure, Request};
use crate::server::chain;

pub(super) struct Embedded {
    config: NetworkConfig,
    /// What the configuration names.
    named: Option<Ipv4Subnet>,
    network: OnceCell<Network>,
    state: State,
    /// Read while something is attached or detached, written while everything is looked through and while subnets change.
    subnets: RwLock<Subnets>,
}

#[derive(Debug)]
struct Subnets {
    /// Of which new owners get their addresses.
    current: Ipv4Subnet,
    /// Whether the current one is served while nobody has an address of it. Not where plugins make the networks, which may
    /// be of the very same subnet.
    ahead: bool,
    /// Whose gateways the bridge has.
    served: Vec<Ipv4Subnet>,
}

impl Embedded {
    /// `fallback` is the subnet where none is named and none was assigned.
    pub(super) async fn open(
        config: NetworkConfig,
        named: Option<Ipv4Subnet>,
        fallback: Ipv4Subnet,
        state: State,
    ) -> Result<Embedded, NetworkFailure> {
        let configured = named.unwrap_or(fallback);
        let assigned = state.assigned_subnet().await.map_err(NetworkFailure::Address)?;
        let assigned = assigned.and_then(of_state);
        let adopted = state.adopt_addresses(to_state(configured)?).await;
        adopted.map_err(NetworkFailure::Address)?;
        let subnets = Subnets {
            current: named.or(assigned).unwrap_or(fallback),
            ahead: false,
            served: Vec::new(),
        };
        Ok(Embedded {
            config,
            named,
            network: OnceCell::new(),
            state,
            subnets: RwLock::new(subnets),
        })
    }

    /// Sets it up, if that has not been done.
    async fn network(&self) -> Result<&Network, NetworkFailure> {
        let start = || async {
            let mut subnets = self.subnets.write().await;
            let wanted = self.wanted(&subnets).await?;
            let (network, warnings) = Network::start(self.config.clone(), &wanted).await?;
            for warning in &warnings {
                tracing::warn!(warning = %chain(warning), "the pod network does without something");
            }
            subnets.served = wanted;
            Ok(network)
        };
        self.network.get_or_try_init(start).await
    }

    pub(super) fn is_set_up(&self) -> bool {
        self.network.initialized()
    }

    /// Sets it up for those whom an earlier daemon gave an address; nothing is done where there are none.
    pub(super) async fn resume(&self) -> Result<(), NetworkFailure> {
        if !self.rows().await?.is_empty() {
            self.network().await?;
        }
        Ok(())
    }

    /// Serves the current subnet ahead of need.
    pub(super) async fn prepare(&self) -> Result<(), NetworkFailure> {
        if self.subnets.read().await.ahead {
            return self.network().await.map(drop);
        }
        self.subnets.write().await.ahead = true;
        self.network().await?;
        self.settle().await
    }

    /// Leaves everything to plugins, but for those who have an address.
    pub(super) async fn stand_back(&self) -> Result<(), NetworkFailure> {
        {
            let subnets = self.subnets.read().await;
            if !subnets.ahead && subnets.served.is_empty() {
                return Ok(());
            }
        }
        self.subnets.write().await.ahead = false;
        self.settle().await
    }

    pub(super) async fn subnet(&self) -> Ipv4Subnet {
        self.subnets.read().await.current
    }

    /// What the configuration names.
    pub(super) fn named(&self) -> Option<Ipv4Subnet> {
        self.named
    }

    /// Gives new owners addresses of this subnet from now on. What is written down is served at the next start, wherever
    /// this is interrupted.
    pub(super) async fn assign(&self, subnet: Ipv4Subnet) -> Result<(), AssignmentError> {
        let network = self.network().await?;
        let mut subnets = self.subnets.write().await;
        if subnets.current != subnet {
            if let Some((interface, address)) = network
                .node_address_in(subnet)
                .await
                .map_err(NetworkFailure::Embedded)?
            {
                return Err(AssignmentError::NodeAddress {
                    subnet,
                    address,
                    interface,
                });
            }
            let wanted = to_state(subnet)?;
            for row in self.rows().await? {
                if [wanted.network(), wanted.gateway(), wanted.broadcast()].contains(&row.address) {
                    return Err(AssignmentError::PodAddress {
                        subnet,
                        address: row.address,
                        owner: row.owner,
                    });
                }
            }
        }
        // Also when it is current: a default is not written down.
        let written = self.state.assign_subnet(to_state(subnet)?).await;
        written.map_err(NetworkFailure::Address)?;
        if subnets.current != subnet {
            tracing::info!(%subnet, before = %subnets.current, "pods get addresses of another subnet from now on");
            subnets.current = subnet;
        }
        Ok(self.serve(&mut subnets).await?)
    }

    /// The owner's address ahead of need: its own, or a new one.
    pub(super) async fn reserve(&self, id: &str, owners: &Owners) -> Result<(), NetworkFailure> {
        // Until it is noted, whoever looks for owners that nobody knows must not find it.
        let subnets = self.subnets.read().await;
        owners.reserve(id, self.allocate(id, &subnets).await?);
        Ok(())
    }

    pub(super) async fn release(&self, id: &str) -> Result<(), NetworkFailure> {
        let released = self.state.release_address(id).await;
        released.map_err(NetworkFailure::Address)?;
        // It may have been the last one of its subnet.
        let may_retire = {
            let subnets = self.subnets.read().await;
            subnets.served.len() > usize::from(subnets.ahead)
        };
        if may_retire && let Err(error) = self.settle().await {
            tracing::warn!(error = chain(&error), "a subnet that nobody uses is still served");
        }
        Ok(())
    }

    pub(super) async fn attach(
        &self,
        request: &Request,
        owners: &Owners,
    ) -> Result<Attached, NetworkFailure> {
        self.prepare().await?;
        let network = self.network().await?;
        let (_gate, given) = self.served(&request.id, owners).await?;
        owners.attach_embedded(&request.id, given, &request.ports);
        let endpoint = Endpoint {
            id: &request.id,
            address: given.address,
            subnet: given.subnet,
            ports: &request.ports,
            limits: Limits {
                ingress_bits: request.ingress_bits,
                egress_bits: request.egress_bits,
            },
            user: request.user_namespace.as_ref(),
        };
        let attachment = network.attach(&endpoint).await?;
        Ok(Attached {
            namespace: attachment.netns,
            addresses: vec![IpAddr::V4(given.address)],
        })
    }

    /// Takes out every host port that leads to the owner.
    pub(super) async fn disconnect(&self, id: &str, owners: &Owners) -> Result<(), NetworkFailure> {
        // Where it was not set up, nobody before had an address.
        let Some(network) = self.network.get() else {
            return Ok(());
        };
        let _gate = self.subnets.read().await;
        let address = match owners.given(id) {
            Some(given) => Some(given.address),
            None => self.find(id).await?,
        };
        match address {
            Some(address) => Ok(network.detach(id, address).await?),
            None => Ok(()),
        }
    }

    pub(super) async fn address(&self, id: &str) -> Option<Ipv4Addr> {
        match self.find(id).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(pod = id, error = chain(&error), "cannot look for an address");
                None
            }
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Ipv4Addr>, NetworkFailure> {
        self.state.address(id).await.map_err(NetworkFailure::Address)
    }

    /// Makes interfaces, host ports, addresses and subnets agree with the owners.
    pub(super) async fn reconcile(&self, owners: &Owners) {
        let mut subnets = self.subnets.write().await;
        let addresses = match self.rows().await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot look at the pods' addresses");
                return;
            }
        };
        if let Some(network) = self.network.get() {
            let mut attached = owners.attached();
            let live = addresses.iter().filter_map(|row| {
                Some(Live {
                    id: row.owner.clone(),
                    address: row.address,
                    ports: attached.remove(&row.owner)?,
                })
            });
            match network.reconcile(&live.collect::<Vec<_>>()).await {
                Ok(reconciled) => tracing::debug!(?reconciled, "the pod network agrees with the pods"),
                Err(error) => tracing::error!(
                    error = chain(&error),
                    "the pod network does not agree with the pods"
                ),
            }
        }
        let known = owners.ids();
        for row in addresses.iter().filter(|row| !known.contains(&row.owner)) {
            if let Err(error) = self.state.release_address(&row.owner).await {
                tracing::error!(
                    pod = row.owner,
                    error = chain(&error),
                    "cannot release an unknown owner's address"
                );
            }
        }
        if let Err(error) = self.serve(&mut subnets).await {
            tracing::error!(
                error = chain(&error),
                "the pods' subnets are not served as they should"
            );
        }
    }

    /// Also what an earlier daemon set up; the state may be closed by now.
    pub(super) async fn remove(&self) -> Result<(), NetworkFailure> {
        match self.network.get() {
            Some(network) => Ok(network.remove().await?),
            None => Ok(Network::start(self.config.clone(), &[]).await?.0.remove().await?),
        }
    }

    /// The owner's address with its subnet served, which is so as long as the guard is held.
    async fn served(
        &self,
        id: &str,
        owners: &Owners,
    ) -> Result<(RwLockReadGuard<'_, Subnets>, Given), NetworkFailure> {
        let mut reserved = owners.given(id);
        loop {
            let subnets = self.subnets.read().await;
            let given = match reserved.take() {
                Some(given) => given,
                None => self.allocate(id, &subnets).await?,
            };
            if subnets.served.contains(&given.subnet) {
                return Ok((subnets, given));
            }
            // Plugins came meanwhile. Its row is there now, so that the next look finds it served.
            drop(subnets);
            self.settle().await?;
        }
    }

    async fn allocate(&self, id: &str, subnets: &Subnets) -> Result<Given, NetworkFailure> {
        let subnet = subnets.current;
        let allocated = self.state.allocate_address(id, to_state(subnet)?).await;
        let address = allocated.map_err(NetworkFailure::Address)?;
        Ok(Given { address, subnet })
    }

    /// Makes what is served agree with what should be.
    async fn settle(&self) -> Result<(), NetworkFailure> {
        self.serve(&mut *self.subnets.write().await).await
    }

    async fn serve(&self, subnets: &mut Subnets) -> Result<(), NetworkFailure> {
        let Some(network) = self.network.get() else {
            return Ok(());
        };
        let wanted = self.wanted(subnets).await?;
        if wanted != subnets.served {
            network.serve_subnets(&wanted).await?;
            tracing::info!(subnets = ?texts(&wanted), "the pod network serves other subnets");
            subnets.served = wanted;
        }
        Ok(())
    }

    /// The current subnet first, then those that somebody has an address of.
    async fn wanted(&self, subnets: &Subnets) -> Result<Vec<Ipv4Subnet>, NetworkFailure> {
        let mut used: Vec<_> = self
            .rows()
            .await?
            .iter()
            .filter_map(|row| of_state(row.subnet?))
            .collect();
        used.sort_unstable();
        used.dedup();
        if let Some(at) = used.iter().position(|subnet| *subnet == subnets.current) {
            used.remove(at);
        } else if !subnets.ahead {
            return Ok(used);
        }
        used.insert(0, subnets.current);
        Ok(used)
    }

    async fn rows(&self) -> Result<Vec<Address>, NetworkFailure> {
        self.state.addresses().await.map_err(NetworkFailure::Address)
    }
}

fn to_state(subnet: Ipv4Subnet) -> Result<Subnet, NetworkFailure> {
    Subnet::new(subnet.address(), subnet.prefix()).ok_or(NetworkFailure::NoAddresses)
}

fn of_state(subnet: Subnet) -> Option<Ipv4Subnet> {
    Ipv4Subnet::new(subnet.network(), subnet.prefix()).ok()
}

fn texts(subnets: &[Ipv4Subnet]) -> Vec<String> {
    subnets.iter().map(Ipv4Subnet::to_string).collect()
}
