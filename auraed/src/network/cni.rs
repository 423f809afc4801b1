//! Networks that plugins make, by the CNI specification.
//!
//! The configuration that is there now counts for what is attached now. A network namespace is made here, given to the
//! plugins by its descriptor's path, and kept until they have taken the network down: then also rules that they made by
//! its addresses go, whatever ended the pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use auraed_cni::{
    Attachment, Bandwidth, Directory, Dns, NetworkConfig, PortMapping, Runtime, Selected, Settings,
    capability,
};
use auraed_sandbox::network::POD_INTERFACE;
use serde_json::{Value, to_value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::owners::{Maker, Owners};
use super::{Attached, Config, NetworkFailure, Request};
use crate::server::chain;

/// How long all plugins of a network may take together. Who asked for a sandbox waits four minutes.
const PATIENCE: Duration = Duration::from_secs(110);

/// How long an answer of the plugins to whether they are ready is good.
const FRESH: Duration = Duration::from_secs(1);

/// What limits a burst is the rate, where the caller says no more: the most that plugins can count.
const BURST_BITS: u64 = u32::MAX as u64;

/// By these names plugins ask what they are attaching; it is how they were first called.
const NAMES: [&str; 4] = [
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];

pub(super) struct Cni {
    directory: Directory,
    runtime: Runtime,
    said: tokio::sync::Mutex<Option<Said>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What plugins last said of their readiness.
struct Said {
    at: Instant,
    of: Arc<NetworkConfig>,
    what: Result<(), String>,
}

impl Cni {
    pub(super) fn start(config: &Config) -> Result<Cni, NetworkFailure> {
        let runtime = Runtime::open(Settings {
            plugins: config.cni_bin_dirs.clone(),
            records: config.state_dir.join("cni/results"),
            patience: PATIENCE,
            environment: Vec::new(),
        })?;
        Ok(Cni {
            directory: Directory::watch(config.cni_config_dir.clone()),
            runtime,
            said: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// The configuration after this one.
    pub(super) async fn changed(&self, seen: &Arc<Selected>) -> Arc<Selected> {
        self.directory.changed(seen).await
    }

    /// Tells the log of it.
    pub(super) fn log(&self, selected: &Selected) {
        log(&self.directory, selected);
    }

    /// Does something in its own time, until the daemon stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) async fn selected(&self) -> Arc<Selected> {
        self.directory.current().await
    }

    pub(super) fn not_configured(&self, selected: &Selected) -> NetworkFailure {
        let first = selected.problems.first();
        let reason = first.map(|problem| format!(": {}: {}", problem.file.display(), problem.reason));
        NetworkFailure::NotConfigured {
            directory: self.directory.path().to_owned(),
            reason: reason.unwrap_or_default(),
        }
    }

    /// What the plugins say of their readiness.
    pub(super) async fn status(&self, config: &Arc<NetworkConfig>) -> Result<(), String> {
        let mut said = self.said.lock().await;
        if let Some(said) = said.as_ref()
            && Arc::ptr_eq(&said.of, config)
            && said.at.elapsed() < FRESH
        {
            return said.what.clone();
        }
        let what = self.runtime.status(config).await;
        let what = what.map_err(|error| format!("cni plugin not initialized: {}", chain(&error)));
        *said = Some(Said {
            at: Instant::now(),
            of: Arc::clone(config),
            what: what.clone(),
        });
        what
    }

    pub(super) async fn attach(
        &self,
        request: &Request,
        config: &NetworkConfig,
        owners: &Owners,
    ) -> Result<Attached, NetworkFailure> {
        let user = request.user_namespace.clone();
        let made = tokio::task::spawn_blocking(move || auraed_sandbox::network::namespace(user.as_ref()));
        let made = made
            .await
            .unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
        let namespace = made.map_err(NetworkFailure::Namespace)?;
        let kept = namespace.try_clone().map_err(NetworkFailure::Namespace)?;
        let kept = Arc::new(kept);
        owners.attach_cni(&request.id, &kept);
        if !request.ports.is_empty() && !config.has_capability(capability::PORT_MAPPINGS) {
            tracing::info!(
                pod = request.id,
                network = config.name(),
                "host ports are asked for, and no plugin of the network is told of them"
            );
        }
        let attachment = attachment(request, &kept)?;
        let added = self.runtime.add(config, &attachment).await?;
        let addresses = added.addresses(POD_INTERFACE);
        if addresses.is_empty() {
            self.detach(&request.id, Some(kept.as_fd())).await?;
            return Err(NetworkFailure::NoAddress(config.name().to_owned()));
        }
        Ok(Attached { namespace, addresses })
    }

    /// Whatever plugins made for the owner goes, by the configuration that made it.
    pub(super) async fn detach(
        &self,
        id: &str,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), NetworkFailure> {
        let path = namespace.map(path_of);
        let deleted = self.runtime.delete(id, POD_INTERFACE, path.as_deref()).await?;
        if deleted {
            tracing::debug!(pod = id, "network plugins took a network down");
        }
        Ok(())
    }

    pub(super) async fn addresses(&self, id: &str) -> Vec<IpAddr> {
        match self.runtime.added(id, POD_INTERFACE).await {
            Ok(added) => added
                .map(|added| added.addresses(POD_INTERFACE))
                .unwrap_or_default(),
            Err(error) => {
                tracing::error!(pod = id, error = chain(&error), "cannot look for addresses");
                Vec::new()
            }
        }
    }

    /// Finds out whose networks are of plugins, and takes away those of nobody. What failed.
    pub(super) async fn collect(&self, config: Option<Arc<NetworkConfig>>, owners: &Owners) -> Vec<String> {
        for id in owners.adopted() {
            match self.runtime.knows(&id, POD_INTERFACE).await {
                Ok(true) => owners.made_by(&id, Maker::Cni),
                Ok(false) => owners.made_by(&id, Maker::Embedded),
                // It is looked for again when it is detached.
                Err(error) => tracing::error!(pod = id, error = chain(&error), "cannot look at a network"),
            }
        }
        // Those who are known and do not run give theirs back themselves.
        let lives = |id: &str| owners.knows(id);
        let errors = self.runtime.collect(config.as_deref(), lives).await;
        errors.iter().map(|error| chain(error)).collect()
    }
}

fn log(directory: &Directory, selected: &Selected) {
    for problem in &selected.problems {
        tracing::warn!(
            file = %problem.file.display(),
            reason = problem.reason,
            "a CNI configuration cannot be used"
        );
    }
    match (&selected.config, &selected.file) {
        (Some(config), Some(file)) => {
            let plugins: Vec<_> = config.plugins().iter().map(|plugin| plugin.kind()).collect();
            tracing::info!(
                network = config.name(),
                file = %file.display(),
                ?plugins,
                "pods are attached by CNI plugins from now on"
            );
        }
        _ => tracing::info!(
            directory = %directory.path().display(),
            "there is no CNI configuration"
        ),
    }
}

fn attachment(request: &Request, namespace: &OwnedFd) -> Result<Attachment, NetworkFailure> {
    Ok(Attachment {
        id: request.id.clone(),
        interface: POD_INTERFACE.to_owned(),
        namespace: path_of(namespace.as_fd()),
        arguments: arguments(request),
        capabilities: capabilities(request)?,
    })
}

/// The caller's, and those that every plugin may look for. A plugin that does not know one of them must not fail.
fn arguments(request: &Request) -> Vec<(String, String)> {
    let mut arguments = request.arguments.clone();
    let values = [&request.namespace, &request.name, &request.id, &request.uid];
    for (name, value) in NAMES.into_iter().zip(values) {
        if !value.is_empty() {
            arguments.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    }
    arguments.remove("IgnoreUnknown");
    let first = [("IgnoreUnknown".to_owned(), "1".to_owned())];
    first.into_iter().chain(arguments).collect()
}

fn capabilities(request: &Request) -> Result<BTreeMap<String, Value>, NetworkFailure> {
    let mut capabilities = BTreeMap::new();
    let mut insert = |name: &str, value: Result<Value, serde_json::Error>| {
        let value = value.map_err(NetworkFailure::Capability)?;
        capabilities.insert(name.to_owned(), value);
        Ok::<_, NetworkFailure>(())
    };
    let ports: Vec<_> = request.ports.iter().map(port).collect();
    if !ports.is_empty() {
        insert(capability::PORT_MAPPINGS, to_value(ports))?;
    }
    let burst = |rate: u64| if rate > 0 { BURST_BITS } else { 0 };
    let bandwidth = Bandwidth {
        ingress_rate: request.ingress_bits,
        ingress_burst: burst(request.ingress_bits),
        egress_rate: request.egress_bits,
        egress_burst: burst(request.egress_bits),
    };
    if bandwidth != Bandwidth::default() {
        insert(capability::BANDWIDTH, to_value(bandwidth))?;
    }
    let dns = Dns {
        servers: request.dns.servers.clone(),
        searches: request.dns.searches.clone(),
        options: request.dns.options.clone(),
    };
    if dns != Dns::default() {
        insert(capability::DNS, to_value(dns))?;
    }
    // Where these are asked for as arguments, as of old, plugins that take them otherwise are told so.
    if let Some(addresses) = request.arguments.get("IP") {
        insert(
            capability::IPS,
            to_value(addresses.split(',').collect::<Vec<_>>()),
        )?;
    }
    if let Some(address) = request.arguments.get("MAC") {
        insert(capability::MAC, to_value(address))?;
    }
    Ok(capabilities)
}

fn port(port: &auraed_sandbox::network::PortMapping) -> PortMapping {
    let address = port.host_address.filter(|address| !address.is_unspecified());
    PortMapping {
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: port.protocol.to_string(),
        host_address: address.map(|address| address.to_string()).unwrap_or_default(),
    }
}

/// Good for every process of the node, as long as the descriptor is open.
fn path_of(namespace: BorrowedFd<'_>) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}
