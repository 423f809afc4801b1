//! The end of processes: reaped, told apart, recorded.
//!
//! A container's end is told last: first its other processes are killed, its output is in the log, its exit in the record
//! and its cgroup gone, so that whoever hears of it finds all of that. The exit of a start that failed is its answer; only
//! if nobody is there to hear it, it becomes a record.

use std::time::SystemTime;

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::container::{Live, Slot};
use super::execution::Execution;
use super::{Init, Requester};
use crate::protocol::{ContainerRun, Event, ExitRecord, Failure, Reply, RunState};
use crate::{cgroup, file};

/// For a container whose program was never executed.
const NOT_STARTED: i32 = 128;

/// How a process ended.
#[derive(Debug, Clone, Copy)]
struct End {
    code: i32,
    signal: i32,
}

impl End {
    fn of(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self {
                code: 128 + signal,
                signal,
            },
            None => Self {
                code: status.exit_status().unwrap_or_default(),
                signal: 0,
            },
        }
    }
}

impl Init {
    /// Reaps whatever has ended: our own children, and what they left to us.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            // A new process's id is told before it runs, so that it is known now.
            self.read_births();
            self.ended(pid, End::of(status));
        }
        self.removals.retry(&self.poll);
    }

    fn ended(&mut self, pid: Pid, end: End) {
        if self.pause.as_ref().is_some_and(|pause| pause.is(pid)) {
            // All containers ended with the first process of their PID namespace: so does the pod.
            self.pause = None;
            return self.shut_down(None);
        }
        if let Some(index) = self
            .containers
            .iter()
            .position(|slot| slot.live().is_some_and(|live| live.concerns(pid)))
        {
            self.container_process_ended(index, pid, end);
        } else if let Some(index) = self
            .executions
            .iter()
            .position(|execution| execution.concerns(pid))
        {
            self.execution_process_ended(index, pid, end);
        }
    }

    fn container_process_ended(&mut self, index: usize, pid: Pid, end: End) {
        let Some(Slot::Live(live)) = self.containers.get(index) else {
            return;
        };
        if live.main.is_some_and(|main| main != pid) {
            // It has forked the container's process, and its own work was done.
            return;
        }
        let Slot::Live(live) = self.containers.remove(index) else {
            return;
        };
        self.container_over(index, live, end);
    }

    fn container_over(&mut self, index: usize, mut live: Box<Live>, end: End) {
        if !live.own_pids {
            // Else the kernel killed them with the first process of their PID namespace.
            cgroup::kill(&live.spec.cgroups);
        }
        for output in &mut live.outputs {
            output.drain(&mut live.log, &self.poll);
        }
        let failure = live
            .birth
            .take()
            .map(|mut birth| (birth.requester, Failure::from(birth.fault())));
        let heard = failure
            .as_ref()
            .is_some_and(|(to, _)| self.connections.contains_key(&to.connection));
        let run = (!heard).then(|| record(&live, end, failure.as_ref().map(|(_, failure)| failure.clone())));
        // Before anybody is told: the next attempt may make the same cgroup again.
        let cgroups = std::mem::take(&mut live.spec.cgroups);
        self.removals.remove(cgroups, &self.poll);
        drop(live);
        if let Some(run) = run {
            self.containers
                .insert(index.min(self.containers.len()), Slot::Over(run.clone()));
            self.tell(Event::Exited(run));
        } else if let Some((requester, failure)) = failure {
            self.reply(requester, Err(failure), Vec::new());
        }
        self.answer_status();
    }

    fn execution_process_ended(&mut self, index: usize, pid: Pid, end: End) {
        let Some(execution) = self.executions.get(index) else {
            return;
        };
        if execution.main.is_some_and(|main| main != pid) {
            return;
        }
        let execution = self.executions.remove(index);
        match execution.birth {
            Some(mut birth) => self.reply(birth.requester, Err(birth.fault().into()), Vec::new()),
            None => {
                let event = Event::ExecExited {
                    exec: execution.serial,
                    exit_code: end.code,
                };
                self.tell_one(execution.requester.connection, event);
            }
        }
    }

    /// Kills everything; the event loop ends when nothing runs any more.
    pub(super) fn shut_down(&mut self, requester: Option<Requester>) {
        self.stopping = Some(requester.or(self.stopping.flatten()));
        for live in self.containers.iter().filter_map(Slot::live) {
            if let Some(pid) = live.process() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            cgroup::kill(&live.spec.cgroups);
        }
    }

    /// Answers the status calls that waited, if all starts are over.
    pub(super) fn answer_status(&mut self) {
        if self
            .containers
            .iter()
            .filter_map(Slot::live)
            .any(|live| live.birth.is_some())
        {
            return;
        }
        for requester in std::mem::take(&mut self.status_waiters) {
            let runs = self.containers.iter().map(Slot::run).collect();
            let status = Reply::Status {
                version: crate::protocol::VERSION,
                runs,
            };
            self.reply(requester, Ok(status), Vec::new());
        }
    }
}

impl Live {
    fn concerns(&self, pid: Pid) -> bool {
        self.main == Some(pid) || self.birth.as_ref().is_some_and(|birth| birth.forked == pid)
    }
}

impl Execution {
    fn concerns(&self, pid: Pid) -> bool {
        self.main == Some(pid) || self.birth.as_ref().is_some_and(|birth| birth.forked == pid)
    }
}

/// Writes down how a container ended.
fn record(live: &Live, end: End, failure: Option<Failure>) -> ContainerRun {
    let error = failure.map(|failure| match failure {
        Failure::Refused(text) | Failure::Failed(text) => text,
        other => format!("{other:?}"),
    });
    let end = if error.is_some() {
        End {
            code: NOT_STARTED,
            signal: 0,
        }
    } else {
        end
    };
    let run = live.run(RunState::Exited {
        exit_code: end.code,
        signal: end.signal,
        oom_killed: cgroup::oom_killed(&live.spec.cgroups),
        started_at: live.started_at,
        finished_at: SystemTime::now(),
        error,
    });
    if let Ok(text) = serde_json::to_vec(&ExitRecord {
        version: 1,
        run: run.clone(),
    }) {
        // On a full disk the status still tells it, as long as this process lives.
        let _ = file::replace(&live.spec.exit_path, &text);
    }
    run
}
