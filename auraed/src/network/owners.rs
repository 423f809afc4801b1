//! Who has a network, as far as this daemon knows by itself: it saves looking, and nothing is lost with it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use auraed_sandbox::network::PortMapping;

/// All owners that were heard of since the daemon's start.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<HashMap<String, Owner>>);

#[derive(Debug, Default)]
struct Owner {
    /// None: it has none, or it is in SQLite alone.
    address: Option<Ipv4Addr>,
    /// None: it is not known which host ports lead to it.
    ports: Option<Vec<PortMapping>>,
    attached: bool,
}

impl Owners {
    pub(super) fn reserve(&self, id: &str, address: Ipv4Addr) {
        self.change(id, |owner| owner.address = Some(address));
    }

    /// From before it is begun: what goes through everything meanwhile must not take it away.
    pub(super) fn attach(&self, id: &str, address: Ipv4Addr, ports: &[PortMapping]) {
        self.change(id, |owner| {
            *owner = Owner {
                address: Some(address),
                ports: Some(ports.to_vec()),
                attached: true,
            }
        });
    }

    pub(super) fn adopt(&self, id: &str, attached: Option<Vec<PortMapping>>) {
        self.change(id, |owner| {
            if attached.is_some() {
                (owner.ports, owner.attached) = (attached, true);
            }
        });
    }

    /// Its host ports are gone, its address stays.
    pub(super) fn disconnect(&self, id: &str) {
        if let Some(owner) = self.lock().get_mut(id) {
            (owner.ports, owner.attached) = (Some(Vec::new()), false);
        }
    }

    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    pub(super) fn address(&self, id: &str) -> Option<Ipv4Addr> {
        self.lock().get(id)?.address
    }

    pub(super) fn may_have_ports(&self, id: &str) -> bool {
        let owners = self.lock();
        let ports = owners.get(id).and_then(|owner| owner.ports.as_ref());
        ports.is_none_or(|ports| !ports.is_empty())
    }

    /// Everybody's id.
    pub(super) fn ids(&self) -> HashSet<String> {
        self.lock().keys().cloned().collect()
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
