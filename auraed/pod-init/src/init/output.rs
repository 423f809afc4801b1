//! A container's standard output or error: read, logged, and copied to attached clients.
//!
//! The container waits for nothing but the log's disk: a client that does not keep up is cut off.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::container::{Live, live_of};
use super::poll::{Poll, Token};
use super::{Init, Requester};
use crate::fault::{Blame, Result};
use crate::log::{Line, Log};
use crate::protocol::{Event, Failure, Reply};

const CHUNK_BYTES: usize = 16 << 10;
/// Chunks read before others have their turn.
const CHUNKS_AT_ONCE: usize = 4;
/// Chunks read after the container's end. A pipe holds four, unless somebody made it larger; a process elsewhere that
/// holds it open could fill it for ever.
const CHUNKS_AT_END: usize = 128;
/// What an attached client may be behind.
const TAP_BYTES: usize = 1 << 20;

pub(super) struct Output {
    name: &'static str,
    source: Option<OwnedFd>,
    line: Line,
    /// Write ends of attached clients' pipes.
    taps: Vec<OwnedFd>,
}

impl Output {
    pub(super) fn new(name: &'static str, source: Option<OwnedFd>) -> Self {
        Self {
            name,
            source,
            line: Line::default(),
            taps: Vec::new(),
        }
    }

    pub(super) fn watch(&self, poll: &Poll, token: Token) -> io::Result<()> {
        self.source
            .as_ref()
            .map_or(Ok(()), |source| poll.add(source, token))
    }

    pub(super) fn close(&mut self, poll: &Poll) {
        if let Some(source) = self.source.take() {
            poll.remove(source);
        }
        self.taps.clear();
    }

    /// Reads up to `chunks` pieces. Whatever ends the stream ends the last line.
    fn read(&mut self, log: &mut Log, poll: &Poll, chunks: usize) {
        let mut chunk = [0; CHUNK_BYTES];
        for _ in 0..chunks {
            let Some(source) = &self.source else { return };
            match read(source, &mut chunk) {
                Ok(count @ 1..) => {
                    log.append(self.name, &mut self.line, &chunk[..count]);
                    self.taps.retain(|tap| write(tap, &chunk[..count]) == Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // A terminal that nobody has open any more says EIO.
                Ok(_) | Err(_) => {
                    log.finish(self.name, &mut self.line);
                    self.close(poll);
                }
            }
        }
    }

    /// Reads what is left after the container's end, and closes.
    pub(super) fn drain(&mut self, log: &mut Log, poll: &Poll) {
        self.read(log, poll, CHUNKS_AT_END);
        log.finish(self.name, &mut self.line);
        self.close(poll);
    }

    fn tap(&mut self) -> Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).blame_node("make a pipe")?;
        // A smaller one does as well, for a client that reads.
        let _ = fcntl_setpipe_size(&write, TAP_BYTES);
        if self.source.is_some() {
            self.taps.push(write);
        }
        Ok(read)
    }
}

impl Live {
    /// What a client writes the container's input to. With `stdin_once` the first one gets all there is, so that the kernel
    /// tells the container of its end, however the client and the daemon end.
    fn input_for_client(&mut self) -> Option<OwnedFd> {
        match &self.input {
            Some(_) if self.spec.stdin && self.spec.stdin_once && self.spec.process.terminal.is_none() => {
                self.input.take()
            }
            Some(input) if self.spec.stdin => input.try_clone().ok(),
            _ => None,
        }
    }
}

impl Init {
    pub(super) fn read_output(&mut self, serial: u64, index: usize) {
        let Some(live) = live_of(&mut self.containers, serial) else {
            return;
        };
        let before = live.log.rotations();
        live.outputs[index].read(&mut live.log, &self.poll, CHUNKS_AT_ONCE);
        if live.log.rotations() > before {
            let container = live.spec.name.clone();
            self.tell(Event::LogRotated { container });
        }
    }

    /// Gives a client its own copy of a container's streams.
    pub(super) fn attach(&mut self, requester: Requester, container: &str, output_only: bool) {
        let Some(live) = self.running(container) else {
            return self.reply(requester, Err(Failure::NotRunning), Vec::new());
        };
        let terminal = live.spec.process.terminal.is_some();
        let streams = if terminal { 1 } else { 2 };
        let taps: Result<Vec<OwnedFd>> = live.outputs[..streams].iter_mut().map(Output::tap).collect();
        match taps {
            Ok(taps) => {
                let input = if output_only {
                    None
                } else {
                    live.input_for_client()
                };
                let mut descriptors: Vec<OwnedFd> = input.into_iter().collect();
                let stdin = !descriptors.is_empty();
                descriptors.extend(taps);
                self.reply(requester, Ok(Reply::Attached { stdin, terminal }), descriptors);
            }
            Err(fault) => self.reply(requester, Err(fault.into()), Vec::new()),
        }
    }
}
