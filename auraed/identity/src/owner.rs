//! Who shall own a client's files: `name`, `uid`, `name:group` or `uid:gid`.

use std::path::Path;

/// A numeric owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A text names no owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOwner {
    /// No such user in the file.
    #[error("there is no user {0:?} in /etc/passwd: give a name of it, or uid:gid in numbers")]
    User(String),
    /// No such group in the file.
    #[error("there is no group {0:?} in /etc/group: give a name of it, or a number")]
    Group(String),
}

impl Owner {
    /// Finds an owner in the machine's user and group files. A number needs no entry; without a group, its group is the
    /// one of the entry, else the same number.
    ///
    /// # Errors
    /// [`InvalidOwner`] for a name that is in no file.
    pub fn resolve(text: &str) -> Result<Self, InvalidOwner> {
        let read = |path: &str| fs_err::read_to_string(Path::new(path)).unwrap_or_default();
        Self::resolve_in(text, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn resolve_in(text: &str, passwd: &str, group: &str) -> Result<Self, InvalidOwner> {
        let (user, group_name) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = || InvalidOwner::User(user.to_owned());
        let entry = entry(passwd, user);
        let uid = match &entry {
            Some(fields) => number(fields, 2).ok_or_else(unknown)?,
            None => user.parse().map_err(|_| unknown())?,
        };
        let gid = match group_name {
            Some(name) => group_id(group, name)?,
            None => entry.and_then(|fields| number(&fields, 3)).unwrap_or(uid),
        };
        Ok(Self { uid, gid })
    }
}

fn group_id(group: &str, name: &str) -> Result<u32, InvalidOwner> {
    let listed = entry(group, name).and_then(|fields| number(&fields, 2));
    listed
        .or_else(|| name.parse().ok())
        .ok_or_else(|| InvalidOwner::Group(name.to_owned()))
}

/// The line of passwd(5) or group(5) whose name, or number, is `key`.
fn entry<'a>(file: &'a str, key: &str) -> Option<Vec<&'a str>> {
    let lines = || file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let by = |field: usize| lines().find(|fields| fields.get(field) == Some(&key));
    by(0).or_else(|| by(2))
}

fn number(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\naurae:x:990:980::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\naurae:x:980:\nusers:x:100:\n";

    #[test]
    fn names_and_numbers_are_found() {
        let resolve = |text| Owner::resolve_in(text, PASSWD, GROUP);
        assert_eq!(resolve("aurae"), Ok(Owner { uid: 990, gid: 980 }));
        assert_eq!(resolve("990"), Ok(Owner { uid: 990, gid: 980 }));
        assert_eq!(resolve("aurae:users"), Ok(Owner { uid: 990, gid: 100 }));
        assert_eq!(resolve("1234"), Ok(Owner { uid: 1234, gid: 1234 }));
        assert_eq!(resolve("1234:4321"), Ok(Owner { uid: 1234, gid: 4321 }));
        assert_eq!(resolve("nobody"), Err(InvalidOwner::User("nobody".into())));
        assert_eq!(resolve("aurae:wheel"), Err(InvalidOwner::Group("wheel".into())));
        assert_eq!(resolve(""), Err(InvalidOwner::User(String::new())));
    }
}
