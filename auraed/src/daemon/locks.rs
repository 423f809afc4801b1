//! One daemon for a state directory, a run directory, a bridge, a table and a cgroup root.
//!
//! Directories are guarded by locked files, names of the network namespace by abstract sockets of the same namespace:
//! the kernel frees both with the process, however it ends.

use super::DaemonError;
use crate::config::Config;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The locked file in the run directory. It holds the daemon's process id.
pub(super) const PROCESS_FILE: &str = "auraed.pid";

/// A killed daemon's lock is freed a moment after its death: when the kernel is through with the process.
const PATIENCE: (u32, Duration) = (50, Duration::from_millis(20));

/// Held for the daemon's life.
#[derive(Debug)]
pub(super) struct Locks {
    _files: [File; 2],
    _names: Vec<UnixDatagram>,
}

impl Locks {
    pub(super) async fn take(config: &Config) -> Result<Self, DaemonError> {
        let state = lock(&config.state_dir, "auraed.lock", "--state-dir").await?;
        let run = lock(&config.run_dir, PROCESS_FILE, "--run-dir").await?;
        let names = [
            (
                format!("cgroup/{}", config.cgroup_root),
                "the cgroup root",
                &config.cgroup_root,
                "--cgroup-root",
            ),
            (
                format!("bridge/{}", config.network.bridge),
                "the bridge",
                &config.network.bridge,
                "--bridge",
            ),
            (
                format!("table/{}", config.network.table),
                "the nftables table",
                &config.network.table,
                "--table",
            ),
        ];
        let mut taken = Vec::new();
        for (name, kind, value, flag) in names {
            taken.push(claim(&name, format!("{kind} {value:?}"), flag).await?);
        }
        Ok(Self {
            _files: [state, run],
            _names: taken,
        })
    }
}

async fn lock(directory: &Path, name: &str, flag: &'static str) -> Result<File, DaemonError> {
    let path = directory.join(name);
    let what = directory.display().to_string();
    let failed = |source| DaemonError::Lock {
        what: path.display().to_string(),
        source,
    };
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path);
    let mut file = options.map_err(failed)?;
    let (tries, pause) = PATIENCE;
    for _ in 0..tries {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return write_process_id(&mut file).map(|()| file).map_err(failed),
            Err(Errno::WOULDBLOCK) => tokio::time::sleep(pause).await,
            Err(error) => return Err(failed(error.into())),
        }
    }
    Err(DaemonError::Taken {
        what,
        flag,
        process: holder(&mut file),
    })
}

async fn claim(name: &str, what: String, flag: &'static str) -> Result<UnixDatagram, DaemonError> {
    let (tries, pause) = PATIENCE;
    for _ in 0..tries {
        let bound = SocketAddr::from_abstract_name(format!("auraed/{name}"))
            .and_then(|address| UnixDatagram::bind_addr(&address));
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(pause).await,
            Err(source) => return Err(DaemonError::Lock { what, source }),
        }
    }
    Err(DaemonError::Taken {
        what,
        flag,
        process: None,
    })
}

fn write_process_id(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
