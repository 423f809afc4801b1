//! The network of pods and sandboxes: one seam, whatever makes it.
//!
//! ```text
//!  schedule (pods) ──┐                  ┌─► cni: the plugins of the configuration that is there now (auraed-cni)
//!                    ├──► PodNetwork ───┼─► embedded: an address of SQLite, a veth on our bridge (auraed-sandbox)
//!  runtime (sandboxes)                  └─► none: only what lives in the node's own network runs
//! ```
//!
//! Which one it is is decided whenever something is attached; what was attached goes the way that it came, also after the
//! configuration changed. Both engines attach and detach by their own ids, and neither knows how a network is made. At
//! start each says what it found ([`PodNetwork::adopt`], [`PodNetwork::know`]); then one [`PodNetwork::reconcile`] takes
//! away what belongs to nobody. Every call may be repeated, also after a crash in the midst of it: what is attached is
//! told by the kernel and by the disk, and what is kept in memory here only saves looking.

mod assignment;
mod cni;
mod embedded;
mod failure;
mod owners;
mod request;

use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use auraed_cni::NetworkConfig as Plugins;
use auraed_sandbox::Sandbox;
use auraed_sandbox::network::{Ipv4Subnet, NetworkConfig, PortMapping};
use auraed_state::State;

pub use assignment::{Assigned, AssignmentError};
pub use failure::NetworkFailure;
pub use request::{Attached, Dns, Request};

use crate::server::chain;
use cni::Cni;
use embedded::Embedded;
use owners::{Maker, Owners};

/// Who makes the networks of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// CNI plugins where a configuration of them is there, the embedded network where none is.
    Auto,
    /// The embedded network, whatever is there.
    Embedded,
    /// CNI plugins; without a configuration the network is not ready.
    Cni,
    /// Nobody: only pods in the node's own network can run.
    None,
}

/// What the network of pods is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who makes it.
    pub mode: Mode,
    /// The embedded network.
    pub embedded: NetworkConfig,
    /// Its pods' addresses; none leaves it to who assigns them, and before that it is `default_subnet`.
    pub subnet: Option<Ipv4Subnet>,
    /// The embedded network's subnet where none is named and none was assigned.
    pub default_subnet: Ipv4Subnet,
    /// Where configurations of CNI plugins are.
    pub cni_config_dir: PathBuf,
    /// Where CNI plugins are, in the order of looking.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// What must outlive a boot; `cni` below it.
    pub state_dir: PathBuf,
}

/// The network of this node's pods. Clones are one network.
#[derive(Clone)]
pub struct PodNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mode,
    embedded: Embedded,
    cni: Cni,
    owners: Owners,
}

/// Who makes the next network.
enum Choice {
    Embedded,
    Cni(Arc<Plugins>),
}

impl PodNetwork {
    /// Sets up what is needed now, or adopts what an earlier daemon set up.
    ///
    /// Belongs to the network namespace of the calling thread, within a tokio runtime.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn start(config: Config, state: State) -> Result<PodNetwork, NetworkFailure> {
        let cni = Cni::start(&config)?;
        let embedded = Embedded::open(config.embedded, config.subnet, config.default_subnet, state);
        let shared = Shared {
            mode: config.mode,
            embedded: embedded.await?,
            cni,
            owners: Owners::default(),
        };
        let network = PodNetwork {
            shared: Arc::new(shared),
        };
        if matches!(network.choose().await, Ok(Choice::Embedded)) {
            network.shared.embedded.prepare().await?;
        } else {
            // For those whom an earlier daemon gave an address, whatever is configured now.
            network.shared.embedded.resume().await?;
        }
        if matches!(config.mode, Mode::Auto | Mode::Cni) {
            network.follow();
        }
        Ok(network)
    }

    /// Whether there is any network but the node's own.
    pub fn exists(&self) -> bool {
        self.shared.mode != Mode::None
    }

    /// The pods' subnet, where this daemon gives out the addresses.
    pub async fn subnet(&self) -> Option<Ipv4Subnet> {
        match self.choose().await {
            Ok(Choice::Embedded) => Some(self.shared.embedded.subnet().await),
            _ => None,
        }
    }

    /// Has new pods get their addresses of these subnets, in CIDR form, at most one a family: the cluster assigned them to
    /// this node. Those that are attached keep theirs. Repeated, it changes nothing.
    ///
    /// It outlives the daemon. It counts where this daemon gives out the addresses and the configuration names no subnet.
    ///
    /// # Errors
    /// [`AssignmentError`]; but for the last kind nothing was changed.
    pub async fn assign(&self, subnets: &[String]) -> Result<Assigned, AssignmentError> {
        let wanted = assignment::Subnets::parse(subnets)?;
        match self.choose().await {
            Ok(Choice::Embedded) => {}
            Err(NetworkFailure::Disabled) => return Ok(Assigned::NoNetwork),
            // Also where their configuration is not there yet.
            Ok(Choice::Cni(_)) | Err(_) => return Ok(Assigned::Plugins),
        }
        let embedded = &self.shared.embedded;
        let Some(subnet) = wanted.ipv4 else {
            let reason = "pods have IPv4 addresses alone here, and there is no IPv4 subnet";
            return Err(AssignmentError::Request(reason));
        };
        match embedded.named() {
            Some(named) if named != subnet => return Ok(Assigned::Configured(named)),
            Some(_) => {}
            None => embedded.assign(subnet).await?,
        }
        Ok(Assigned::Served(wanted.ipv6.into_iter().collect()))
    }

    /// Whether a pod could be attached now; if not, why, for people. Plugins that can say so are asked, but not more than
    /// once a second.
    ///
    /// # Errors
    /// The reason.
    pub async fn status(&self) -> Result<(), String> {
        match self.choose().await {
            Ok(Choice::Embedded) => Ok(()),
            Ok(Choice::Cni(plugins)) => self.shared.cni.status(&plugins).await,
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Gives the owner its address ahead of need, so that attaching need not wait for it. A failure comes again then.
    pub(crate) async fn reserve(&self, id: &str) {
        let Shared { embedded, owners, .. } = &*self.shared;
        if matches!(self.choose().await, Ok(Choice::Embedded)) {
            let _ = embedded.reserve(id, owners).await;
        }
    }

    /// Makes a network namespace with the owner's interfaces in it. Repeated, it makes another in the first one's place.
    ///
    /// # Errors
    /// [`NetworkFailure`]; what is left behind then is given back by [`PodNetwork::detach`], or taken up by the next try.
    pub async fn attach(&self, request: &Request) -> Result<Attached, NetworkFailure> {
        let Shared {
            embedded,
            cni,
            owners,
            ..
        } = &*self.shared;
        let id = request.id.as_str();
        let attached = match self.choose().await? {
            Choice::Embedded => {
                if owners.maker(id) != Some(Maker::Embedded) {
                    cni.detach(id, None).await?;
                }
                embedded.attach(request, owners).await
            }
            Choice::Cni(plugins) => {
                if owners.may_have_ports(id) {
                    embedded.disconnect(id, owners).await?;
                }
                embedded.stand_back().await?;
                cni.attach(request, &plugins, owners).await
            }
        };
        if attached.is_err() {
            owners.failed(id);
        }
        attached
    }

    /// Takes the owner off the network for good and gives back its addresses. Succeeds for one that is not attached.
    ///
    /// `namespace` is the one that it was given, where the caller has it still; often this has it as well.
    ///
    /// # Errors
    /// [`NetworkFailure`] of what is to be tried again.
    pub async fn detach(&self, id: &str, namespace: Option<BorrowedFd<'_>>) -> Result<(), NetworkFailure> {
        self.disconnect(id, namespace).await?;
        self.shared.embedded.release(id).await?;
        self.shared.owners.forget(id);
        Ok(())
    }

    /// Takes the owner off the network; where it can, it has the same address when it is attached again.
    ///
    /// # Errors
    /// As [`PodNetwork::detach`].
    pub async fn disconnect(
        &self,
        id: &str,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), NetworkFailure> {
        let Shared {
            embedded,
            cni,
            owners,
            ..
        } = &*self.shared;
        if owners.maker(id) != Some(Maker::Embedded) {
            let held = owners.namespace(id);
            let namespace = held.as_ref().map(|held| held.as_fd()).or(namespace);
            cni.detach(id, namespace).await?;
        }
        if owners.may_have_ports(id) {
            embedded.disconnect(id, owners).await?;
        }
        owners.disconnect(id);
        Ok(())
    }

    /// Takes note of an owner that runs on the network since an earlier daemon's time, with its host ports.
    pub(crate) fn adopt(&self, id: &str, ports: Vec<PortMapping>, sandbox: &Sandbox) {
        // Only plugins want it; who made it is found out when everything is looked through.
        let namespace = sandbox.network_namespace();
        if let Err(error) = &namespace {
            tracing::debug!(pod = id, %error, "a pod's network namespace cannot be had");
        }
        self.shared.owners.adopt(id, ports, namespace.ok());
    }

    /// Takes note of an owner that an earlier daemon knew and that does not run, but may have an address.
    pub(crate) fn know(&self, id: &str) {
        self.shared.owners.know(id);
    }

    /// An owner's addresses, the primary one first; none if it has none.
    pub async fn addresses(&self, id: &str) -> Vec<IpAddr> {
        let addresses = self.shared.cni.addresses(id).await;
        if !addresses.is_empty() {
            return addresses;
        }
        self.shared
            .embedded
            .address(id)
            .await
            .map(IpAddr::V4)
            .into_iter()
            .collect()
    }

    /// Takes away what belongs to nobody, and puts back what live owners lack. Called once, when both engines have
    /// said what they found. Plugins take their time, and nobody waits for them here.
    pub(crate) async fn reconcile(&self) {
        let shared = &self.shared;
        shared.embedded.reconcile(&shared.owners).await;
        let network = self.clone();
        shared.cni.spawn(async move {
            for error in network.collect().await {
                tracing::error!(error, "network plugins did not take away what is nobody's");
            }
        });
    }

    /// Ends all that goes on by itself. What is attached stays so.
    pub(crate) async fn close(&self) {
        self.shared.cni.close().await;
    }

    /// Has plugins take away everything that is on record and nobody's, and waits for it. What failed, for people.
    pub(crate) async fn collect(&self) -> Vec<String> {
        let plugins = match self.choose().await {
            Ok(Choice::Cni(plugins)) => Some(plugins),
            _ => None,
        };
        self.shared.cni.collect(plugins, &self.shared.owners).await
    }

    /// Takes the node's side of the embedded network down, once nobody is attached. What plugins share is theirs.
    ///
    /// # Errors
    /// The first step that failed.
    pub async fn remove(&self) -> Result<(), NetworkFailure> {
        // Where it is not set up, an earlier daemon may have done so.
        match self.shared.mode {
            Mode::None if !self.shared.embedded.is_set_up() => Ok(()),
            _ => self.shared.embedded.remove().await,
        }
    }

    /// Tells the log of every change of the plugins' configuration, and has the bridge give up what may become theirs.
    fn follow(&self) {
        let network = self.clone();
        self.shared.cni.spawn(async move {
            let shared = &network.shared;
            let mut seen = shared.cni.selected().await;
            loop {
                shared.cni.log(&seen);
                if seen.config.is_some()
                    && let Err(error) = shared.embedded.stand_back().await
                {
                    tracing::error!(
                        error = chain(&error),
                        "the bridge keeps an address that plugins may want"
                    );
                }
                seen = shared.cni.changed(&seen).await;
            }
        });
    }

    async fn choose(&self) -> Result<Choice, NetworkFailure> {
        match self.shared.mode {
            Mode::None => Err(NetworkFailure::Disabled),
            Mode::Embedded => Ok(Choice::Embedded),
            Mode::Auto | Mode::Cni => {
                let selected = self.shared.cni.selected().await;
                match &selected.config {
                    Some(plugins) => Ok(Choice::Cni(Arc::clone(plugins))),
                    None if self.shared.mode == Mode::Auto => Ok(Choice::Embedded),
                    None => Err(self.shared.cni.not_configured(&selected)),
                }
            }
        }
    }
}
