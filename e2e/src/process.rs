//! The suite's child processes.
//!
//! A [`Spawner`] is a thread that lives as long as its owner wants its programs to live: each is started with a
//! parent-death signal, which the kernel ties to the *thread* that forked, so that nothing outlives a test that is
//! killed. A [`Program`] is one child: its log is a file, and dropping it kills it by its pid and reaps it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The environment variable that marks every process of a run with its directory; `sweep` finds them by it.
pub const MARK: &str = "AURAE_E2E_RUN";

/// What to start, and as whom.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A short name, for messages and the log file.
    pub name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    user: Option<(u32, u32)>,
    /// Whether it dies with the spawner. Off for what a test leaves behind on purpose.
    bound: bool,
}

impl Launch {
    /// `program` with no arguments, as root.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
            bound: true,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Looks for programs that it calls in this directory first.
    ///
    /// # Errors
    /// The directory's name holds a colon.
    pub fn looking_in(self, directory: &Path) -> anyhow::Result<Self> {
        let given = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&given));
        Ok(self.env("PATH", std::env::join_paths(path).context("the search path")?))
    }

    /// Runs it as this user and group, without supplementary groups.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    fn command(&self) -> Command {
        let mut command;
        if self.bound || self.user.is_some() {
            command = Command::new("setpriv");
            if let Some((uid, gid)) = self.user {
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={gid}"))
                    .arg("--clear-groups");
            }
            if self.bound {
                command.args(["--pdeathsig", "KILL"]);
            }
            command.arg("--").arg(&self.program);
        } else {
            command = Command::new(&self.program);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

type Request = (Box<Command>, mpsc::Sender<io::Result<Child>>);

/// A thread, possibly in a network namespace of its own, that starts programs; they end when it is dropped.
#[derive(Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
    run: PathBuf,
}

impl Spawner {
    /// Starts the thread. `run` is the directory of the run, for [`MARK`]; programs run in `network` if it is given.
    ///
    /// # Errors
    /// No thread, or the namespace cannot be entered.
    pub fn start(run: &Path, network: Option<OwnedFd>) -> anyhow::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let (ready, entered) = mpsc::channel();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let moved = network.map_or(Ok(()), |namespace| {
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                });
                let failed = moved.is_err();
                // A caller that is gone wants no answer, here and below.
                let _ = ready.send(moved);
                if failed {
                    return;
                }
                for (mut command, reply) in inbox {
                    let _ = reply.send(command.spawn());
                }
            })?;
        entered
            .recv()
            .context("the spawner ended")?
            .context("entering the network namespace")?;
        Ok(Self {
            requests,
            run: run.to_owned(),
        })
    }

    /// Starts a program that logs to `log` (appended to, so that a restart keeps what was said before).
    ///
    /// # Errors
    /// The log cannot be written or the program cannot be started.
    pub fn launch(&self, launch: &Launch, log: &Path) -> anyhow::Result<Program> {
        let output = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = launch.command();
        command
            .env(MARK, &self.run)
            .stdin(Stdio::null())
            .stdout(Stdio::from(output.file().try_clone()?))
            .stderr(Stdio::from(output.into_file()));
        let child = self
            .spawn(command)
            .with_context(|| format!("starting {}", launch.name))?;
        Ok(Program {
            name: launch.name.clone(),
            pid: child.id(),
            log: log.to_owned(),
            child: Mutex::new(child),
        })
    }

    /// Starts a prepared command on the thread.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, command: Command) -> anyhow::Result<Child> {
        let (reply, answer) = mpsc::channel();
        self.requests
            .send((Box::new(command), reply))
            .ok()
            .context("the spawner ended")?;
        Ok(answer.recv().context("the spawner ended")??)
    }
}

/// A running child.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Program {
    /// Its process id. `setpriv` and `nsenter` execute in place, so it is the program's own.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with everything it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its exit status, if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()
            .ok()
            .flatten()
    }

    /// # Errors
    /// It has ended; with the end of its log.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({status}); the end of {}:\n{}",
                self.name,
                self.log.display(),
                self.tail(20)
            ),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // The pid cannot have been reused: the child is not reaped while the lock is held.
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// SIGKILL, and reaps it: the crash of the crash tests.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only when it has ended and is reaped.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGTERM, then waits.
    ///
    /// # Errors
    /// It does not end within `patience` (it is killed then).
    pub fn terminate(&self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        match self.wait(patience) {
            Some(status) => Ok(status),
            None => {
                self.kill();
                bail!(
                    "{} did not end within {patience:?} of SIGTERM; the end of its log:\n{}",
                    self.name,
                    self.tail(20)
                )
            }
        }
    }

    /// Waits for its end, `None` after `patience`.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a file, empty if it cannot be read.
pub fn tail(file: &Path, lines: usize) -> String {
    let content = fs_err::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Puts a program elsewhere: a hard link, or a copy where that is on another file system. The copy is another process'
/// work: a descriptor of ours on it, which a child of another thread has until it executes, would make it busy.
///
/// # Errors
/// It cannot be put there.
pub fn place_program(source: &Path, target: &Path) -> anyhow::Result<()> {
    if fs_err::hard_link(source, target).is_err() {
        output(
            Command::new("cp")
                .arg("--remove-destination")
                .arg(source)
                .arg(target),
        )?;
    }
    Ok(())
}

/// Writes a program that is a script. By another process, for the reason of [`place_program`].
///
/// # Errors
/// It cannot be written.
pub fn write_script(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting sh")?;
    let mut input = writer.stdin.take().context("no input")?;
    input.write_all(content.as_bytes()).context("writing a script")?;
    drop(input);
    if !writer.wait()?.success() {
        bail!("cannot write {}", path.display());
    }
    Ok(())
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or fails; with what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_in_its_place_stays_whole() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let (source, target) = (directory.path().join("a"), directory.path().join("b"));
        fs_err::write(&source, "program")?;
        // The second time it is a link to itself.
        for _time in 0..2 {
            place_program(&source, &target)?;
            assert_eq!(fs_err::read(&source)?, b"program");
            assert_eq!(fs_err::read(&target)?, b"program");
        }
        Ok(())
    }

    #[test]
    fn a_script_can_be_run_when_it_is_written() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let script = directory.path().join("script");
        write_script(&script, "#!/bin/sh\necho \"said $1\"\n")?;
        assert_eq!(output(Command::new(&script).arg("so"))?, "said so\n");
        Ok(())
    }
}
