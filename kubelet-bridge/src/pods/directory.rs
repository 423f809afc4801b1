//! The pods as others may see them: the kubelet API, and the recorder of events. Written by the table alone.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Pod;

use super::{View, Views};

/// Pods by UID.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<RwLock<BTreeMap<String, Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    view: Views,
    /// A static pod's mirror in the API has another UID.
    mirror: Option<String>,
}

impl Directory {
    pub(super) fn insert(&self, uid: &str, view: Views) {
        self.write().insert(uid.to_owned(), Entry { view, mirror: None });
    }

    pub(super) fn set_mirror(&self, uid: &str, mirror: Option<String>) {
        if let Some(entry) = self.write().get_mut(uid) {
            entry.mirror = mirror;
        }
    }

    pub(super) fn remove(&self, uid: &str) {
        self.write().remove(uid);
    }

    /// The pod that auraed knows by `id`.
    pub fn by_id(&self, id: &str) -> Option<Arc<Pod>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(id).map(|entry| Arc::clone(&entry.view.borrow().pod))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl crate::server::Pods for Directory {
    fn list(&self) -> Vec<Arc<Pod>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .map(|entry| shown(&entry.view.borrow()))
            .collect()
    }

    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |key: &str, entry: &Entry| {
            uid.is_none_or(|uid| uid == key || entry.mirror.as_deref() == Some(uid))
        };
        let named = |view: &View| {
            view.pod.metadata.name.as_deref() == Some(name)
                && view.pod.metadata.namespace.as_deref().unwrap_or("default") == namespace
        };
        entries
            .iter()
            .filter(|(key, entry)| fits(key, entry))
            .map(|(_, entry)| entry.view.borrow())
            .filter(|view| named(view))
            // Of two with one name, the one that goes has the older creation time.
            .max_by_key(|view| view.pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
            .map(|view| shown(&view))
    }
}

/// The pod with the status that we report.
fn shown(view: &View) -> Arc<Pod> {
    let mut pod = Pod::clone(&view.pod);
    pod.status = Some((*view.status).clone());
    Arc::new(pod)
}
