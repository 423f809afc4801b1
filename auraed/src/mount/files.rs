//! Files that the pod's owner gives, replaced as a whole while containers read them.
//!
//! The layout is the one that Kubernetes' volumes of config maps and secrets have, because programs watch for it:
//!
//! ```text
//! volume/..2026_11_24_10_00_00.123456789/a/b     the content, in a directory of its own
//! volume/..data -> ..2026_11_24_10_00_00.123456789
//! volume/a -> ..data/a                           one link for each first path element
//! ```
//!
//! Replacing makes a new directory, then renames a link over `..data`: a reader sees all of the old or all of the new. A
//! crash leaves at most a directory that nothing points to; the next write removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use auraed_types::pod::{File, Files};
use fs_err::os::unix::fs::symlink;
use jiff::Timestamp;

use super::{GROUP_DIRECTORY, GROUP_READ};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes `volume` hold exactly `files`; makes the directory itself if it is missing. Returns whether anything changed.
///
/// # Errors
/// What the system says; the volume then holds what it held before.
pub fn write(volume: &Path, files: &Files, fs_group: Option<u32>) -> io::Result<bool> {
    make_directory(volume, fs_group)?;
    let current = fs_err::read_link(volume.join(DATA)).ok();
    let complete = current
        .as_ref()
        .is_some_and(|data| holds(&volume.join(data), files, fs_group));
    if complete && links_are_right(volume, files) {
        return Ok(false);
    }
    let name = new_name();
    let content = volume.join(&name);
    let written = write_content(&content, files, fs_group).and_then(|()| switch(volume, &name));
    if let Err(error) = written {
        // The content is the new one's alone; what could not be removed is swept by the next write.
        let _ = fs_err::remove_dir_all(&content);
        return Err(error);
    }
    link(volume, files)?;
    sweep(volume, &name)?;
    Ok(true)
}

/// Nobody else writes here, so the name needs only to be new.
fn new_name() -> String {
    let now = Timestamp::now();
    let second = jiff::fmt::strtime::format("..%Y_%m_%d_%H_%M_%S", now)
        .unwrap_or_else(|_| format!("..{}", now.as_second()));
    format!("{second}.{:09}", now.subsec_nanosecond())
}

fn make_directory(path: &Path, fs_group: Option<u32>) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let mode = if fs_group.is_some() {
        0o755 | GROUP_DIRECTORY
    } else {
        0o755
    };
    if fs_group.is_some() {
        chown(path, None, fs_group)?;
    }
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn write_content(content: &Path, files: &Files, fs_group: Option<u32>) -> io::Result<()> {
    make_directory(content, fs_group)?;
    for file in &files.files {
        let mut directory = content.to_owned();
        let (parents, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            directory.push(parent);
            make_directory(&directory, fs_group)?;
        }
        write_file(&directory.join(name), file, fs_group)?;
    }
    Ok(())
}

fn write_file(path: &Path, file: &File, fs_group: Option<u32>) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs_err::OpenOptions::new();
    // Nobody else reads it before it has its owner and its mode.
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.write(true).create_new(true).open(path)?;
    open.write_all(file.content.expose())?;
    chown(path, file.owner, fs_group)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode(file, fs_group)))
}

fn mode(file: &File, fs_group: Option<u32>) -> u32 {
    if fs_group.is_some() {
        file.mode | GROUP_READ
    } else {
        file.mode
    }
}

/// Points `..data` at the new content, in one step.
fn switch(volume: &Path, name: &str) -> io::Result<()> {
    let new = volume.join(NEW_DATA);
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(name, &new)?;
    fs_err::rename(new, volume.join(DATA))
}

/// The first path elements, by which readers find the files.
fn first_elements(files: &Files) -> BTreeSet<&str> {
    files
        .files
        .iter()
        .filter_map(|file| file.path.split('/').next())
        .collect()
}

fn links_are_right(volume: &Path, files: &Files) -> bool {
    let wanted = first_elements(files);
    let Ok(entries) = fs_err::read_dir(volume) else {
        return false;
    };
    let names: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with(".."))
        .collect();
    names.iter().map(String::as_str).eq(wanted)
}

/// Adds the links that are missing.
fn link(volume: &Path, files: &Files) -> io::Result<()> {
    for element in first_elements(files) {
        let path = volume.join(element);
        let target = Path::new(DATA).join(element);
        if fs_err::read_link(&path).is_ok_and(|there| there == target) {
            continue;
        }
        symlink(&target, &path)?;
    }
    Ok(())
}

/// Removes links to what is no longer there, and every content but the current one.
fn sweep(volume: &Path, current: &str) -> io::Result<()> {
    for entry in fs_err::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == DATA || name == current {
            continue;
        }
        if name.starts_with("..") && entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else if !entry.path().exists() {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a content directory holds exactly these files, with their rights.
fn holds(content: &Path, files: &Files, fs_group: Option<u32>) -> bool {
    let mut wanted: BTreeMap<&str, &File> = files
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let matches = walk(content, "", &mut |path, on_disk| {
        let Some(file) = wanted.remove(path) else {
            return Ok(false);
        };
        let metadata = fs_err::symlink_metadata(on_disk)?;
        Ok(metadata.mode() & 0o777 == mode(file, fs_group)
            && file.owner.unwrap_or(0) == metadata.uid()
            && fs_group.unwrap_or(0) == metadata.gid()
            && metadata.len() == file.content.expose().len() as u64
            && fs_err::read(on_disk)? == file.content.expose())
    });
    matches.unwrap_or(false) && wanted.is_empty()
}

/// Calls `visit` with each file's relative path; false ends the walk.
fn walk(
    directory: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(&str, &Path) -> io::Result<bool>,
) -> io::Result<bool> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let goes_on = if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), visit)?
        } else {
            visit(&path, &entry.path())?
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> Files {
        let file = |(path, content): &(&str, &str)| File {
            path: (*path).to_owned(),
            content: auraed_types::SecretBytes::new(content.as_bytes()),
            mode: 0o644,
            owner: None,
        };
        Files {
            files: entries.iter().map(file).collect(),
            sensitive: false,
        }
    }

    fn volume() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v");
        (directory, path)
    }

    fn entries(path: &Path) -> usize {
        fs_err::read_dir(path).unwrap().count()
    }

    #[test]
    fn readers_see_the_new_content_through_the_same_names() {
        let (_directory, volume) = volume();
        assert!(write(&volume, &files(&[("a", "1"), ("d/b", "2"), ("gone", "3")]), None).unwrap());
        let open_before = fs_err::read_link(volume.join(DATA)).unwrap();
        assert!(write(&volume, &files(&[("a", "one"), ("d/b", "2"), ("new", "4")]), None).unwrap());
        assert_eq!(fs_err::read_to_string(volume.join("a")).unwrap(), "one");
        assert_eq!(fs_err::read_to_string(volume.join("d/b")).unwrap(), "2");
        assert_eq!(fs_err::read_to_string(volume.join("new")).unwrap(), "4");
        assert!(fs_err::symlink_metadata(volume.join("gone")).is_err());
        assert_ne!(fs_err::read_link(volume.join(DATA)).unwrap(), open_before);
        // a, d, new, ..data and one content.
        assert_eq!(entries(&volume), 5);
    }

    #[test]
    fn no_change_is_no_act() {
        let (_directory, volume) = volume();
        let content = files(&[("a", "1"), ("d/b", "2")]);
        write(&volume, &content, None).unwrap();
        let before = fs_err::read_link(volume.join(DATA)).unwrap();
        assert!(!write(&volume, &content, None).unwrap());
        assert_eq!(fs_err::read_link(volume.join(DATA)).unwrap(), before);
    }

    #[test]
    fn a_changed_mode_is_a_change() {
        let (_directory, volume) = volume();
        let mut content = files(&[("a", "1")]);
        write(&volume, &content, None).unwrap();
        content.files[0].mode = 0o400;
        assert!(write(&volume, &content, None).unwrap());
        assert_eq!(fs_err::metadata(volume.join("a")).unwrap().mode() & 0o777, 0o400);
    }

    #[test]
    fn the_pods_group_may_read() {
        let (_directory, volume) = volume();
        let mut content = files(&[("a", "1")]);
        content.files[0].mode = 0o400;
        content.files[0].owner = Some(7);
        write(&volume, &content, Some(1234)).unwrap();
        let metadata = fs_err::metadata(volume.join("a")).unwrap();
        assert_eq!(
            (metadata.mode() & 0o777, metadata.uid(), metadata.gid()),
            (0o440, 7, 1234)
        );
        assert!(!write(&volume, &content, Some(1234)).unwrap());
    }

    #[test]
    fn what_a_crash_left_is_swept_and_mended() {
        let (_directory, volume) = volume();
        let content = files(&[("a", "1")]);
        write(&volume, &content, None).unwrap();
        fs_err::create_dir(volume.join("..2000_01_01_00_00_00.1")).unwrap();
        symlink("nowhere", volume.join(NEW_DATA)).unwrap();
        fs_err::remove_file(volume.join("a")).unwrap();
        assert!(write(&volume, &content, None).unwrap());
        assert_eq!(fs_err::read_to_string(volume.join("a")).unwrap(), "1");
        assert_eq!(entries(&volume), 3);
    }
}
