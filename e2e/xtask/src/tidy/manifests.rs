//! The members' manifests: one set of versions, one set of lints, both in the workspace's.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::{members, read, root, shown};

const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];
const LISTS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn table(path: &Path) -> Table {
    read(path).parse().unwrap()
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

#[test]
fn members_inherit_everything() {
    for member in members() {
        let path = Path::new(&member.manifest_path);
        let (manifest, shown) = (table(path), shown(path));
        assert!(
            inherits(manifest.get("lints")),
            "{shown}: [lints] workspace = true is missing"
        );
        for field in INHERITED {
            let value = manifest["package"].get(field);
            assert!(inherits(value), "{shown}: {field}.workspace = true is missing");
        }
        assert!(
            manifest["package"].get("description").is_some(),
            "{shown}: a description is missing"
        );
        for list in LISTS {
            for (name, value) in manifest.get(list).and_then(Value::as_table).into_iter().flatten() {
                assert!(
                    inherits(Some(value)),
                    "{shown}: {list}.{name} must take its version from the workspace"
                );
            }
        }
        assert!(
            manifest.get("target").is_none(),
            "{shown}: dependencies by platform are not checked here"
        );
    }
}

#[test]
fn the_workspace_names_nothing_that_nobody_uses() {
    let manifest = table(&root().join("Cargo.toml"));
    let used: BTreeSet<String> = members()
        .into_iter()
        .flat_map(|member| member.dependencies)
        .map(|dependency| dependency.name)
        .collect();
    for name in manifest["workspace"]["dependencies"].as_table().unwrap().keys() {
        assert!(used.contains(name), "Cargo.toml: nobody depends on {name}");
    }
}
