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
/// The largest id, as everywhere: the kernel takes the one with all bits set for "leave it as it is", which is root.
const MAX_ID: u32 = i32::MAX as u32;
/// As many groups as the kernel lets a process be in (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the primary one first.
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
    let groups = all_groups(user, gid, account.as_ref(), group)?;
    let largest = groups.iter().copied().fold(uid, u32::max);
    if largest > MAX_ID {
        return Err(Fault::Container(format!(
            "user and group ids must be in the range 0 to {MAX_ID}, not {largest}"
        )));
    }
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

/// The primary group, then the others in their order.
fn all_groups(user: &User, gid: u32, account: Option<&Account<'_>>, group: &str) -> Result<Vec<u32>> {
    let mut others = user.additional_groups.clone();
    if let Some(account) = account
        && !user.strict_groups
    {
        // One more is enough to tell that there are too many.
        others.extend(groups_of(account.name, group).take(MAX_GROUPS + 1));
    }
    others.sort_unstable();
    others.dedup();
    others.retain(|other| *other != gid);
    others.insert(0, gid);
    if others.len() > MAX_GROUPS {
        return Err(Fault::Container(format!(
            "more than {MAX_GROUPS} groups: the kernel lets no process be in so many"
        )));
    }
    Ok(others)
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

    fn identity(uid: u32, gid: u32, others: &[u32], home: &str) -> Identity {
        let groups = [&[gid], others].concat();
        Identity {
            uid,
            gid,
            groups,
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
    fn strict_groups_leave_out_the_images() {
        let user = User {
            name: "web".to_owned(),
            additional_groups: vec![60_000, 34],
            strict_groups: true,
            ..User::default()
        };
        assert_eq!(
            identify(&user, PASSWD, GROUP).unwrap(),
            identity(33, 34, &[60_000], "/srv")
        );
    }

    #[test]
    fn ids_that_the_kernel_takes_for_none_are_refused() {
        for (name, group, additional) in [
            ("4294967295", None, vec![]),
            ("2147483648", None, vec![]),
            ("1", Some(u32::MAX), vec![]),
            ("1", None, vec![u32::MAX]),
        ] {
            let refused = who(name, group, &additional);
            assert!(
                matches!(&refused, Err(Fault::Container(text)) if text.contains("range")),
                "{refused:?}"
            );
        }
        let passwd = "root:x:4294967295:0::/:\n";
        let user = User {
            name: "root".to_owned(),
            ..User::default()
        };
        identify(&user, passwd, "").unwrap_err();
        assert_eq!(who("2147483647", None, &[]).unwrap().uid, MAX_ID);
    }

    #[test]
    fn more_groups_than_the_kernel_takes_are_the_images_fault() {
        use std::fmt::Write as _;
        let mut group = String::new();
        for gid in 1..=70_000 {
            let _ = writeln!(group, "g{gid}:x:{gid}:web");
        }
        let user = User {
            name: "web".to_owned(),
            ..User::default()
        };
        let refused = identify(&user, PASSWD, &group);
        assert!(matches!(&refused, Err(Fault::Container(text)) if text.contains("groups")));
        let strict = User {
            strict_groups: true,
            ..user
        };
        assert_eq!(identify(&strict, PASSWD, &group).unwrap().groups, [34]);
    }

    #[test]
    fn an_unknown_name_is_the_containers_fault() {
        assert!(matches!(who("nobody", None, &[]), Err(Fault::Container(text)) if text.contains("nobody")));
        assert!(matches!(who("web:none", None, &[]), Err(Fault::Container(text)) if text.contains("none")));
    }
}
