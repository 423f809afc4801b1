//! All sandboxes and containers of the node, by id.

use super::entry::{Container, Entry};
use super::error::SandboxError;
use super::record::{Phase, SandboxRecord};
use auraed_api::runtime::v0 as api;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedRwLockWriteGuard;

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sandboxes: BTreeMap<String, Arc<Entry>>,
    containers: BTreeMap<String, InSandbox>,
}

/// A container and where it is.
#[derive(Clone, Debug)]
pub(super) struct InSandbox {
    pub(super) entry: Arc<Entry>,
    pub(super) container: Arc<Container>,
}

/// Whose an id is.
pub(super) enum Claim<T, G> {
    /// The caller's: nobody else makes it.
    New(T, G),
    /// It has it already, or somebody else is making it.
    Known(T),
}

impl Registry {
    /// Takes an id for a sandbox, and its turn with it.
    pub(super) fn claim_sandbox(
        &self,
        spec: &api::SandboxSpec,
        created_at: i64,
    ) -> Result<Claim<Arc<Entry>, Option<OwnedRwLockWriteGuard<()>>>, SandboxError> {
        let mut known = self.lock();
        if let Some(entry) = known.sandboxes.get(&spec.id) {
            return Ok(Claim::Known(Arc::clone(entry)));
        }
        let name = |spec: &api::SandboxSpec| {
            format!(
                "{}/{}, uid {:?}, attempt {}",
                spec.namespace, spec.name, spec.uid, spec.attempt
            )
        };
        let same_name = |entry: &&Arc<Entry>| {
            let other = &entry.spec;
            other.name == spec.name
                && other.namespace == spec.namespace
                && other.uid == spec.uid
                && other.attempt == spec.attempt
        };
        if let Some(other) = known.sandboxes.values().find(same_name) {
            return Err(SandboxError::NameTaken {
                what: "sandbox",
                name: name(spec),
                owner: other.id().to_owned(),
            });
        }
        let record = SandboxRecord {
            phase: Phase::Making.into(),
            created_at,
            ..SandboxRecord::default()
        };
        let entry = Arc::new(Entry::new(spec.clone(), record));
        // Nobody else knows it yet: it is free.
        let turn = Arc::clone(&entry.turn).try_write_owned().ok();
        known.sandboxes.insert(spec.id.clone(), Arc::clone(&entry));
        Ok(Claim::New(entry, turn))
    }

    /// Takes an id for a container. Whoever got it holds the container's turn.
    pub(super) fn claim_container(
        &self,
        entry: &Arc<Entry>,
        container: &Arc<Container>,
    ) -> Result<Claim<InSandbox, ()>, SandboxError> {
        let mut known = self.lock();
        let spec = &container.spec;
        if let Some(found) = known.containers.get(&spec.id) {
            return Ok(Claim::Known(found.clone()));
        }
        let same_name =
            |other: &Arc<Container>| other.spec.name == spec.name && other.spec.attempt == spec.attempt;
        if let Some(other) = entry.containers().into_iter().find(same_name) {
            return Err(SandboxError::NameTaken {
                what: "container",
                name: format!("{}, attempt {}", spec.name, spec.attempt),
                owner: other.id().to_owned(),
            });
        }
        let new = InSandbox {
            entry: Arc::clone(entry),
            container: Arc::clone(container),
        };
        entry.add(Arc::clone(container));
        known.containers.insert(spec.id.clone(), new.clone());
        Ok(Claim::New(new, ()))
    }

    /// Takes note of what an earlier daemon knew.
    pub(super) fn restore(&self, entry: &Arc<Entry>) {
        let mut known = self.lock();
        for container in entry.containers() {
            let found = InSandbox {
                entry: Arc::clone(entry),
                container: Arc::clone(&container),
            };
            known.containers.insert(container.id().to_owned(), found);
        }
        known.sandboxes.insert(entry.id().to_owned(), Arc::clone(entry));
    }

    pub(super) fn forget_sandbox(&self, entry: &Entry) {
        let mut known = self.lock();
        for container in entry.containers() {
            container.set_gone();
            known.containers.remove(container.id());
        }
        entry.set_gone();
        known.sandboxes.remove(entry.id());
    }

    pub(super) fn forget_container(&self, entry: &Entry, container: &Container) {
        let mut known = self.lock();
        container.set_gone();
        entry.forget(container.id());
        known.containers.remove(container.id());
    }

    /// The sandbox of an id, or of the unique beginning of one.
    pub(super) fn sandbox(&self, id: &str) -> Result<Arc<Entry>, SandboxError> {
        let not_found = || SandboxError::NoSandbox { id: id.to_owned() };
        by_beginning(&self.lock().sandboxes, id)?.ok_or_else(not_found)
    }

    /// The same, once it came to be.
    pub(super) fn made(&self, id: &str) -> Result<Arc<Entry>, SandboxError> {
        let entry = self.sandbox(id)?;
        if entry.phase() == Phase::Making {
            return Err(SandboxError::NoSandbox { id: id.to_owned() });
        }
        Ok(entry)
    }

    /// The container of an id, or of the unique beginning of one.
    pub(super) fn container(&self, id: &str) -> Result<InSandbox, SandboxError> {
        let not_found = || SandboxError::NoContainer { id: id.to_owned() };
        by_beginning(&self.lock().containers, id)?.ok_or_else(not_found)
    }

    /// All sandboxes that came to be, by id.
    pub(super) fn sandboxes(&self) -> Vec<Arc<Entry>> {
        let known = self.lock();
        let made = known
            .sandboxes
            .values()
            .filter(|entry| entry.phase() != Phase::Making);
        made.cloned().collect()
    }

    /// All containers, by id.
    pub(super) fn containers(&self) -> Vec<InSandbox> {
        self.lock().containers.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each holder does a few insertions or removals.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds an id, or the only one that begins so. Nothing begins with nothing.
fn by_beginning<T: Clone>(map: &BTreeMap<String, T>, id: &str) -> Result<Option<T>, SandboxError> {
    if let Some(found) = map.get(id) {
        return Ok(Some(found.clone()));
    }
    if id.is_empty() {
        return Ok(None);
    }
    let mut beginning = map
        .range(id.to_owned()..)
        .take_while(|(other, _)| other.starts_with(id));
    match (beginning.next(), beginning.next()) {
        (Some(_), Some(_)) => Err(SandboxError::Ambiguous { id: id.to_owned() }),
        (found, _) => Ok(found.map(|(_, value)| value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unique_beginning_of_an_id_stands_for_it() {
        let map: BTreeMap<String, u8> = [("aa1", 1), ("aa2", 2), ("b", 3), ("bc", 4)]
            .into_iter()
            .map(|(id, value)| (id.to_owned(), value))
            .collect();
        assert_eq!(by_beginning(&map, "aa1").unwrap(), Some(1));
        assert_eq!(by_beginning(&map, "b").unwrap(), Some(3), "a whole id is itself");
        assert_eq!(by_beginning(&map, "bc").unwrap(), Some(4));
        assert_eq!(by_beginning(&map, "").unwrap(), None);
        assert_eq!(by_beginning(&map, "c").unwrap(), None);
        assert!(matches!(
            by_beginning(&map, "a"),
            Err(SandboxError::Ambiguous { .. })
        ));
    }
}
