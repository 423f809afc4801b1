//! Making a pod's sandbox: directory, cgroup, socket, process, set-up.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use auraed_pod_init::protocol::{Call, LogLimits, Pids, Setup, UserSetup, VERSION};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, mkdirat, open, openat, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use super::connection::{Connection, PATIENCE, wait_for_end};
use super::{Error, Events, Inner, NetworkNamespace, Sandbox, SandboxSpec, UserNamespace, placement, sysctl};
use crate::sys::{self, Launch, Namespaces};
use crate::{Host, cgroup};

/// The pod init's control socket.
const SOCKET: &str = "init.sock";
/// What a pod init has to say when it ends before its time.
const LOG: &str = "init.log";
/// Where the pod init mounts volumes in memory, and the pod's /dev/shm.
pub(super) const MEMORY: &str = "memory";
pub(super) const SHM: &str = "shm";
/// The cgroup leaf of the pod init.
const LEAF: &str = "init";

/// A started pod init that has not been told yet what to be.
struct Started {
    group: cgroup::Group,
    directory: PathBuf,
    pid: Pid,
    handle: Arc<OwnedFd>,
    socket: UnixStream,
}

/// A step's error for one sandbox.
pub(super) fn step<E: Into<io::Error>>(step: &'static str, id: &str) -> impl FnOnce(E) -> Error {
    let id = id.to_owned();
    move |error| Error::Step {
        step,
        id,
        source: error.into(),
    }
}

/// Makes a sandbox; what was made is removed when a step fails.
pub(super) async fn create(host: &Host, spec: SandboxSpec) -> Result<(Sandbox, Events), Error> {
    sysctl::check(&spec)?;
    // A second one would take the first one's socket away.
    if connect_to(&host.pod_directory(&spec.id))
        .map_err(step("look for an init", &spec.id))?
        .is_some()
    {
        return Err(Error::Exists);
    }
    let setup = setup(host, &spec);
    let users = spec.user_namespace.clone();
    let (host, id) = (host.clone(), spec.id.clone());
    let started = {
        let host = host.clone();
        tokio::task::spawn_blocking(move || start(&host, &spec))
            .await
            .map_err(|_| Error::Gone)?
    };
    let created = match started {
        Ok(started) => finish(&host, &id, started, setup, users).await,
        Err(error) => Err(error),
    };
    if created.is_err() {
        remove(&host, &id).await;
    }
    created
}

fn setup(host: &Host, spec: &SandboxSpec) -> Setup {
    let directory = host.pod_directory(&spec.id);
    let memory = directory.join(MEMORY);
    Setup {
        hostname: (!spec.hostname.is_empty()).then(|| spec.hostname.clone()),
        loopback: matches!(spec.network, NetworkNamespace::Namespace(_)),
        sysctls: spec.sysctls.clone(),
        shm: (!spec.host_ipc).then(|| directory.join(SHM)),
        tmpfs: spec
            .tmpfs
            .iter()
            .map(|volume| (volume.clone(), memory.join(&volume.name)))
            .collect(),
        pids: match (spec.host_pid, spec.share_pid) {
            (true, _) => Pids::Host,
            (false, true) => Pids::Pod,
            (false, false) => Pids::Container,
        },
        users: spec.user_namespace.as_ref().map(|users| UserSetup {
            mappings: users.mappings().clone(),
            ipc: !spec.host_ipc,
            uts: !spec.hostname.is_empty(),
        }),
        log: if spec.rotate_logs {
            host.log_limits()
        } else {
            LogLimits {
                max_bytes: u64::MAX,
                ..host.log_limits()
            }
        },
    }
}

/// All that blocks: a few files, a cgroup, the fork.
fn start(host: &Host, spec: &SandboxSpec) -> Result<Started, Error> {
    let id = spec.id.as_str();
    let path = host.pod_directory(id);
    let directory = make_directory(&path, !spec.tmpfs.is_empty()).map_err(step("make the directory", id))?;
    placement::write_down(host, id, &spec.placement)?;
    let group = host
        .cgroups()
        .create_pod(spec.placement.clone(), id, &spec.cgroup)
        .map_err(cgroup_error("make the cgroup", id))?;
    let leaf = group
        .create_child(LEAF, &cgroup::Limits::default())
        .and_then(|leaf| leaf.membership())
        .map_err(cgroup_error("make the cgroup", id))?;
    let (pid, handle, socket) = fork(host, spec, &directory, &leaf).map_err(step("start the init", id))?;
    Ok(Started {
        group,
        directory: path,
        pid,
        handle: Arc::new(handle),
        socket,
    })
}

fn make_directory(path: &Path, memory: bool) -> io::Result<OwnedFd> {
    let private = Mode::from_raw_mode(0o700);
    match rustix::fs::mkdir(path, private) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    fchmod(&directory, private)?;
    if memory {
        match mkdirat(&directory, MEMORY, private) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(directory)
}

fn fork(
    host: &Host,
    spec: &SandboxSpec,
    directory: &OwnedFd,
    leaf: &cgroup::Membership,
) -> io::Result<(Pid, OwnedFd, UnixStream)> {
    let listener = bind_listener(directory)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let log = openat(directory, LOG, flags, Mode::from_raw_mode(0o600))?;
    let (near, far) = UnixStream::pair()?;
    // A new process has one thread, and that alone is moved without the lock that `cgroup.procs` takes: it costs up to 16 ms.
    let tasks = leaf.v1.iter().map(|procs| procs.with_file_name("tasks"));
    let hierarchies: Vec<OwnedFd> = tasks
        .map(|tasks| open(tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))
        .collect::<Result<_, _>>()?;
    let arguments = [c"aurae-pod-init".to_owned(), CString::new(spec.id.as_str())?];
    let (pid, handle) = sys::launch(&Launch {
        program: host.program().as_fd(),
        arguments: &arguments,
        namespaces: Namespaces {
            pid: !spec.host_pid,
            // In a user namespace the pod init makes them.
            ipc: !spec.host_ipc && spec.user_namespace.is_none(),
            uts: !spec.hostname.is_empty() && spec.user_namespace.is_none(),
        },
        mounts: host.mounts().as_fd(),
        network: match &spec.network {
            NetworkNamespace::Host => None,
            NetworkNamespace::Namespace(namespace) => Some(namespace.as_fd()),
        },
        cgroup: leaf.v2.as_ref().map(AsFd::as_fd),
        hierarchies: &hierarchies,
        null: host.null().as_fd(),
        log: log.as_fd(),
        connection: far.as_fd(),
        listener: listener.as_fd(),
    })?;
    Ok((pid, handle, near))
}

/// Binds the control socket, for the pod init to listen on: so the kernel knows it, not us, as the one who answers.
fn bind_listener(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // The file gets this mode, without a moment in which it has another.
    fchmod(&socket, Mode::from_raw_mode(0o600))?;
    match unlinkat(directory, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    bind(&socket, &address(directory)?)?;
    Ok(socket)
}

/// The socket's address by way of its directory's descriptor: a path may be longer than addresses can be.
fn address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{SOCKET}",
        directory.as_raw_fd()
    ))?)
}

async fn finish(
    host: &Host,
    id: &str,
    started: Started,
    setup: Setup,
    users: Option<UserNamespace>,
) -> Result<(Sandbox, Events), Error> {
    let Started {
        group,
        directory,
        pid,
        handle,
        socket,
    } = started;
    let (connection, receiver, task) =
        Connection::start(socket, Arc::clone(&handle)).map_err(step("talk to the init", id))?;
    let passed = users.iter().map(|users| users.as_fd().try_clone_to_owned());
    let passed = passed
        .collect::<io::Result<_>>()
        .map_err(step("pass the user namespace", id));
    let inner = Inner {
        id: id.to_owned(),
        host: host.clone(),
        directory,
        group: Some(group),
        init_pid: pid.as_raw_nonzero().get().unsigned_abs(),
        handle: Arc::clone(&handle),
        connection,
        task,
        version: OnceLock::from(VERSION),
        mapped: Mutex::new(users),
    };
    let sandbox = Sandbox {
        inner: Arc::new(inner),
    };
    let done = match passed {
        Ok(passed) => sandbox.inner.connection.call(Call::Setup(setup), passed).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(_) => {
            let events = Events {
                receiver,
                _sandbox: sandbox.clone(),
            };
            Ok((sandbox, events))
        }
        Err(error) => {
            end(&handle).await;
            Err(error)
        }
    }
}

/// Kills a pod init, and so all that is in its PID namespace, and waits for the end; not for ever, for it may be frozen, or
/// hang in the kernel: whoever removes its cgroup then deals with that.
pub(super) async fn end(handle: &OwnedFd) {
    // It may have ended by itself.
    let _ = pidfd_send_signal(handle, Signal::KILL);
    match tokio::time::timeout(PATIENCE, wait_for_end(handle)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot wait for the end of a pod init"),
        Err(_) => tracing::warn!("a pod init was killed and does not end"),
    }
}

/// Connects to a pod init. `None`: there is none.
pub(super) fn connect_to(directory: &Path) -> io::Result<Option<(UnixStream, Pid, OwnedFd)>> {
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match open(directory, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // One that takes no connections, because it is stopped, lets nobody wait.
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match connect(&socket, &address(&directory)?) {
        Ok(()) => {}
        // No file; nobody listens, or does not yet: then it was never set up, and ends.
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::CONNRESET) => return Ok(None),
        Err(Errno::AGAIN) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the init is there and takes no connections",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let pid = rustix::net::sockopt::socket_peercred(&socket)?.pid;
    // If the number is another process's by now, the socket is closed and the first call tells.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(handle) => Ok(Some((UnixStream::from(socket), pid, handle))),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes what belongs to a sandbox without a pod init: cgroups, and in the run directory what this crate has put there.
/// What goes wrong is logged: the next cleaning tries again.
pub(super) async fn remove(host: &Host, id: &str) {
    if let Err(error) = placement::remove(host, id).await {
        tracing::warn!(pod = id, error = %error, "cannot remove a pod's cgroup");
    }
    let directory = host.pod_directory(id);
    let removed = tokio::task::spawn_blocking(move || remove_files(&directory)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(pod = id, %error, "cannot remove a pod's run directory");
    }
}

fn remove_files(directory: &Path) -> io::Result<()> {
    for file in [SOCKET, LOG] {
        ignore_missing(fs_err::remove_file(directory.join(file)))?;
    }
    // Nothing is mounted there in this namespace: they are empty.
    ignore_missing(fs_err::remove_dir(directory.join(SHM)))?;
    ignore_missing(fs_err::remove_dir_all(directory.join(MEMORY)))?;
    match fs_err::remove_dir(directory) {
        // The daemon keeps files of its own there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => ignore_missing(result),
    }
}

pub(super) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(super) fn cgroup_error(step: &'static str, id: &str) -> impl FnOnce(cgroup::Error) -> Error {
    let id = id.to_owned();
    move |source| {
        if source.is_of_a_limit() {
            return Error::Refused(source.sentence());
        }
        Error::Cgroup { step, id, source }
    }
}
