//! What a person may type. The examples of each command's help are in [`examples`].

mod examples;

use crate::printer::Output;
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// Run and look after the pods of this node.
#[derive(Debug, Parser)]
#[command(name = "aurae", version, about, after_help = examples::ALL, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How to print: a table for people, JSON for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the daemon.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The daemon's socket.
    #[arg(long, env = "AURAE_SOCKET", default_value = "/run/aurae/aurae.sock", global = true, value_hint = ValueHint::FilePath)]
    pub(crate) socket: PathBuf,
    /// A directory with ca.crt, tls.crt and tls.key, as `auraed identity issue` writes it.
    #[arg(long, env = "AURAE_IDENTITY", default_value = "/var/lib/aurae/identity/admin", global = true, value_hint = ValueHint::DirPath)]
    pub(crate) identity: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run pods from a manifest.
    ///
    /// Reads Kubernetes manifests (Pod, with the ConfigMaps, Secrets and Services that it refers to beside it in the
    /// same file) and Aurae ones (apiVersion: aurae.dev/v0, kind: Pod, then the fields of aurae.schedule.v0.Pod in
    /// JSON's names). Several documents in one file are read in order. Waits until every container has started, unless
    /// told otherwise; what happens meanwhile goes to standard error.
    #[command(after_help = examples::RUN)]
    Run(RunOptions),
    /// Say what `run` would do and what this node refuses, and do nothing.
    ///
    /// Prints the steps in order, or each field that stands against the pod with the reason. Exits with 1 if anything
    /// is refused.
    #[command(after_help = examples::PLAN)]
    Plan(FileOptions),
    /// List pods.
    ///
    /// STATUS is what a pod waits for, how it ended, or else its phase. READY counts its containers that are ready.
    #[command(after_help = examples::PS)]
    Ps(PsOptions),
    /// Print a container's log.
    ///
    /// Standard output and standard error of the container, as it wrote them, in order.
    #[command(after_help = examples::LOGS)]
    Logs(LogsOptions),
    /// Run a program in a container.
    ///
    /// Ends with the program's exit code, or with 128 and the number of the signal that ended it.
    #[command(after_help = examples::EXEC)]
    Exec(ExecOptions),
    /// Stop pods: signal, grace period, kill.
    ///
    /// Waits until they have ended and prints their names. They stay listed, with their logs, until `rm`.
    #[command(after_help = examples::STOP)]
    Stop(StopOptions),
    /// Remove pods with their logs and files, stopping them first.
    #[command(after_help = examples::RM)]
    Rm(StopOptions),
    /// List images (short for `image ls`).
    Images,
    /// Pull an image (short for `image pull`).
    #[command(after_help = examples::PULL)]
    Pull(PullOptions),
    /// Images: list, pull, import, remove.
    #[command(after_help = examples::IMAGE)]
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Print what happened to pods.
    ///
    /// The daemon keeps a bounded history; with -f each further event is printed as it happens.
    #[command(after_help = examples::EVENTS)]
    Events(EventsOptions),
    /// Show a pod's start as a line of steps with milliseconds.
    ///
    /// Times count from the moment when the pod was accepted; all bars are on one scale.
    Why(WhyOptions),
    /// Print this node's facts.
    ///
    /// And, where it is not ready, what keeps it from running pods.
    Node,
    /// Print the versions of this program and of the daemon.
    Version,
    /// Print a completion script.
    ///
    /// For bash: aurae completion bash > /etc/bash_completion.d/aurae
    Completion {
        /// The shell that reads it.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images.
    Ls,
    /// Pull an image from its registry.
    Pull(PullOptions),
    /// Import an OCI image layout or a docker archive: a tar file, plain, gzip or zstd.
    Import(ImportOptions),
    /// Remove images by reference or id.
    Rm(ImageRmOptions),
}

#[derive(Args, Debug)]
pub(crate) struct FileOptions {
    /// Manifests: a file, or - for standard input. May be given several times.
    #[arg(short, long = "filename", required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) filename: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) files: FileOptions,
    /// Answer as soon as the pods are accepted.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Remove a pod of the same id first.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Give up waiting after this many seconds; the pods go on.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
}

#[derive(Args, Debug)]
pub(crate) struct PsOptions {
    /// Each container on a line of its own.
    #[arg(short, long)]
    pub(crate) containers: bool,
    /// Print again at each change.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Only these pods.
    pub(crate) pods: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LogsOptions {
    /// Go on as the container writes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The run before this one.
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Only lines since: a duration as 10s, 5m, 3h, or an RFC 3339 time.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Begin each line with its time.
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Which container; else the pod's first.
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// The pod: its id, NAMESPACE/NAME, or its name where only one pod has it.
    pub(crate) pod: String,
}

#[derive(Args, Debug)]
pub(crate) struct ExecOptions {
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the program a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Which container; else the pod's first.
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// The pod: its id, NAMESPACE/NAME, or its name where only one pod has it.
    pub(crate) pod: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct StopOptions {
    /// Seconds between the signal and the kill; else the pod's own.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) grace_period: Option<u64>,
    /// Every pod of this node.
    #[arg(long, conflicts_with = "pods")]
    pub(crate) all: bool,
    /// The pods: ids, NAMESPACE/NAME, or names where only one pod has them.
    #[arg(required_unless_present = "all")]
    pub(crate) pods: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PullOptions {
    /// [registry/]repository[:tag][@digest]
    pub(crate) reference: String,
    /// A user of the registry; the password is asked for, or read from standard input where that is no terminal.
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportOptions {
    /// The archive, or - for standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) archive: PathBuf,
    /// A name for the image, where the archive gives none.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) reference: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ImageRmOptions {
    /// References or ids; an id takes all its names away.
    #[arg(required = true)]
    pub(crate) references: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct EventsOptions {
    /// Go on as things happen.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only this pod's.
    pub(crate) pod: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct WhyOptions {
    /// The pod: its id, NAMESPACE/NAME, or its name where only one pod has it.
    pub(crate) pod: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn exec_takes_the_programs_own_flags() {
        let arguments = Arguments::parse_from(["aurae", "exec", "-it", "web", "--", "ls", "-l"]);
        let Command::Exec(options) = arguments.command else {
            panic!("not exec")
        };
        assert!(options.stdin && options.tty);
        assert_eq!(options.command, ["ls", "-l"]);
    }
}
