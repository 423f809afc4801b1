//! The network namespace of a run: nothing that the suite says leaves it.
//!
//! It is held by a sleeping process and not pinned by a mount, so the end of the run's processes is its end. It has one
//! veth pair with both ends inside, which gives it addresses and a default route as a machine has them, and the first
//! address of the service range on loopback, so that the API server answers on its cluster address without a proxy.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Launch, Program, Spawner, output};
use crate::scratch::Scratch;
use crate::wait;

/// The address that the API server and the first node have; further nodes count up from it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 10);
/// How many addresses, from [`ADDRESS`] on, the namespace has.
pub const ADDRESSES: u8 = 48;
/// The range of services; pods reach the API server on its first address.
pub const SERVICES: &str = "10.96.0.0/16";
const API_SERVICE: &str = "10.96.0.1/32";

/// A network namespace with addresses and a default route that leads nowhere.
#[derive(Debug)]
pub struct NetworkNamespace {
    // Before the holder: its thread ends first, and with it the programs.
    spawner: Spawner,
    nodes: AtomicU8,
    holder: Program,
}

impl NetworkNamespace {
    /// Makes one for a run.
    ///
    /// # Errors
    /// No root, or a tool is missing.
    pub fn create(scratch: &Scratch) -> anyhow::Result<Self> {
        let outside = fs_err::read_link("/proc/self/ns/net")?;
        let launch = Launch::new("namespace", "unshare").args(["--net", "--", "sleep", "infinity"]);
        let holder = scratch.spawner().launch(&launch, &scratch.log("namespace"))?;
        wait::blocking(Duration::from_secs(60), "the network namespace", || {
            holder.check()?;
            // Until `unshare` has run it is in ours; until `sleep` is executed it may not have done so.
            let inside = fs_err::read_link(format!("/proc/{}/ns/net", holder.pid()))?;
            Ok((inside != outside).then_some(()))
        })?;
        let spawner = Spawner::start(scratch.path(), Some(open(holder.pid())?))?;
        let namespace = Self {
            spawner,
            nodes: AtomicU8::new(0),
            holder,
        };
        namespace.configure()?;
        Ok(namespace)
    }

    fn configure(&self) -> anyhow::Result<()> {
        let mut script = String::from(
            "link set lo up\nlink add eth0 type veth peer name uplink\nlink set eth0 up\nlink set uplink up\n",
        );
        for index in 0..ADDRESSES {
            script.push_str(&format!("addr add {}/24 dev eth0\n", address(index)));
        }
        script.push_str(&format!(
            "addr add {API_SERVICE} dev lo\nroute add default via 10.99.0.1 dev eth0\n"
        ));
        self.run(["sh", "-c", &format!("printf '%s' '{script}' | ip -batch -")])?;
        Ok(())
    }

    /// Starts programs in it.
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Moves the calling thread into it, for the thread's life: sockets it opens are the namespace's.
    ///
    /// # Errors
    /// No root.
    pub fn enter(&self) -> anyhow::Result<()> {
        let namespace = open(self.holder.pid())?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the network namespace")
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("-t")
            .arg(self.holder.pid().to_string())
            .arg("-n")
            .arg("--")
            .arg(program.as_ref());
        command
    }

    /// Runs a command in it to its end.
    ///
    /// # Errors
    /// It fails; with what it printed.
    pub fn run<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
        let mut words = command.into_iter();
        let program = words.next().context("an empty command")?;
        output(self.command(program).args(words))
    }

    /// A number that no other node of this namespace has, below [`ADDRESSES`].
    ///
    /// # Errors
    /// All are taken.
    pub fn next_node(&self) -> anyhow::Result<u8> {
        let index = self.nodes.fetch_add(1, Ordering::Relaxed);
        ensure!(index < ADDRESSES, "a run has at most {ADDRESSES} nodes");
        Ok(index)
    }

    /// The process that holds it: `nsenter -t PID -n` enters.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }
}

/// The address with this index, from [`ADDRESS`].
pub fn address(index: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(ADDRESS.to_bits() + u32::from(index))
}

fn open(pid: u32) -> anyhow::Result<OwnedFd> {
    Ok(fs_err::File::open(format!("/proc/{pid}/ns/net"))?
        .into_file()
        .into())
}
