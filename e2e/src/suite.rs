//! What the tests of one binary share: a cluster, a node and a registry, started by the first test that needs them.
//!
//! ```text
//!  test ─► suite(agent) ── once ──► Scratch, NetworkNamespace, Store, Registry, Cluster, Node "shared"
//!            └─ Test: a namespace of its own, kubectl and a client for it; on failure what a person would look at
//! ```
//!
//! Statics are not dropped: the guard of the [`Scratch`] takes everything away when the process ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use crate::cluster::Cluster;
use crate::images::Store;
use crate::kubectl::Kubectl;
use crate::network::NetworkNamespace;
use crate::node::{Agent, Node, Options};
use crate::process::tail;
use crate::registry::Registry;
use crate::scratch::Scratch;
use crate::skip::{everything_required, skipped};
use crate::{home, pods, wait};

/// A test that takes longer has failed, whatever it waits for: several times what the longest one takes.
const LIMIT: Duration = Duration::from_secs(600);
/// And one that does not even notice, because it stands in a call that blocks, ends the whole run some time later.
const STUCK: Duration = Duration::from_secs(60);
/// For one thing to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shared environment without a cluster.
#[derive(Debug)]
pub struct Ground {
    /// The run.
    pub scratch: Arc<Scratch>,
    /// Its network.
    pub network: Arc<NetworkNamespace>,
    /// Its images.
    pub images: Store,
    /// Its registry, with every image.
    pub registry: Registry,
}

/// The shared environment.
#[derive(Debug)]
pub struct Suite {
    /// The control plane.
    pub cluster: Cluster,
    /// The node that the scheduler uses.
    pub node: Node,
}

/// The run, its network, images and registry.
///
/// # Panics
/// They cannot be had: the test fails with the reason.
pub fn ground() -> &'static Ground {
    static GROUND: OnceLock<Result<Ground, String>> = OnceLock::new();
    let made = GROUND.get_or_init(|| {
        // Fails only if a provider is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        make_ground().map_err(|error| format!("{error:?}"))
    });
    made.as_ref()
        .unwrap_or_else(|error| panic!("the suite's ground: {error}"))
}

fn make_ground() -> anyhow::Result<Ground> {
    let images = Store::open()?;
    let scratch = Arc::new(Scratch::create("it")?);
    let network = Arc::new(NetworkNamespace::create(&scratch)?);
    let registry = Registry::start(&scratch, &network, &images)?;
    Ok(Ground {
        scratch,
        network,
        images,
        registry,
    })
}

/// The cluster with its shared node. All tests of a process name the same agent.
///
/// # Panics
/// They cannot be had: the test fails with the reason.
pub fn suite(agent: Agent) -> &'static Suite {
    static SUITE: OnceLock<Result<Suite, String>> = OnceLock::new();
    let made = SUITE.get_or_init(|| {
        let ground = ground();
        // On a thread of its own: starting a cluster moves the thread into its network namespace.
        let thread = std::thread::spawn(move || run_to_end("the cluster's start", make_suite(ground, agent)));
        let result = thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("starting the cluster panicked")));
        if result.is_err() {
            ground.scratch.mark_failed();
        }
        result.map_err(|error| format!("{error:?}"))
    });
    made.as_ref()
        .unwrap_or_else(|error| panic!("the suite's cluster: {error}"))
}

async fn make_suite(ground: &Ground, agent: Agent) -> anyhow::Result<Suite> {
    let cluster = Cluster::start(&ground.scratch, &ground.network).await?;
    let node = Node::join(&cluster, Options::new("shared").with(agent)).await?;
    Ok(Suite { cluster, node })
}

fn run_to_end<T>(what: &str, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let _ended = watch(what)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, future)
            .await
            .with_context(|| format!("not done within {LIMIT:?}"))?
    })
}

/// Ends this process, and says what stood still, unless what is returned is dropped in time.
fn watch(what: &str) -> anyhow::Result<mpsc::Sender<()>> {
    let (ended, end) = mpsc::channel();
    let what = what.to_owned();
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            if end.recv_timeout(LIMIT + STUCK) == Err(mpsc::RecvTimeoutError::Timeout) {
                ground().scratch.mark_failed();
                // Nothing is left to be told to if this cannot be written.
                let _ = writeln!(std::io::stderr(), "{what}: stands still; the run is given up");
                std::process::abort();
            }
        })?;
    Ok(ended)
}

/// Why this machine cannot run the suite, if it cannot.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the suite needs root".to_owned());
    }
    let programs = [
        "etcd",
        "kube-apiserver",
        "kubectl",
        "kubelet",
        "agnhost",
        "busybox",
        "crictl",
        "critest",
    ]
    .map(home::built);
    programs
        .into_iter()
        .find_map(Result::err)
        .map(|error| error.to_string())
}

/// Whether the test `name` has to be skipped here; says so. With everything required it fails instead.
///
/// # Panics
/// Something is missing that `cargo xtask test` should have brought.
pub fn skip(name: &str) -> bool {
    let Some(reason) = obstacle() else { return false };
    assert!(!everything_required(), "{reason}");
    skipped(name, &reason);
    true
}

/// Runs a test that needs no cluster, in the network namespace of the run.
///
/// # Panics
/// The test fails.
pub fn on_ground<F>(name: &str, body: impl FnOnce(&'static Ground) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    if skip(name) {
        return;
    }
    let ground = ground();
    if let Err(error) = ground
        .network
        .enter()
        .and_then(|()| run_to_end(name, body(ground)))
    {
        ground.scratch.mark_failed();
        panic!("{error:?}\n");
    }
}

/// Runs a test on the shared cluster, whose node has kubelet-bridge, in a namespace of its own.
///
/// # Panics
/// The test fails; with the state of its namespace and the ends of the daemons' logs.
pub fn on_cluster<F>(name: &str, body: impl FnOnce(Test) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    with_agent(Agent::Bridge, name, body);
}

/// As [`on_cluster`], with kubelet and cri-shim on the node.
///
/// # Panics
/// As [`on_cluster`].
pub fn on_kubelet<F>(name: &str, body: impl FnOnce(Test) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    with_agent(Agent::Kubelet, name, body);
}

fn with_agent<F>(agent: Agent, name: &str, body: impl FnOnce(Test) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    on_ground(name, |ground| async move {
        let suite = suite(agent);
        let test = Test::begin(suite, name).await?;
        let kubectl = test.kubectl.clone();
        let result = body(test).await;
        if let Err(error) = result {
            anyhow::bail!("{error:?}\n\n{}", diagnosis(suite, &kubectl));
        }
        let _ = ground;
        kubectl.run(["delete", "namespace", kubectl.namespace(), "--wait=false"])?;
        Ok(())
    });
}

/// What a test on the cluster works with.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Test {
    /// The shared environment.
    pub suite: &'static Suite,
    /// kubectl in the test's namespace.
    pub kubectl: Kubectl,
    /// A client for watching.
    pub client: Client,
    /// The test's namespace.
    pub namespace: String,
}

impl Test {
    async fn begin(suite: &'static Suite, name: &str) -> anyhow::Result<Self> {
        let namespace = name.replace('_', "-");
        let client = suite.cluster.client().await?;
        suite.cluster.create_namespace(&client, &namespace).await?;
        Ok(Self {
            suite,
            kubectl: suite.cluster.kubectl().in_namespace(&namespace),
            client,
            namespace,
        })
    }

    /// `kubectl apply` of manifests in which `@busybox`, `@agnhost`, `@nginx-1`, … stand for the suite's images.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.kubectl.apply(&with_images(manifests)).map(drop)
    }

    /// The pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits for a condition of a pod.
    ///
    /// # Errors
    /// It does not come in time; with the pod as last seen.
    pub async fn pod(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> anyhow::Result<Pod> {
        let seen = wait::object(&self.pods(), name, PATIENCE, what, |pod| {
            pod.is_some_and(&condition)
        })
        .await?;
        seen.context("the pod is gone")
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    /// It does not become so in time.
    pub async fn ready(&self, name: &str) -> anyhow::Result<Pod> {
        self.pod(name, "the pod is Ready", |pod| pods::holds(pod, "Ready"))
            .await
    }

    /// Waits until a pod's log is this: a pod is Ready, or its end known, before what it said last can be read.
    ///
    /// # Errors
    /// It is another in the end.
    pub async fn logs(&self, pod: &str, expected: &str) -> anyhow::Result<()> {
        wait::until(PATIENCE, "the log", async || {
            let log = self.kubectl.run(["logs", pod])?;
            anyhow::ensure!(log == expected, "{log:?} is not {expected:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a pod is gone from the API server.
    ///
    /// # Errors
    /// It is still there in the end.
    pub async fn gone(&self, name: &str) -> anyhow::Result<()> {
        wait::object(&self.pods(), name, PATIENCE, "the pod is gone", |pod| {
            pod.is_none()
        })
        .await
        .map(drop)
    }
}

/// Puts the suite's references in place of `@NAME`.
pub fn with_images(manifests: &str) -> String {
    // The longer first: one name begins with another.
    let names: BTreeMap<usize, Vec<&str>> =
        ground()
            .images
            .images()
            .fold(BTreeMap::new(), |mut names, (name, _)| {
                names
                    .entry(usize::MAX - name.len())
                    .or_insert_with(Vec::new)
                    .push(name);
                names
            });
    names.values().flatten().fold(manifests.to_owned(), |text, name| {
        text.replace(&format!("@{name}"), &Registry::reference(name))
    })
}

fn diagnosis(suite: &Suite, kubectl: &Kubectl) -> String {
    let mut text = String::from("what there is:\n");
    for arguments in [
        &["get", "all", "-o", "wide"][..],
        &["describe", "pods"],
        &["get", "events", "--sort-by=.lastTimestamp"],
    ] {
        let shown = kubectl
            .run(arguments.iter().copied())
            .unwrap_or_else(|error| format!("{error:#}"));
        let _ = writeln!(text, "$ kubectl {}\n{shown}", arguments.join(" "));
    }
    for (program, _) in suite.node.programs() {
        let _ = writeln!(text, "--- {program}\n{}", tail(&suite.node.log(program), 30));
    }
    text
}
