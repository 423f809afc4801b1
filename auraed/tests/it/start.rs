//! Starting and stopping: what the daemon refuses, and in which words.

use crate::machine::{Machine, PROGRAM, limited, text};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the daemon where it must refuse to start; answers what it says.
fn refused(machine: &Machine, arguments: &[&str], code: i32) -> String {
    let output = machine.run(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[tokio::test]
async fn a_daemon_starts_serves_and_ends_in_order() {
    let Some(mut machine) = Machine::new("a_daemon_starts_serves_and_ends_in_order") else {
        return;
    };
    machine.start().await;
    let client = machine.client().await;
    let node = client
        .observe()
        .get_node(auraed_api::observe::v0::GetNodeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(node.pid, machine.process());
    assert_eq!(node.pod_subnet, "10.88.0.0/16");
    assert_eq!(node.state_directory, machine.path("state").display().to_string());
    machine.stop().await;
    assert!(!machine.path("run/aurae.sock").exists());
    machine.finish().await;
}

#[tokio::test]
async fn a_daemon_comes_back_after_a_kill() {
    let Some(mut machine) = Machine::new("a_daemon_comes_back_after_a_kill") else {
        return;
    };
    machine.start().await;
    let client = machine.client().await;
    machine.kill().await;
    assert!(machine.path("run/aurae.sock").exists());
    machine.start().await;
    // The same client mends itself.
    let answer = client
        .schedule()
        .list(auraed_api::schedule::v0::ListRequest {})
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        // The first call may still find the old connection.
        Err(_) => client
            .schedule()
            .list(auraed_api::schedule::v0::ListRequest {})
            .await
            .unwrap(),
    };
    assert!(answer.into_inner().statuses.is_empty());
    machine.finish().await;
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let Some(mut machine) = Machine::new("a_second_daemon_is_refused") else {
        return;
    };
    machine.start().await;
    let process = machine.process();
    let said = refused(&machine, &[], 1);
    let state = machine.path("state");
    assert!(
        said.contains(&format!(
            "another auraed (process {process}) uses {}",
            state.display()
        )),
        "{said}"
    );
    assert!(said.contains("give another --state-dir"), "{said}");
    for (flags, wanted) in [
        (vec!["--state-dir", "other"], "--run-dir"),
        (vec!["--state-dir", "other", "--run-dir", "run2"], "--cgroup-root"),
        (
            vec!["--state-dir", "other", "--run-dir", "run2", "--cgroup-root", "x"],
            "--bridge",
        ),
        (
            vec![
                "--state-dir",
                "other",
                "--run-dir",
                "run2",
                "--cgroup-root",
                "x",
                "--bridge",
                "b",
            ],
            "--table",
        ),
    ] {
        let flags: Vec<String> = flags
            .iter()
            .map(|word| match *word {
                "other" | "run2" => machine.path(word).display().to_string(),
                word => word.to_owned(),
            })
            .collect();
        let mut command = machine.inside(PROGRAM);
        // clap refuses a flag that is given twice, so the machine's own are left out where they are replaced.
        let own = machine.flags();
        let kept = own.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten();
        let output = limited(command.args(kept).args(&flags));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("another auraed") && said.contains(&format!("give another {wanted}")),
            "{said}"
        );
    }
    // The first is none the worse.
    machine.client().await;
    machine.finish().await;
}

#[tokio::test]
async fn cleanup_waits_for_the_daemons_end() {
    let Some(mut machine) = Machine::new("cleanup_waits_for_the_daemons_end") else {
        return;
    };
    machine.start().await;
    assert!(refused(&machine, &["cleanup"], 1).contains("another auraed"));
    machine.finish().await;
}

#[tokio::test]
async fn a_socket_that_is_served_is_not_taken() {
    let Some(mut machine) = Machine::new("a_socket_that_is_served_is_not_taken") else {
        return;
    };
    let path = machine.path("other.sock");
    let text = path.display().to_string();
    let listener = UnixListener::bind(&path).unwrap();
    let said = refused(&machine, &["--socket", &text], 1);
    assert!(
        said.contains("is in use by another process") && said.contains("--socket"),
        "{said}"
    );
    drop(listener);
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, "a file").unwrap();
    let said = refused(&machine, &["--socket", &text], 1);
    assert!(said.contains("is there and is no socket"), "{said}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "a file");
    machine.start().await;
    machine.finish().await;
}

#[tokio::test]
async fn an_unknown_field_is_named_with_its_line() {
    let Some(machine) = Machine::new("an_unknown_field_is_named_with_its_line") else {
        return;
    };
    fs_err::write(machine.path("auraed.toml"), "[network]\nbrige = \"x\"\n").unwrap();
    let said = refused(&machine, &[], 2);
    assert!(
        said.contains("auraed.toml") && said.contains("line 2") && said.contains("unknown field `brige`"),
        "{said}"
    );
    fs_err::write(machine.path("auraed.toml"), "").unwrap();
    machine.finish().await;
}

#[tokio::test]
async fn a_damaged_state_file_is_refused_with_advice() {
    let Some(machine) = Machine::new("a_damaged_state_file_is_refused_with_advice") else {
        return;
    };
    fs_err::create_dir_all(machine.path("state")).unwrap();
    fs_err::write(
        machine.path("state/aurae.db"),
        "not a database, sixteen bytes and more",
    )
    .unwrap();
    let said = refused(&machine, &[], 1);
    assert!(
        said.contains("is damaged") && said.contains("restore it from a copy"),
        "{said}"
    );
    fs_err::remove_file(machine.path("state/aurae.db")).unwrap();
    machine.finish().await;
}

#[tokio::test]
async fn a_lost_key_is_told_with_advice() {
    let Some(mut machine) = Machine::new("a_lost_key_is_told_with_advice") else {
        return;
    };
    machine.start().await;
    machine.stop().await;
    fs_err::remove_file(machine.path("state/identity/ca.key")).unwrap();
    let said = refused(&machine, &[], 1);
    assert!(
        said.contains("ca.key is missing beside its certificate"),
        "{said}"
    );
    machine.finish().await;
}

#[tokio::test]
async fn without_root_it_says_so() {
    let Some(machine) = Machine::new("without_root_it_says_so") else {
        return;
    };
    // The program's own directory may be closed to others.
    let program = machine.path("auraed");
    fs_err::copy(PROGRAM, &program).unwrap();
    fs_err::set_permissions(machine.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program).uid(65534).gid(65534).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(
        said,
        "auraed: auraed must run as root: start it with sudo, or as a service\n"
    );
    machine.finish().await;
}

#[tokio::test]
async fn without_cgroups_it_says_so() {
    let Some(machine) = Machine::new("without_cgroups_it_says_so") else {
        return;
    };
    let script = "umount --recursive --lazy /sys/fs/cgroup && exec \"$@\"";
    let output = machine
        .inside("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            script,
            "sh",
            PROGRAM,
        ])
        .args(machine.flags())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cgroup"), "{said}");
    machine.finish().await;
}

#[tokio::test]
async fn what_a_client_needs_is_issued() {
    let Some(mut machine) = Machine::new("what_a_client_needs_is_issued") else {
        return;
    };
    // Before the first start of the daemon, too.
    let out = machine.path("bridge").display().to_string();
    let output = machine.run(&[
        "identity",
        "issue",
        "kubelet-bridge",
        "--out",
        &out,
        "--owner",
        "65534:65534",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, mode) in [("tls.key", 0o600), ("tls.crt", 0o644), ("ca.crt", 0o644)] {
        let found = fs_err::metadata(machine.path("bridge").join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{name}");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&found), 65534, "{name}");
    }
    machine.start().await;
    let config = auraed_client::ClientConfig {
        identity: machine.path("bridge"),
        ..machine.client_config()
    };
    let client = auraed_client::Client::connect(config).await.unwrap();
    client
        .schedule()
        .list(auraed_api::schedule::v0::ListRequest {})
        .await
        .unwrap();
    let bad = machine.run(&["identity", "issue", "Not A Name", "--out", &out]);
    assert_eq!(bad.status.code(), Some(2));
    machine.finish().await;
}
