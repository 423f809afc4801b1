//! Making a container's root before it is started.

use crate::runtime::sandboxes::Shared;
use crate::runtime::sandboxes::entry::{Container, Entry};
use auraed_sandbox::ContainerSpec;

impl Shared {
    /// Begins with it, where that can be done: the start waits for it, and does without it if it comes to nothing.
    pub(super) fn make_root(&self, entry: &Entry, container: &Container, planned: ContainerSpec) {
        if entry.spec.user_namespace.is_some() {
            return;
        }
        if let Ok(sandbox) = entry.sandbox() {
            container.put_root(self.tasks.spawn_blocking(move || sandbox.make_root(&planned)));
        }
    }
}
