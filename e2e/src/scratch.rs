//! One run's directory, and the guard that removes everything of the run when this process ends, however it ends.
//!
//! ```text
//!  this process ── holds the write end of a pipe ──► guard: waits for its end, then sweep::run(directory)
//! ```
//!
//! The directory is `/var/tmp/aurae-e2e/<kind>-<pid>`; its name is also the prefix of the run's cgroups. A run that is
//! marked failed leaves its logs in the cache, and says where. What an earlier run left whose guard was killed as well
//! is removed at the start of the next.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::Context;

use crate::process::Spawner;
use crate::{home, sweep};

const ROOT: &str = "/var/tmp/aurae-e2e";

/// The directory of a run.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    name: String,
    spawner: Spawner,
    /// Closed by the end of this process, which is what the guard waits for.
    _guard: ChildStdin,
}

impl Scratch {
    /// Makes the directory and starts the guard. `kind` is a short word; a process has one run of a kind.
    ///
    /// # Errors
    /// No root, no space, or `e2e` is not built.
    pub fn create(kind: &str) -> anyhow::Result<Self> {
        remove_abandoned();
        let name = format!("{kind}-{}", std::process::id());
        let path = Path::new(ROOT).join(&name);
        fs_err::create_dir_all(path.join("log"))?;
        let guard = start_guard(&path)?;
        let spawner = Spawner::start(&path, None)?;
        Ok(Self {
            path,
            name: format!("{}{name}", sweep::CGROUP_PREFIX),
            spawner,
            _guard: guard,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: the prefix of its cgroups.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A log file's path.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// Starts programs in the machine's own network namespace.
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Keeps the logs of this run, and says where they will be.
    pub fn mark_failed(&self) {
        // Losing the logs of a failure must not hide the failure.
        let _ = fs_err::write(self.path.join(sweep::FAILED), "");
        let _ = writeln!(
            std::io::stderr(),
            "logs: {} (after the run: {})",
            self.path.join("log").display(),
            sweep::kept(&self.path).display()
        );
    }
}

fn start_guard(path: &Path) -> anyhow::Result<ChildStdin> {
    let mut guard = Command::new(home::product("e2e")?)
        .arg("guard")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of the terminal's group: it must outlive an interrupt.
        .process_group(0)
        .spawn()
        .context("starting the guard")?;
    guard.stdin.take().context("the guard has no pipe")
}

/// Sweeps directories whose process and guard are both gone.
fn remove_abandoned() {
    let Ok(entries) = fs_err::read_dir(ROOT) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.rsplit('-').next()?.parse::<u32>().ok())
        else {
            continue;
        };
        if !sweep::alive(pid) && !sweep::guarded(&path) {
            sweep::run(&path);
        }
    }
}
