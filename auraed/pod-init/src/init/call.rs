//! What a client can ask for.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Init, Requester};
use crate::cgroup;
use crate::protocol::{Call, Failure, Reply, TerminalSize};
use crate::sys;

type Answer = Result<Reply, Failure>;

impl Init {
    /// Does what is asked. Starts and shutdowns are answered later, everything else at once.
    pub(super) fn call(&mut self, requester: Requester, call: Call, descriptors: Vec<OwnedFd>) {
        let answer = match call {
            Call::Start(_) | Call::Exec { .. } if self.stopping.is_some() => {
                Err(Failure::Failed("the pod is shutting down".to_owned()))
            }
            Call::Start(container) => return self.start(requester, *container, descriptors),
            Call::Exec { container, exec } => return self.execute(requester, &container, &exec, descriptors),
            Call::Attach {
                container,
                output_only,
            } => return self.attach(requester, &container, output_only),
            Call::Status => {
                self.status_waiters.push(requester);
                return self.answer_status();
            }
            Call::Shutdown => return self.shut_down(Some(requester)),
            Call::Setup(setup) => self.set_up(setup, descriptors),
            Call::Signal {
                container,
                signal,
                all,
            } => self.signal(&container, signal, all),
            Call::SignalExec { exec, signal, group } => self.execution(exec).and_then(|pid| {
                if group {
                    send_group(pid, signal)
                } else {
                    send(pid, signal)
                }
            }),
            Call::Resize { container, size } => self.resize(&container, size),
            Call::CloseInput { container } => self.with_running(&container, |live| live.input = None),
            Call::ReopenLog { container } => self.reopen_log(&container),
            Call::Subscribe => {
                if let Some(connection) = self.connections.get_mut(&requester.connection) {
                    connection.subscribed = true;
                }
                Ok(Reply::Done)
            }
        };
        self.reply(requester, answer, Vec::new());
    }

    fn with_running(&mut self, container: &str, act: impl FnOnce(&mut super::container::Live)) -> Answer {
        let live = self.running(container).ok_or(Failure::NotRunning)?;
        act(live);
        Ok(Reply::Done)
    }

    fn reopen_log(&mut self, container: &str) -> Answer {
        let live = self.running(container).ok_or(Failure::NotRunning)?;
        live.log.reopen().map(|()| Reply::Done).map_err(|error| {
            Failure::Failed(format!("open the log {}: {error}", live.spec.log_path.display()))
        })
    }

    /// Signals a container, also one that is just being started.
    fn signal(&mut self, container: &str, signal: i32, all: bool) -> Answer {
        let mut live = self.containers.iter().filter_map(super::Slot::live);
        let live = live
            .find(|live| live.spec.name == container)
            .ok_or(Failure::NotRunning)?;
        let main = live.process().ok_or(Failure::NotRunning)?;
        if all {
            let signal = parse(signal)?;
            if signal == Signal::KILL {
                cgroup::kill(&live.spec.cgroups);
            } else {
                cgroup::signal(&live.spec.cgroups, signal);
                return Ok(Reply::Done);
            }
        }
        send(main, signal)
    }

    fn resize(&mut self, container: &str, size: TerminalSize) -> Answer {
        let live = self.running(container).ok_or(Failure::NotRunning)?;
        if live.spec.process.terminal.is_none() {
            return Err(Failure::Refused("the container has no terminal".to_owned()));
        }
        let terminal = live.input.as_ref().ok_or(Failure::NotRunning)?;
        sys::set_terminal_size(terminal.as_fd(), size.columns, size.rows)
            .map(|()| Reply::Done)
            .map_err(|error| Failure::Failed(format!("resize the terminal: {error}")))
    }
}

fn parse(signal: i32) -> Result<Signal, Failure> {
    sys::signal(signal).ok_or_else(|| Failure::Refused(format!("{signal} is not a signal")))
}

/// Signals the process group that a process of ours leads: a program that was executed has made its own session.
fn send_group(leader: Pid, signal: i32) -> Answer {
    kill_process_group(leader, parse(signal)?)
        .map(|()| Reply::Done)
        .map_err(|error| Failure::Failed(format!("send signal {signal} to a group: {error}")))
}

/// Signals a process of ours. It is not reaped, so that the number is still its.
fn send(pid: Pid, signal: i32) -> Answer {
    kill_process(pid, parse(signal)?)
        .map(|()| Reply::Done)
        .map_err(|error| Failure::Failed(format!("send signal {signal}: {error}")))
}
