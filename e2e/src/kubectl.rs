//! kubectl 1.37 as people run it: the suite's client for everything that a person would do with it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};

use crate::home;
use crate::process::MARK;

/// kubectl with a kubeconfig, in the network namespace of its cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    namespace: String,
    network: u32,
    run: PathBuf,
}

impl Kubectl {
    /// For the cluster whose network namespace process `network` holds.
    ///
    /// # Errors
    /// kubectl is not built.
    pub fn new(kubeconfig: PathBuf, network: u32, run: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            program: home::built("kubectl")?,
            kubeconfig,
            cache: run.join("kubectl-cache"),
            namespace: "default".to_owned(),
            network,
            run,
        })
    }

    /// The same in another namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// The namespace it works in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command, for callers that need its pipes.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("-t")
            .arg(self.network.to_string())
            .args(["-n", "--"])
            .arg(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .env(MARK, &self.run);
        command
    }

    /// Runs it to its end, whatever its exit status.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn output<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Output> {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {command:?}"))
    }

    /// Runs it, with its standard output.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let output = self.output(arguments.iter().copied())?;
        finish(&arguments, &output)
    }

    /// Runs it with text on its standard input.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn run_with_input<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> anyhow::Result<String> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let mut command = self.command(arguments.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        // Dropped at the end of the statement: kubectl sees the end of its input.
        child
            .stdin
            .take()
            .context("kubectl has no input")?
            .write_all(input.as_bytes())
            .context("writing to kubectl")?;
        finish(&arguments, &child.wait_with_output()?)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// The API server refuses a manifest.
    pub fn apply(&self, manifests: &str) -> anyhow::Result<String> {
        self.run_with_input(["apply", "-f", "-"], manifests)
    }
}

fn finish(arguments: &[&str], output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!(
            "kubectl {} failed ({}): {}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
