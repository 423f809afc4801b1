//! The network of pods and sandboxes: one seam, whatever makes it.
//!
//! ```text
//!  schedule (pods) ──┐                  ┌─► embedded: an address of SQLite, a veth on our bridge (auraed-sandbox)
//!  runtime (sandboxes) ──► PodNetwork ──┤
//!                                       └─► none: only what lives in the node's own network runs
//! ```
//!
//! Both engines attach and detach by their own ids, and neither knows how a network is made. At start each says what it
//! found ([`PodNetwork::adopt`]); then one [`PodNetwork::reconcile`] takes away what belongs to nobody. Every call may be
//! repeated, also after a crash in the midst of it: what is attached is told by the kernel and by the disk, and what is
//! kept in memory here only saves looking.

mod embedded;
mod failure;
mod owners;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use auraed_sandbox::UserNamespace;
use auraed_sandbox::network::{Ipv4Subnet, NetworkConfig, NetworkError, PortMapping, Warning};
use auraed_state::State;
use tokio::sync::RwLock;

pub use failure::NetworkFailure;

use embedded::Embedded;
use owners::Owners;

/// The network of this node's pods. Clones are one network.
#[derive(Clone)]
pub struct PodNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    /// None where it is switched off.
    embedded: Option<Embedded>,
    owners: Owners,
    /// Read while something is attached or detached, written while everything is looked through.
    gate: RwLock<()>,
}

/// Who wants a network of its own, and what it should be like.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The owner: unique on the node, among pods and sandboxes together.
    pub id: String,
    /// Its name, for plugins and people.
    pub name: String,
    /// Its namespace, likewise.
    pub namespace: String,
    /// Whose it is to the caller of the API; its own id if that has no other.
    pub uid: String,
    /// For plugins: names and values, neither with a `;`.
    pub arguments: BTreeMap<String, String>,
    /// Ports of the node that lead to it.
    pub ports: Vec<PortMapping>,
    /// Bits a second that it may receive; 0 is unlimited.
    pub ingress_bits: u64,
    /// Bits a second that it may send; 0 is unlimited.
    pub egress_bits: u64,
    /// What its containers have as /etc/resolv.conf, where the caller says so.
    pub dns: Dns,
    /// Whose the network namespace is; none means the node's.
    pub user_namespace: Option<UserNamespace>,
}

/// Names and how they are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// Domains that are searched.
    pub searches: Vec<String>,
    /// As in resolv.conf(5).
    pub options: Vec<String>,
}

/// A network namespace that is ready.
#[derive(Debug)]
pub struct Attached {
    /// It lives as long as this descriptor or a process in it.
    pub namespace: OwnedFd,
    /// The first is the primary one; there is at least one.
    pub addresses: Vec<IpAddr>,
}

impl PodNetwork {
    /// Sets up the network, or adopts what an earlier daemon set up. Without a configuration there is none.
    ///
    /// Belongs to the network namespace of the calling thread, within a tokio runtime.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn start(
        embedded: Option<NetworkConfig>,
        state: State,
    ) -> Result<(PodNetwork, Vec<Warning>), NetworkError> {
        let (embedded, warnings) = match embedded {
            Some(config) => {
                let (embedded, warnings) = Embedded::start(config, state).await?;
                (Some(embedded), warnings)
            }
            None => (None, Vec::new()),
        };
        let shared = Arc::new(Shared {
            embedded,
            owners: Owners::default(),
            gate: RwLock::default(),
        });
        Ok((PodNetwork { shared }, warnings))
    }

    /// Whether there is any network but the node's own.
    pub fn exists(&self) -> bool {
        self.shared.embedded.is_some()
    }

    /// The pods' subnet, where this daemon gives out the addresses.
    pub fn subnet(&self) -> Option<Ipv4Subnet> {
        Some(self.shared.embedded.as_ref()?.subnet())
    }

    /// Whether a pod could be attached now; if not, why, for people.
    ///
    /// # Errors
    /// The reason.
    pub fn status(&self) -> Result<(), String> {
        match self.exists() {
            true => Ok(()),
            false => Err(NetworkFailure::Disabled.to_string()),
        }
    }

    /// Gives the owner its address ahead of need, so that attaching need not wait for it. A failure comes again then.
    pub(crate) async fn reserve(&self, id: &str) {
        let Some(embedded) = &self.shared.embedded else {
            return;
        };
        if let Ok(address) = embedded.allocate(id).await {
            self.shared.owners.reserve(id, address);
        }
    }

    /// Makes a network namespace with the owner's interfaces in it. Repeated, it makes another in the first one's place.
    ///
    /// # Errors
    /// [`NetworkFailure`]; nothing is left behind then but an address for the next try, which
    /// [`PodNetwork::detach`] gives back.
    pub async fn attach(&self, request: &Request) -> Result<Attached, NetworkFailure> {
        let _gate = self.shared.gate.read().await;
        let embedded = self.shared.embedded.as_ref().ok_or(NetworkFailure::Disabled)?;
        let address = match self.shared.owners.address(&request.id) {
            Some(address) => address,
            None => embedded.allocate(&request.id).await?,
        };
        self.shared.owners.attach(&request.id, address, &request.ports);
        let attached = embedded.attach(request, address).await;
        if attached.is_err() {
            self.shared.owners.disconnect(&request.id);
        }
        attached
    }

    /// Takes the owner off the network for good and gives back its addresses. Succeeds for one that is not attached.
    ///
    /// `namespace` is the one that it was given, where that still is.
    ///
    /// # Errors
    /// [`NetworkFailure`] of what is to be tried again.
    pub async fn detach(&self, id: &str, namespace: Option<BorrowedFd<'_>>) -> Result<(), NetworkFailure> {
        self.disconnect(id, namespace).await?;
        if let Some(embedded) = &self.shared.embedded {
            embedded.release(id).await?;
        }
        self.shared.owners.forget(id);
        Ok(())
    }

    /// Takes the owner off the network; where it can, it has the same address when it is attached again.
    ///
    /// # Errors
    /// As [`PodNetwork::detach`].
    pub async fn disconnect(
        &self,
        id: &str,
        _namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), NetworkFailure> {
        let _gate = self.shared.gate.read().await;
        if let Some(embedded) = &self.shared.embedded
            && self.shared.owners.may_have_ports(id)
        {
            embedded.detach(id, self.shared.owners.address(id)).await?;
        }
        self.shared.owners.disconnect(id);
        Ok(())
    }

    /// Takes note of an owner that an earlier daemon knew; `attached` are its ports if it runs on the network.
    pub(crate) fn adopt(&self, id: &str, attached: Option<Vec<PortMapping>>) {
        self.shared.owners.adopt(id, attached);
    }

    /// An owner's addresses, the primary one first; none if it has none.
    pub async fn addresses(&self, id: &str) -> Vec<IpAddr> {
        match &self.shared.embedded {
            Some(embedded) => embedded.address(id).await.map(IpAddr::V4).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Takes away what belongs to nobody, and puts back what live owners lack. Called once, when both engines have
    /// said what they found.
    pub(crate) async fn reconcile(&self) {
        let _gate = self.shared.gate.write().await;
        if let Some(embedded) = &self.shared.embedded {
            embedded.reconcile(&self.shared.owners).await;
        }
    }

    /// Takes the node's side of the network down, once nobody is attached.
    ///
    /// # Errors
    /// The first step that failed.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        match &self.shared.embedded {
            Some(embedded) => embedded.remove().await,
            None => Ok(()),
        }
    }
}
