//! A container's log file in the CRI format, rotated by size.
//!
//! ```text
//! 2026-11-24T19:55:12.123456789Z stdout F a whole line
//! 2026-11-24T19:55:12.123456789Z stdout P the first 16 KiB of a long one
//! ```
//!
//! Owned by the pod init, one for each container. `<file>` is the current one; a full one becomes
//! `<file>.<date>-<time>.<nanoseconds>`, of which the newest few are kept. Writing never waits for anybody but the disk;
//! what the disk refuses is lost, and the container goes on.

mod stamp;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, renameat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use self::stamp::Stamp;
use crate::protocol::LogLimits;

/// Longer lines are logged in parts of this size.
const MAX_LINE_BYTES: usize = 16 << 10;
/// What is collected before it is written.
const BATCH_BYTES: usize = 32 << 10;

/// An open log, or one that keeps nothing.
#[derive(Debug)]
pub(crate) struct Log {
    target: Option<Target>,
    /// Bytes in the current file.
    written: u64,
    /// Formatted, not yet written.
    batch: Vec<u8>,
    limits: LogLimits,
    rotations: u64,
    /// The file ends within a line, whose rest was lost.
    torn: bool,
}

/// Where a log is.
#[derive(Debug)]
struct Target {
    directory: OwnedFd,
    name: OsString,
    file: OwnedFd,
}

/// The beginning of a line whose end has not come yet, of one stream.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pending: Vec<u8>,
}

impl Log {
    /// Opens or makes the file; its directory must be there, or is given. An empty path keeps nothing.
    pub(crate) fn open(path: &Path, directory: Option<OwnedFd>, limits: LogLimits) -> Result<Self, Errno> {
        if path.as_os_str().is_empty() {
            return Ok(Self::new(None, 0, limits));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match directory {
            Some(directory) => directory,
            None => open(parent, flags, Mode::empty())?,
        };
        let (file, written) = open_file(&directory, name)?;
        let target = Target {
            directory,
            name: name.to_owned(),
            file,
        };
        Ok(Self::new(Some(target), written, limits))
    }

    fn new(target: Option<Target>, written: u64, limits: LogLimits) -> Self {
        Self {
            target,
            written,
            batch: Vec::new(),
            limits,
            rotations: 0,
            torn: false,
        }
    }

    /// Logs a piece of a stream.
    pub(crate) fn append(&mut self, stream: &str, line: &mut Line, mut piece: &[u8]) {
        if self.target.is_none() {
            return;
        }
        let stamp = Stamp::of(SystemTime::now());
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            if line.pending.is_empty() && end <= MAX_LINE_BYTES {
                self.put(&stamp, stream, 'F', &piece[..end]);
            } else {
                self.append_part(&stamp, stream, line, &piece[..end]);
                self.put(&stamp, stream, 'F', &std::mem::take(&mut line.pending));
            }
            piece = &piece[end + 1..];
        }
        self.append_part(&stamp, stream, line, piece);
        self.write_batch();
    }

    /// Logs what has no end of line yet, at the end of a stream.
    pub(crate) fn finish(&mut self, stream: &str, line: &mut Line) {
        if !line.pending.is_empty() {
            self.put(
                &Stamp::of(SystemTime::now()),
                stream,
                'P',
                &std::mem::take(&mut line.pending),
            );
            self.write_batch();
        }
    }

    /// Collects a part of a line, logging what is too long to wait for its end.
    fn append_part(&mut self, stamp: &Stamp, stream: &str, line: &mut Line, mut part: &[u8]) {
        while line.pending.len() + part.len() > MAX_LINE_BYTES {
            let (now, later) = part.split_at(MAX_LINE_BYTES - line.pending.len());
            line.pending.extend_from_slice(now);
            self.put(stamp, stream, 'P', &std::mem::take(&mut line.pending));
            part = later;
        }
        line.pending.extend_from_slice(part);
    }

    fn put(&mut self, stamp: &Stamp, stream: &str, tag: char, data: &[u8]) {
        let length = stamp.line().len() + stream.len() + data.len() + 5;
        let used = self.written + self.batch.len() as u64;
        if used > 0 && used + length as u64 > self.limits.max_bytes {
            self.write_batch();
            self.rotate();
        } else if self.batch.len() + length > BATCH_BYTES {
            self.write_batch();
        }
        for part in [
            stamp.line().as_bytes(),
            b" ",
            stream.as_bytes(),
            b" ",
            &[tag as u8],
            b" ",
            data,
            b"\n",
        ] {
            self.batch.extend_from_slice(part);
        }
    }

    fn write_batch(&mut self) {
        if self.torn && !self.batch.is_empty() {
            self.batch.insert(0, b'\n');
        }
        let mut rest = self.batch.as_slice();
        while let Some(target) = &self.target
            && !rest.is_empty()
        {
            // A full disk loses lines, never time.
            let Ok(count) = retry_on_intr(|| rustix::io::write(&target.file, rest)) else {
                break;
            };
            self.written += count as u64;
            rest = &rest[count..];
        }
        let done = &self.batch[..self.batch.len() - rest.len()];
        self.torn = done.last().map_or(self.torn, |last| *last != b'\n');
        self.batch.clear();
        self.batch.shrink_to(BATCH_BYTES);
    }

    /// Moves the full file away and begins a new one. If that fails the old one goes on.
    fn rotate(&mut self) {
        let Some(target) = &self.target else { return };
        let mut old = target.name.clone();
        old.push(".");
        old.push(Stamp::of(SystemTime::now()).file_name());
        match renameat(&target.directory, &target.name, &target.directory, &old) {
            // Somebody has taken it away, or no new one could be made the last time.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => return,
        }
        // Else what comes goes on into the old one, until the next line tries again.
        if self.reopen().is_ok() {
            self.rotations += 1;
            self.prune();
        }
    }

    /// Opens the file anew, after it was moved away. If that fails the old one goes on.
    pub(crate) fn reopen(&mut self) -> Result<(), Errno> {
        if let Some(target) = &mut self.target {
            (target.file, self.written) = open_file(&target.directory, &target.name)?;
            self.torn = false;
        }
        Ok(())
    }

    /// How often a full file was moved away.
    pub(crate) fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Removes the oldest files beyond the limit.
    fn prune(&self) {
        let Some(target) = &self.target else { return };
        let Ok(directory) = Dir::read_from(target.directory.as_fd()) else {
            return;
        };
        let mut prefix = target.name.as_bytes().to_owned();
        prefix.push(b'.');
        let mut old: Vec<_> = directory
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_owned())
            .filter(|name| name.to_bytes().starts_with(&prefix))
            .collect();
        old.sort_unstable();
        let kept = self.limits.max_files.saturating_sub(1) as usize;
        for name in &old[..old.len().saturating_sub(kept)] {
            // A file that stays is tried again next time.
            let _ = unlinkat(&target.directory, name.as_c_str(), AtFlags::empty());
        }
    }
}

fn open_file(directory: &OwnedFd, name: &std::ffi::OsStr) -> Result<(OwnedFd, u64), Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // Pods can be given the directory: what they put there may be a pipe, for whose reader the whole pod would wait.
    let file = openat(
        directory,
        name,
        flags | OFlags::NONBLOCK,
        Mode::from_raw_mode(0o640),
    )?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NXIO);
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
