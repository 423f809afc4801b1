//! docs/dependencies.md says of each crate why it is here and who may name it.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table;

use super::{members, read, root};

#[test]
fn every_crate_is_explained_with_its_owners() {
    let page = read(&root().join("docs/dependencies.md"));
    let manifest: Table = read(&root().join("Cargo.toml")).parse().unwrap();
    let own: BTreeSet<String> = members().into_iter().map(|member| member.name).collect();
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for member in members() {
        for dependency in member.dependencies {
            users
                .entry(dependency.name)
                .or_default()
                .insert(member.name.clone());
        }
    }
    let rows: BTreeMap<&str, &str> = page.lines().filter_map(row).collect();
    let wanted = manifest["workspace"]["dependencies"].as_table().unwrap().keys();
    let wanted: BTreeSet<&str> = wanted
        .map(String::as_str)
        .filter(|name| !own.contains(*name))
        .collect();
    for name in &wanted {
        let owners = rows
            .get(name)
            .unwrap_or_else(|| panic!("docs/dependencies.md does not explain {name}"));
        let real = users.get(*name).cloned().unwrap_or_default();
        // Crates of the base are everybody's.
        for owner in owners.split(", ").filter(|owner| *owner != "all") {
            assert!(
                real.contains(owner),
                "docs/dependencies.md says that {owner} uses {name}; it does not"
            );
        }
    }
    for name in rows.keys() {
        assert!(
            wanted.contains(name),
            "docs/dependencies.md explains {name}, which is not in the workspace"
        );
    }
}

/// `| `name` | owners | why |`
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let name = cells.next()?.strip_suffix('`')?;
    let owners = cells.next()?;
    cells.next().filter(|why| why.len() > 10)?;
    Some((name, owners))
}
