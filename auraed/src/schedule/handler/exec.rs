//! Running a program in the container.

use std::os::fd::OwnedFd;
use std::time::Duration;

use auraed_sandbox::ExecSpec;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;

use super::Target;
use crate::schedule::machine::Probed;

/// More of a probe's output than this tells nobody more.
const MAX_OUTPUT_BYTES: usize = 10 * 1024;

pub(super) async fn probe(target: &Target, command: &[String], timeout: Duration) -> Probed {
    match run(target, command, Some(timeout)).await {
        Ok(Ended {
            exit_code: Some(0), ..
        }) => Probed::Success,
        Ok(Ended {
            exit_code: Some(_),
            output,
        }) => Probed::Failure(output),
        Ok(Ended { exit_code: None, .. }) => Probed::Failure(format!(
            "command timed out: {command:?} timed out after {} s",
            timeout.as_secs()
        )),
        Err(message) => Probed::Unknown(message),
    }
}

pub(super) async fn hook(target: &Target, command: &[String]) -> Result<(), String> {
    let ended = run(target, command, None).await?;
    match ended.exit_code {
        Some(0) => Ok(()),
        Some(code) => Err(format!(
            "command {command:?} exited with {code}: {}",
            ended.output
        )),
        None => Err(format!("command {command:?} timed out")),
    }
}

struct Ended {
    /// None: it was killed because its time was over.
    exit_code: Option<i32>,
    /// Both streams, cut.
    output: String,
}

async fn run(target: &Target, command: &[String], timeout: Option<Duration>) -> Result<Ended, String> {
    let spec = ExecSpec {
        args: command.to_vec(),
        ..ExecSpec::default()
    };
    let mut exec = target
        .sandbox
        .exec(&target.container, spec)
        .await
        .map_err(|error| error.to_string())?;
    let (stdout, stderr) = (exec.stdout.try_clone(), exec.stderr.take());
    let stdout = stdout.and_then(receiver).map_err(|error| error.to_string())?;
    let stderr = stderr
        .map(receiver)
        .transpose()
        .map_err(|error| error.to_string())?;
    let finish = async {
        let mut output = Vec::new();
        // The program's end, not that of its streams, is the answer: a process that it left behind may hold them.
        let code = tokio::select! {
            code = exec.wait() => code,
            never = collect(stdout, stderr, &mut output) => match never {},
        };
        (code, output)
    };
    let finished = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, finish).await.ok(),
        None => Some(finish.await),
    };
    match finished {
        Some((code, output)) => {
            let exit_code = code.map_err(|error| error.to_string())?;
            Ok(Ended {
                exit_code: Some(exit_code),
                output: String::from_utf8_lossy(&output).into_owned(),
            })
        }
        None => {
            // It may have ended this moment, and then there is nothing to kill.
            let _ = exec.signal(rustix::process::Signal::KILL.as_raw()).await;
            Ok(Ended {
                exit_code: None,
                output: String::new(),
            })
        }
    }
}

fn receiver(stream: OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(stream)
}

/// Reads both streams for ever, keeping the beginning.
async fn collect(
    stdout: impl AsyncRead + Unpin,
    stderr: Option<impl AsyncRead + Unpin>,
    output: &mut Vec<u8>,
) -> std::convert::Infallible {
    let mut stdout = Some(stdout);
    let mut stderr = stderr;
    let (mut first, mut second) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            count = read(&mut stdout, &mut first) => keep(output, &first[..count]),
            count = read(&mut stderr, &mut second) => keep(output, &second[..count]),
        }
    }
}

/// One read; a stream that ended never answers again.
async fn read(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    if let Some(open) = stream {
        match open.read(buffer).await {
            Ok(count) if count > 0 => return count,
            _ => *stream = None,
        }
    }
    std::future::pending().await
}

fn keep(output: &mut Vec<u8>, data: &[u8]) {
    let room = MAX_OUTPUT_BYTES.saturating_sub(output.len());
    output.extend_from_slice(&data[..data.len().min(room)]);
}
