//! The program as its callers see it where there is no daemon: exit codes, standard output, standard error.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails its test")]

use std::process::{Command, Output, Stdio};

fn aurae(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aurae"));
    let command = command
        .args(arguments)
        .env_remove("AURAE_SOCKET")
        .env_remove("AURAE_IDENTITY");
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_usage_ends_with_two_and_says_how() {
    for arguments in [
        &["ps", "--no-such-flag"][..],
        &["run"],
        &["exec", "pod"],
        &["stop"],
        &[],
    ] {
        let output = aurae(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && text(&output.stderr).contains("Usage: aurae"),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_missing_identity_ends_with_one_and_says_how_to_get_one() {
    let directory = tempfile::tempdir().unwrap();
    let identity = directory.path().display().to_string();
    let output = aurae(&["--identity", &identity, "ps"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = text(&output.stderr);
    assert!(
        error.starts_with("error: cannot read") && error.contains("auraed identity issue"),
        "{error}"
    );
}

#[test]
fn the_version_needs_no_daemon_but_says_that_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let identity = directory.path().display().to_string();
    let flag = aurae(&["--version"]);
    assert!(flag.status.success());
    let command = aurae(&["--identity", &identity, "version"]);
    assert_eq!(command.status.code(), Some(1));
    assert_eq!(command.stdout, flag.stdout);
    let json = aurae(&["--identity", &identity, "version", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (value["aurae"].as_str(), value["auraed"].as_str()),
        (Some(env!("CARGO_PKG_VERSION")), None)
    );
}

#[test]
fn each_command_has_a_help_text() {
    let all = text(&aurae(&["--help"]).stdout);
    for command in [
        "run", "plan", "ps", "logs", "exec", "stop", "rm", "images", "pull", "image", "events", "why",
        "node", "version",
    ] {
        assert!(all.contains(&format!("\n  {command} ")), "{command}");
        let output = aurae(&[command, "--help"]);
        assert!(
            output.status.success() && text(&output.stdout).contains("Usage: aurae"),
            "{command}"
        );
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = aurae(&["completion", shell]);
        assert!(
            output.status.success() && text(&output.stdout).contains("aurae"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aurae"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
}
