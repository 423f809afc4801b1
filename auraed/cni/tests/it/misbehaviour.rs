//! Plugins that do not do as the specification says.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use auraed_cni::{Error, Runtime, Settings, Verb};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::place::{OK, PATIENCE, Place, attachment, network};

async fn refusal(place: &Place) -> Error {
    let runtime = place.runtime();
    runtime
        .add(&network("1.0.0", &["p"]), &attachment("a"))
        .await
        .unwrap_err()
}

/// A plugin that only misbehaves for ADD.
fn adding(script: &str) -> String {
    format!("[ \"$CNI_COMMAND\" = ADD ] || exit 0\n{script}")
}

#[tokio::test]
async fn error_objects_are_handed_on() {
    let place = Place::new();
    place.plugin(
        "p",
        &adding(r#"echo '{"cniVersion": "1.0.0", "code": 11, "msg": "not now", "details": "in a minute"}'; exit 1"#),
    );
    let error = refusal(&place).await;
    assert_eq!(
        error.to_string(),
        r#"the network plugin "p" failed (ADD): not now; in a minute"#
    );
    assert!(matches!(error, Error::Refused { object, .. } if object.code == 11));
    assert!(place.records().is_empty(), "it was taken back");
}

#[tokio::test]
async fn failures_without_an_object_are_described() {
    for (script, text) in [
        ("exit 3", r#"the network plugin "p" failed (ADD): exit status: 3"#),
        (
            "echo 'panic: x'; echo log >&2; exit 2",
            r#"the network plugin "p" failed (ADD): exit status: 2: panic: x"#,
        ),
        (
            "echo 'only a log' >&2; exit 2",
            r#"the network plugin "p" failed (ADD): exit status: 2: only a log"#,
        ),
        (
            "kill -SEGV $$",
            r#"the network plugin "p" failed (ADD): signal: 11 (SIGSEGV)"#,
        ),
    ] {
        let place = Place::new();
        place.plugin("p", &adding(script));
        let error = refusal(&place).await.to_string();
        assert!(error.starts_with(text), "{script}: {error}");
        assert!(place.records().is_empty(), "{script}");
    }
}

#[tokio::test]
async fn garbage_is_no_answer() {
    for script in [
        "true",
        "echo hello",
        "echo '[]'",
        r#"echo '{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8"}}'"#,
        r#"echo '{"cniVersion": "1.0.0", "ips": [{"address": "x"}]}'"#,
        "head -c 100000 /dev/urandom",
    ] {
        let place = Place::new();
        place.plugin("p", &adding(script));
        let error = refusal(&place).await;
        assert!(
            matches!(error, Error::Answer { verb: Verb::Add, .. }),
            "{script}: {error}"
        );
        assert!(place.records().is_empty(), "{script}");
    }
}

#[tokio::test]
async fn too_long_an_answer_is_cut_off() {
    let place = Place::new();
    place.plugin("p", &adding("echo $$ > $here/pid; cat /dev/zero"));
    let error = refusal(&place).await;
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
    assert!(is_gone(&place.read("pid")));
    // A log may be as long as it wants.
    place.plugin("p", &format!("head -c 4000000 /dev/zero | tr '\\0' x >&2\n{OK}"));
    place
        .runtime()
        .add(&network("1.0.0", &["p"]), &attachment("a"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_its_children() {
    let place = Place::new();
    place.plugin(
        "p",
        &adding(
            "sleep 1000 & echo $! > $here/child; echo $$ > $here/pid; trap '' TERM INT; wait; sleep 1000",
        ),
    );
    // On a busy machine it may be killed before it got that far.
    for milliseconds in [100, 400, 1600, 6400, 25_600] {
        let runtime = Runtime::open(Settings {
            patience: Duration::from_millis(milliseconds),
            ..place.settings()
        });
        let adding = runtime.unwrap();
        let (config, wanted) = (network("1.0.0", &["p"]), attachment("a"));
        let added = tokio::time::timeout(PATIENCE, adding.add(&config, &wanted)).await;
        let error = added.unwrap().unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        if !place.read("pid").trim().is_empty() {
            break;
        }
    }
    assert!(is_gone(&place.read("pid")) && is_gone(&place.read("child")));
    let deleted = place.runtime().delete("a", "eth0", None).await;
    deleted.unwrap();
    assert!(place.records().is_empty());
}

#[tokio::test]
async fn one_that_nobody_waits_for_is_killed() {
    let place = Place::new();
    place.fifo("pid");
    place.fifo("never");
    place.plugin("p", "echo $$ > $here/pid; cat $here/never");
    let (runtime, config, wanted) = (place.runtime(), network("1.0.0", &["p"]), attachment("a"));
    let said = place.path("pid");
    let said = tokio::task::spawn_blocking(move || fs_err::read_to_string(said).unwrap());
    let pid = tokio::select! {
        added = runtime.add(&config, &wanted) => panic!("{added:?}"),
        said = said => said.unwrap(),
    };
    assert!(is_gone(&pid));
    assert_eq!(place.records(), ["a-eth0.json"], "what it did is not known");
}

#[tokio::test]
async fn one_that_leaves_somebody_behind_has_answered() {
    let place = Place::new();
    place.plugin("p", &format!("sleep 1000 & echo $! > $here/child\n{OK}"));
    let (runtime, config, wanted) = (place.runtime(), network("1.0.0", &["p"]), attachment("a"));
    let added = tokio::time::timeout(PATIENCE, runtime.add(&config, &wanted)).await;
    added.unwrap().unwrap();
    let child = place.read("child");
    assert!(process(&child).is_some(), "it is the plugin's own business");
    kill_process(number(&child), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let place = Place::new();
    let error = refusal(&place).await;
    let bin = place.path("bin");
    assert_eq!(
        error.to_string(),
        format!("the network plugin \"p\" is not in {}", bin.display())
    );
    assert_eq!(place.records(), ["a-eth0.json"], "DEL waits for it as well");
    place.plugin("p", "");
    assert!(place.runtime().delete("a", "eth0", None).await.unwrap());
    fs_err::write(bin.join("p"), "no program").unwrap();
    let error = refusal(&place).await;
    assert!(matches!(error, Error::Run { .. }), "{error}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_set_aside() {
    let place = Place::new();
    place.plugin("p", OK);
    drop(place.runtime());
    fs_err::write(place.path("cni/results/a-eth0.json"), "{").unwrap();
    fs_err::write(place.path("cni/results/b-eth0.json.new"), "{").unwrap();
    let runtime = place.runtime();
    assert_eq!(place.records(), ["a-eth0.json"], "what was not finished is gone");
    assert!(!runtime.delete("a", "eth0", None).await.unwrap());
    assert_eq!(place.records(), ["a-eth0.unreadable"]);
    runtime
        .add(&network("1.0.0", &["p"]), &attachment("a"))
        .await
        .unwrap();
    assert_eq!(place.records(), ["a-eth0.json", "a-eth0.unreadable"]);
}

/// Waits for a process's end; whoever inherits it may be slow to look.
fn is_gone(pid: &str) -> bool {
    let Some(process) = process(pid) else {
        return true;
    };
    let patience = PATIENCE.try_into().unwrap();
    poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&patience),
    )
    .unwrap()
        == 1
}

/// None for one that was and is no more.
fn process(pid: &str) -> Option<OwnedFd> {
    pidfd_open(number(pid), PidfdFlags::empty()).ok()
}

fn number(pid: &str) -> Pid {
    Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
}
