//! The same tests on a second, real kernel whose cgroup tree is pure v2, where the tool that boots one is there: the command
//! that `AURAE_V2_KERNEL` names, else `shared/tools/v2-kernel` beside the repository.
//!
//! It runs this very program, found at its path: that kernel reads this machine's root under an overlay of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use auraed_sandbox::cgroup::{Tree, Version};

/// Seconds for boot and tests; fork and exec are several times slower there.
const LIMIT: &str = "300";
/// What depends on cgroups.
const MODULES: [&str; 4] = ["cgroup::", "placement::", "resources::", "confinement::"];

fn tool() -> Option<PathBuf> {
    let named = std::env::var_os("AURAE_V2_KERNEL").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tools/v2-kernel");
    named.or(Some(beside)).filter(|path| path.is_file())
}

#[test]
fn cgroups_of_version_2_do_the_same() {
    let (tree, _) = Tree::detect(&format!("aurae-test-v2-{}", std::process::id())).unwrap();
    let version = tree.version();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(tree.remove()).unwrap();
    if version == Version::V2 {
        println!("skipped: it is what this kernel has");
        return;
    }
    let Some(tool) = tool() else {
        println!("skipped: there is no v2-kernel beside the repository, and AURAE_V2_KERNEL names none");
        return;
    };
    let program = std::env::current_exe().unwrap();
    let output = Command::new("timeout")
        .arg(LIMIT)
        .arg(tool)
        .arg("--")
        .arg(program)
        .args(["--test-threads", "1"])
        .args(MODULES)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success() && text.contains("test result: "),
        "{text}"
    );
}
