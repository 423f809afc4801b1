//! What a new pod init makes of the namespaces that it was started in.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{getpid, set_child_subreaper};

use super::pause::Pause;
use super::{Init, users};
use crate::child::mount::{self, Opt};
use crate::fault::{Blame, Result};
use crate::protocol::{Failure, Pids, Reply, Setup, Tmpfs, UserSetup};
use crate::sys;

/// Of the /dev/shm that the containers share.
const SHM: &str = "67108864";

impl Init {
    /// Becomes the pod that the daemon describes, and from then on takes other connections. With a user namespace comes its
    /// descriptor.
    pub(super) fn set_up(
        &mut self,
        setup: Setup,
        mut descriptors: Vec<OwnedFd>,
    ) -> std::result::Result<Reply, Failure> {
        if self.setup.is_some() {
            return Err(Failure::Refused("the pod is set up".to_owned()));
        }
        let users = descriptors.pop();
        if users.is_some() != setup.users.is_some() {
            return Err(Failure::Failed("the user namespace did not arrive".to_owned()));
        }
        self.pause = apply(&setup, users.as_ref())?;
        self.users = users;
        self.listen().blame_node("listen")?;
        self.setup = Some(setup);
        Ok(Reply::Done)
    }
}

fn apply(setup: &Setup, namespace: Option<&OwnedFd>) -> Result<Option<Pause>> {
    // What the host mounts later is seen here, what is mounted here is nobody else's.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).blame_node("separate the mounts")?;
    let users = setup.users.as_ref();
    if let (Some(users), Some(namespace)) = (users, namespace) {
        users::join_new_namespaces(namespace, users)?;
    }
    if let Some(hostname) = &setup.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .blame_container(format_args!("set the hostname {hostname:?}"))?;
    }
    if setup.loopback {
        bring_up_loopback()?;
    }
    for (name, value) in &setup.sysctls {
        users::set_parameter(name, value, users.map(|users| &users.mappings))
            .blame_container(format_args!("set {name} to {value:?}"))?;
    }
    if let Some(shm) = &setup.shm {
        let options = vec![Opt::Value("mode", "1777"), Opt::Value("size", SHM)];
        mount_memory(shm, options, (mount::LOCKED, users))?;
    }
    for (volume, path) in &setup.tmpfs {
        mount_volume(volume, path, users)?;
    }
    match setup.pids {
        Pids::Container => Ok(None),
        Pids::Pod => Pause::start(namespace).map(Some),
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

fn mount_volume(volume: &Tmpfs, path: &Path, users: Option<&UserSetup>) -> Result<()> {
    let mode = format!("{:04o}", volume.mode);
    let size = volume.size_bytes.map(|size| size.to_string());
    let gid = match (volume.gid, users) {
        (Some(gid), Some(users)) => users.mappings.host_gid(gid),
        (gid, _) => gid,
    };
    let gid = gid.map(|gid| gid.to_string());
    let mut options = vec![Opt::Value("mode", &mode)];
    options.extend(size.as_deref().map(|size| Opt::Value("size", size)));
    options.extend(gid.as_deref().map(|gid| Opt::Value("gid", gid)));
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    mount_memory(path, options, (attributes, users))
}

/// Memory belongs to the pod's root.
fn mount_memory(
    path: &Path,
    options: Vec<Opt<'_>>,
    (attributes, users): (MountAttrFlags, Option<&UserSetup>),
) -> Result<()> {
    let tried = format_args!("mount memory on {}", path.display());
    match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).blame_node(tried),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open(path, flags, Mode::empty()).blame_node(tried)?;
    let owner = users.map(|users| (users.mappings.host_uid(0), users.mappings.host_gid(0)));
    let (uid, gid) = owner.unwrap_or_default();
    let (uid, gid) = (uid.map(|uid| uid.to_string()), gid.map(|gid| gid.to_string()));
    // A later value of the same name wins, so that the volume's own group comes last.
    let mut all: Vec<Opt<'_>> = gid.iter().map(|gid| Opt::Value("gid", gid)).collect();
    all.extend(uid.iter().map(|uid| Opt::Value("uid", uid)));
    all.extend(options);
    let memory = mount::make("tmpfs", &all, attributes)?;
    mount::attach(memory.as_fd(), place.as_fd()).blame_node(tried)
}
