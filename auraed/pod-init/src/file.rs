//! Small files of the kernel's trees, and records that are whole or not there.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open, rename, unlinkat};
use rustix::io::{Errno, retry_on_intr};

/// Kernel files that we read are shorter.
const MAX_BYTES: usize = 64 << 10;

/// Writes an existing file in one call, as the kernel's files want.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Errno> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let count = retry_on_intr(|| rustix::io::write(&file, content))?;
    if count == content.len() {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Reads a file of the kernel's trees, at most [`MAX_BYTES`] or a little more.
pub(crate) fn read(path: &Path) -> Result<String, Errno> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = retry_on_intr(|| rustix::io::read(&file, &mut chunk))?;
        bytes.extend_from_slice(&chunk[..count]);
        if count == 0 || bytes.len() >= MAX_BYTES {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

/// Puts a whole file in place of what was there. Not synced: it must outlive the daemon, not the machine's power.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Errno> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = open(&temporary, flags, Mode::from_raw_mode(0o600))?;
    let result = write_all(&file, content).and_then(|()| rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to tell.
        let _ = unlinkat(CWD, &temporary, rustix::fs::AtFlags::empty());
    }
    result
}

fn write_all(file: &rustix::fd::OwnedFd, mut content: &[u8]) -> Result<(), Errno> {
    while !content.is_empty() {
        let count = retry_on_intr(|| rustix::io::write(file, content))?;
        content = &content[count..];
    }
    Ok(())
}
