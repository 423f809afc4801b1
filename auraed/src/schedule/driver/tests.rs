//! Drivers with an executor that does everything at once, in paused time.

use std::time::Duration;

use auraed_api::runtime::v0 as runtime;
use auraed_api::schedule::v0 as api;
use auraed_types::ContainerId;
use auraed_types::status::Phase;

use super::*;
use crate::schedule::executor::Inputs;
use crate::schedule::machine::{Exit, ImageFacts, Index, SandboxFacts};
use crate::schedule::watch::Change;

/// Answers each action well, and keeps what it was asked for.
struct FakeExecutor {
    inputs: Inputs,
    log: mpsc::UnboundedSender<Done>,
    starts: u32,
    fail_records: bool,
}

#[derive(Debug)]
enum Done {
    Action(Action),
    Row(PodRow),
    Message(Arc<Pod>),
    Files(Files),
}

struct FakeRevisions(std::sync::atomic::AtomicU64);

impl Revisions for FakeRevisions {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
    }
}

fn id(attempt: u32) -> ContainerId {
    ContainerId::new(format!("{attempt:064x}")).unwrap()
}

impl Executor for FakeExecutor {
    fn perform(&mut self, _pod: &Arc<Pod>, action: Action) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let exit = |attempt, exit_code| Exit {
            container: Index(0),
            attempt,
            id: id(attempt),
            exit_code,
            signal: 0,
            oom_killed: false,
            start_failed: false,
            started_at: now,
            finished_at: now,
            message: String::new(),
        };
        let input = match &action {
            Action::PrepareVolumes => Some(Input::VolumesReady),
            Action::CreateSandbox { .. } => {
                let facts = SandboxFacts {
                    addresses: vec![],
                    init_pid: 7,
                    detail: String::new(),
                };
                Some(Input::SandboxCreated(facts))
            }
            Action::DestroySandbox => Some(Input::SandboxDestroyed),
            Action::FetchImage { container } => {
                let image = ImageFacts {
                    id: "sha256:1".into(),
                    shown: "sha256:1".into(),
                    stop_signal: 15,
                };
                Some(Input::ImageReady {
                    container: *container,
                    image,
                    pulled: None,
                })
            }
            Action::StartContainer(start) => {
                self.starts += 1;
                let (container, attempt) = (start.container, start.attempt);
                Some(Input::Started {
                    container,
                    attempt,
                    id: id(attempt),
                    started_at: now,
                    detail: String::new(),
                })
            }
            Action::Signal { .. } => Some(Input::Exited(exit(self.starts - 1, 143))),
            Action::CleanUp => Some(Input::CleanedUp),
            Action::Forget => Some(Input::Forgotten),
            _ => None,
        };
        self.log.send(Done::Action(action)).unwrap();
        if let Some(input) = input {
            // A driver that was dropped hears nothing any more.
            let _ = self.inputs.send(input);
        }
    }

    fn record(&mut self, row: PodRow) -> Recorded {
        let failed = || Err(Arc::new(std::io::Error::other("full").into()));
        let outcome = if self.fail_records { failed() } else { Ok(()) };
        self.log.send(Done::Row(row)).unwrap();
        tokio::sync::watch::channel(Some(outcome)).1
    }

    fn set_pod(&mut self, _pod: &Arc<Pod>) {}

    fn keep_marks(&mut self, _marks: Marks) {}

    async fn shut_down(self) {}

    fn keep_message(&mut self, pod: &Arc<Pod>) -> Kept {
        self.log.send(Done::Message(Arc::clone(pod))).unwrap();
        tokio::spawn(async { Ok(()) })
    }

    async fn update_files(&mut self, _: &Arc<Pod>, _: &VolumeName, files: &Files) -> std::io::Result<bool> {
        self.log.send(Done::Files(files.clone())).unwrap();
        Ok(true)
    }
}

/// A driver at work.
struct Under {
    handle: Handle,
    outlets: Arc<Outlets>,
    inputs: Inputs,
    log: mpsc::UnboundedReceiver<Done>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Option<Vec<Answer<()>>>>,
}

fn message() -> api::Pod {
    let content = api::File {
        path: "key".into(),
        content: b"old".to_vec().into(),
        mode: 0o644,
        owner: None,
    };
    api::Pod {
        id: "uid-1".into(),
        name: "web".into(),
        containers: vec![runtime::Container {
            name: "c".into(),
            image: "example.org/c:1".into(),
            ..Default::default()
        }],
        volumes: vec![api::Volume {
            name: "v".into(),
            source: Some(api::volume::Source::Files(api::Files {
                files: vec![content],
                sensitive: true,
            })),
        }],
        ..Default::default()
    }
}

fn pod(message: api::Pod) -> Arc<Pod> {
    Arc::new(message.try_into().unwrap())
}

fn drive(fail_records: bool) -> Under {
    let clock = Clock::tied(jiff::Timestamp::UNIX_EPOCH);
    let (inputs, receiver) = mpsc::unbounded_channel();
    let (sender, log) = mpsc::unbounded_channel();
    let outlets = Arc::new(Outlets {
        statuses: Statuses::default(),
        events: EventHub::default(),
    });
    let stop = CancellationToken::new();
    let (driver, handle) = Driver::new(Parts {
        machine: Machine::new(pod(message()), clock.now()),
        executor: FakeExecutor {
            inputs: inputs.clone(),
            log: sender,
            starts: 0,
            fail_records,
        },
        revisions: FakeRevisions(0.into()),
        clock,
        outlets: Arc::clone(&outlets),
        inputs: receiver,
        stop: stop.clone(),
    });
    Under {
        handle,
        outlets,
        inputs,
        log,
        stop,
        task: tokio::spawn(driver.run()),
    }
}

impl Under {
    /// Waits until the pod's status is as wanted.
    async fn until(&self, wanted: impl Fn(&PodStatus) -> bool) -> Arc<PodStatus> {
        let mut watch = self.outlets.statuses.watch(None);
        loop {
            match watch.next().await.unwrap() {
                Change::Status(status) if wanted(&status) => return status,
                _ => {}
            }
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, EngineError> {
        let (answer, result) = oneshot::channel();
        self.handle.commands.send(command(answer)).unwrap();
        result.await.unwrap()
    }

    fn exits(&self, attempt: u32) {
        let exit = Exit {
            container: Index(0),
            attempt,
            id: id(attempt),
            exit_code: 1,
            signal: 0,
            oom_killed: false,
            start_failed: false,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            finished_at: jiff::Timestamp::MAX,
            message: String::new(),
        };
        self.inputs.send(Input::Exited(exit)).unwrap();
    }
}

fn running(status: &PodStatus, restarts: u32) -> bool {
    status.phase == Phase::Running
        && status.containers[0].ready
        && status.containers[0].restart_count == restarts
}

#[tokio::test(start_paused = true)]
async fn restarts_come_when_their_time_has_come() {
    let under = drive(false);
    under.until(|status| running(status, 0)).await;
    let begun = tokio::time::Instant::now();
    under.exits(0);
    under.until(|status| running(status, 1)).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    under.exits(1);
    under.until(|status| running(status, 2)).await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    under.exits(2);
    under.until(|status| running(status, 3)).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn every_change_has_a_higher_revision_and_no_change_has_none() {
    let under = drive(false);
    let status = under.until(|status| running(status, 0)).await;
    under.inputs.send(Input::Tick).unwrap();
    let stop = |answer| Command::Stop { grace: None, answer };
    let stopped = under.ask(stop).await.unwrap();
    assert!(
        stopped.stopping && stopped.revision == status.revision + 1,
        "{} {}",
        stopped.revision,
        status.revision
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_written_before_it_is_answered_and_a_full_disk_is_told() {
    let mut under = drive(false);
    under.until(|status| running(status, 0)).await;
    let stop = |answer| Command::Stop {
        grace: Some(Duration::from_secs(5)),
        answer,
    };
    under.ask(stop).await.unwrap();
    let mut rows = Vec::new();
    while let Ok(done) = under.log.try_recv() {
        if let Done::Row(row) = done {
            rows.push(row);
        }
    }
    assert_eq!(rows[0].stop.unwrap().grace_seconds, Some(5));
    under.until(|status| status.finished).await;

    let under = drive(true);
    under.until(|status| running(status, 0)).await;
    let stop = |answer| Command::Stop { grace: None, answer };
    assert!(matches!(under.ask(stop).await, Err(EngineError::Record { .. })));
    under.until(|status| status.finished).await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_answered_when_nothing_is_left() {
    let under = drive(false);
    under.until(|status| running(status, 0)).await;
    let (answer, mut removed) = oneshot::channel();
    under
        .handle
        .commands
        .send(Command::Remove { grace: None, answer })
        .unwrap();
    let waiting = under.task.await.unwrap().unwrap();
    assert!(removed.try_recv().is_err());
    assert_eq!(waiting.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_daemons_end_leaves_the_pod() {
    let mut under = drive(false);
    under.until(|status| running(status, 0)).await;
    under.stop.cancel();
    assert!(under.task.await.unwrap().is_none());
    while let Some(done) = under.log.recv().await {
        assert!(!matches!(
            done,
            Done::Action(Action::Signal { .. } | Action::DestroySandbox)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn new_content_is_written_kept_in_memory_and_never_in_sqlite() {
    let mut under = drive(false);
    under.until(|status| running(status, 0)).await;
    let file = auraed_types::pod::File {
        path: "key".into(),
        content: auraed_types::SecretBytes::new(b"new".to_vec()),
        mode: 0o644,
        owner: None,
    };
    // The owner forgot to say that it is secret.
    let files = Files {
        files: vec![file],
        sensitive: false,
    };
    let volume: VolumeName = "v".parse().unwrap();
    let update = |answer| Command::UpdateFiles {
        volume,
        files,
        answer,
    };
    assert!(under.ask(update).await.unwrap());
    let (mut row, mut kept, mut written) = (None, None, None);
    while let Ok(done) = under.log.try_recv() {
        match done {
            Done::Row(new) => row = Some(new),
            Done::Message(new) => kept = Some(new),
            Done::Files(new) => written = Some(new),
            Done::Action(_) => {}
        }
    }
    assert_eq!(written.unwrap().files[0].content.expose(), b"new");
    let content = |pod: &Pod| match &pod.volumes[0].source {
        VolumeSource::Files(files) => files.files[0].content.expose().to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(content(&kept.unwrap()), b"new");
    let stored = api::Pod::decode(row.unwrap().pod.as_slice()).unwrap();
    assert_eq!(content(&pod(stored)), b"");

    let update = |answer| Command::UpdateFiles {
        volume: "other".parse().unwrap(),
        files: Files::default(),
        answer,
    };
    assert!(matches!(
        under.ask(update).await,
        Err(EngineError::VolumeNotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_changes_what_may_change() {
    let under = drive(false);
    let before = under.until(|status| running(status, 0)).await;
    let update = |message: api::Pod| {
        |answer| Command::Update {
            pod: pod(message),
            answer,
        }
    };
    let same = under.ask(update(message())).await.unwrap();
    assert_eq!(same.revision, before.revision);

    let mut new = message();
    new.labels.insert("a".into(), "b".into());
    new.generation = 3;
    new.hostname = "ignored".into();
    let status = under.ask(update(new)).await.unwrap();
    assert_eq!(
        (status.labels["a"].as_str(), status.observed_generation),
        ("b", 3)
    );
    assert!(running(&status, 0));

    let mut other = message();
    other.containers[0].name = "d".into();
    assert!(matches!(
        under.ask(update(other)).await,
        Err(EngineError::Refused { .. })
    ));
}
