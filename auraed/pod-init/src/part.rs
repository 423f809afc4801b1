//! Parts of volumes (`subPath`).

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;

use crate::child::path;

/// Opens (`O_PATH`) a part of a volume, making missing directories (0750). The pod's containers may write the volume
/// meanwhile, so that no link in it is followed out of it.
///
/// # Errors
/// `EXDEV` for a part that is not in the volume; else why it cannot be opened or made.
pub fn open(volume: BorrowedFd<'_>, part: &str) -> Result<OwnedFd, Errno> {
    match path::open_beneath(volume, part, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let mut made = String::new();
    for name in part.split('/').filter(|name| !name.is_empty() && *name != ".") {
        let parent = match made.as_str() {
            "" => ".",
            made => made,
        };
        let parent = path::open_beneath(volume, parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        made = if made.is_empty() {
            name.to_owned()
        } else {
            format!("{made}/{name}")
        };
    }
    path::open_beneath(volume, part, OFlags::PATH)
}
