//! One run of one plugin (section 2 of the specification): its environment, its input, its output, its end.
//!
//! The program is in a process group of its own, which is killed as a whole when it takes too long, prints too much, or
//! when nobody waits for it any more. What it leaves running after an orderly end is its own business.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::harmless;
use crate::orphan::Mark;
use crate::{Attachment, Error, ErrorObject, Verb};

/// Bytes of an answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// Bytes of a log that are kept; the rest is read and dropped.
const LONGEST_LOG: usize = 16 << 10;

/// How long an output may stay open after the program's end: what it left running may have it.
const AFTER_END: Duration = Duration::from_millis(500);

/// What a service manager says to the daemon alone.
const NOT_INHERITED: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// Where programs are looked for by plugins where the daemon was told no such thing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where plugins are, and what they get beside the daemon's environment.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// A run that is wanted.
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) verb: Verb,
    /// None for verbs that are about none.
    pub(crate) attachment: Option<&'a Attachment>,
    pub(crate) input: &'a [u8],
    pub(crate) deadline: Instant,
    /// Where it is written that it runs, so that the next daemon can end it.
    pub(crate) mark: Option<PathBuf>,
}

/// The group's end, if it is not taken out before.
struct Group(Option<Pid>);

struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    log: Vec<u8>,
}

enum Cut {
    Late,
    Long,
    System(io::Error),
}

impl Programs {
    /// The program of a plugin: the first file of that name.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub(crate) fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        let mut candidates = self.directories.iter().map(|directory| directory.join(plugin));
        candidates
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| Error::Missing {
                plugin: plugin.to_owned(),
                searched: self.path().to_string_lossy().replace(':', ", "),
            })
    }

    /// Runs a plugin and gives what it printed.
    ///
    /// # Errors
    /// [`Error`] of its failure; nothing of it runs on then.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Error> {
        let plugin = || call.plugin.to_owned();
        let program = self.find(call.plugin)?;
        let begun = Instant::now();
        let ended = run(self.command(&program, &call), &call).await;
        let ended = ended.map_err(|cut| match cut {
            Cut::Late => Error::TimedOut {
                plugin: plugin(),
                verb: call.verb,
            },
            Cut::Long => Error::TooMuch {
                plugin: plugin(),
                verb: call.verb,
            },
            Cut::System(source) => Error::Run {
                plugin: plugin(),
                source,
            },
        })?;
        let log = harmless(&String::from_utf8_lossy(&ended.log));
        tracing::debug!(
            plugin = call.plugin,
            verb = %call.verb,
            id = call.attachment.map_or("", |attachment| &attachment.id),
            milliseconds = begun.elapsed().as_millis(),
            status = %ended.status,
            log,
            "a network plugin ended"
        );
        if ended.status.success() {
            return Ok(ended.output);
        }
        Err(match ErrorObject::parse(&ended.output) {
            Some(object) => Error::Refused {
                plugin: plugin(),
                verb: call.verb,
                object,
            },
            None => Error::Failed {
                plugin: plugin(),
                verb: call.verb,
                status: ended.status,
                output: match harmless(&String::from_utf8_lossy(&ended.output)) {
                    output if output.is_empty() => log,
                    output => output,
                },
            },
        })
    }

    fn command(&self, program: &Path, call: &Call<'_>) -> Command {
        let mut command = Command::new(program);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        if std::env::var_os("PATH").is_none() {
            command.env("PATH", DEFAULT_PATH);
        }
        let none = Attachment::default();
        let attachment = call.attachment.unwrap_or(&none);
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // All of them each time: the daemon itself may have been started by a plugin's test.
            .env("CNI_COMMAND", call.verb.as_str())
            .env("CNI_CONTAINERID", &attachment.id)
            .env("CNI_NETNS", &attachment.namespace)
            .env("CNI_IFNAME", &attachment.interface)
            .env("CNI_ARGS", attachment.argument_text())
            .env("CNI_PATH", self.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn path(&self) -> OsString {
        let directories: Vec<&OsStr> = self.directories.iter().map(|path| path.as_os_str()).collect();
        directories.join(OsStr::new(":"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(mut command: Command, call: &Call<'_>) -> Result<Ended, Cut> {
    let mut child = command.spawn().map_err(Cut::System)?;
    // It goes before the child does, so that the number is still this group's.
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let _mark = call
        .mark
        .as_ref()
        .zip(id)
        .and_then(|(mark, id)| Mark::set(mark.clone(), id));
    let mut group = Group(id);
    match timeout_at(call.deadline, converse(&mut child, &mut group, call.input)).await {
        Ok(Ok(ended)) => Ok(ended),
        cut => {
            drop(group);
            // Killed, it ends at once; only then is its number free.
            let _ = child.wait().await;
            Err(match cut {
                Ok(Err(cut)) => cut,
                _ => Cut::Late,
            })
        }
    }
}

async fn converse(child: &mut Child, group: &mut Group, input: &[u8]) -> Result<Ended, Cut> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async move {
        let Some(mut stdin) = stdin else { return };
        // A plugin may well answer without having read everything.
        let _ = stdin.write_all(input).await;
    };
    let (mut output, mut log) = (Vec::new(), Vec::new());
    let status = {
        let mut reading = std::pin::pin!(async {
            let read = tokio::join!(
                collect(stdout, &mut output, LONGEST_ANSWER),
                collect(stderr, &mut log, LONGEST_LOG)
            );
            read.0.map(drop)
        });
        let mut ending = std::pin::pin!(child.wait());
        let mut writing = std::pin::pin!(write);
        let (mut read, mut written) = (None, None);
        let status = loop {
            tokio::select! {
                biased;
                status = &mut ending => {
                    // From here on the number may be another's.
                    group.0 = None;
                    break status.map_err(Cut::System)?;
                }
                done = &mut reading, if read.is_none() => {
                    done?;
                    read = Some(());
                }
                () = &mut writing, if written.is_none() => written = Some(()),
            }
        };
        if read.is_none() {
            // What was printed before the end is in the pipe already.
            if let Ok(done) = timeout(AFTER_END, reading).await {
                done?;
            }
        }
        status
    };
    log.truncate(LONGEST_LOG);
    Ok(Ended { status, output, log })
}

/// Reads to the end. Of an answer more than `most` bytes are an error; of a log they are dropped.
async fn collect(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, most: usize) -> Result<(), Cut> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) if into.len() + count <= most => {
                into.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            Ok(_) if most == LONGEST_ANSWER => return Err(Cut::Long),
            Ok(_) => {}
        }
    }
}
