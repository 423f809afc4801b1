//! Who a process runs as: numbers, or names that the container's own /etc/passwd and /etc/group explain.

use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::path;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::{ResolvedUser, User};

/// A longer /etc/passwd or /etc/group is not read to its end.
const MAX_BYTES: u64 = 8 << 20;

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

impl Identity {
    /// As it is told.
    pub(crate) fn shown(&self) -> ResolvedUser {
        ResolvedUser {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        }
    }
}

/// A line of /etc/passwd.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Finds out who `user` is in the container whose root is given.
pub(crate) fn resolve(root: BorrowedFd<'_>, user: &User) -> Result<Identity> {
    identify(user, &read(root, "/etc/passwd")?, &read(root, "/etc/group")?)
}

fn identify(user: &User, passwd: &str, group: &str) -> Result<Identity> {
    let (name, group_name) = user.name.split_once(':').unwrap_or((&user.name, ""));
    let name = if name.is_empty() { "0" } else { name };
    let account = find_account(name, passwd);
    let uid = match (&account, name.parse()) {
        (Some(account), _) => account.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => {
            return Err(Fault::Container(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    let gid = match (user.group, group_name) {
        (Some(gid), _) => gid,
        (None, "") => account.as_ref().map_or(0, |account| account.gid),
        (None, name) => find_group(name, group).ok_or_else(|| {
            Fault::Container(format!(
                "unable to find group {name}: no matching entries in group file"
            ))
        })?,
    };
    let mut groups: Vec<u32> = match &account {
        Some(account) => groups_of(account.name, group).collect(),
        None => Vec::new(),
    };
    groups.extend(&user.additional_groups);
    groups.sort_unstable();
    groups.dedup();
    let home = account
        .map(|account| account.home)
        .filter(|home| !home.is_empty())
        .unwrap_or("/");
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

/// By number if it is one, else by name.
fn find_account<'a>(name: &str, passwd: &'a str) -> Option<Account<'a>> {
    let number: Option<u32> = name.parse().ok();
    passwd
        .lines()
        .filter_map(parse_account)
        .find(|account| match number {
            Some(number) => account.uid == number,
            None => account.name == name,
        })
}

fn parse_account(line: &str) -> Option<Account<'_>> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account {
        name,
        uid,
        gid,
        home: fields.nth(1).unwrap_or(""),
    })
}

/// Name, number and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn find_group(name: &str, group: &str) -> Option<u32> {
    let number = name.parse().ok();
    number.or_else(|| {
        groups(group)
            .find(|(known, ..)| *known == name)
            .map(|(_, gid, _)| gid)
    })
}

fn groups_of<'a>(member: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group)
        .filter(move |(.., members)| members.split(',').any(|name| name.trim() == member))
        .map(|(_, gid, _)| gid)
}

/// Reads a file of the container; a missing one is empty. It may be anything, so that only a regular file is read.
fn read(root: BorrowedFd<'_>, file: &str) -> Result<String> {
    let opened = match path::open(root, file, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(error).blame_container(format_args!("open {file}")),
    };
    let stat = fstat(&opened).blame_container(format_args!("read {file}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fault::Container(format!("{file} is not a regular file")));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(opened)
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .blame_container(format_args!("read {file}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34::/srv:/bin/false\nbare:x:5:6\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,web\nlogs:x:20:web\nstaff:x:50:\n";

    fn who(name: &str, group: Option<u32>, additional: &[u32]) -> Result<Identity> {
        let user = User {
            name: name.to_owned(),
            group,
            additional_groups: additional.to_vec(),
            strict_groups: false,
        };
        identify(&user, PASSWD, GROUP)
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        }
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        for (name, expected) in [
            ("", identity(0, 0, &[10], "/root")),
            ("web", identity(33, 34, &[10, 20], "/srv")),
            ("33", identity(33, 34, &[10, 20], "/srv")),
            ("web:staff", identity(33, 50, &[10, 20], "/srv")),
            ("web:7", identity(33, 7, &[10, 20], "/srv")),
            ("1000", identity(1000, 0, &[], "/")),
            ("1000:1001", identity(1000, 1001, &[], "/")),
            ("5", identity(5, 6, &[], "/")),
        ] {
            assert_eq!(who(name, None, &[]).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn the_callers_groups_win_and_are_added() {
        assert_eq!(
            who("web", Some(9), &[77, 10]).unwrap(),
            identity(33, 9, &[10, 20, 77], "/srv")
        );
    }

    #[test]
    fn an_unknown_name_is_the_containers_fault() {
        assert!(matches!(who("nobody", None, &[]), Err(Fault::Container(text)) if text.contains("nobody")));
        assert!(matches!(who("web:none", None, &[]), Err(Fault::Container(text)) if text.contains("none")));
    }
}
