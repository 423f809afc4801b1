//! Limits that are a file each: sets of CPUs, huge pages, and whatever a caller wants of v2.

use std::path::Path;

use super::super::files::{errno, write, write_all};
use super::super::group::Group;
use super::super::mounts::Kind;
use super::super::{Controller, Error};
use super::{Limits, reason, refused};

pub(super) fn write_cpuset(group: &Group, limits: &Limits) -> Result<(), Error> {
    // Memory nodes last: the kernel moves pages to where the CPUs are by then.
    for (limit, file, list) in [
        ("the set of CPUs", "cpuset.cpus", &limits.cpuset_cpus),
        ("the set of memory nodes", "cpuset.mems", &limits.cpuset_mems),
    ] {
        let Some(list) = list.as_deref().map(str::trim).filter(|list| !list.is_empty()) else {
            continue;
        };
        let Some((_, directory)) = group.place(Controller::Cpuset) else {
            return Err(Error::Missing {
                limit,
                controller: Controller::Cpuset,
            });
        };
        write(&directory.join(file), list)
            .map_err(|error| refused(limit, &directory, list)(reason(error)))?;
    }
    Ok(())
}

/// That no pages of a size may be used goes without saying where there are none of it.
pub(super) fn write_huge_pages(group: &Group, limits: &Limits) -> Result<(), Error> {
    let place = group.place(Controller::HugePages);
    for (size, bytes) in &limits.huge_pages {
        let Some((kind, directory)) = &place else {
            if *bytes == 0 {
                continue;
            }
            return Err(Error::Missing {
                limit: "a limit of huge pages",
                controller: Controller::HugePages,
            });
        };
        let name = match kind {
            Kind::V1 => "limit_in_bytes",
            Kind::V2 => "max",
        };
        let value = bytes.to_string();
        match write(&directory.join(format!("hugetlb.{size}.{name}")), &value) {
            Err(error) if errno(&error) == Some(libc::ENOENT) && *bytes == 0 => continue,
            Err(error) if errno(&error) == Some(libc::ENOENT) => {
                return Err(Error::Invalid(format!("this kernel has no huge pages of {size}")));
            }
            result => result.map_err(|error| {
                let limit = "huge pages";
                refused(limit, directory, format_args!("{bytes} bytes of {size}"))(reason(error))
            })?,
        }
        // What is set aside but not used yet counts as well, on kernels that can tell.
        let reserved = directory.join(format!("hugetlb.{size}.rsvd.{name}"));
        match write(&reserved, &value) {
            Err(error) if errno(&error) == Some(libc::ENOENT) => {}
            result => result.map_err(|error| {
                let limit = "reserved huge pages";
                refused(limit, directory, format_args!("{bytes} bytes of {size}"))(reason(error))
            })?,
        }
    }
    Ok(())
}

pub(super) fn write_unified(group: &Group, limits: &Limits) -> Result<(), Error> {
    if limits.unified.is_empty() {
        return Ok(());
    }
    let unified = group.directories().find(|(kind, _)| *kind == Kind::V2);
    let Some((_, directory)) = unified else {
        return Err(Error::Invalid(
            "files of cgroup v2 cannot be set: this machine has cgroup v1 alone".to_owned(),
        ));
    };
    limits
        .unified
        .iter()
        .try_for_each(|(file, value)| write_file(&directory, file, value))
}

/// A file of several lines takes one at a time.
fn write_file(directory: &Path, file: &str, value: &str) -> Result<(), Error> {
    let lines = value.lines().filter(|line| !line.trim().is_empty());
    match write_all(&directory.join(file), lines.map(str::to_owned)) {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Err(Error::Invalid(format!(
            "cgroup v2 has no file {file} here: its controller is not available, or this kernel does not know it"
        ))),
        result => result.map_err(|error| Error::Unified {
            file: file.to_owned(),
            value: value.to_owned(),
            source: reason(error),
        }),
    }
}
