//! Where the files of sandboxes are.
//!
//! ```text
//! <state>/sandboxes/<id>/containers/<container>/{upper,work,exit.json}
//!                  /.removed/<…>                       on its way out
//! <run>/pods/<id>/{init.sock,etc/{hostname,hosts,resolv.conf},containers/<container>.pb}
//! ```

use std::path::{Path, PathBuf};

/// Where the executive keeps things. All absolute.
#[derive(Clone, Debug)]
pub struct Directories {
    /// What outlives a boot; `sandboxes/<id>` below it.
    pub state: PathBuf,
    /// What must be in memory; `pods/<id>` below it.
    pub run: PathBuf,
}

impl Directories {
    /// Everything on the disk.
    pub(super) fn all(&self) -> PathBuf {
        self.state.join("sandboxes")
    }

    /// What is to be removed in its own time. No id begins with a dot.
    pub(super) fn removed(&self) -> PathBuf {
        self.all().join(".removed")
    }

    /// Everything of one sandbox on the disk.
    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.all().join(id)
    }

    /// Everything of one sandbox in memory, the pod init's own files among it.
    pub(super) fn memory(&self, id: &str) -> PathBuf {
        self.run.join("pods").join(id)
    }

    /// A sandbox's own files below /etc.
    pub(super) fn etc(&self, id: &str) -> PathBuf {
        self.memory(id).join("etc")
    }

    /// Whole specs of containers, by id.
    pub(super) fn specs(&self, sandbox: &str) -> PathBuf {
        self.memory(sandbox).join("containers")
    }

    /// The whole spec of one container, with its environment.
    pub(super) fn spec(&self, sandbox: &str, container: &str) -> PathBuf {
        self.specs(sandbox).join(format!("{container}.pb"))
    }

    /// One container's files.
    pub(super) fn container(&self, sandbox: &str, container: &str) -> ContainerPlace {
        ContainerPlace(self.sandbox(sandbox).join("containers").join(container))
    }
}

/// The directory of one container.
#[derive(Clone, Debug)]
pub(super) struct ContainerPlace(PathBuf);

impl ContainerPlace {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What it wrote to its own root.
    pub(super) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// Overlay's own.
    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Written by the pod init at the end.
    pub(super) fn exit_record(&self) -> PathBuf {
        self.0.join("exit.json")
    }
}
