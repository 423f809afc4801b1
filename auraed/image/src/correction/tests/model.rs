//! Images of random layers: what overlayfs shows of them, held against layers applied one after another to a tree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::layer::{Plan, unpack_blob};

/// An entry of a layer.
#[derive(Debug, Clone)]
enum Op {
    File(String),
    Directory(u32),
    Link(String),
    Delete,
    Opaque,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(String),
    Directory(u32),
}

type Tree = BTreeMap<String, Node>;
type Entries = Vec<(String, Op)>;

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// All directories above a path, the topmost first, without the root.
fn above(path: &str) -> Vec<String> {
    let slashes = path.match_indices('/').map(|(index, _)| path[..index].to_owned());
    slashes.collect()
}

fn remove_below(tree: &mut Tree, directory: &str) {
    let prefix = format!("{directory}/");
    let below = |path: &str| match directory {
        "" => !path.is_empty(),
        _ => path.starts_with(&prefix),
    };
    tree.retain(|path, _| !below(path));
}

/// Applies a layer; `None` where it is one that is refused.
fn apply(tree: &mut Tree, entries: &Entries) -> Option<()> {
    // Deletions are of what lower layers have, wherever they stand in this one.
    for (path, op) in entries {
        match op {
            Op::Delete => {
                tree.remove(path);
                remove_below(tree, path);
            }
            Op::Opaque => remove_below(tree, path),
            _ => {}
        }
    }
    for (path, op) in entries {
        let mut parents = above(path);
        if matches!(op, Op::Opaque) && !path.is_empty() {
            parents.push(path.clone());
        }
        for parent in parents {
            if !matches!(tree.get(&parent), Some(Node::Directory(_))) {
                tree.insert(parent, Node::Directory(0o755));
            }
        }
        let node = match op {
            Op::Delete | Op::Opaque => continue,
            Op::File(content) => Node::File(content.clone()),
            Op::Directory(mode) => {
                tree.insert(path.clone(), Node::Directory(*mode));
                continue;
            }
            Op::Link(target) => match tree.get(target) {
                Some(Node::File(content)) => Node::File(content.clone()),
                _ => return None,
            },
        };
        remove_below(tree, path);
        tree.insert(path.clone(), node);
    }
    Some(())
}

/// Entries that do not get in each other's way: tar has an order, and overlayfs has none.
fn sensible(entries: Entries) -> Entries {
    let mut kept: Entries = Vec::new();
    let mut directories = BTreeSet::new();
    for (path, op) in entries {
        let leaf = !matches!(op, Op::Directory(_) | Op::Opaque);
        let taken = |other: &str, op: &Op| match op {
            // A name is deleted, or is a file, or is a directory.
            Op::Delete | Op::File(_) | Op::Link(_) => other == path || path.starts_with(&format!("{other}/")),
            Op::Directory(_) => other == path && leaf,
            Op::Opaque => false,
        };
        let is_parent = leaf && directories.contains(&path);
        let target_is_deleted = match &op {
            Op::Link(target) => kept.iter().any(|(other, op)| {
                matches!(op, Op::Delete | Op::Opaque)
                    && (target == other || target.starts_with(other.as_str()))
            }),
            _ => false,
        };
        let deletes_a_target = match &op {
            Op::Delete | Op::Opaque => kept
                .iter()
                .any(|(_, op)| matches!(op, Op::Link(target) if target.starts_with(path.as_str()))),
            _ => false,
        };
        if (path.is_empty() && leaf)
            || is_parent
            || target_is_deleted
            || deletes_a_target
            || kept.iter().any(|(other, op)| taken(other, op))
        {
            continue;
        }
        directories.extend(above(&path));
        if !leaf {
            directories.insert(path.clone());
        }
        kept.push((path, op));
    }
    kept
}

fn tar(entries: &Entries) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, op) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let add =
            |builder: &mut tar::Builder<Vec<u8>>, header: &mut tar::Header, path: &str, content: &[u8]| {
                builder.append_data(header, path, content).unwrap();
            };
        match op {
            Op::File(content) => {
                header.set_size(content.len() as u64);
                add(&mut builder, &mut header, path, content.as_bytes());
            }
            Op::Directory(mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                let path = if path.is_empty() { "./" } else { path };
                add(&mut builder, &mut header, path, b"");
            }
            Op::Link(target) => {
                header.set_entry_type(tar::EntryType::Link);
                builder.append_link(&mut header, path, target).unwrap();
            }
            Op::Delete => {
                let name = path.rsplit('/').next().unwrap();
                let path = format!("{}/.wh.{name}", parent(path));
                add(&mut builder, &mut header, path.trim_start_matches('/'), b"");
            }
            Op::Opaque => {
                let path = format!("{path}/.wh..wh..opq");
                add(&mut builder, &mut header, path.trim_start_matches('/'), b"");
            }
        }
    }
    builder.into_inner().unwrap()
}

fn seen(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![String::new()];
    while let Some(directory) = todo.pop() {
        for entry in fs_err::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() {
                name
            } else {
                format!("{directory}/{name}")
            };
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                tree.insert(path.clone(), Node::Directory(metadata.mode() & 0o7777));
                todo.push(path);
            } else {
                tree.insert(
                    path.clone(),
                    Node::File(fs_err::read_to_string(root.join(&path)).unwrap()),
                );
            }
        }
    }
    tree
}

fn layers() -> impl Strategy<Value = Vec<Entries>> {
    let path = prop_oneof![6 => "[ab](/[abc]){0,3}", 1 => Just(String::new())];
    let target = "[ab](/[abc]){0,3}";
    let op = prop_oneof![
        4 => "[a-z]{0,3}".prop_map(Op::File),
        2 => (0..0o10000_u32).prop_map(|mode| Op::Directory(mode | 0o700)),
        3 => target.prop_map(Op::Link),
        2 => Just(Op::Delete),
        1 => Just(Op::Opaque),
    ];
    let layer = proptest::collection::vec((path, op), 0..7).prop_map(sensible);
    proptest::collection::vec(layer, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overlayfs_shows_what_layers_applied_one_by_one_make(layers in layers()) {
        let mut bench = Bench::new();
        let mut expected = Some(Tree::new());
        for entries in &layers {
            let blob = tar(entries);
            let digest = Digest::sha256(&blob);
            let plan = Plan { layer: digest.clone(), diff_id: digest.clone() };
            let unpacked = unpack_blob(&plan, blob.as_slice(), bench.layers.ingest());
            let staging = match unpacked {
                Ok(staging) => staging,
                // A link to a directory of the same layer, or over one that is deleted.
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Refused, "{}", crate::error::chain(&error));
                    return Ok(());
                }
            };
            bench.layers.publish(staging, &digest.file_name()).unwrap();
            bench.image.push(Layer { diff_id: digest.clone(), digest, size_bytes: 0 });
            expected = expected.and_then(|mut tree| apply(&mut tree, entries).map(|()| tree));
        }
        // A layer that comes twice is applied twice; only the upper one counts here.
        let names: BTreeSet<_> = bench.image.iter().map(|layer| layer.diff_id.file_name()).collect();
        prop_assume!(names.len() == bench.image.len());
        let stacked = stack(&bench.layers, &bench.image, &mut bench.layers.pin(Vec::new()));
        match (stacked, expected) {
            // A link that leads nowhere is an error only where it shows.
            (Ok(_), None) => {}
            (Ok(_), Some(mut expected)) => {
                expected.remove("");
                let mut shown = Tree::new();
                bench.mounted(|root| shown = seen(root));
                prop_assert_eq!(shown, expected);
            }
            (Err(error), expected) => {
                prop_assert_eq!(error.kind(), ErrorKind::Refused);
                prop_assert!(expected.is_none(), "{}", error);
            }
        }
    }
}
