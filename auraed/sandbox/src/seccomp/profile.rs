//! Profiles in the OCI format: JSON that says which system calls a container may make.
//!
//! Understood as libseccomp and its callers do: a name that this machine does not have is skipped, a rule without arguments
//! counts before those with some, conditions on several arguments must all hold, and several on one argument are
//! alternatives. Calls that are newer than every call of a profile that refuses what it does not list fail with ENOSYS.
//!
//! Not done: `SCMP_ACT_NOTIFY`, which hands calls to another process.

mod format;
mod resolve;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use self::format::{Document, Filter};
use super::program::Comparison;
use super::{encode, program};
use crate::Capabilities;

/// A longer profile is not read.
const MAX_BYTES: u64 = 1 << 20;
/// As many as the kernel takes (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;
/// What libseccomp knows beside this machine's, with `SCMP_ARCH_` before.
const ARCHITECTURES: [&str; 23] = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "PPC64LE",
    "RISCV64",
    "S390",
    "S390X",
    "SH",
    "SHEB",
];
/// Arguments of a system call.
const ARGUMENTS: u32 = 6;

/// A profile that was read and understood.
#[derive(Debug)]
pub struct Profile {
    default: Action,
    entries: Vec<Entry>,
    /// 32-bit programs and those of the x32 interface may run.
    i386: bool,
    x32: bool,
    flags: u32,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It cannot be read.
    #[error("cannot read the seccomp profile {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not such a document.
    #[error("the seccomp profile is not one")]
    Format(#[source] serde_json::Error),
    /// What it asks for is not known, or not done here.
    #[error("seccomp profile: {0}")]
    Unsupported(String),
    /// The kernel takes no program of this length.
    #[error("the seccomp profile makes a filter of {0} instructions; the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

/// What becomes of a call: the value that a filter returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Action(u32);

/// Names with one verdict.
#[derive(Debug)]
struct Entry {
    names: Vec<String>,
    action: Action,
    arguments: Vec<(u8, Comparison)>,
    includes: Filter,
    excludes: Filter,
}

impl Profile {
    /// Reads a profile from a regular file of at most a mebibyte.
    ///
    /// # Errors
    /// If it cannot be read, and as [`Profile::parse`].
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let failed = |source: io::Error| ProfileError::Read {
            path: path.to_owned(),
            source,
        };
        // A pipe or a device would be opened for good, or do something.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let stat = fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        let mut text = Vec::new();
        std::fs::File::from(file)
            .take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed(io::Error::other("it is longer than 1 MiB")));
        }
        Self::parse(&text)
    }

    /// Understands the text of a profile.
    ///
    /// # Errors
    /// [`ProfileError::Format`], [`ProfileError::Unsupported`].
    pub fn parse(json: &[u8]) -> Result<Self, ProfileError> {
        let document: Document = serde_json::from_slice(json).map_err(ProfileError::Format)?;
        let architectures = architectures(&document)?;
        let entries = document.syscalls.unwrap_or_default();
        Ok(Self {
            default: Action::parse(&document.default_action, document.default_errno_ret)?,
            entries: entries.into_iter().map(Entry::parse).collect::<Result<_, _>>()?,
            i386: architectures.iter().any(|name| name == "SCMP_ARCH_X86"),
            x32: architectures.iter().any(|name| name == "SCMP_ARCH_X32"),
            flags: flags(&document.flags.unwrap_or_default())?,
        })
    }

    /// The filter for a process with these capabilities: a BPF program, 16 hexadecimal digits an instruction.
    ///
    /// # Errors
    /// [`ProfileError::TooLong`].
    pub(crate) fn filter(&self, capabilities: Capabilities) -> Result<String, ProfileError> {
        let program = program::compile(&self.sections(capabilities));
        if program.len() > MAX_INSTRUCTIONS {
            return Err(ProfileError::TooLong(program.len()));
        }
        Ok(encode(&program))
    }

    /// SECCOMP_FILTER_FLAG_* for loading it.
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }
}

impl Action {
    fn parse(name: &str, errno: Option<u32>) -> Result<Self, ProfileError> {
        let data = errno.unwrap_or(libc::EPERM.unsigned_abs());
        // The kernel's data is 16 bits; of an errno it takes no more than this.
        if data > 4095 {
            return Err(ProfileError::Unsupported(format!("errno {data} is above 4095")));
        }
        Ok(Self(match name {
            "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
            "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | data,
            "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | data,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
            "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
            "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
            "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
            "SCMP_ACT_NOTIFY" => {
                return Err(ProfileError::Unsupported(
                    "SCMP_ACT_NOTIFY is not supported: no process here answers for a container".to_owned(),
                ));
            }
            other => {
                return Err(ProfileError::Unsupported(format!("unknown action {other:?}")));
            }
        }))
    }

    /// Lets a call happen, in one way or another.
    fn allows(self) -> bool {
        let action = self.0 & libc::SECCOMP_RET_ACTION_FULL;
        [
            libc::SECCOMP_RET_ALLOW,
            libc::SECCOMP_RET_LOG,
            libc::SECCOMP_RET_TRACE,
        ]
        .contains(&action)
    }
}

impl Entry {
    fn parse(entry: format::Entry) -> Result<Self, ProfileError> {
        let names = match (entry.names.unwrap_or_default(), entry.name) {
            (names, None) => names,
            (names, Some(name)) if names.is_empty() => vec![name],
            _ => {
                return Err(ProfileError::Unsupported(
                    "an entry has both `name` and `names`".to_owned(),
                ));
            }
        };
        let arguments = entry.args.unwrap_or_default();
        Ok(Self {
            names,
            action: Action::parse(&entry.action, entry.errno_ret)?,
            arguments: arguments.iter().map(argument).collect::<Result<_, _>>()?,
            includes: checked(entry.includes)?,
            excludes: checked(entry.excludes)?,
        })
    }
}

fn argument(argument: &format::Argument) -> Result<(u8, Comparison), ProfileError> {
    let index = u8::try_from(argument.index)
        .ok()
        .filter(|_| argument.index < ARGUMENTS);
    let index = index.ok_or_else(|| {
        ProfileError::Unsupported(format!("system calls have no argument {}", argument.index))
    })?;
    let (value, second) = (argument.value, argument.value_two);
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_NE" => Comparison::NotEqual(value),
        "SCMP_CMP_LT" => Comparison::Less(value),
        "SCMP_CMP_LE" => Comparison::LessOrEqual(value),
        "SCMP_CMP_EQ" => Comparison::Equal(value),
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual(value),
        "SCMP_CMP_GT" => Comparison::Greater(value),
        "SCMP_CMP_MASKED_EQ" => Comparison::Masked(value, second),
        other => {
            return Err(ProfileError::Unsupported(format!("unknown operator {other:?}")));
        }
    };
    Ok((index, comparison))
}

fn checked(filter: Option<Filter>) -> Result<Filter, ProfileError> {
    let filter = filter.unwrap_or_default();
    if let Some(version) = &filter.min_kernel
        && resolve::version(version).is_none()
    {
        return Err(ProfileError::Unsupported(format!(
            "minKernel {version:?} is not a version such as 4.8"
        )));
    }
    Ok(filter)
}

/// All architectures that are spoken of. Those of other machines are none of ours.
fn architectures(document: &Document) -> Result<Vec<String>, ProfileError> {
    let listed = document.architectures.clone().unwrap_or_default();
    let mapped = document.arch_map.as_deref().unwrap_or_default();
    if !listed.is_empty() && !mapped.is_empty() {
        return Err(ProfileError::Unsupported(
            "both `architectures` and `archMap` are given".to_owned(),
        ));
    }
    let native = format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase());
    let subordinate = mapped.iter().filter(|map| map.architecture == native);
    let subordinate = subordinate.flat_map(|map| map.sub_architectures.clone().unwrap_or_default());
    let all: Vec<String> = listed.into_iter().chain(subordinate).collect();
    let is_known = |name: &&String| {
        name.strip_prefix("SCMP_ARCH_")
            .is_some_and(|name| ARCHITECTURES.contains(&name))
    };
    match all.iter().find(|name| !is_known(name)) {
        None => Ok(all),
        Some(name) => Err(ProfileError::Unsupported(format!(
            "unknown architecture {name:?}"
        ))),
    }
}

fn flags(names: &[String]) -> Result<u32, ProfileError> {
    let mut flags = 0;
    for name in names {
        flags |= match name.as_str() {
            // A container's process has one thread when its filter is loaded.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            other => {
                return Err(ProfileError::Unsupported(format!(
                    "flag {other:?} is not supported"
                )));
            }
        };
    }
    Ok(flags as u32)
}
