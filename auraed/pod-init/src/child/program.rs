//! Finding and executing the container's program.

use std::ffi::{CStr, CString};

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::user::Identity;
use crate::fault::{Blame, Fault, Result};
use crate::sys::{self, Strings};

/// For a container whose image and owner set none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, ready for execve(2).
pub(crate) struct Program {
    name: String,
    /// Where it may be, in order.
    candidates: Vec<CString>,
    arguments: Strings,
    environment: Strings,
}

impl Program {
    /// Puts together what to execute: `environment` in order, a later entry of the same name wins.
    pub(crate) fn new(
        arguments: &[String],
        environment: &[&[String]],
        identity: &Identity,
        terminal: bool,
    ) -> Result<Self> {
        let name = arguments
            .first()
            .ok_or_else(|| Fault::Container("there is no program to run".to_owned()))?;
        let environment = complete(environment, identity, terminal);
        let path = lookup(&environment, "PATH").unwrap_or("");
        let candidates = if name.contains('/') {
            vec![name.clone()]
        } else {
            // An empty entry would be the working directory, which is for the container's writers to fill.
            path.split(':')
                .filter(|part| !part.is_empty())
                .map(|part| format!("{part}/{name}"))
                .collect()
        };
        Ok(Self {
            name: name.clone(),
            candidates: c_strings(&candidates)?,
            arguments: Strings::new(c_strings(arguments)?),
            environment: Strings::new(c_strings(&environment)?),
        })
    }

    /// Becomes the program; returns only why not, in the words that users know from other runtimes. A filter of system calls
    /// may be in force: until the program is executed there is no other call than that.
    pub(crate) fn execute(&self) -> Fault {
        let mut denied = None;
        for candidate in &self.candidates {
            match self.try_one(candidate) {
                Errno::NOENT | Errno::NOTDIR | Errno::ISDIR => {}
                error => denied = denied.or(Some(error)),
            }
        }
        let name = &self.name;
        Fault::Container(match denied {
            Some(Errno::ACCESS | Errno::PERM) => format!("exec: {name:?}: permission denied"),
            Some(Errno::NOEXEC) => format!("exec {name}: exec format error"),
            Some(error) => format!("exec: {name:?}: {error}"),
            None if !name.contains('/') => format!("exec: {name:?}: executable file not found in $PATH"),
            None if is_directory(name) => format!("exec: {name:?}: is a directory"),
            None => format!("exec: {name:?}: stat {name}: no such file or directory"),
        })
    }

    fn try_one(&self, candidate: &CStr) -> Errno {
        match sys::execute(candidate, &self.arguments, &self.environment) {
            // The kernel says EACCES for a directory.
            Errno::ACCESS if is_directory(candidate) => Errno::ISDIR,
            error => error,
        }
    }
}

fn is_directory(path: impl rustix::path::Arg) -> bool {
    let stat = statat(rustix::fs::CWD, path, AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The environment with each name once, and with what every program expects.
fn complete(lists: &[&[String]], identity: &Identity, terminal: bool) -> Vec<String> {
    let mut complete: Vec<String> = Vec::new();
    for entry in lists.iter().copied().flatten() {
        let name = entry.split('=').next().unwrap_or_default();
        match complete
            .iter_mut()
            .find(|known| known.split('=').next() == Some(name))
        {
            Some(known) => known.clone_from(entry),
            None => complete.push(entry.clone()),
        }
    }
    let mut default = |name: &str, value: String| {
        if lookup(&complete, name).is_none() {
            complete.push(value);
        }
    };
    default("PATH", DEFAULT_PATH.to_owned());
    default("HOME", format!("HOME={}", identity.home));
    let hostname = rustix::system::uname();
    default(
        "HOSTNAME",
        format!("HOSTNAME={}", hostname.nodename().to_string_lossy()),
    );
    if terminal {
        default("TERM", "TERM=xterm".to_owned());
    }
    complete
}

fn lookup<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment
        .iter()
        .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>> {
    let strings: std::result::Result<_, _> = strings
        .iter()
        .map(|string| CString::new(string.as_bytes()))
        .collect();
    strings.blame_container("arguments and environment")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".to_owned(),
        }
    }

    #[test]
    fn later_entries_win_and_defaults_fill_in() {
        let image = ["A=1".to_owned(), "PATH=/bin".to_owned()];
        let spec = ["A=2".to_owned(), "B=x=y".to_owned()];
        let environment = complete(&[&image, &spec], &identity(), true);
        assert_eq!(environment[..4], ["A=2", "PATH=/bin", "B=x=y", "HOME=/root"]);
        assert_eq!(lookup(&environment, "TERM"), Some("xterm"));
        assert!(lookup(&environment, "HOSTNAME").is_some());
    }

    #[test]
    fn a_name_is_searched_in_the_containers_path_and_never_in_the_working_directory() {
        let environment = ["PATH=/a::/b".to_owned()];
        let program = Program::new(&["sh".to_owned()], &[&environment], &identity(), false).unwrap();
        assert_eq!(program.candidates, [c"/a/sh".to_owned(), c"/b/sh".to_owned()]);
    }

    #[test]
    fn failures_read_as_users_know_them() {
        let environment = ["PATH=/nowhere".to_owned()];
        for (name, expected) in [
            ("nope", r#"exec: "nope": executable file not found in $PATH"#),
            ("/nope", r#"exec: "/nope": stat /nope: no such file or directory"#),
            ("/etc", r#"exec: "/etc": is a directory"#),
            ("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
        ] {
            let program = Program::new(&[name.to_owned()], &[&environment], &identity(), false).unwrap();
            assert_eq!(program.execute(), Fault::Container(expected.to_owned()));
        }
    }
}
