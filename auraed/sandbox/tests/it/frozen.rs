//! Processes that stand still.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::{Fixture, PATIENCE, wait_until};

/// A process that stands still, and so is not even killed, until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    /// `None` where the kernel has no freezer of cgroup v1; that of v2 lets processes be killed.
    fn new(name: &str, process: u32) -> Option<Self> {
        let hierarchy = Path::new("/sys/fs/cgroup/freezer");
        if !hierarchy.join("cgroup.procs").exists() {
            return None;
        }
        let frozen = Self(hierarchy.join(name));
        fs_err::create_dir(&frozen.0).unwrap();
        fs_err::write(frozen.0.join("cgroup.procs"), process.to_string()).unwrap();
        let state = frozen.0.join("freezer.state");
        fs_err::write(&state, "FROZEN").unwrap();
        wait_until(|| fs_err::read_to_string(&state).unwrap().trim() == "FROZEN");
        Some(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fs_err::write(self.0.join("freezer.state"), "THAWED").unwrap();
        let begin = Instant::now();
        while fs_err::remove_dir(&self.0).is_err() && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn an_init_that_cannot_even_be_killed_is_not_waited_for_for_ever() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let Some(frozen) = Frozen::new(&fixture.id(), sandbox.init_pid()) else {
        println!("skipped: nothing here keeps a process from being killed");
        return fixture.finish(sandbox).await;
    };
    // Hours pass as soon as there is nothing to do but wait.
    tokio::time::pause();
    let ended = tokio::time::timeout(60 * PATIENCE, sandbox.clone().destroy()).await;
    tokio::time::resume();
    assert!(ended.expect("it waits for ever").is_err());
    drop(frozen);
    fixture.finish(sandbox).await;
}
