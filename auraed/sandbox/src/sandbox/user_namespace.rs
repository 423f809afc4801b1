//! A pod's user namespace: what its processes take for root is a user of the host that nobody else is.
//!
//! It is made by a process of its own that ends at once, and lives as long as a descriptor of it, a namespace that
//! belongs to it, or a process in it. The pod init gets a descriptor and stays outside.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use auraed_pod_init::protocol::{IdMapping, IdMappings};

use crate::sys::{self, Held};

/// As many ranges as the kernel takes (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_RANGES: usize = 340;

/// A user namespace with its mappings. Clones share it.
#[derive(Debug, Clone)]
pub struct UserNamespace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    descriptor: OwnedFd,
    mappings: IdMappings,
}

impl UserNamespace {
    /// Makes a user namespace with these ranges of users and groups. Blocks for a fork's time.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there are no ranges, they overlap or end beyond the last id, or id 0 is not in
    /// them; else what the kernel says, for example `EINVAL` on one without user namespaces or `ENOSPC` if it allows no
    /// more of them.
    pub fn create(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<Self> {
        check("user", uids)?;
        check("group", gids)?;
        let holder = sys::hold(&Held::NewUsers)?;
        let directory = format!("/proc/{}", holder.pid());
        fs_err::write(format!("{directory}/uid_map"), text(uids))?;
        fs_err::write(format!("{directory}/gid_map"), text(gids))?;
        let namespace = fs_err::File::open(format!("{directory}/ns/user"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                descriptor: namespace.into_parts().0.into(),
                mappings: IdMappings {
                    uids: uids.to_vec(),
                    gids: gids.to_vec(),
                },
            }),
        })
    }

    /// Its ranges.
    pub fn mappings(&self) -> &IdMappings {
        &self.shared.mappings
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.descriptor.as_fd()
    }
}

fn check(kind: &str, ranges: &[IdMapping]) -> io::Result<()> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if ranges.is_empty() || ranges.len() > MAX_RANGES {
        return refuse(format!(
            "a user namespace needs 1 to {MAX_RANGES} ranges of {kind} ids"
        ));
    }
    for range in ranges {
        let end = |first: u32| first.checked_add(range.length);
        if range.length == 0 || end(range.host_id).is_none() || end(range.container_id).is_none() {
            return refuse(format!(
                "{} {kind} ids from {} are no range",
                range.length, range.host_id
            ));
        }
    }
    for (number, one) in ranges.iter().enumerate() {
        for other in &ranges[..number] {
            let meet = |a: u32, b: u32| a < b + other.length && b < a + one.length;
            if meet(one.host_id, other.host_id) || meet(one.container_id, other.container_id) {
                return refuse(format!("the ranges of {kind} ids overlap"));
            }
        }
    }
    if ranges.iter().all(|range| range.container_id != 0) {
        return refuse(format!("{kind} id 0 is not in the ranges"));
    }
    Ok(())
}

/// As the kernel reads it (user_namespaces(7)).
fn text(ranges: &[IdMapping]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        let IdMapping {
            host_id,
            container_id,
            length,
        } = range;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{container_id} {host_id} {length}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host_id: u32, container_id: u32, length: u32) -> IdMapping {
        IdMapping {
            host_id,
            container_id,
            length,
        }
    }

    #[test]
    fn ranges_that_make_no_namespace_are_refused() {
        for (ranges, expected) in [
            (vec![], "needs 1 to 340 ranges of user ids"),
            (vec![range(1000, 1, 10)], "user id 0 is not in the ranges"),
            (
                vec![range(1000, 0, 10), range(1009, 20, 10)],
                "the ranges of user ids overlap",
            ),
            (
                vec![range(1000, 0, 10), range(2000, 0, 10)],
                "the ranges of user ids overlap",
            ),
            (vec![range(1000, 0, 0)], "0 user ids from 1000 are no range"),
            (
                vec![range(u32::MAX, 0, 2)],
                "2 user ids from 4294967295 are no range",
            ),
        ] {
            let error = check("user", &ranges).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(check("user", &[range(1000, 0, 10), range(1010, 10, 10)]).is_ok());
    }

    #[test]
    fn ranges_are_written_inside_first() {
        assert_eq!(
            text(&[range(1000, 0, 10), range(5, 10, 1)]),
            "0 1000 10\n10 5 1\n"
        );
    }
}
