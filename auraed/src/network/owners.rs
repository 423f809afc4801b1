//! Who has a network, as far as this daemon knows by itself: it saves looking, and nothing is lost with it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auraed_sandbox::network::{Ipv4Subnet, PortMapping};

/// All owners that were heard of since the daemon's start.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<HashMap<String, Owner>>);

/// Who made an owner's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Embedded,
    Cni,
}

/// An address that was given, and of which subnet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) address: Ipv4Addr,
    pub(super) subnet: Ipv4Subnet,
}

#[derive(Debug, Default)]
struct Owner {
    /// None: it is not known.
    maker: Option<Maker>,
    /// None: it has none, or it is in SQLite alone.
    given: Option<Given>,
    /// None: it is not known which host ports of the embedded network lead to it.
    ports: Option<Vec<PortMapping>>,
    attached: bool,
    /// Kept for plugins, which want to see it when they take a network down, also when all processes in it are gone.
    namespace: Option<Arc<OwnedFd>>,
}

impl Owners {
    pub(super) fn reserve(&self, id: &str, given: Given) {
        self.change(id, |owner| owner.given = Some(given));
    }

    /// From before it is begun: what goes through everything meanwhile must not take it away.
    pub(super) fn attach_embedded(&self, id: &str, given: Given, ports: &[PortMapping]) {
        self.change(id, |owner| {
            *owner = Owner {
                maker: Some(Maker::Embedded),
                given: Some(given),
                ports: Some(ports.to_vec()),
                attached: true,
                namespace: None,
            }
        });
    }

    /// The same.
    pub(super) fn attach_cni(&self, id: &str, namespace: &Arc<OwnedFd>) {
        self.change(id, |owner| {
            (owner.maker, owner.attached) = (Some(Maker::Cni), true);
            (owner.ports, owner.namespace) = (Some(Vec::new()), Some(Arc::clone(namespace)));
        });
    }

    pub(super) fn adopt(&self, id: &str, ports: Vec<PortMapping>, namespace: Option<OwnedFd>) {
        self.change(id, |owner| {
            (owner.ports, owner.attached) = (Some(ports), true);
            owner.namespace = namespace.map(Arc::new);
        });
    }

    pub(super) fn know(&self, id: &str) {
        self.change(id, |_| {});
    }

    /// Who made the network of one that was adopted.
    pub(super) fn made_by(&self, id: &str, maker: Maker) {
        self.change(id, |owner| {
            owner.maker = Some(maker);
            if maker == Maker::Embedded {
                owner.namespace = None;
            }
        });
    }

    /// Its network is gone, its address stays.
    pub(super) fn disconnect(&self, id: &str) {
        if let Some(owner) = self.lock().get_mut(id) {
            (owner.ports, owner.attached) = (Some(Vec::new()), false);
            owner.namespace = None;
        }
    }

    /// It did not come to be; what there is of it is not known.
    pub(super) fn failed(&self, id: &str) {
        if let Some(owner) = self.lock().get_mut(id) {
            (owner.attached, owner.namespace) = (false, None);
        }
    }

    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    pub(super) fn maker(&self, id: &str) -> Option<Maker> {
        self.lock().get(id)?.maker
    }

    pub(super) fn given(&self, id: &str) -> Option<Given> {
        self.lock().get(id)?.given
    }

    pub(super) fn namespace(&self, id: &str) -> Option<Arc<OwnedFd>> {
        self.lock().get(id)?.namespace.clone()
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Whether host ports of the embedded network lead to it, as far as one knows.
    pub(super) fn may_have_ports(&self, id: &str) -> bool {
        let owners = self.lock();
        let ports = owners.get(id).and_then(|owner| owner.ports.as_ref());
        ports.is_none_or(|ports| !ports.is_empty())
    }

    /// Everybody's id.
    pub(super) fn ids(&self) -> HashSet<String> {
        self.lock().keys().cloned().collect()
    }

    /// Those who were adopted, and it is not known yet who made their network.
    pub(super) fn adopted(&self) -> Vec<String> {
        let owners = self.lock();
        let adopted = owners
            .iter()
            .filter(|(_, owner)| owner.attached && owner.maker.is_none());
        adopted.map(|(id, _)| id.clone()).collect()
    }

    /// Who is attached, with the host ports.
    pub(super) fn attached(&self) -> HashMap<String, Vec<PortMapping>> {
        let owners = self.lock();
        let attached = owners.iter().filter(|(_, owner)| owner.attached);
        attached
            .map(|(id, owner)| (id.clone(), owner.ports.clone().unwrap_or_default()))
            .collect()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Owner)) {
        change(self.lock().entry(id.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Owner>> {
        // Each holder does one insertion, change or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
