//! Reads one container's log files in their order: the rotated ones by name, then the current one.
//!
//! `<n>.log` is written; when it is full it is renamed to `<n>.log.<time>` and a new one begun. So a file is known by
//! its inode, not by its name, and once the current name means another inode, no more is written to the old one.

use super::line::Line;
use auraed_api::observe::v0 as api;
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// The pod init splits lines long before this; a longer one is not its work.
const LONGEST_LINE: usize = 1024 * 1024;

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selection {
    /// The last lines of the files alone.
    pub(super) tail: Option<u64>,
    /// Lines at or after this time.
    pub(super) since: Option<Timestamp>,
    /// Stop after this many bytes of content.
    pub(super) limit: Option<u64>,
}

/// What one read gave.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Vec<api::LogLine>,
    pub(super) progress: Progress,
}

/// What is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More can be read now.
    More,
    /// Everything that is written was read.
    End,
    /// As many bytes as wanted were read.
    Limit,
}

/// Where reading is.
#[derive(Debug)]
pub(super) struct Reader {
    /// The current file's name.
    path: PathBuf,
    open: Option<Open>,
    since: Option<Timestamp>,
    remaining: Option<u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    /// Another file follows this one, so nothing is added to it any more.
    complete: bool,
    /// What was read and is not yet a whole line.
    rest: Vec<u8>,
}

impl Reader {
    /// Opens the files at the first line that is wanted. No file at all is an empty log.
    pub(super) fn open(path: PathBuf, selection: &Selection) -> io::Result<Self> {
        let open = match (selection.tail, selection.since) {
            (Some(lines), _) => tail(&path, lines)?,
            (None, since) => first(&path, since)?,
        };
        Ok(Self {
            path,
            open,
            since: selection.since,
            remaining: selection.limit,
        })
    }

    /// Reads on. With `last`, what stands at the end without a newline is a line as well: its writer is gone.
    pub(super) fn read(&mut self, last: bool) -> io::Result<Batch> {
        let mut lines = Vec::new();
        if self.remaining == Some(0) {
            return Ok(Batch {
                lines,
                progress: Progress::Limit,
            });
        }
        if self.open.is_none() {
            self.open = first(&self.path, None)?;
        }
        let Some(mut open) = self.open.take() else {
            return Ok(Batch {
                lines,
                progress: Progress::End,
            });
        };
        let count = open.fill()?;
        let progress = if count > 0 {
            self.take_lines(&mut open.rest, false, &mut lines);
            Progress::More
        } else if open.complete {
            self.take_lines(&mut open.rest, true, &mut lines);
            if let Some(next) = next(&self.path, open.inode)? {
                open = next;
            }
            Progress::More
        } else if is_current(&self.path, open.inode)? {
            self.take_lines(&mut open.rest, last, &mut lines);
            Progress::End
        } else {
            // Between the read and the look at the name more may have been written: read it before moving on.
            open.complete = next(&self.path, open.inode)?.is_some();
            if open.complete {
                Progress::More
            } else {
                Progress::End
            }
        };
        self.open = Some(open);
        let progress = if self.remaining == Some(0) {
            Progress::Limit
        } else {
            progress
        };
        Ok(Batch { lines, progress })
    }

    /// Moves the whole lines of `rest`, with `all` everything, to `lines`.
    fn take_lines(&mut self, rest: &mut Vec<u8>, all: bool, lines: &mut Vec<api::LogLine>) {
        let mut start = 0;
        while let Some(length) = rest
            .get(start..)
            .and_then(|text| text.iter().position(|byte| *byte == b'\n'))
        {
            self.take_line(rest.get(start..start + length).unwrap_or_default(), lines);
            start += length + 1;
        }
        rest.drain(..start);
        if all || rest.len() > LONGEST_LINE {
            self.take_line(rest, lines);
            rest.clear();
        }
    }

    /// Lines that are not of the format are left out: a power loss may leave a piece of one.
    fn take_line(&mut self, text: &[u8], lines: &mut Vec<api::LogLine>) {
        let Some(line) = Line::parse(text) else { return };
        if self.since.is_some_and(|since| line.time < since) || self.remaining == Some(0) {
            return;
        }
        let longest = self
            .remaining
            .map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let line = line.to_wire(longest);
        if let Some(left) = &mut self.remaining {
            *left = left.saturating_sub(line.content.len() as u64);
        }
        lines.push(line);
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self {
                    file,
                    inode,
                    complete: false,
                    rest: Vec::new(),
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let limit = CHUNK as u64;
        (&mut self.file).take(limit).read_to_end(&mut self.rest)
    }
}

/// The files in their order, each with its path; ones that vanish meanwhile are left out.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let rotated = |entry: &std::fs::DirEntry| {
        let file = entry.file_name();
        let suffix = file
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        // A time begins with a digit; compressed files cannot be read here.
        suffix.is_some_and(|suffix| {
            suffix.starts_with(|c: char| c.is_ascii_digit()) && !suffix.ends_with(".gz")
        })
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(rotated)
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.push(path.to_owned());
    Ok(found)
}

/// The oldest file, or the oldest that was written to at or after `since`.
fn first(path: &Path, since: Option<Timestamp>) -> io::Result<Option<Open>> {
    let since = since.map(SystemTime::from);
    for file in files(path)? {
        if let Some(open) = Open::new(&file)? {
            let written = open.file.metadata()?.modified()?;
            if since.is_none_or(|since| written >= since) || file == path {
                return Ok(Some(open));
            }
        }
    }
    Ok(None)
}

/// The file after the one with this inode; `None` if that is the current one. If it was deleted, the oldest that is left.
fn next(path: &Path, inode: u64) -> io::Result<Option<Open>> {
    let mut opened = Vec::new();
    for file in files(path)? {
        opened.extend(Open::new(&file)?);
    }
    let index = opened.iter().position(|open| open.inode == inode);
    let next = index.map_or(0, |index| index + 1);
    Ok(opened.into_iter().nth(next))
}

fn is_current(path: &Path, inode: u64) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.ino() == inode),
        // Between the rename and the new file's making, or the whole directory was removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens the file in which the last `lines` lines begin, there.
fn tail(path: &Path, lines: u64) -> io::Result<Option<Open>> {
    let mut wanted = lines;
    let mut oldest = None;
    for file in files(path)?.iter().rev() {
        let Some(mut open) = Open::new(file)? else {
            continue;
        };
        let (start, found) = last_lines(&open.file, wanted)?;
        open.file.seek(SeekFrom::Start(start))?;
        oldest = Some(open);
        wanted -= found;
        if wanted == 0 {
            break;
        }
    }
    Ok(oldest)
}

/// Where the last `wanted` lines of a file begin, and how many lines that is. Reads backwards, no more than needed.
fn last_lines(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut block = vec![0; CHUNK];
    let mut end = file.metadata()?.len();
    let length = end;
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - start).unwrap_or(CHUNK);
        let bytes = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        for (offset, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + offset as u64 + 1;
            if newlines == wanted {
                return Ok((if wanted == 0 { length.min(after) } else { after }, wanted));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((0, newlines))
}

#[cfg(test)]
mod tests;
