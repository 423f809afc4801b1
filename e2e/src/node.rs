//! One node: auraed as root, and what joins it to a cluster: kubelet-bridge as an ordinary user, or cri-shim as one with
//! Kubernetes' own kubelet. It has directories, cgroups, bridge and ports of its own, so that several run beside each
//! other. Each program may be killed and started again at will.
//!
//! ```text
//!  DIR/state  DIR/run  DIR/log/pods      auraed's          cgroups  <run's name>-<node>
//!  DIR/bridge/{identity,pki,kubeconfig}  kubelet-bridge's  network  bridge `aurae<i>`, 10.88.<4 i>.0/22, table `aurae<i>`
//!  DIR/shim/{identity,cri.sock}          cri-shim's
//!  DIR/tools                         programs that auraed finds before the machine's
//!  DIR/kubelet                           kubelet's         cgroups  <run's name>-<node>-kubelet
//! ```

mod bridge;
mod kubelet;
mod plugins;

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::Api;
pub use plugins::Plugins;

use crate::cluster::Cluster;
use crate::network::{NetworkNamespace, address};
use crate::process::{Launch, MARK, Program, output, place_program};
use crate::scratch::Scratch;
use crate::{apparmor, home, registry, sweep, wait};

/// nobody and nogroup: who the bridge runs as.
const NOBODY: (u32, u32) = (65534, 65534);
/// For a daemon to listen, to join or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The taint of nodes that take only pods bound to them by name.
pub const RESERVED: &str = "e2e.aurae.dev/reserved";

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name; also the suffix of its cgroup root.
    pub name: String,
    /// Registered with a taint, so that the scheduler leaves it alone.
    pub reserved: bool,
    /// What joins it to a cluster.
    pub agent: Agent,
    /// Whose network plugins make its pods' networks; none means auraed itself.
    pub plugins: Option<Plugins>,
    /// Whether auraed finds Debian's parser of AppArmor profiles.
    pub apparmor: bool,
}

/// What joins a node to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// This project's own.
    Bridge,
    /// Kubernetes' kubelet, with cri-shim as its runtime.
    Kubelet,
}

impl Options {
    /// A node that the scheduler uses.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            reserved: false,
            agent: Agent::Bridge,
            plugins: None,
            apparmor: false,
        }
    }

    /// A node that takes only pods bound to it by name.
    pub fn reserved(name: &str) -> Self {
        Self {
            reserved: true,
            ..Self::new(name)
        }
    }

    /// The same with another agent.
    #[must_use]
    pub fn with(self, agent: Agent) -> Self {
        Self { agent, ..self }
    }

    /// The same with network plugins.
    #[must_use]
    pub fn on(self, plugins: Plugins) -> Self {
        Self {
            plugins: Some(plugins),
            ..self
        }
    }
}

/// A node of a run.
#[derive(Debug)]
pub struct Node {
    options: Options,
    /// Distinguishes addresses, bridges and ports within the run.
    index: u8,
    directory: PathBuf,
    cgroup_root: String,
    network: Arc<NetworkNamespace>,
    scratch: Arc<Scratch>,
    // In the order of stopping.
    agents: Mutex<Vec<(&'static str, Program)>>,
    auraed: Mutex<Option<Program>>,
}

impl Node {
    /// Starts auraed alone, and returns when it listens.
    ///
    /// # Errors
    /// The programs are not built, or auraed ends; with the end of its log.
    pub fn start(
        scratch: &Arc<Scratch>,
        network: &Arc<NetworkNamespace>,
        options: Options,
    ) -> anyhow::Result<Self> {
        let directory = scratch.path().join(&options.name);
        for below in ["state", "run", "log/pods", "bridge/pki", "manifests", "tools"] {
            fs_err::create_dir_all(directory.join(below))?;
        }
        let node = Self {
            cgroup_root: format!("{}-{}", scratch.name(), options.name),
            index: network.next_node()?,
            options,
            directory,
            network: network.clone(),
            scratch: scratch.clone(),
            agents: Mutex::default(),
            auraed: Mutex::new(None),
        };
        node.prepare_plugins()?;
        if node.options.apparmor {
            apparmor::write_tools(&node.tools())?;
        }
        fs_err::write(node.config(), node.configuration()?)?;
        node.start_auraed()?;
        Ok(node)
    }

    /// Starts auraed, and its agent with a kubeconfig of the cluster, and waits until the node is Ready.
    ///
    /// # Errors
    /// As [`Node::start`], or the node does not become Ready.
    pub async fn join(cluster: &Cluster, options: Options) -> anyhow::Result<Self> {
        let node = Self::start(cluster.scratch(), cluster.network(), options)?;
        match node.options.agent {
            Agent::Bridge => node.prepare_join(cluster).map(drop)?,
            Agent::Kubelet => node.prepare_kubelet(cluster)?,
        }
        node.start_agents()?;
        node.ready(cluster).await?;
        Ok(node)
    }

    /// Waits until the API server says that the node is Ready.
    ///
    /// # Errors
    /// It is not in time, or the agent has ended; with the end of its log.
    pub async fn ready(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let nodes = Api::<KubernetesNode>::all(cluster.client().await?);
        let waited = wait::object(&nodes, self.name(), PATIENCE, "the node is Ready", |node| {
            node.is_some_and(is_ready)
        })
        .await;
        waited.map(drop).with_context(|| {
            let agent = match self.options.agent {
                Agent::Bridge => "kubelet-bridge",
                Agent::Kubelet => "kubelet",
            };
            format!(
                "the end of {agent}'s log:\n{}",
                crate::process::tail(&self.log(agent), 20)
            )
        })
    }

    fn configuration(&self) -> anyhow::Result<String> {
        let index = self.index;
        let mirrored = registry::MIRRORED.map(|host| {
            format!(
                "[[images.registries]]\nhost = \"{host}\"\nmirrors = [\"http://{}\"]\n",
                registry::ADDRESS
            )
        });
        Ok(format!(
            "state_dir = \"{dir}/state\"
run_dir = \"{dir}/run\"
log_dir = \"{dir}/log/pods\"
cgroup_root = \"{cgroup}\"

[network]
bridge = \"aurae{index}\"
subnet = \"{subnet}\"
table = \"aurae{index}\"
{plugins}

[log]
level = \"{level}\"

{mirrored}",
            mirrored = mirrored.concat(),
            dir = self.directory.display(),
            cgroup = self.cgroup_root,
            subnet = self.subnet(),
            plugins = self.plugins_configuration()?,
            level = std::env::var("AURAE_E2E_LOG").unwrap_or_else(|_| "info".to_owned()),
        ))
    }

    fn subnet(&self) -> String {
        format!("10.88.{}.0/22", u16::from(self.index) * 4)
    }

    /// Starts auraed (again), and returns when it listens.
    ///
    /// # Errors
    /// It ends, or does not listen in time; with the end of its log.
    pub fn start_auraed(&self) -> anyhow::Result<()> {
        let launch = Launch::new("auraed", home::product("auraed")?)
            .arg("--config")
            .arg(self.config())
            .looking_in(&self.tools())?;
        let program = self.network.spawner().launch(&launch, &self.log("auraed"))?;
        wait::blocking(PATIENCE, "auraed's socket", || {
            program.check()?;
            Ok(UnixStream::connect(self.socket()).ok())
        })?;
        *lock(&self.auraed) = Some(program);
        Ok(())
    }

    /// Makes the identity that a program shows to auraed, in the directory `identity` of its own.
    fn issue_identity(&self, name: &str, directory: &Path) -> anyhow::Result<()> {
        let mut command = self.network.command(home::product("auraed")?);
        command.arg("--config").arg(self.config());
        command
            .args(["identity", "issue", name, "--owner", "nobody", "--out"])
            .arg(directory.join("identity"));
        output(&mut command).map(drop)
    }

    fn give_to_nobody(&self, directory: &Path) -> anyhow::Result<()> {
        std::os::unix::fs::chown(directory, Some(NOBODY.0), Some(NOBODY.1))?;
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.give_to_nobody(&entry.path())?;
            } else {
                std::os::unix::fs::chown(entry.path(), Some(NOBODY.0), Some(NOBODY.1))?;
            }
        }
        Ok(())
    }

    /// A program of the product where an ordinary user may execute it: the build directory may be below root's home.
    fn public(&self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = self.scratch.path().join("bin");
        fs_err::create_dir_all(&directory)?;
        let target = directory.join(name);
        if !target.exists() {
            // Each node puts a whole one of its own into place: tests start nodes side by side.
            let fresh = directory.join(format!("{name}.{}", self.index));
            place_program(&home::product(name)?, &fresh)?;
            fs_err::rename(fresh, &target)?;
        }
        Ok(target)
    }

    /// `kill -9` of auraed.
    pub fn kill_auraed(&self) {
        // Dropping kills and reaps.
        drop(lock(&self.auraed).take());
    }

    /// Starts an agent (again).
    fn start_agent(&self, name: &'static str, launch: &Launch) -> anyhow::Result<()> {
        let program = self.network.spawner().launch(launch, &self.log(name))?;
        // What was started last is stopped first.
        lock(&self.agents).insert(0, (name, program));
        Ok(())
    }

    /// `kill -9` of an agent; nothing where it does not run.
    fn kill_agent(&self, name: &str) {
        // Dropping kills and reaps.
        lock(&self.agents).retain(|(agent, _)| *agent != name);
    }

    /// Starts what joins it to the cluster (again).
    ///
    /// # Errors
    /// A program cannot be started.
    pub fn start_agents(&self) -> anyhow::Result<()> {
        match self.options.agent {
            Agent::Bridge => self.start_bridge(),
            Agent::Kubelet => {
                self.start_shim()?;
                self.start_kubelet()
            }
        }
    }

    /// `kill -9` of what joins it to the cluster.
    pub fn kill_agents(&self) {
        // Dropping kills and reaps.
        lock(&self.agents).clear();
    }

    /// What joins it to a cluster.
    pub fn agent(&self) -> Agent {
        self.options.agent
    }

    /// SIGTERM to all, auraed last.
    ///
    /// # Errors
    /// One does not end in time, or not with success.
    pub fn stop(&self) -> anyhow::Result<()> {
        let agents = std::mem::take(&mut *lock(&self.agents));
        let auraed = lock(&self.auraed).take().map(|program| ("auraed", program));
        for (name, program) in agents.into_iter().chain(auraed) {
            let status = program.terminate(PATIENCE)?;
            if !status.success() {
                bail!(
                    "{name} ended with {status} on SIGTERM; the end of its log:\n{}",
                    program.tail(20)
                );
            }
        }
        Ok(())
    }

    /// `auraed cleanup --everything`, after [`Node::stop`].
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn cleanup(&self) -> anyhow::Result<()> {
        let mut command = self.network.command(home::product("auraed")?);
        output(
            command
                .arg("--config")
                .arg(self.config())
                .args(["cleanup", "--everything"]),
        )
        .map(drop)
    }

    /// The names of its bridge and its nftables table.
    pub fn network_names(&self) -> (String, String) {
        let name = format!("aurae{}", self.index);
        (name.clone(), name)
    }

    /// Names and pids of what runs.
    pub fn programs(&self) -> Vec<(&'static str, u32)> {
        let auraed = lock(&self.auraed)
            .as_ref()
            .map(|program| ("auraed", program.pid()));
        let agents = lock(&self.agents);
        let agents = agents.iter().map(|(name, program)| (*name, program.pid()));
        auraed.into_iter().chain(agents).collect()
    }

    /// The command line client, as the administrator of this node.
    ///
    /// # Errors
    /// It is not built.
    pub fn aurae_command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Command> {
        let mut command = self.network.command(home::product("aurae")?);
        command
            .arg("--socket")
            .arg(self.socket())
            .arg("--identity")
            .arg(self.directory.join("state/identity/admin"));
        command.args(arguments).env(MARK, self.scratch.path());
        Ok(command)
    }

    /// Runs `aurae` to its end.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn aurae<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
        output(&mut self.aurae_command(arguments)?)
    }

    /// The node's name in the cluster.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        address(self.index)
    }

    /// Programs that auraed finds before the machine's.
    fn tools(&self) -> PathBuf {
        self.directory.join("tools")
    }

    /// Everything of the node is below it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// auraed's configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("auraed.toml")
    }

    /// auraed's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("run/aurae.sock")
    }

    /// Its directory below each cgroup hierarchy.
    pub fn cgroup_root(&self) -> &str {
        &self.cgroup_root
    }

    /// The network namespace it works in.
    pub fn network(&self) -> &Arc<NetworkNamespace> {
        &self.network
    }

    /// The log of one of its programs.
    pub fn log(&self, program: &str) -> PathBuf {
        self.scratch.log(&format!("{}-{program}", self.name()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_agents();
        self.kill_auraed();
        // Pods outlive the daemons, but not the test.
        sweep::kill(&self.cgroup_root);
    }
}

fn lock<T>(programs: &Mutex<T>) -> MutexGuard<'_, T> {
    programs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the API server says that a node is Ready.
pub fn is_ready(node: &KubernetesNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}
