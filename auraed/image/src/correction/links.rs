//! Hard links of a layer to what layers below it have: what they link to, and which of them show.
//!
//! At the place of such a link the layer's own directory has a whiteout. The link itself goes into the directory on top
//! of the image's stack, unless a layer above its own hides it. It is a real link to the lower layer's file: both are on
//! one file system, nothing is copied, and overlayfs writes to neither.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;

use super::CorrectionError;
use super::view::{Entry, Opened, split};
use crate::unpack::show;

/// Links on the way to a target: as many as the kernel follows, path_resolution(7).
const SYMLINKS: usize = 40;

/// A file of a layer.
pub(super) struct Source {
    directory: OwnedFd,
    name: Vec<u8>,
}

impl Source {
    /// Makes a link to the file.
    pub(super) fn link(&self, directory: &OwnedFd, name: &[u8]) -> std::io::Result<()> {
        rustix::fs::linkat(
            &self.directory,
            self.name.as_slice(),
            directory,
            name,
            AtFlags::empty(),
        )?;
        Ok(())
    }
}

/// The links that show in the joined root, with what they link to. Layers come top first.
pub(super) fn visible(layers: &[Opened]) -> Result<Vec<(Vec<u8>, Source)>, CorrectionError> {
    let mut visible = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let (above, below) = (&layers[..index], &layers[index + 1..]);
        for (path, target) in &layer.links {
            // Else a later entry of the same layer took its place.
            if !matches!(layer.entry(path)?, Entry::Whiteout) || hidden(above, path)? {
                continue;
            }
            let source = resolve(below, target)?.ok_or_else(|| CorrectionError::Link {
                entry: show(path),
                target: show(target),
            })?;
            visible.push((path.clone(), source));
        }
    }
    Ok(visible)
}

fn hidden(above: &[Opened], path: &[u8]) -> Result<bool, CorrectionError> {
    for layer in above {
        if !matches!(layer.entry(path)?, Entry::Nothing) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finds a file in the joined root of some layers as the kernel would: over symlinks, but for the last name, and never
/// above the root.
fn resolve(layers: &[Opened], path: &[u8]) -> Result<Option<Source>, CorrectionError> {
    let mut rest: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    let mut way: Vec<Vec<u8>> = Vec::new();
    let mut symlinks = 0;
    while let Some(component) = rest.pop_front() {
        if component == b".." {
            way.pop();
            continue;
        }
        way.push(component);
        let here = way.join(&b'/');
        let Some((index, entry)) = topmost(layers, &here)? else {
            return Ok(None);
        };
        match entry {
            Entry::Directory => {}
            Entry::Symlink(directory) if !rest.is_empty() => {
                symlinks += 1;
                if symlinks > SYMLINKS {
                    return Ok(None);
                }
                let (_, name) = split(&here);
                let target = rustix::fs::readlinkat(&directory, name, Vec::new())?.into_bytes();
                way.pop();
                if target.starts_with(b"/") {
                    way.clear();
                }
                for component in components(&target).rev() {
                    rest.push_front(component.to_vec());
                }
            }
            Entry::Symlink(directory) | Entry::Other(directory) => {
                let name = split(&here).1.to_vec();
                return Ok(rest.is_empty().then_some(Source { directory, name }));
            }
            // It may be a link of that layer to what is still lower.
            Entry::Whiteout if rest.is_empty() => {
                return match layers[index].links.get(&here) {
                    Some(target) => resolve(&layers[index + 1..], target),
                    None => Ok(None),
                };
            }
            Entry::Whiteout | Entry::Hidden | Entry::Nothing => return Ok(None),
        }
    }
    Ok(None)
}

fn topmost(layers: &[Opened], path: &[u8]) -> Result<Option<(usize, Entry)>, CorrectionError> {
    for (index, layer) in layers.iter().enumerate() {
        match layer.entry(path)? {
            Entry::Nothing => {}
            entry => return Ok(Some((index, entry))),
        }
    }
    Ok(None)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|component| !matches!(*component, b"" | b"."))
}
