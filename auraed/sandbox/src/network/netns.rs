//! A pod's new network namespace: made by a thread of its own, kept by a descriptor, never mounted. One that belongs to a
//! user namespace is made by a process in that, which the thread follows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use fs_err as fs;
use rtnetlink::{Handle, new_connection};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::UserNamespace;
use crate::sys::{self, Held, hold};

/// Settings of the namespace. Duplicate address detection would keep the pod's link-local address waiting for a
/// second; router advertisements would let one pod route another; and the node may redirect a pod that uses a host
/// port straight to the pod behind it, whose address is not the one that the connection is for.
const SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/net/ipv4/conf/all/accept_redirects", "0"),
    ("/proc/sys/net/ipv4/conf/default/accept_redirects", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
];

/// A namespace and a netlink connection into it.
pub(super) struct Namespace {
    pub(super) descriptor: OwnedFd,
    pub(super) links: Handle,
    connection: JoinHandle<()>,
}

impl Namespace {
    /// Closes the connection, whose socket would keep the namespace alive, and leaves the descriptor.
    pub(super) async fn close(self) -> OwnedFd {
        drop(self.links);
        // It ends with its last handle, and has nothing to say.
        let _ = self.connection.await;
        self.descriptor
    }
}

/// Makes a network namespace with the loopback up; the calling thread stays where it is, and waits a millisecond.
///
/// With `user` it belongs to that user namespace: root there may change it.
///
/// # Errors
/// The step that failed; nothing is left behind then.
pub fn namespace(user: Option<&UserNamespace>) -> io::Result<OwnedFd> {
    let user = user.cloned();
    let thread = std::thread::Builder::new().name("netns".to_owned());
    let made = thread.spawn(move || {
        let namespace = enter_new(user.as_ref())?;
        sys::bring_up(c"lo")?;
        Ok(namespace)
    })?;
    made.join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread of a network namespace panicked")))
}

/// Makes a network namespace; the calling thread stays where it is.
pub(super) async fn create(user: Option<UserNamespace>) -> io::Result<Namespace> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = oneshot::channel();
    // A thread that has left the daemon's namespace must not be used for anything else, so it ends here.
    let thread = std::thread::Builder::new().name("netns".to_owned());
    thread.spawn(move || {
        let _runtime = runtime.enter();
        // If no one waits any more the namespace ends with its descriptor.
        let _ = sender.send(enter_new(user.as_ref()).and_then(connect));
    })?;
    receiver.await.map_err(io::Error::other)?
}

/// Takes the calling thread into a new network namespace.
fn enter_new(user: Option<&UserNamespace>) -> io::Result<OwnedFd> {
    match user {
        None => sys::unshare_network()?,
        Some(user) => {
            let holder = hold(&Held::NetworkOf(user.as_fd()))?;
            move_into_thread_name_spaces(holder.as_fd(), ThreadNameSpaceType::NETWORK)?;
        }
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?;
    for (file, value) in SETTINGS {
        match fs::write(file, value) {
            // The kernel has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(descriptor)
}

/// A netlink socket belongs to the namespace of the thread that opens it.
fn connect(descriptor: OwnedFd) -> io::Result<Namespace> {
    let (connection, links, _) = new_connection()?;
    Ok(Namespace {
        descriptor,
        links,
        connection: tokio::spawn(connection),
    })
}
