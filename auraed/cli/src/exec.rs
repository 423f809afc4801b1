//! `aurae exec`: a program in a container, with the terminal where one is wanted. Ends with the program's exit code.

use crate::arguments::ExecOptions;
use crate::failure::Failure;
use crate::printer;
use crate::session::Session;
use auraed_api::runtime::v0::exec_request::Event as Input;
use auraed_api::runtime::v0::exec_response::Event as Answer;
use auraed_api::runtime::v0::{CloseStdin, ContainerReference, ExecRequest, ExecStart, TerminalSize};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::process::ExitCode;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of standard input a message, and messages under way.
const CHUNK_BYTES: usize = 32 * 1024;
const QUEUE: usize = 8;

/// Runs the program to its end.
pub(crate) async fn exec(session: &Session, options: ExecOptions) -> Result<ExitCode, Failure> {
    if options.tty && options.stdin && !isatty(io::stdin()) {
        return Err(Failure::usage("-t needs a terminal as standard input").hint("leave -t away"));
    }
    let (requests, receiver) = mpsc::channel(QUEUE);
    let start = ExecStart {
        container: Some(ContainerReference {
            pod: options.pod,
            container: options.container.unwrap_or_default(),
        }),
        command: options.command,
        tty: options.tty,
        stdin: options.stdin,
        size: options.tty.then(window_size).flatten(),
        timeout_seconds: 0,
    };
    queue(&requests, Input::Start(start)).await;
    let client = session.connect().await?;
    let mut answers = client
        .runtime()
        .exec(ReceiverStream::new(receiver))
        .await?
        .into_inner();
    let _raw = if options.tty && options.stdin {
        Some(RawTerminal::enter()?)
    } else {
        None
    };
    if options.stdin {
        tokio::spawn(send_input(requests.clone()));
    }
    if options.tty {
        tokio::spawn(send_sizes(requests.clone(), signal(SignalKind::window_change())?));
    }
    while let Some(answer) = answers.message().await? {
        match answer.event {
            Some(Answer::Stdout(content)) => printer::bytes(&content)?,
            Some(Answer::Stderr(content)) => printer::error_bytes(&content)?,
            Some(Answer::ExitCode(code)) => return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
            None => {}
        }
    }
    Err(Failure::new("auraed went away before the program ended"))
}

async fn queue(requests: &mpsc::Sender<ExecRequest>, event: Input) -> bool {
    requests.send(ExecRequest { event: Some(event) }).await.is_ok()
}

async fn send_input(requests: mpsc::Sender<ExecRequest>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                queue(&requests, Input::CloseStdin(CloseStdin {})).await;
                return;
            }
            Ok(count) => {
                if !queue(&requests, Input::Stdin(buffer[..count].to_vec())).await {
                    return;
                }
            }
        }
    }
}

async fn send_sizes(requests: mpsc::Sender<ExecRequest>, mut changes: tokio::signal::unix::Signal) {
    while changes.recv().await.is_some() {
        if let Some(size) = window_size()
            && !queue(&requests, Input::Resize(size)).await
        {
            return;
        }
    }
}

fn window_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(TerminalSize {
        width: size.ws_col.into(),
        height: size.ws_row.into(),
    })
}

/// The terminal in raw mode, and back as it was at the end, whatever that is.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that went away needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
