//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;

const AFTER: &str = "\
Files:
  /run/aurae/aurae.sock            auraed's socket
  /var/lib/cri-shim/identity       tls.crt, tls.key and ca.crt, made by
                                   `auraed identity issue cri-shim --out DIR --owner USER`

Signals:
  SIGTERM, SIGINT                  no more calls are taken; those under way get --drain-seconds. Containers run on.
                                   A second one ends it at once.

Exit codes:
  0 done, 1 failed, 2 wrong flags

Examples:
  cri-shim --listen unix:///run/cri-shim/cri.sock
  kubelet --container-runtime-endpoint=unix:///run/cri-shim/cri.sock ...
  crictl --runtime-endpoint unix:///run/cri-shim/cri.sock ps";

/// Serves the Kubernetes container runtime interface (CRI v1) and has auraed do what is asked for.
///
/// A kubelet or crictl connects to --listen. The shim decides nothing, remembers nothing and needs no privileges but
/// to read its identity and to make its socket; it may be killed and started again at any time. It tells the service
/// manager when it serves (sd_notify), whether auraed is there already or not.
#[derive(Clone, Debug, Parser)]
#[command(name = "cri-shim", version, max_term_width = 100, after_help = AFTER)]
pub struct Flags {
    /// Where the CRI is served: a Unix socket, made with mode 0660, and its directory where that is missing. One that a
    /// killed shim left is replaced.
    #[arg(long, value_name = "ENDPOINT", default_value = "unix:///run/cri-shim/cri.sock", value_parser = endpoint, value_hint = ValueHint::FilePath)]
    pub listen: PathBuf,
    /// auraed's socket.
    #[arg(long, value_name = "SOCKET", env = "AURAE_SOCKET", default_value = "/run/aurae/aurae.sock", value_hint = ValueHint::FilePath)]
    pub aurae_socket: PathBuf,
    /// Who this program is to auraed: a directory with tls.crt, tls.key and ca.crt (`auraed identity issue`).
    #[arg(long, value_name = "DIR", env = "AURAE_IDENTITY", default_value = "/var/lib/cri-shim/identity", value_hint = ValueHint::DirPath)]
    pub aurae_identity: PathBuf,
    /// Where streams of exec, attach and port-forward are served, to the kubelet alone; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub streaming_address: SocketAddr,
    /// How long calls and sessions that are under way may go on once the shim is told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub drain_seconds: u32,
    /// How much to log: 2 is usual, 4 tells of every call, 6 of every frame's kind.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,
    /// Without a command the CRI is served.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is done instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Prints a script that completes this program's flags.
    Completion {
        /// For which shell.
        shell: Shell,
    },
}

/// `unix:///path`, `unix:/path` or a bare path, from the root.
fn endpoint(text: &str) -> Result<PathBuf, String> {
    let path = text
        .strip_prefix("unix://")
        .or_else(|| text.strip_prefix("unix:"))
        .unwrap_or(text);
    if path.starts_with('/') && path.len() > 1 {
        Ok(PathBuf::from(path))
    } else {
        Err("must be the path of a Unix socket, as unix:///run/cri-shim/cri.sock".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        for text in ["unix:///run/cri.sock", "unix:/run/cri.sock", "/run/cri.sock"] {
            assert_eq!(endpoint(text), Ok(PathBuf::from("/run/cri.sock")), "{text}");
        }
        for text in ["tcp://127.0.0.1:1", "cri.sock", "unix://cri.sock", "", "unix:///"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Flags::command().debug_assert();
        let flags = Flags::try_parse_from(["cri-shim"]).unwrap();
        assert_eq!(flags.listen, PathBuf::from("/run/cri-shim/cri.sock"));
        // Where an ordinary user may make it: systemd gives it this directory.
        let unit = include_str!("../cri-shim.service");
        let directory = unit
            .lines()
            .find_map(|line| line.strip_prefix("RuntimeDirectory="));
        let directory = directory.map(|name| PathBuf::from("/run").join(name));
        assert_eq!(flags.listen.parent(), directory.as_deref());
        assert!(flags.command.is_none());
        // systemd's patience is longer than the shim's.
        let patience = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
        assert!(patience.unwrap().parse::<u32>().unwrap() > flags.drain_seconds);
    }
}
