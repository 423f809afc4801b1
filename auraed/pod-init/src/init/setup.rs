//! What a new pod init makes of the namespaces that it was started in.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{getpid, set_child_subreaper};

use super::Init;
use super::pause::Pause;
use crate::child::mount::{self, Opt};
use crate::fault::{Blame, Result};
use crate::file;
use crate::protocol::{Failure, Pids, Reply, Setup, Tmpfs};
use crate::sys;

/// Of the /dev/shm that the containers share.
const SHM: &str = "67108864";

impl Init {
    /// Becomes the pod that the daemon describes, and from then on takes other connections.
    pub(super) fn set_up(&mut self, setup: Setup) -> std::result::Result<Reply, Failure> {
        if self.setup.is_some() {
            return Err(Failure::Refused("the pod is set up".to_owned()));
        }
        self.pause = apply(&setup)?;
        self.listen().blame_node("listen")?;
        self.setup = Some(setup);
        Ok(Reply::Done)
    }
}

fn apply(setup: &Setup) -> Result<Option<Pause>> {
    // What the host mounts later is seen here, what is mounted here is nobody else's.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).blame_node("separate the mounts")?;
    if let Some(hostname) = &setup.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .blame_container(format_args!("set the hostname {hostname:?}"))?;
    }
    if setup.loopback {
        bring_up_loopback()?;
    }
    for (name, value) in &setup.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        file::write(&path, value.as_bytes()).blame_container(format_args!("set {name} to {value:?}"))?;
    }
    if let Some(shm) = &setup.shm {
        mount_memory(
            shm,
            &[Opt::Value("mode", "1777"), Opt::Value("size", SHM)],
            mount::LOCKED,
        )?;
    }
    for (volume, path) in &setup.tmpfs {
        mount_volume(volume, path)?;
    }
    match setup.pids {
        Pids::Container => Ok(None),
        Pids::Pod => Pause::start().map(Some),
        // The host's init is not to reap what our containers leave behind: we are to know of it.
        Pids::Host => set_child_subreaper(Some(getpid()))
            .map(|()| None)
            .blame_node("adopt orphans"),
    }
}

fn bring_up_loopback() -> Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    sys::bring_up(socket.blame_node("bring up the loopback")?, c"lo").blame_node("bring up the loopback")
}

fn mount_volume(volume: &Tmpfs, path: &Path) -> Result<()> {
    let mode = format!("{:04o}", volume.mode);
    let size = volume.size_bytes.map(|size| size.to_string());
    let gid = volume.gid.map(|gid| gid.to_string());
    let mut options = vec![Opt::Value("mode", &mode)];
    options.extend(size.as_deref().map(|size| Opt::Value("size", size)));
    options.extend(gid.as_deref().map(|gid| Opt::Value("gid", gid)));
    mount_memory(
        path,
        &options,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

fn mount_memory(path: &Path, options: &[Opt<'_>], attributes: MountAttrFlags) -> Result<()> {
    let tried = format_args!("mount memory on {}", path.display());
    match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).blame_node(tried),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open(path, flags, Mode::empty()).blame_node(tried)?;
    let memory = mount::make("tmpfs", options, attributes)?;
    mount::attach(memory.as_fd(), place.as_fd()).blame_node(tried)
}
