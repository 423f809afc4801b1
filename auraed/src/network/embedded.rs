//! The embedded network with the addresses that SQLite gives out.

use std::net::{IpAddr, Ipv4Addr};

use auraed_sandbox::network::{Ipv4Subnet, Live, Network, NetworkConfig, NetworkError, Warning};
use auraed_state::{State, Subnet};

use super::owners::Owners;
use super::{Attached, NetworkFailure, Request};
use crate::server::chain;

pub(super) struct Embedded {
    network: Network,
    state: State,
}

impl Embedded {
    pub(super) async fn start(
        config: NetworkConfig,
        state: State,
    ) -> Result<(Embedded, Vec<Warning>), NetworkError> {
        let (network, warnings) = Network::start(config).await?;
        Ok((Embedded { network, state }, warnings))
    }

    pub(super) fn subnet(&self) -> Ipv4Subnet {
        self.network.subnet()
    }

    /// The owner's address: its own, or a new one.
    pub(super) async fn allocate(&self, id: &str) -> Result<Ipv4Addr, NetworkFailure> {
        let subnet = self.network.subnet();
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
        address: Ipv4Addr,
    ) -> Result<Attached, NetworkFailure> {
        let user = request.user_namespace.as_ref();
        let attached = self.network.attach(&request.id, address, &request.ports, user);
        let attachment = attached.await?;
        Ok(Attached {
            namespace: attachment.netns,
            addresses: vec![IpAddr::V4(address)],
        })
    }

    /// Takes out every host port that leads to the owner.
    pub(super) async fn detach(&self, id: &str, known: Option<Ipv4Addr>) -> Result<(), NetworkFailure> {
        let address = match known {
            Some(address) => Some(address),
            None => self.find(id).await?,
        };
        match address {
            Some(address) => Ok(self.network.detach(id, address).await?),
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
        let addresses = match self.state.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot look at the pods' addresses");
                return;
            }
        };
        let mut attached = owners.attached();
        let live = addresses.iter().filter_map(|row| {
            Some(Live {
                id: row.owner.clone(),
                address: row.address,
                ports: attached.remove(&row.owner)?,
            })
        });
        match self.network.reconcile(&live.collect::<Vec<_>>()).await {
            Ok(reconciled) => tracing::debug!(?reconciled, "the pod network agrees with the pods"),
            Err(error) => tracing::error!(
                error = chain(&error),
                "the pod network does not agree with the pods"
            ),
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

    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.network.remove().await
    }
}
