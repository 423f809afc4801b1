//! The units of systemd: what pods' lives hang on is in them, and systemd reads them without a word of complaint.

use std::path::PathBuf;
use std::process::{Command, id};

use super::{read, root};

const UNITS: [&str; 2] = ["auraed/auraed.service", "cri-shim/cri-shim.service"];

/// A program that is everywhere, for those that may not be installed here.
const STAND_IN: &str = "/bin/true";

/// Whether a unit sets something, whatever to.
fn sets(unit: &str, name: &str) -> bool {
    unit.lines()
        .any(|line| line.split_once('=').is_some_and(|(key, _)| key == name))
}

#[test]
fn pods_outlive_the_daemons_unit() {
    let unit = read(&root().join("auraed/auraed.service"));
    for wanted in ["Type=notify", "KillMode=process", "Delegate=yes"] {
        assert!(unit.lines().any(|line| line == wanted), "{wanted}");
    }
    // The first would take the sockets of running pods away, the next hide their volumes, the last hold for containers.
    for name in [
        "RuntimeDirectory",
        "StateDirectory",
        "PrivateMounts",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "ProtectSystem",
        "CapabilityBoundingSet",
        "NoNewPrivileges",
        "SystemCallFilter",
        "RestrictNamespaces",
        "MemoryDenyWriteExecute",
        "LockPersonality",
        "UMask",
    ] {
        assert!(!sets(&unit, name), "{name}");
    }
}

#[test]
fn what_ends_is_started_again() {
    for unit in UNITS {
        let unit = read(&root().join(unit));
        for wanted in [
            "Restart=always",
            "RestartPreventExitStatus=2",
            "StartLimitIntervalSec=0",
        ] {
            assert!(unit.lines().any(|line| line == wanted), "{wanted}");
        }
    }
}

#[test]
fn systemd_reads_the_units() {
    let directory = std::env::temp_dir().join(format!("aurae-units-{}", id()));
    fs_err::create_dir_all(&directory).unwrap();
    let copies: Vec<PathBuf> = UNITS.iter().map(|unit| copy(unit, &directory)).collect();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .args(&copies)
        .output();
    fs_err::remove_dir_all(&directory).unwrap();
    // Where there is no systemd, nobody can be asked.
    if let Ok(output) = verified {
        let told = String::from_utf8_lossy(&output.stderr);
        let own: Vec<_> = told
            .lines()
            .filter(|line| line.contains("aurae") || line.contains("cri-shim"))
            .collect();
        assert!(own.is_empty(), "{told}");
    }
}

/// The unit, in another place and with a program that is there.
fn copy(unit: &str, directory: &std::path::Path) -> PathBuf {
    let text: String = read(&root().join(unit))
        .lines()
        .map(|line| match line.strip_prefix("ExecStart=") {
            Some(_) => format!("ExecStart={STAND_IN}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let copy = directory.join(PathBuf::from(unit).file_name().unwrap());
    fs_err::write(&copy, text).unwrap();
    copy
}
