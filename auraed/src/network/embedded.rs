//! The embedded network with the addresses that SQLite gives out. It is set up when the first owner needs it.

use std::net::{IpAddr, Ipv4Addr};

use auraed_sandbox::network::{Ipv4Subnet, Live, Network, NetworkConfig};
use auraed_state::{State, Subnet};
use tokio::sync::{OnceCell, RwLock};

use super::owners::Owners;
use super::{Attached, NetworkFailure, Request};
use crate::server::chain;

pub(super) struct Embedded {
    config: NetworkConfig,
    network: OnceCell<Network>,
    state: State,
    /// Read while something is attached or detached, written while everything is looked through.
    gate: RwLock<()>,
}

impl Embedded {
    pub(super) fn new(config: NetworkConfig, state: State) -> Embedded {
        Embedded {
            config,
            network: OnceCell::new(),
            state,
            gate: RwLock::default(),
        }
    }

    /// Sets it up, if that has not been done.
    pub(super) async fn network(&self) -> Result<&Network, NetworkFailure> {
        let start = || async {
            let (network, warnings) = Network::start(self.config.clone()).await?;
            for warning in &warnings {
                tracing::warn!(warning = %chain(warning), "the pod network does without something");
            }
            Ok(network)
        };
        self.network.get_or_try_init(start).await
    }

    pub(super) fn is_set_up(&self) -> bool {
        self.network.initialized()
    }

    /// Whether anybody has an address.
    pub(super) async fn has_owners(&self) -> Result<bool, NetworkFailure> {
        let addresses = self.state.addresses().await.map_err(NetworkFailure::Address)?;
        Ok(!addresses.is_empty())
    }

    pub(super) fn subnet(&self) -> Ipv4Subnet {
        self.config.subnet
    }

    /// The owner's address: its own, or a new one.
    pub(super) async fn allocate(&self, id: &str) -> Result<Ipv4Addr, NetworkFailure> {
        let subnet = self.subnet();
        let subnet = Subnet::new(subnet.address(), subnet.prefix()).ok_or(NetworkFailure::NoAddresses)?;
        let allocated = self.state.allocate_address(id, subnet).await;
        allocated.map_err(NetworkFailure::Address)
    }

    pub(super) async fn release(&self, id: &str) -> Result<(), NetworkFailure> {
        let released = self.state.release_address(id).await;
        released.map(drop).map_err(NetworkFailure::Address)
    }

    pub(super) async fn attach(
        &self,
        request: &Request,
        owners: &Owners,
    ) -> Result<Attached, NetworkFailure> {
        let network = self.network().await?;
        let _gate = self.gate.read().await;
        let address = match owners.address(&request.id) {
            Some(address) => address,
            None => self.allocate(&request.id).await?,
        };
        owners.attach_embedded(&request.id, address, &request.ports);
        let user = request.user_namespace.as_ref();
        let attachment = network.attach(&request.id, address, &request.ports, user).await?;
        Ok(Attached {
            namespace: attachment.netns,
            addresses: vec![IpAddr::V4(address)],
        })
    }

    /// Takes out every host port that leads to the owner.
    pub(super) async fn disconnect(&self, id: &str, owners: &Owners) -> Result<(), NetworkFailure> {
        // Where it was not set up, nobody before had an address.
        let Some(network) = self.network.get() else {
            return Ok(());
        };
        let _gate = self.gate.read().await;
        let address = match owners.address(id) {
            Some(address) => Some(address),
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

    /// Makes interfaces, host ports and addresses agree with the owners.
    pub(super) async fn reconcile(&self, owners: &Owners) {
        let _gate = self.gate.write().await;
        let addresses = match self.state.addresses().await {
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
    }

    /// Also what an earlier daemon set up.
    pub(super) async fn remove(&self) -> Result<(), NetworkFailure> {
        Ok(self.network().await?.remove().await?)
    }
}
