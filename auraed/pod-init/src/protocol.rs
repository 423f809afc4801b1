//! What the daemon and a pod init say to each other.
//!
//! Each frame is one JSON value: the daemon sends [`Request`]s, the pod init sends [`Message`]s. A daemon may be newer
//! than the pod inits that it adopts: fields are only ever added, with a default, and an unknown field is ignored.
//!
//! ```text
//!  daemon ── Request{id, call} + descriptors ──► pod init
//!  daemon ◄── Message::Reply{id, …} + descriptors ── pod init     one for each request, not in order
//!  daemon ◄── Message::Event ── pod init                          after `Call::Subscribe`
//! ```

mod mount;

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::mount::{IdMapping, IdMappings, Mount, MountKind, Propagation, Restrictions, Rootfs};

/// The version of these messages; a pod init tells its own in [`Reply::Status`].
pub const VERSION: u32 = 3;

/// A call with the number that its answer carries.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Unique on its connection.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// What the daemon can ask for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    /// The first call to a new pod init, once. Descriptor: the user namespace, if it has one.
    Setup(Setup),
    /// Start a container. Descriptors: one detached mount for each mount of kind [`MountKind::Passed`], then the log's directory
    /// and its root if the container says so.
    Start(Box<Container>),
    /// Signal a container's main process, or with `all` every process of it.
    Signal {
        /// The container's name.
        container: String,
        /// 1 to 64.
        signal: i32,
        /// Every process of the container.
        all: bool,
    },
    /// Run a program in a running container. Descriptors: stdin, stdout, stderr; none with a terminal.
    Exec {
        /// The container's name.
        container: String,
        /// What to run.
        exec: Box<Exec>,
    },
    /// Signal the main process of an exec, or with `group` all of its process group: whatever it started and that did not
    /// part from it.
    SignalExec {
        /// From [`Reply::Executing`].
        exec: u64,
        /// 1 to 64.
        signal: i32,
        /// Since version 2.
        #[serde(default)]
        group: bool,
    },
    /// Set the size of a container's terminal.
    Resize {
        /// The container's name.
        container: String,
        /// Its new size.
        size: TerminalSize,
    },
    /// Take part in a container's standard streams.
    Attach {
        /// The container's name.
        container: String,
        /// Leave its input to others. Since version 2.
        #[serde(default)]
        output_only: bool,
    },
    /// Let the container see the end of its standard input.
    CloseInput {
        /// The container's name.
        container: String,
    },
    /// All runs. Answered when no start is in flight.
    Status,
    /// Send events on this connection from now on.
    Subscribe,
    /// Open the log file anew, after somebody moved it away.
    ReopenLog {
        /// The container's name.
        container: String,
    },
    /// Kill everything, then end.
    Shutdown,
}

/// What a new pod init makes of its namespaces.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Setup {
    /// The pod's hostname; none leaves the name that is there.
    pub hostname: Option<String>,
    /// Bring the loopback interface up.
    pub loopback: bool,
    /// Names with dots, as below /proc/sys.
    pub sysctls: Vec<(String, String)>,
    /// Where to mount the pod's /dev/shm; none: the containers use the host's.
    pub shm: Option<PathBuf>,
    /// Volumes in memory, and where to mount them.
    pub tmpfs: Vec<(Tmpfs, PathBuf)>,
    /// How containers see each other's processes, if they do not say otherwise.
    pub pids: Pids,
    /// The user namespace that came along: its IPC and UTS namespaces are still to be made, and containers enter it.
    #[serde(default)]
    pub users: Option<UserSetup>,
    /// How log files are rotated.
    pub log: LogLimits,
}

/// Whose process ids a container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pids {
    /// Its own.
    #[default]
    Container,
    /// Those of all containers of the pod.
    Pod,
    /// Those of the host.
    Host,
}

/// What a pod init does about its pod's user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSetup {
    /// As the namespace has them.
    pub mappings: IdMappings,
    /// Make an IPC namespace.
    pub ipc: bool,
    /// Make a UTS namespace.
    pub uts: bool,
}

/// Whose process ids one container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// As the sandbox is set up.
    #[default]
    Sandbox,
    /// Its own.
    Container,
    /// Those of the running container of this name.
    Target(String),
}

/// When a log file is rotated.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes of one file.
    pub max_bytes: u64,
    /// Files kept, the current one among them; at least 1.
    pub max_files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 20,
            max_files: 5,
        }
    }
}

/// A volume in memory that lives as long as the pod's sandbox.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tmpfs {
    /// The volume's name.
    pub name: String,
    /// None: half of the machine's memory, the kernel's default.
    pub size_bytes: Option<u64>,
    /// Permission bits of its root directory.
    pub mode: u32,
    /// The group that owns it.
    pub gid: Option<u32>,
}

/// A container to start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Container {
    /// Unique in the pod.
    pub name: String,
    /// Counts the runs of this name.
    pub attempt: u32,
    /// Unique everywhere.
    pub id: String,
    /// Its root file system.
    pub rootfs: Rootfs,
    /// In order.
    pub mounts: Vec<Mount>,
    /// What to run and as whom.
    pub process: Process,
    /// Absolute paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Absolute paths that are read-only.
    pub read_only_paths: Vec<String>,
    /// All devices, a writable /sys and no device cgroup.
    pub privileged: bool,
    /// Device nodes to make, beside those that every container has.
    #[serde(default)]
    pub devices: Vec<DeviceNode>,
    /// Whose process ids it sees.
    #[serde(default)]
    pub pid: PidMode,
    /// Keep a pipe to standard input open.
    pub stdin: bool,
    /// The first client that attaches to standard input takes it over: its end is the input's end. Not with a terminal.
    #[serde(default)]
    pub stdin_once: bool,
    /// The log file; empty: no log.
    pub log_path: PathBuf,
    /// The log file's directory comes with it, as a descriptor after those of the mounts.
    #[serde(default)]
    pub log_directory: bool,
    /// Its root was made ([`crate::root`]) and comes with it, as the last descriptor: a detached mount. Not in a user
    /// namespace. Since version 3.
    #[serde(default)]
    pub made_root: bool,
    /// Where to record the exit.
    pub exit_path: PathBuf,
    /// The cgroup to run in.
    pub cgroups: Vec<CgroupDirectory>,
}

/// A device node of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Absolute, inside the container; directories are made if missing.
    pub path: String,
    /// The node on the host, which is mounted where nodes cannot be made (in a user namespace).
    pub host_path: PathBuf,
    /// A file type and permission bits, as `st_mode`: a character or block device, or a pipe.
    pub mode: u32,
    /// Owner, as seen by the host.
    pub uid: u32,
    /// Group, as seen by the host.
    pub gid: u32,
    /// Device number's upper part.
    pub major: u32,
    /// Device number's lower part.
    pub minor: u32,
}

/// One hierarchy's directory of a container's cgroup, as a path of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirectory {
    /// Its name below /sys/fs/cgroup (`cpu,cpuacct`); empty where version 2 is all there is.
    pub controllers: String,
    /// Version 2: processes are cloned into it.
    pub unified: bool,
    /// The directory.
    pub path: PathBuf,
}

/// A program to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Process {
    /// At least the program.
    pub args: Vec<String>,
    /// `NAME=value`, later ones win.
    pub env: Vec<String>,
    /// Absolute; empty means `/`.
    pub cwd: String,
    /// Whom to run as.
    pub user: User,
    /// Bits as in capability.h.
    pub capabilities: u64,
    /// Never gain privileges by executing a file.
    pub no_new_privileges: bool,
    /// A BPF program, 16 hexadecimal digits an instruction (`struct sock_filter` in memory order); empty: none.
    pub seccomp: String,
    /// A terminal for the standard streams.
    pub terminal: Option<TerminalSize>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// Capabilities that a user who is not root keeps through execve; a part of `capabilities`.
    #[serde(default)]
    pub ambient: u64,
    /// SECCOMP_FILTER_FLAG_* for the filter.
    #[serde(default)]
    pub seccomp_flags: u32,
    /// The AppArmor profile to change to at execve.
    #[serde(default)]
    pub apparmor: Option<String>,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters a line; 0 is unknown.
    pub columns: u16,
    /// Lines; 0 is unknown.
    pub rows: u16,
}

/// A program to run in a running container. Its user, capabilities and filter are the container's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Exec {
    /// At least the program.
    pub args: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// None: the container's.
    pub cwd: Option<String>,
    /// None: the container's.
    pub user: Option<User>,
    /// A terminal for the standard streams.
    pub terminal: Option<TerminalSize>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// As an image's USER: `uid`, `name`, `uid:gid` or `name:group`; empty is root. Names are looked up in the
    /// container's /etc/passwd and /etc/group.
    pub name: String,
    /// Instead of the primary group that `name` or /etc/passwd tells.
    pub group: Option<u32>,
    /// Beside those that /etc/group tells.
    pub additional_groups: Vec<u32>,
    /// Only the primary group and `additional_groups`: what /etc/group tells of the user's membership does not count.
    #[serde(default)]
    pub strict_groups: bool,
}

/// Who a process became, as seen in its user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRun {
    /// The container's name.
    pub name: String,
    /// Counts the runs of this name.
    pub attempt: u32,
    /// Unique everywhere.
    pub id: String,
    /// What became of it.
    pub state: RunState,
    /// Who its main process was at first; none before it was known.
    #[serde(default)]
    pub user: Option<ResolvedUser>,
    /// Its main process, as the daemon sees it; none unless it runs.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Its main process runs.
    Running {
        /// When its program was executed.
        started_at: SystemTime,
    },
    /// It is over.
    Exited {
        /// 0 to 255; 128 + the signal's number after a signal; 128 when it could not be started.
        exit_code: i32,
        /// The signal that ended it, else 0.
        signal: i32,
        /// The kernel killed a process of it for want of memory.
        oom_killed: bool,
        /// When its program was executed.
        started_at: SystemTime,
        /// When its main process was gone and its output was in the log.
        finished_at: SystemTime,
        /// Why it could not be started.
        error: Option<String>,
    },
}

/// What [`Container::exit_path`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Of this format: 1.
    pub version: u32,
    /// Always [`RunState::Exited`].
    pub run: ContainerRun,
}

/// What a pod init sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's.
        id: u64,
        /// What came of it.
        result: Result<Reply, Failure>,
    },
    /// Something happened.
    Event(Event),
}

/// A good answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The container's program was executed.
    Started {
        /// Running, or exited already.
        run: ContainerRun,
        /// What it runs without, where the kernel refused something that is not vital.
        warnings: Vec<String>,
    },
    /// The exec's program was executed. Descriptors: the terminal, if one was asked for.
    Executing {
        /// Its number, for [`Call::SignalExec`] and [`Event::ExecExited`].
        exec: u64,
    },
    /// Descriptors: stdin if the container has one, then stdout, then stderr if there is no terminal.
    Attached {
        /// Whether the first descriptor is stdin.
        stdin: bool,
        /// Whether there is a terminal, and so no stderr.
        terminal: bool,
    },
    /// The newest run of each name.
    Status {
        /// [`VERSION`] of the pod init.
        version: u32,
        /// In the order of their start.
        runs: Vec<ContainerRun>,
    },
}

/// A bad answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Failure {
    /// No such container or exec, or it does not run.
    NotRunning,
    /// A container of this name runs already.
    AlreadyRunning,
    /// The container is to blame: its program, its user, its paths.
    Refused(String),
    /// The node is to blame.
    Failed(String),
}

/// What a subscriber is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// A container's program was executed.
    Started(ContainerRun),
    /// A container is over: recorded, logged, reaped.
    Exited(ContainerRun),
    /// An exec of this connection is over.
    ExecExited {
        /// From [`Reply::Executing`].
        exec: u64,
        /// As [`RunState::Exited`]'s.
        exit_code: i32,
    },
    /// A log file was moved away and a new one begun.
    LogRotated {
        /// The container's name.
        container: String,
    },
}
