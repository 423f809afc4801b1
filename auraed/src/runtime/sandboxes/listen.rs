//! What is heard of a sandbox and its containers, and what becomes of their records.

use super::Shared;
use super::entry::{Container, ContainerLive, Entry};
use super::record::{nanoseconds, now};
use crate::server::chain;
use api::{ContainerState, RuntimeEventKind};
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{ContainerRun, Events, ResolvedUser, RunState, SandboxEvent};
use std::sync::Arc;

/// For a container whose program was never executed.
const NOT_STARTED: i32 = 128;
/// 128 and SIGKILL: what the kernel does to those in the PID namespace of a pod init that dies.
const KILLED: i32 = 137;
/// For an end that nobody recorded.
const UNKNOWN: i32 = 255;

/// How a container ended whose end is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its sandbox, just now.
    Killed,
    /// Somehow, while no daemon ran.
    Unknown,
}

/// What became of a container.
#[derive(Debug)]
pub(super) enum Change {
    /// Its program was executed.
    Started {
        started_at: i64,
        pid: u32,
        user: Option<ResolvedUser>,
    },
    /// It is over.
    Exited {
        /// 0: it never ran.
        started_at: i64,
        finished_at: i64,
        exit_code: i32,
        reason: &'static str,
        message: String,
        user: Option<ResolvedUser>,
    },
}

/// What a pod init says of a run.
pub(super) fn told(run: ContainerRun) -> Change {
    match run.state {
        RunState::Running { started_at } => Change::Started {
            started_at: nanoseconds(started_at),
            pid: run.pid.unwrap_or(0),
            user: run.user,
        },
        RunState::Exited { .. } => exited(run),
    }
}

/// The same of one that is over; one that is not is lost with its init.
pub(super) fn exited(run: ContainerRun) -> Change {
    let RunState::Exited {
        exit_code,
        oom_killed,
        started_at,
        finished_at,
        error,
        ..
    } = run.state
    else {
        return lost(Ending::Unknown);
    };
    let reason = match (&error, oom_killed, exit_code) {
        (Some(_), ..) => "StartError",
        (None, true, _) => "OOMKilled",
        (None, false, 0) => "Completed",
        (None, false, _) => "Error",
    };
    Change::Exited {
        started_at: if error.is_some() {
            0
        } else {
            nanoseconds(started_at)
        },
        finished_at: nanoseconds(finished_at),
        exit_code,
        reason,
        message: error.unwrap_or_default(),
        user: run.user,
    }
}

/// Of one whose end was not recorded. It keeps its start.
pub(super) fn lost(ending: Ending) -> Change {
    let (exit_code, reason, message) = match ending {
        Ending::Killed => (KILLED, "Error", "it was killed with its sandbox"),
        Ending::Unknown => (UNKNOWN, "Unknown", "its end was not recorded"),
    };
    Change::Exited {
        started_at: 0,
        finished_at: now(),
        exit_code,
        reason,
        message: message.to_owned(),
        user: None,
    }
}

/// Of one that could not be started.
pub(super) fn not_started(message: String) -> Change {
    Change::Exited {
        started_at: 0,
        finished_at: now(),
        exit_code: NOT_STARTED,
        reason: "StartError",
        message,
        user: None,
    }
}

impl Shared {
    /// Follows a sandbox to its end, and gives back what it had.
    pub(super) fn listen(self: &Arc<Self>, entry: &Arc<Entry>, mut events: Events) {
        let (shared, entry) = (Arc::clone(self), Arc::clone(entry));
        let stop = self.stop.clone();
        let listening = async move {
            while let Some(event) = events.next().await {
                if let SandboxEvent::Started(run) | SandboxEvent::Exited(run) = event
                    && let Some(container) = entry.container(&run.name)
                {
                    shared.apply(&entry, &container, told(run));
                }
            }
            shared.lost(&entry).await;
        };
        self.tasks
            .spawn(async move { stop.run_until_cancelled(listening).await });
    }

    /// The pod init has ended; if nobody else sees to what is left, this does.
    async fn lost(&self, entry: &Entry) {
        entry.life.cancel();
        let _turn = entry.turn.write().await;
        if entry.sandbox().is_ok() {
            tracing::warn!(sandbox = entry.id(), "a sandbox has ended by itself");
            entry.set_message("its init has ended by itself".to_owned());
        }
        if let Err(error) = self.end(entry).await {
            tracing::warn!(
                sandbox = entry.id(),
                error = chain(&error),
                "what a sandbox had is not given back yet"
            );
        }
    }

    /// Lets SQLite and the watchers know what became of a container. What is known already is told once.
    pub(super) fn apply(&self, entry: &Entry, container: &Container, change: Change) {
        let _telling = entry.telling();
        let mut events = Vec::new();
        self.change(container, |live| {
            events = step(live, change);
            !events.is_empty()
        });
        for event in events {
            self.hub.tell(event, entry, container.id());
        }
    }

    /// Tells what became of the sandbox itself, or that one of its containers was made or removed.
    pub(super) fn tell(&self, kind: RuntimeEventKind, entry: &Entry, container: &str) {
        let _telling = entry.telling();
        self.hub.tell(kind, entry, container);
    }
}

/// The change of one container; the events that it is made of.
pub(super) fn step(live: &mut ContainerLive, change: Change) -> Vec<RuntimeEventKind> {
    let record = &mut live.record;
    match change {
        Change::Started {
            started_at,
            pid,
            user,
        } if record.state() == ContainerState::Created => {
            record.set_state(ContainerState::Running);
            record.started_at = started_at;
            record.user = user.map(wire_user);
            live.pid = pid;
            vec![RuntimeEventKind::Started]
        }
        // It was found again, by another daemon.
        Change::Started { pid, user, .. } => {
            if record.state() == ContainerState::Running && live.pid == 0 {
                live.pid = pid;
                record.user = user.map(wire_user).or(record.user.take());
            }
            Vec::new()
        }
        Change::Exited { .. } if record.state() == ContainerState::Exited => Vec::new(),
        Change::Exited {
            started_at,
            finished_at,
            exit_code,
            reason,
            message,
            user,
        } => {
            let mut events = vec![RuntimeEventKind::Stopped];
            if record.state() == ContainerState::Created && started_at != 0 {
                events.insert(0, RuntimeEventKind::Started);
            }
            record.set_state(ContainerState::Exited);
            if started_at != 0 {
                record.started_at = started_at;
            }
            record.finished_at = finished_at;
            record.exit_code = exit_code;
            reason.clone_into(&mut record.reason);
            record.message = message;
            record.user = user.map(wire_user).or(record.user.take());
            live.pid = 0;
            events
        }
    }
}

fn wire_user(user: ResolvedUser) -> api::ProcessUser {
    api::ProcessUser {
        uid: user.uid,
        gid: user.gid,
        supplemental_groups: user.groups,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sandboxes::record::ContainerRecord;
    use RuntimeEventKind::{Started, Stopped};

    fn created() -> ContainerLive {
        let mut record = ContainerRecord::default();
        record.set_state(ContainerState::Created);
        ContainerLive {
            record,
            pid: 0,
            gone: false,
        }
    }

    fn started() -> Change {
        Change::Started {
            started_at: 5,
            pid: 77,
            user: Some(ResolvedUser::default()),
        }
    }

    fn run(exit_code: i32, oom_killed: bool, error: Option<&str>) -> ContainerRun {
        let time = |seconds| std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        ContainerRun {
            name: "c".into(),
            attempt: 0,
            id: "c".into(),
            state: RunState::Exited {
                exit_code,
                signal: 0,
                oom_killed,
                started_at: time(1),
                finished_at: time(2),
                error: error.map(str::to_owned),
            },
            user: None,
            pid: None,
        }
    }

    #[test]
    fn whoever_tells_first_a_life_is_told_once() {
        let mut live = created();
        assert_eq!(step(&mut live, started()), [Started]);
        assert_eq!((live.record.state(), live.pid), (ContainerState::Running, 77));
        assert_eq!(step(&mut live, started()), []);
        assert_eq!(step(&mut live, told(run(0, false, None))), [Stopped]);
        assert_eq!(live.pid, 0);
        assert_eq!(step(&mut live, started()), [], "its start is told late");
        assert_eq!(step(&mut live, lost(Ending::Killed)), []);
        assert_eq!(live.record.reason, "Completed");
    }

    #[test]
    fn an_end_that_comes_before_the_start_tells_both() {
        let mut live = created();
        assert_eq!(step(&mut live, told(run(3, false, None))), [Started, Stopped]);
        assert_eq!((live.record.exit_code, live.record.reason.as_str()), (3, "Error"));
        assert_eq!(live.record.started_at, 1_000_000_000);
    }

    #[test]
    fn reasons_are_those_that_people_know() {
        let reason = |change: Change| {
            let mut live = created();
            step(&mut live, change);
            (live.record.exit_code, live.record.reason)
        };
        assert_eq!(reason(told(run(0, true, None))), (0, "OOMKilled".to_owned()));
        assert_eq!(reason(told(run(137, false, None))), (137, "Error".to_owned()));
        assert_eq!(
            reason(told(run(128, false, Some("no such file")))),
            (128, "StartError".to_owned())
        );
        assert_eq!(reason(not_started("why".into())), (128, "StartError".to_owned()));
        assert_eq!(reason(lost(Ending::Unknown)), (255, "Unknown".to_owned()));
    }

    #[test]
    fn a_lost_container_keeps_its_start() {
        let mut live = created();
        step(&mut live, started());
        step(&mut live, lost(Ending::Killed));
        assert_eq!((live.record.started_at, live.record.exit_code), (5, 137));
        assert_ne!(live.record.finished_at, 0);
    }
}
