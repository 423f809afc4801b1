//! The suite and what else runs on its cluster.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::setup;
use crate::shell::{cargo, product, run, say, status, target};

/// What `test` takes.
#[derive(Args)]
pub(crate) struct TestOptions {
    /// Passed on to cargo test, as `-- --nocapture` or a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What `bench` takes.
#[derive(Args)]
pub(crate) struct BenchOptions {
    /// This node alone, without kubelet and containerd beside it.
    #[arg(long)]
    alone: bool,
    /// The programs as `test` builds them, without optimization.
    #[arg(long)]
    debug: bool,
    /// One of the two.
    #[arg(long, value_enum)]
    only: Option<Benchmark>,
    /// Passed on to the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What can be measured.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Benchmark {
    /// Pods under a control plane, beside kubelet with containerd.
    Node,
    /// Sandboxes, containers and images through the CRI, beside containerd with runc and with crun.
    Cri,
}

/// Every test, with one selection of packages and features, so that nothing is compiled twice.
pub(crate) fn test(options: &TestOptions) -> anyhow::Result<ExitCode> {
    setup::everything()?;
    let _alone = setup::alone_in_build()?;
    // The suite runs the programs themselves, which a test run alone does not build for every package.
    build()?;
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--locked"])
        .args(&options.arguments)
        .env("PATH", setup::debian::path()?)
        .env("AURAE_E2E_REQUIRED", "1");
    exit(&mut tests)
}

/// A cluster to try.
pub(crate) fn cluster() -> anyhow::Result<ExitCode> {
    setup::everything()?;
    build()?;
    exit(Command::new(product("e2e")).arg("cluster"))
}

/// Figures: of the node under a control plane, then of the runtime alone through the CRI.
pub(crate) fn bench(options: &BenchOptions) -> anyhow::Result<ExitCode> {
    setup::everything()?;
    let peer = (!options.alone).then(setup::peer::tree);
    let profile = if options.debug { "debug" } else { "release" };
    if options.debug {
        build()?;
    } else {
        run(cargo().args(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    }
    let peer = match peer {
        Some(Err(error)) => {
            say(format_args!("bench: without a peer beside it: {error:#}"));
            None
        }
        Some(Ok(tree)) => Some(tree),
        None => None,
    };
    let benchmarks: &[&str] = match options.only {
        Some(Benchmark::Node) => &["bench"],
        Some(Benchmark::Cri) => &["bench-cri"],
        None => &["bench", "bench-cri"],
    };
    for name in benchmarks {
        let mut command = Command::new(target().join(profile).join("e2e"));
        command.arg(name).args(&options.arguments);
        if let Some(tree) = &peer {
            command.arg("--peer").arg(tree);
        }
        if !status(&mut command)?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What will be run, for now.
pub(crate) fn conformance() -> ExitCode {
    say(
        "conformance: not yet. It will run, against this node on the suite's own control plane:
  - e2e.test of Kubernetes 1.37, the specs labelled NodeConformance, then Conformance, with one worker node;
  - the same specs against kubelet and containerd, to tell the suite's failures from ours.
Until then `make test` runs the node against the real control plane, and critest against cri-shim.",
    );
    ExitCode::from(2)
}

/// Builds every program, with the selection of `test`.
pub(crate) fn build() -> anyhow::Result<()> {
    run(cargo().args(["build", "--workspace", "--all-targets", "--locked"]))
}

fn exit(command: &mut Command) -> anyhow::Result<ExitCode> {
    Ok(if status(command)?.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
